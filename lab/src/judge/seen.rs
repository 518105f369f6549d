//! What a person expects to be seen of a flow: the way it takes, who answers, from where, for which destination.
//!
//! Each expectation is a claim of its own, with the log of the process that saw it, and the model, as witnesses.

use std::{
    fmt::Display,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
};

use hoplab_proxies::record::{CloseOutcome, Role};

use super::{
    Case, Check, Claim, Witness,
    connections::{Accepted, End},
};
use crate::{
    evidence::Window,
    interception::INBOUND_SOURCE,
    predict::{Leg, LegEnd, Listener},
    rules::Family,
    topology::{Answer, Flow, Place, ProcessRole, SeenPort, SeenSource, Sender, Target, Way},
};

impl Case<'_> {
    /// One claim for each expectation.
    pub(super) fn seen_claims(
        &self,
        flow: &Flow,
        legs: &[Leg],
        ends: &[End],
        window: &Window,
    ) -> Vec<Claim> {
        let node = self.topology.network.node.of(self.family);
        let chain = chain(flow, ends, node);
        let first = chain.first().copied();
        let last = chain.last().copied();
        let (model_first, model_last) = (legs.first(), last_leg(legs));
        let seen = &flow.seen;
        let mut claims = Vec::new();
        if let Some(way) = seen.way {
            let had = first.map(|it| (it, self.way_of(it)));
            let model = model_first.and_then(way_of_leg);
            claims.push(claim(format!("it goes {way}"), way, had, model));
        }
        if let Some(place) = &seen.answered_by {
            let had = last.map(|it| (it, place_words(&it.pod, it.role)));
            let model = model_last.and_then(|leg| match &leg.end {
                LegEnd::Accepted { pod, listener, .. } => Some(place_words(pod, listener.role())),
                _ => None,
            });
            let wanted = place.to_string();
            claims.push(claim(format!("{wanted} answers"), wanted, had, model));
        }
        if let Some(source) = &seen.source {
            let wanted = self.address_of(source);
            let had = last.and_then(|it| Some((it, it.accepted()?.peer.ip())));
            let model = model_last.map(|leg| leg.seen_from);
            let text = format!("who answers sees {source} ({wanted}) as its client");
            claims.push(claim(text, wanted, had, model));
        }
        if let Some(target) = &seen.original_dst {
            let wanted = self.destination(target);
            let read = |it: &End| {
                it.accepted()
                    .and_then(|accepted| accepted.original_dst.addr())
            };
            let had = first.and_then(|it| Some((it, read(it)?)));
            let model = model_first.and_then(|leg| match &leg.end {
                LegEnd::Accepted { original_dst, .. } => *original_dst,
                _ => None,
            });
            let text = format!("the original destination is {target}");
            match wanted {
                Some(wanted) => claims.push(claim(text, wanted, had, model)),
                None => claims.push(Claim::new(text, vec![no_such_address()])),
            }
        }
        if let Some(wanted) = seen.source_port {
            claims.push(port_claim(wanted, sender_end(flow, ends), first, window));
        }
        if flow.answer == Answer::Loop {
            claims.push(loop_claim(legs, ends));
        }
        claims
    }

    /// Whether a connection was handed to a listener that is there for what rules redirect.
    fn way_of(&self, accepter: &End) -> Way {
        let interception = self.interception_of(&accepter.pod);
        let of_rules = [interception.inbound, interception.outbound];
        let port = accepter.accepted().map(|it| it.listener.port());
        let is_dns = interception.dns.is_some() && port == interception.dns;
        let is_meant = port.is_some_and(|port| of_rules.contains(&port)) || is_dns;
        match accepter.role == Role::Proxy && is_meant {
            true => Way::Proxied,
            false => Way::Direct,
        }
    }

    fn address_of(&self, source: &SeenSource) -> IpAddr {
        match source {
            SeenSource::Pod(name) => {
                let pod = self.topology.pod(name).map(|it| it.addr);
                pod.unwrap_or(self.topology.network.node).of(self.family)
            }
            SeenSource::Node => self.topology.network.node.of(self.family),
            SeenSource::Passthrough => INBOUND_SOURCE[usize::from(self.family == Family::V6)],
            SeenSource::Localhost => localhost(self.family),
        }
    }

    fn destination(&self, target: &Target) -> Option<SocketAddr> {
        let ip = match target {
            Target::Pod { pod, .. } => self.topology.pod(pod)?.addr.of(self.family),
            Target::Service { service, .. } => self.topology.service(service)?.vip.of(self.family),
            Target::Localhost { .. } => localhost(self.family),
            Target::Dns => self.topology.dns.as_ref()?.addr.of(self.family),
            Target::Address(address) => address.ip(),
        };
        Some(SocketAddr::new(ip, target.port()))
    }
}

fn localhost(family: Family) -> IpAddr {
    match family {
        Family::V4 => Ipv4Addr::LOCALHOST.into(),
        Family::V6 => Ipv6Addr::LOCALHOST.into(),
    }
}

fn no_such_address() -> Check {
    Check::missing(Witness::Model, "an address of this family")
}

/// A claim with its two witnesses: the log of the process that saw it, and the model.
fn claim<T: PartialEq + Display>(
    text: String,
    wanted: T,
    had: Option<(&End, T)>,
    model: Option<T>,
) -> Claim {
    let log = match had {
        Some((end, had)) => Check::equal(end.witness(), "", &wanted, &had),
        None => Check::missing(Witness::Answer, "the log of who took the connection"),
    };
    let model = match model {
        Some(model) => Check::equal(Witness::Model, "", &wanted, &model),
        None => Check::missing(Witness::Model, "a prediction"),
    };
    Claim::new(text, vec![log, model])
}

/// What became of the sender's port, by the log of who took the connection and by that pod's conntrack. The model has no
/// say: it knows no other connections.
fn port_claim(
    wanted: SeenPort,
    sender: Option<&End>,
    taker: Option<&End>,
    window: &Window,
) -> Claim {
    let text = format!("the source port is {wanted}");
    let opened = sender.and_then(|it| it.opened());
    let Some((opened, local)) = opened.and_then(|it| Some((it, it.local()?))) else {
        let missing = Check::missing(Witness::Answer, "the log of the sender's connection");
        return Claim::new(text, vec![missing]);
    };
    let Some((taker, accepted)) = taker.and_then(|it| Some((it, it.accepted()?))) else {
        let missing = Check::missing(Witness::Answer, "the log of who took the connection");
        return Claim::new(text, vec![missing]);
    };
    let became = |port: u16| match port == local.port() {
        true => SeenPort::Kept,
        false => SeenPort::Changed,
    };
    let log = Check::equal(taker.witness(), "", &wanted, &became(accepted.peer.port()));
    let witness = Witness::Conntrack {
        pod: taker.pod.clone(),
    };
    let entries = window.conntrack.get(&taker.pod).into_iter().flatten();
    let mut of_flow = entries
        .filter(|it| (it.original.src, it.original.dst) == (local, opened.remote))
        .map(|it| it.reply.dst.port());
    let conntrack = match of_flow.next() {
        Some(port) => Check::equal(witness, "", &wanted, &became(port)),
        None => Check::missing(witness, format!("an entry from {local}")),
    };
    Claim::new(text, vec![log, conntrack])
}

/// The sender's end of the connection that it opened first.
fn sender_end<'e>(flow: &Flow, ends: &'e [End]) -> Option<&'e End> {
    let role = match flow.from.sender {
        Sender::App => Role::App,
        Sender::Proxy => Role::Proxy,
        Sender::As { .. } => Role::Probe,
    };
    let pod = flow.from.pod.as_deref().unwrap_or("node");
    ends.iter().find(|end| {
        let opened = end.opened().filter(|it| it.parent.is_none());
        opened.is_some() && end.role == role && end.pod == pod
    })
}

/// Who accepted the sender's connection, then who accepted the one opened for it, up to an app or a DNS server.
fn chain<'e>(flow: &Flow, ends: &'e [End], node: IpAddr) -> Vec<&'e End> {
    let mut opener = sender_end(flow, ends);
    let mut found = Vec::new();
    while let Some(accepter) = opener.and_then(|it| accepter_of(it, ends, node)) {
        found.push(accepter);
        opener = ends.iter().find(|end| {
            let own = accepter.role == Role::Proxy && end.pid == accepter.pid;
            let parent = end.opened().and_then(|it| it.parent);
            own && end.pod == accepter.pod && parent == Some(accepter.conn)
        });
        if found.len() > ends.len() {
            break;
        }
    }
    found
}

/// By the opener's address; where conntrack gave the connection another port, by where it was meant to go; where the node
/// put its own address in place of the opener's, by the port.
fn accepter_of<'e>(opener: &End, ends: &'e [End], node: IpAddr) -> Option<&'e End> {
    let opened = opener.opened()?;
    let local = opened.local()?;
    // Addresses on lo are every pod's own.
    let on_lo = local.ip().is_loopback() || INBOUND_SOURCE.contains(&local.ip());
    let find = |is: &dyn Fn(&Accepted) -> bool| {
        ends.iter().find(|end| {
            let here = !on_lo || end.pod == opener.pod;
            here && end.accepted().is_some_and(is)
        })
    };
    find(&|it| it.peer == local)
        .or_else(|| {
            find(&|it| it.peer.ip() == local.ip() && it.original_dst.addr() == Some(opened.remote))
        })
        .or_else(|| find(&|it| it.peer == SocketAddr::new(node, local.port())))
}

/// The leg whose end answers.
fn last_leg(legs: &[Leg]) -> Option<&Leg> {
    let mut at = 0;
    loop {
        let relays = match &legs.get(at)?.end {
            LegEnd::Accepted { listener, .. } => matches!(
                listener,
                Listener::Inbound | Listener::Outbound | Listener::Gateway | Listener::DnsProxy
            ),
            _ => false,
        };
        let child = legs.iter().position(|leg| leg.parent == Some(at));
        match child.filter(|_| relays) {
            Some(child) => at = child,
            None => return legs.get(at),
        }
    }
}

fn way_of_leg(leg: &Leg) -> Option<Way> {
    match &leg.end {
        LegEnd::Accepted { listener, .. } => Some(match listener {
            Listener::Inbound | Listener::Outbound | Listener::DnsProxy => Way::Proxied,
            _ => Way::Direct,
        }),
        _ => None,
    }
}

fn place_words(pod: &str, role: Role) -> String {
    let known = match role {
        Role::App => ProcessRole::App,
        Role::Proxy => ProcessRole::Proxy,
        Role::Dns => ProcessRole::Dns,
        other => return format!("{pod}/{other}"),
    };
    let pod = (pod != "node").then(|| pod.to_owned());
    Place { pod, role: known }.to_string()
}

/// A proxy says itself that it refused a connection as a call of itself.
fn loop_claim(legs: &[Leg], ends: &[End]) -> Claim {
    let refused = |end: &&End| {
        let closed = end.closed.as_ref().map(|it| &it.outcome);
        matches!(closed, Some(CloseOutcome::LoopRefused(_)))
    };
    let log = match ends.iter().find(refused) {
        Some(end) => Check::agrees(end.witness()),
        None => Check::contradicts(
            Witness::Answer,
            "a loop that a proxy refuses",
            "none in any log",
        ),
    };
    let is_loop = |leg: &Leg| {
        matches!(
            leg.end,
            LegEnd::Accepted {
                refused_as_loop: true,
                ..
            }
        )
    };
    let model = match legs.iter().any(is_loop) {
        true => Check::agrees(Witness::Model),
        false => Check::contradicts(Witness::Model, "a loop that a proxy refuses", "none"),
    };
    Claim::new("a proxy refuses the connection as a loop", vec![log, model])
}
