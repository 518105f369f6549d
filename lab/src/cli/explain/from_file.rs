//! A flow of a recorded run.

use std::path::Path as FilePath;

use crate::{
    cli::recorded,
    diagnostic::did_you_mean,
    evidence::Window,
    failure::{Class, Failure},
    path::{self, Path},
    rules::Family,
    topology::Flow,
};

/// The path of the flow of a run with this name, or from this sender to this target.
///
/// # Errors
/// A file that can't be read, or that has no such flow.
pub(super) fn path(file: &FilePath, asked: &str, family: Option<Family>) -> Result<Path, Failure> {
    let recorded = recorded::read(file)?;
    let (lab, evidence) = (&recorded.file, &recorded.evidence);
    let sent = evidence.windows.iter();
    let sent = sent.filter(|it| family.is_none_or(|family| it.family == family));
    let sent: Vec<(&Window, &Flow)> = sent
        .filter_map(|it| Some((it, lab.topology.flow(&it.flow)?)))
        .collect();
    let route = |flow: &Flow| format!("{} -> {}", flow.from, flow.to);
    let wanted = plain(asked);
    let is_asked = |flow: &Flow| flow.name == asked || route(flow) == wanted;
    let found = sent.iter().find(|(_, flow)| is_asked(flow));
    // `client` is short for `client/app`.
    let short = || {
        let (from, to) = wanted.split_once(" -> ")?;
        let longer = format!("{from}/app -> {to}");
        sent.iter().find(|(_, flow)| route(flow) == longer)
    };
    let Some((window, flow)) = found.or_else(short) else {
        let routes: Vec<String> = sent.iter().map(|(_, flow)| route(flow)).collect();
        let names = sent.iter().map(|(_, flow)| flow.name.as_str());
        let known = names.chain(routes.iter().map(String::as_str));
        let flows: Vec<&str> = sent.iter().map(|(_, flow)| flow.name.as_str()).collect();
        let hint = did_you_mean(&wanted, known);
        return Err(Failure::new(
            Class::Input,
            format!("the run in {} has no flow `{asked}`", file.display()),
        )
        .hint(hint.unwrap_or_else(|| format!("its flows: {}", flows.join(", ")))));
    };
    path::of_window(lab, evidence, window, flow)
}

/// One space around the arrow, however it was written.
fn plain(asked: &str) -> String {
    let ends = asked.split_once("->").or_else(|| asked.split_once('→'));
    match ends {
        Some((from, to)) => format!("{} -> {}", from.trim(), to.trim()),
        None => asked.trim().to_owned(),
    }
}
