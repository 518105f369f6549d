//! Flows: who sends, where to, what is asked, what a person expects.

use hoplab_proxies::record::Transport;
use toml::Spanned;

use super::{
    super::{
        Actor, Answer, Ask, Expected, Flow, Sender, Target, Topology, check, schema, source::Source,
    },
    seen,
};
use crate::diagnostic::{Diagnostic, did_you_mean};

pub(super) fn flow(
    source: &Source,
    topology: &Topology,
    raw: &schema::Flow,
) -> Result<Flow, Diagnostic> {
    let mut nat = std::collections::BTreeMap::new();
    for (pod, paths) in &raw.nat {
        let known = check::known_pod(source, topology, pod, pod.get_ref())?;
        if !known.is_sidecar() {
            return Err(source
                .complain(
                    pod,
                    format!("pod `{}` has no rules that could move", known.name),
                )
                .help("leave it out: a pod that is not named expects no traversal"));
        }
        let paths = paths
            .iter()
            .map(|p| traversal(source, p))
            .collect::<Result<Vec<_>, _>>()?;
        nat.insert(known.name.clone(), paths);
    }
    let ask = ask(source, raw)?;
    check::asks_its_target(source, topology, raw, &ask)?;
    Ok(Flow {
        name: raw.name.get_ref().clone(),
        about: raw.about.clone(),
        from: actor(source, topology, &raw.from)?,
        to: target(source, topology, &raw.to)?,
        answer: match &raw.answer {
            Some(raw) => answer(source, raw, &ask)?,
            None => usual_answer(&ask),
        },
        connection: seen::connection(source, topology, raw, &ask)?,
        ask,
        nat,
        seen: seen::seen(source, topology, raw)?,
    })
}

/// `PREROUTING 1 > ISTIO_INBOUND 5`: chain and place of each rule one packet moves.
fn traversal(source: &Source, raw: &Spanned<String>) -> Result<Expected, Diagnostic> {
    let rules = raw
        .get_ref()
        .split('>')
        .map(|hop| {
            let mut words = hop.split_whitespace();
            let chain = words.next();
            let place = words.next().and_then(|n| n.parse::<u32>().ok());
            match (chain, place, words.next()) {
                (Some(chain), Some(place), None) if place > 0 => Ok((chain.to_string(), place)),
                _ => Err(source
                    .complain(raw, format!("`{}` is not a chain and a place", hop.trim()))
                    .help("write \"PREROUTING 1 > ISTIO_INBOUND 5\": chain, then the rule's place in it")),
            }
        })
        .collect::<Result<_, Diagnostic>>()?;
    Ok(Expected {
        rules,
        at: raw.span(),
    })
}

fn actor(source: &Source, topology: &Topology, raw: &Spanned<String>) -> Result<Actor, Diagnostic> {
    let text = raw.get_ref();
    if text == "node" {
        return Ok(Actor {
            pod: None,
            sender: Sender::of(0, 0),
        });
    }
    let (name, who) = text.split_once('/').unwrap_or((text, "app"));
    let pod = check::known_pod(source, topology, raw, name)?;
    let sender = match who {
        "app" if pod.app.is_some() => Sender::App,
        "proxy" if pod.proxy.is_some() => Sender::Proxy,
        "app" | "proxy" => {
            return Err(source
                .complain(raw, format!("pod `{name}` has no {who}"))
                .help(format!("send as a user of your own: \"{name}/2000:2000\"")));
        }
        ids => {
            let (uid, gid, group) = parse_ids(ids).ok_or_else(|| {
                source
                    .complain(raw, format!("`{ids}` is not a sender"))
                    .help("write pod, pod/app, pod/proxy, pod/UID:GID, pod/UID:GID+GROUP, or node")
            })?;
            Sender::As {
                uid: check::id(source, raw, uid)?,
                gid: check::id(source, raw, gid)?,
                group: group.map(|it| check::id(source, raw, it)).transpose()?,
            }
        }
    };
    Ok(Actor {
        pod: Some(name.to_string()),
        sender,
    })
}

/// `UID:GID`, or `UID:GID+GROUP` with a supplementary group.
fn parse_ids(text: &str) -> Option<(u32, u32, Option<u32>)> {
    let (uid, groups) = text.split_once(':')?;
    let (gid, group) = match groups.split_once('+') {
        Some((gid, group)) => (gid, Some(group.parse().ok()?)),
        None => (groups, None),
    };
    Some((uid.parse().ok()?, gid.parse().ok()?, group))
}

pub(super) fn target(
    source: &Source,
    topology: &Topology,
    raw: &Spanned<String>,
) -> Result<Target, Diagnostic> {
    let how = "write pod:port, service:port, localhost:port, or dns";
    let text = raw.get_ref();
    if text == "dns" {
        return Ok(Target::Dns);
    }
    let (name, port) = text.rsplit_once(':').ok_or_else(|| {
        source
            .complain(raw, format!("`{text}` has no port"))
            .help(how)
    })?;
    let port: u16 = port.parse().ok().filter(|p| *p > 0).ok_or_else(|| {
        source
            .complain(raw, format!("`{port}` is not a port"))
            .help(how)
    })?;
    if name == "localhost" {
        return Ok(Target::Localhost { port });
    }
    let name = name.to_string();
    if topology.pod(&name).is_some() {
        return Ok(Target::Pod { pod: name, port });
    }
    if topology.service(&name).is_some() {
        return Ok(Target::Service {
            service: name,
            port,
        });
    }
    let names = topology.pods.iter().map(|p| p.name.as_str());
    let names = names.chain(topology.services.iter().map(|s| s.name.as_str()));
    let help = did_you_mean(&name, names).unwrap_or_else(|| how.to_string());
    Err(source
        .complain(raw, format!("there is no pod or service `{name}`"))
        .help(help))
}

/// A request by path, or a name to look up.
fn ask(source: &Source, raw: &schema::Flow) -> Result<Ask, Diagnostic> {
    let Some(name) = &raw.lookup else {
        if let Some(over) = &raw.over {
            return Err(source
                .complain(over, "`over` goes with `lookup`: a request goes over TCP")
                .help("drop `over`, or look a name up: lookup = \"reviews\""));
        }
        let path = raw.path.as_ref().map(|path| check::path(source, path));
        let path = path.unwrap_or_else(|| Ok("/".to_string()))?;
        return Ok(Ask::Get { path });
    };
    if let Some(path) = &raw.path {
        return Err(source
            .complain(path, "a flow asks for a path or looks a name up, not both")
            .help("drop `path` or `lookup`"));
    }
    let transport = match raw
        .over
        .as_ref()
        .map(|over| (over, over.get_ref().as_str()))
    {
        None | Some((_, "udp")) => Transport::Udp,
        Some((_, "tcp")) => Transport::Tcp,
        Some((over, other)) => {
            return Err(source
                .complain(over, format!("`{other}` carries no DNS here"))
                .help("write \"udp\" or \"tcp\""));
        }
    };
    Ok(Ask::Lookup {
        name: check::host_name(source, name)?,
        transport,
    })
}

fn usual_answer(ask: &Ask) -> Answer {
    match ask {
        Ask::Get { .. } => Answer::Status(200),
        Ask::Lookup { .. } => Answer::Resolved,
    }
}

fn answer(source: &Source, raw: &Spanned<String>, ask: &Ask) -> Result<Answer, Diagnostic> {
    let text = raw.get_ref().as_str();
    let how = match ask {
        Ask::Get { .. } => {
            "write an HTTP status such as \"200\", or \"refused\", \"unreachable\", \"closed\", \"loop\", \"reset\" or \"timeout\""
        }
        Ask::Lookup { .. } => "write \"resolved\", \"no such name\", \"refused\" or \"closed\"",
    };
    match (ask, text) {
        (_, "refused") => Ok(Answer::Refused),
        (_, "closed") => Ok(Answer::Closed),
        (Ask::Get { .. }, "unreachable") => Ok(Answer::Unreachable),
        (Ask::Get { .. }, "loop") => Ok(Answer::Loop),
        (Ask::Get { .. }, "reset") => Ok(Answer::Reset),
        (Ask::Get { .. }, "timeout") => Ok(Answer::Timeout),
        (Ask::Lookup { .. }, "resolved") => Ok(Answer::Resolved),
        (Ask::Lookup { .. }, "no such name") => Ok(Answer::NoName),
        (Ask::Get { .. }, status) => {
            let status = status.parse().ok().filter(|s| (100..600).contains(s));
            status.map(Answer::Status)
        }
        .ok_or_else(|| not_an_answer(source, raw, how)),
        _ => Err(not_an_answer(source, raw, how)),
    }
}

fn not_an_answer(source: &Source, raw: &Spanned<String>, how: &str) -> Diagnostic {
    source
        .complain(raw, format!("`{}` is not an answer", raw.get_ref()))
        .help(how)
}
