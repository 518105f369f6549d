//! What of a lab file is played: all of it, all up to a flow, or single flows.

use super::Args;
use crate::{
    LabFile,
    diagnostic::did_you_mean,
    failure::{Class, Failure},
    topology::Entry,
};

/// Held connections and rules of then need every flow and step before them.
///
/// # Errors
/// Single flows of a lab with steps.
pub(super) fn with_whole_script(args: &Args, file: &LabFile) -> Result<(), Failure> {
    if args.flows.is_empty() || file.topology.steps.is_empty() {
        return Ok(());
    }
    let what = format!(
        "--flow does not go with lab `{}`, which has steps",
        file.topology.name
    );
    Err(Failure::new(Class::Input, what)
        .hint("a flow stands on the steps before it: --until plays all up to it"))
}

/// What is played of the lab file: all of it, or all up to a flow.
pub(super) fn script(args: &Args, file: &LabFile) -> Vec<Entry> {
    let topology = &file.topology;
    let is_last = |it: &Entry| match (it, &args.until) {
        (Entry::Flow(at), Some(last)) => topology.flows[*at].name == *last,
        _ => false,
    };
    let last = topology.script.iter().position(is_last);
    let played = last.map_or(topology.script.len(), |it| it + 1);
    topology.script[..played].to_vec()
}

/// The flows to send, by name.
///
/// # Errors
/// The lab has none, or not the one that was asked for.
pub(super) fn flows(args: &Args, file: &LabFile) -> Result<Vec<String>, Failure> {
    let known: Vec<String> = file.topology.flows.iter().map(|f| f.name.clone()).collect();
    if known.is_empty() {
        return Err(Failure::new(
            Class::Input,
            format!("lab `{}` has no flow to send", file.topology.name),
        )
        .hint("add a [[flow]] to the lab file"));
    }
    for flow in args.flows.iter().chain(&args.until) {
        if !known.contains(flow) {
            let near = did_you_mean(flow, known.iter().map(String::as_str));
            let hint = near.unwrap_or_else(|| format!("flows: {}", known.join(", ")));
            return Err(Failure::new(
                Class::Input,
                format!("lab `{}` has no flow `{flow}`", file.topology.name),
            )
            .hint(hint));
        }
    }
    // In the order of the file, whatever the order of the flags: what a flow meets depends on those before it.
    let played = script(args, file).into_iter().filter_map(|it| match it {
        Entry::Flow(at) => known.get(at).cloned(),
        Entry::Step(_) => None,
    });
    let wanted = |it: &String| args.flows.is_empty() || args.flows.contains(it);
    Ok(played.filter(wanted).collect())
}
