//! Where the notes under test are to be looked for.

use toml::Spanned;

use super::super::{Notes, NotesCall, NotesReply, Topology, check, schema, source::Source};
use crate::diagnostic::Diagnostic;

pub(super) fn notes(
    source: &Source,
    topology: &Topology,
    raw: &schema::Notes,
) -> Result<Notes, Diagnostic> {
    let pod = |name: &Spanned<String>| {
        check::known_pod(source, topology, name, name.get_ref()).map(|p| p.name.clone())
    };
    let flow = |name: &Spanned<String>| match topology.flow(name.get_ref()) {
        Some(flow) => Ok(flow.name.clone()),
        None => Err(source
            .complain(name, format!("there is no flow `{}`", name.get_ref()))
            .help("name one of the [[flow]] entries")),
    };
    if let Some(callee) = &raw.reply.callee {
        return Err(source
            .complain(callee, "a reply has no callee")
            .help("drop `callee`"));
    }
    let callee = raw.call.callee.as_ref().ok_or_else(|| {
        source
            .complain(
                &raw.call.pod,
                "`notes.call` does not say whom the pod calls",
            )
            .help("add `callee = \"ratings-v1\"`")
    })?;
    Ok(Notes {
        table: pod(&raw.table)?,
        reply: NotesReply {
            flow: flow(&raw.reply.flow)?,
            pod: pod(&raw.reply.pod)?,
            caller: pod(&raw.reply.caller)?,
        },
        call: NotesCall {
            flow: flow(&raw.call.flow)?,
            pod: pod(&raw.call.pod)?,
            caller: pod(&raw.call.caller)?,
            callee: pod(callee)?,
        },
    })
}
