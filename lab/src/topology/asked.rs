//! A flow that a person asks for in words, in place of one of the lab file: `productpage-v1 -> reviews:9080`.

use std::{collections::BTreeMap, net::SocketAddr};

use hoplab_proxies::record::Transport;

use super::{
    Actor, Answer, Ask, Flow, Pod, Sender, Target, Topology, check::LAST_ID, service_names,
};
use crate::{
    diagnostic::did_you_mean,
    failure::{Class, Failure},
    rules::Family,
};

/// What a person asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Asked<'a> {
    /// `pod`, `pod/app`, `pod/proxy`, `pod/UID:GID` or `node`.
    pub from: &'a str,
    /// `pod:port`, `service:port`, `localhost:port`, `address:port` or `dns:NAME`.
    pub to: &'a str,
    /// As whom, in place of what `from` says.
    pub sender: Option<Sender>,
    /// Path of a request.
    pub path: &'a str,
    /// What carries a lookup.
    pub lookup_over: Transport,
}

impl Topology {
    /// The flow that a person asks for.
    ///
    /// # Errors
    /// No such pod, service, sender or name; with the nearest one there is.
    pub fn asked(&self, asked: &Asked<'_>) -> Result<Flow, Failure> {
        let from = self.actor(asked)?;
        let (to, ask) = match asked.to.strip_prefix("dns:") {
            Some(name) => self.lookup(name, asked.lookup_over)?,
            None => {
                let path = asked.path.to_owned();
                (self.target(asked.to)?, Ask::Get { path })
            }
        };
        Ok(Flow {
            name: format!("{} -> {}", asked.from, asked.to),
            about: String::new(),
            from,
            to,
            answer: match ask {
                Ask::Get { .. } => Answer::Status(200),
                Ask::Lookup { .. } => Answer::Resolved,
            },
            ask,
            nat: BTreeMap::new(),
            seen: Default::default(),
            connection: Default::default(),
        })
    }

    fn actor(&self, asked: &Asked<'_>) -> Result<Actor, Failure> {
        let (name, who) = match asked.from.split_once('/') {
            Some((name, who)) => (name, Some(who)),
            None => (asked.from, None),
        };
        if name == "node" && who.is_none() {
            let sender = match asked.sender {
                None => Sender::of(0, 0),
                Some(sender @ Sender::As { .. }) => sender,
                Some(_) => return Err(bad("the node has no app and no proxy".to_owned())),
            };
            return Ok(Actor { pod: None, sender });
        }
        let Some(pod) = self.pod(name) else {
            let names = self.pods.iter().map(|it| it.name.as_str()).chain(["node"]);
            let known: Vec<&str> = names.collect();
            let near = did_you_mean(name, known.iter().copied());
            return Err(bad(format!(
                "lab `{}` has no pod `{name}` to send from",
                self.name
            ))
            .hint(near.unwrap_or_else(|| format!("its pods: {}", known.join(", ")))));
        };
        let sender = match (asked.sender, who) {
            (Some(_), Some(who)) => {
                return Err(bad(format!("`{name}/{who}` says already who sends"))
                    .hint("leave out one of the two"));
            }
            (Some(sender), None) => sender,
            (None, Some(who)) => who.parse().map_err(bad)?,
            (None, None) if pod.app.is_none() => Sender::Proxy,
            (None, None) => Sender::App,
        };
        has(pod, sender)?;
        Ok(Actor {
            pod: Some(name.to_owned()),
            sender,
        })
    }

    fn lookup(&self, name: &str, transport: Transport) -> Result<(Target, Ask), Failure> {
        if self.dns.is_none() {
            return Err(bad(format!("lab `{}` has no DNS server to ask", self.name))
                .hint("add [dns] to the lab file"));
        }
        let name = name.trim_end_matches('.');
        let part = |it: &str| {
            let fits = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
            !it.is_empty() && it.len() <= 63 && it.chars().all(fits)
        };
        if name.len() > 253 || !name.split('.').all(part) {
            return Err(bad(format!("`{name}` is no name that DNS could know")));
        }
        let name = name.to_owned();
        Ok((Target::Dns, Ask::Lookup { name, transport }))
    }

    fn target(&self, text: &str) -> Result<Target, Failure> {
        let how = "write pod:port, service:port, localhost:port, ADDRESS:port, or dns:NAME";
        if let Ok(address) = text.parse::<SocketAddr>() {
            return Ok(Target::Address(address));
        }
        let (name, port) = text.rsplit_once(':').unwrap_or((text, ""));
        // By any of its names in Kubernetes.
        let named = |it: &&super::Service| service_names(&it.name).any(|its| its == name);
        let service = self.services.iter().find(named);
        let host = self.dns.as_ref().and_then(|dns| dns.hosts.get(name));
        if let (Some(host), None, Ok(port @ 1..)) = (host, service, port.parse()) {
            let address = host.of(Family::V4);
            return Ok(Target::Address(SocketAddr::new(address, port)));
        }
        let known = service.is_some() || self.pod(name).is_some() || name == "localhost";
        if !known {
            let names = self.pods.iter().map(|it| it.name.as_str());
            let names = names.chain(self.services.iter().map(|it| it.name.as_str()));
            let near = did_you_mean(name, names.chain(["localhost"]));
            return Err(bad(format!(
                "lab `{}` has no pod or service `{name}`",
                self.name
            ))
            .hint(near.unwrap_or_else(|| how.to_owned())));
        }
        let usual = service.map(|it| it.port);
        let usual = usual.or(self
            .pod(name)
            .and_then(|it| it.app.as_ref())
            .and_then(|it| it.ports.first().copied()));
        let port: u16 = port.parse().ok().filter(|it| *it > 0).ok_or_else(|| {
            let what = match port {
                "" => format!("`{text}` has no port"),
                port => format!("`{port}` is not a port"),
            };
            bad(what).hint(match usual {
                Some(port) => format!("write {name}:{port}"),
                None => how.to_owned(),
            })
        })?;
        let name = match (service, self.pod(name)) {
            (Some(service), None) => service.name.clone(),
            _ => name.to_owned(),
        };
        // A pod's own name first, as in the lab file.
        Ok(match (self.pod(&name), name.as_str()) {
            (Some(_), _) => Target::Pod { pod: name, port },
            (None, "localhost") => Target::Localhost { port },
            (None, _) => Target::Service {
                service: name,
                port,
            },
        })
    }
}

/// Whether a pod has the process that is to send.
fn has(pod: &Pod, sender: Sender) -> Result<(), Failure> {
    let missing = match sender {
        Sender::App if pod.app.is_none() => "app",
        Sender::Proxy if pod.proxy.is_none() => "proxy",
        _ => return Ok(()),
    };
    Err(bad(format!("pod `{}` has no {missing}", pod.name))
        .hint("send as a user of your own: --as 2000:2000"))
}

fn bad(what: String) -> Failure {
    Failure::new(Class::Input, what)
}

impl std::str::FromStr for Sender {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "app" => return Ok(Self::App),
            "proxy" => return Ok(Self::Proxy),
            _ => {}
        }
        let id = |it: &str| it.parse::<u32>().ok().filter(|it| *it <= LAST_ID);
        let ids = text
            .split_once(':')
            .and_then(|(uid, gid)| id(uid).zip(id(gid)));
        match ids {
            Some((uid, gid)) => Ok(Self::of(uid, gid)),
            None => Err(format!(
                "`{text}` is not a sender: write app, proxy or UID:GID, each up to {LAST_ID}"
            )),
        }
    }
}
