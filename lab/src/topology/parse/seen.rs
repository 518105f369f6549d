//! What a person expects to be seen of a flow, and which connection it goes over.

use toml::Spanned;

use super::{
    super::{
        Ask, Connection, Place, ProcessRole, Seen, SeenPort, SeenSource, Topology, Way, check,
        schema, source::Source,
    },
    flow::target,
};
use crate::diagnostic::{Diagnostic, did_you_mean};

pub(super) fn seen(
    source: &Source,
    topology: &Topology,
    raw: &schema::Flow,
) -> Result<Seen, Diagnostic> {
    let refused = ["refused", "unreachable", "timeout"];
    let made = raw
        .answer
        .as_ref()
        .is_none_or(|it| !refused.contains(&it.get_ref().as_str()));
    let expectations = [
        &raw.way,
        &raw.answered_by,
        &raw.seen_source,
        &raw.original_dst,
        &raw.seen_port,
    ];
    if let Some(place) = expectations.into_iter().flatten().next().filter(|_| !made) {
        return Err(source
            .complain(place, "nobody sees a connection that is not made")
            .help("leave it out, or expect another answer"));
    }
    Ok(Seen {
        way: raw.way.as_ref().map(|it| way(source, it)).transpose()?,
        answered_by: raw
            .answered_by
            .as_ref()
            .map(|it| place(source, topology, it))
            .transpose()?,
        source: raw
            .seen_source
            .as_ref()
            .map(|it| seen_source(source, topology, it))
            .transpose()?,
        original_dst: raw
            .original_dst
            .as_ref()
            .map(|it| target(source, topology, it))
            .transpose()?,
        source_port: raw
            .seen_port
            .as_ref()
            .map(|it| seen_port(source, it))
            .transpose()?,
    })
}

fn seen_port(source: &Source, raw: &Spanned<String>) -> Result<SeenPort, Diagnostic> {
    match raw.get_ref().as_str() {
        "kept" => Ok(SeenPort::Kept),
        "changed" => Ok(SeenPort::Changed),
        other => Err(source
            .complain(raw, format!("`{other}` is not what becomes of a port"))
            .help("write \"kept\" or \"changed\"")),
    }
}

fn way(source: &Source, raw: &Spanned<String>) -> Result<Way, Diagnostic> {
    match raw.get_ref().as_str() {
        "direct" => Ok(Way::Direct),
        "proxied" => Ok(Way::Proxied),
        other => Err(source
            .complain(raw, format!("`{other}` is not a way"))
            .help("write \"direct\" or \"proxied\"")),
    }
}

/// `POD`, `POD/app`, `POD/proxy` or `dns`.
fn place(source: &Source, topology: &Topology, raw: &Spanned<String>) -> Result<Place, Diagnostic> {
    if raw.get_ref() == "dns" {
        return Ok(Place {
            pod: None,
            role: ProcessRole::Dns,
        });
    }
    let process = process(source, topology, raw)?;
    Ok(Place {
        pod: Some(process.pod),
        role: process.role,
    })
}

/// `POD/app` or `POD/proxy`; `POD` alone is its app.
pub(super) fn process(
    source: &Source,
    topology: &Topology,
    raw: &Spanned<String>,
) -> Result<super::super::Process, Diagnostic> {
    let (name, role) = raw
        .get_ref()
        .split_once('/')
        .unwrap_or((raw.get_ref(), "app"));
    let pod = check::known_pod(source, topology, raw, name)?;
    let (role, there) = match role {
        "app" => (ProcessRole::App, pod.app.is_some()),
        "proxy" => (ProcessRole::Proxy, pod.proxy.is_some()),
        other => {
            return Err(source
                .complain(raw, format!("`{other}` is not a process of a pod"))
                .help("write pod/app or pod/proxy"));
        }
    };
    if !there {
        return Err(source
            .complain(raw, format!("pod `{name}` has no {role}"))
            .help("name a process that the pod has"));
    }
    Ok(super::super::Process {
        pod: name.to_owned(),
        role,
    })
}

fn seen_source(
    source: &Source,
    topology: &Topology,
    raw: &Spanned<String>,
) -> Result<SeenSource, Diagnostic> {
    let text = raw.get_ref().as_str();
    match text {
        "passthrough" => Ok(SeenSource::Passthrough),
        "localhost" => Ok(SeenSource::Localhost),
        "node" => Ok(SeenSource::Node),
        pod if topology.pod(pod).is_some() => Ok(SeenSource::Pod(pod.to_owned())),
        other => {
            let pods = topology.pods.iter().map(|it| it.name.as_str());
            let known = pods.chain(["passthrough", "localhost", "node"]);
            let help = did_you_mean(other, known).unwrap_or_else(|| {
                "write a pod, \"node\", \"passthrough\" (127.0.0.6 or ::6) or \"localhost\"".into()
            });
            Err(source
                .complain(raw, format!("`{other}` is not a source"))
                .help(help))
        }
    }
}

fn give_up(source: &Source, raw: &Spanned<u64>) -> Result<u64, Diagnostic> {
    match *raw.get_ref() {
        ms @ 1..=60_000 => Ok(ms),
        ms => Err(source
            .complain(raw, format!("{ms} ms is no time to wait"))
            .help("write 1 to 60000")),
    }
}

/// A proxy may take the address of a client for its own, as with TPROXY and as ztunnel does.
fn client(
    source: &Source,
    topology: &Topology,
    raw: &schema::Flow,
    ask: &Ask,
) -> Result<Option<String>, Diagnostic> {
    let Some(client) = &raw.source else {
        return Ok(None);
    };
    check::known_pod(source, topology, client, client.get_ref())?;
    if !raw.from.get_ref().ends_with("/proxy") {
        return Err(source
            .complain(client, "only a proxy sends with the address of another pod")
            .help("write from = \"POD/proxy\", under rules of TPROXY or of ambient mode"));
    }
    let other = raw.resume.as_ref().map(Spanned::span);
    let other = other.or(raw.source_port.as_ref().map(Spanned::span));
    if other.is_some() || matches!(ask, Ask::Lookup { .. }) {
        return Err(source
            .complain(
                client,
                "an address of another pod goes with a new request, from any port",
            )
            .help("leave out `resume`, `source_port` and `lookup`"));
    }
    Ok(Some(client.get_ref().clone()))
}

pub(super) fn connection(
    source: &Source,
    topology: &Topology,
    raw: &schema::Flow,
    ask: &Ask,
) -> Result<Connection, Diagnostic> {
    if let (Some(hold), Some(_)) = (&raw.hold, &raw.resume) {
        return Err(source
            .complain(
                hold,
                "a flow holds a new connection or goes over a held one, not both",
            )
            .help("a held connection stays held until a step releases it"));
    }
    if let (Some(port), Some(_)) = (&raw.source_port, &raw.resume) {
        return Err(source
            .complain(port, "a held connection has its source port already")
            .help("name the port in the flow that holds it"));
    }
    if let Some(port) = raw.source_port.as_ref().filter(|it| *it.get_ref() == 0) {
        return Err(source
            .complain(port, "port 0 leaves the choice to the kernel")
            .help("leave it out for that, or choose a port from 1 to 65535"));
    }
    let held = raw.hold.as_ref().or(raw.resume.as_ref());
    if let (Some(place), Ask::Lookup { .. }) = (held, ask) {
        return Err(source
            .complain(place, "a lookup holds no connection")
            .help("ask for a path"));
    }
    if let Some(name) = held {
        check::named(source, name, "connection")?;
    }
    Ok(Connection {
        source_port: raw.source_port.as_ref().map(|it| *it.get_ref()),
        source: client(source, topology, raw, ask)?,
        give_up_ms: raw
            .give_up_ms
            .as_ref()
            .map(|it| give_up(source, it))
            .transpose()?,
        hold: raw.hold.as_ref().map(|it| it.get_ref().clone()),
        resume: raw.resume.as_ref().map(|it| it.get_ref().clone()),
    })
}
