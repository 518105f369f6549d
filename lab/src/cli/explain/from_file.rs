//! A flow of a recorded run.

use std::path::Path as FilePath;

use super::Wanted;
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
pub(super) fn path(
    file: &FilePath,
    wanted: &Wanted,
    family: Option<Family>,
) -> Result<Path, Failure> {
    let recorded = recorded::read(file)?;
    let (lab, evidence) = (&recorded.file, &recorded.evidence);
    let sent = evidence.windows.iter();
    let sent = sent.filter(|it| family.is_none_or(|family| it.family == family));
    let sent: Vec<(&Window, &Flow)> = sent
        .filter_map(|it| Some((it, lab.topology.flow(&it.flow)?)))
        .collect();
    let route = |flow: &Flow| format!("{} -> {}", flow.from, flow.to);
    let found = sent.iter().find(|(_, flow)| match wanted {
        Wanted::Named(name) => flow.name == *name,
        // `client` is short for `client/app`.
        Wanted::Route { from, to } => {
            let sender = flow.from.to_string();
            flow.to.to_string() == *to && (sender == *from || sender == format!("{from}/app"))
        }
    });
    let Some((window, flow)) = found else {
        let routes: Vec<String> = sent.iter().map(|(_, flow)| route(flow)).collect();
        let names = sent.iter().map(|(_, flow)| flow.name.as_str());
        let known = names.chain(routes.iter().map(String::as_str));
        let flows: Vec<&str> = sent.iter().map(|(_, flow)| flow.name.as_str()).collect();
        let hint = did_you_mean(&wanted.to_string(), known);
        return Err(Failure::new(
            Class::Input,
            format!("the run in {} has no flow `{wanted}`", file.display()),
        )
        .hint(hint.unwrap_or_else(|| format!("its flows: {}", flows.join(", ")))));
    };
    path::of_window(lab, evidence, window, flow)
}
