//! What the sender gets, from where its connection ends and what serves it.

use std::{fmt, net::IpAddr};

use hoplab_proxies::wire::CallOutcome;

use super::{Leg, LegEnd, Listener, World};
use crate::{
    ports,
    topology::{Answer, Ask, Flow},
};

/// What the sender of a flow gets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reply {
    /// An HTTP answer with this status.
    Status(u16),
    /// connect(2) fails with ECONNREFUSED.
    Refused,
    /// connect(2) fails: there is no way to the address.
    Unreachable,
    /// The connection is made, then ends without an answer.
    Closed,
    /// The connection was there, and is reset.
    Reset,
    /// Nobody answers: the sender gives up.
    Timeout,
    /// These addresses.
    Resolved(Vec<IpAddr>),
    /// No such name.
    NoName,
    /// Not known, and why.
    Unknown(String),
}

impl Reply {
    /// What a person expects of a flow.
    pub fn expected(world: &World, flow: &Flow) -> Self {
        match flow.answer {
            Answer::Status(status) => Self::Status(status),
            Answer::Refused => Self::Refused,
            Answer::Unreachable => Self::Unreachable,
            // That a proxy refused it, a claim of its own says.
            Answer::Closed | Answer::Loop => Self::Closed,
            Answer::Reset => Self::Reset,
            Answer::Timeout => Self::Timeout,
            Answer::NoName => Self::NoName,
            Answer::Resolved => match &flow.ask {
                Ask::Lookup { name, .. } => look_up(world, name),
                Ask::Get { .. } => Self::Unknown("nothing is looked up".into()),
            },
        }
    }

    /// What the legs of a flow come to.
    pub fn predicted(world: &World, flow: &Flow, legs: &[Leg]) -> Self {
        match legs.first() {
            Some(_) => of(world, &flow.ask, legs, 0),
            None => Self::Unknown("the flow goes nowhere".into()),
        }
    }

    /// True when the sender got this.
    pub fn is(&self, outcome: &CallOutcome) -> bool {
        match (self, outcome) {
            (Self::Status(wanted), CallOutcome::Answer { status, .. }) => wanted == status,
            (Self::Refused, CallOutcome::ConnectFailed(errno)) => errno == "ECONNREFUSED",
            (Self::Unreachable, CallOutcome::ConnectFailed(errno)) => is_unreachable(errno),
            (Self::Closed, CallOutcome::Closed(_)) => true,
            (Self::Reset, CallOutcome::Closed(words)) => words == "ECONNRESET",
            (Self::Timeout, CallOutcome::Timeout) => true,
            (Self::Resolved(wanted), CallOutcome::Resolved(had)) => wanted == had,
            (Self::NoName, CallOutcome::Unresolved(code)) => code == "NXDOMAIN",
            _ => false,
        }
    }

    /// True when connect(2) succeeds.
    pub fn connects(&self) -> Option<bool> {
        match self {
            Self::Refused | Self::Unreachable | Self::Timeout => Some(false),
            Self::Unknown(_) => None,
            _ => Some(true),
        }
    }
}

/// What connect(2) says when a router on the way knows no route (ENETUNREACH), or the last one no neighbour.
pub fn is_unreachable(errno: &str) -> bool {
    matches!(errno, "ENETUNREACH" | "EHOSTUNREACH")
}

fn of(world: &World, ask: &Ask, legs: &[Leg], at: usize) -> Reply {
    let (listener, loops) = match &legs[at].end {
        LegEnd::Refused { .. } => return Reply::Refused,
        LegEnd::Unreachable | LegEnd::Unrouted { .. } => return Reply::Unreachable,
        LegEnd::Dropped { .. } => return Reply::Timeout,
        LegEnd::Unknown { why } => return Reply::Unknown(why.clone()),
        LegEnd::Accepted {
            listener,
            refused_as_loop,
            ..
        } => (*listener, *refused_as_loop),
    };
    if loops {
        return Reply::Closed;
    }
    let child = || legs.iter().position(|leg| leg.parent == Some(at));
    let strange = || Reply::Unknown(format!("what {listener:?} says to that"));
    match (listener, ask) {
        (Listener::App, Ask::Get { .. }) => Reply::Status(200),
        (Listener::Proxy(port), Ask::Get { path }) => Reply::Status(proxy_status(port, path)),
        // A relay that can't reach its upstream closes.
        (Listener::Inbound | Listener::Outbound | Listener::Gateway, _) => match child() {
            None => Reply::Closed,
            Some(child) => match of(world, ask, legs, child) {
                Reply::Refused | Reply::Unreachable => Reply::Closed,
                other => other,
            },
        },
        (Listener::Tunnel, Ask::Get { .. }) => Reply::Closed,
        (Listener::DnsServer, Ask::Lookup { name, .. }) => look_up(world, name),
        (Listener::DnsProxy, Ask::Lookup { name, .. }) => match child() {
            None => look_up(world, name),
            Some(child) => match of(world, ask, legs, child) {
                got @ (Reply::Resolved(_) | Reply::NoName) => got,
                other => Reply::Unknown(format!("what the DNS proxy says when it gets: {other}")),
            },
        },
        _ => strange(),
    }
}

/// The addresses the lab gives a name, in the family of the flow.
fn look_up(world: &World, name: &str) -> Reply {
    match world.topology.resolve(name) {
        Some(found) => {
            let of_family = found.iter().map(|it| it.of(world.family()));
            // As who asks tells them: an order of addresses says nothing.
            let mut addresses: Vec<_> = of_family.collect();
            addresses.sort_unstable();
            Reply::Resolved(addresses)
        }
        None => Reply::NoName,
    }
}

/// What the stub proxy answers at its health and metrics ports.
fn proxy_status(port: u16, path: &str) -> u16 {
    let known = match path {
        "/healthz/ready" => port != ports::METRICS,
        "/stats/prometheus" => port != ports::READINESS,
        path => port == ports::AGENT && path.starts_with("/app-health/"),
    };
    if known { 200 } else { 404 }
}

impl fmt::Display for Reply {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Status(status) => write!(f, "{status}"),
            Self::Refused => f.write_str("refused"),
            Self::Unreachable => f.write_str("unreachable"),
            Self::Closed => f.write_str("closed"),
            Self::Reset => f.write_str("reset"),
            Self::Timeout => f.write_str("timeout"),
            Self::NoName => f.write_str("no such name"),
            Self::Resolved(addresses) => {
                let words: Vec<String> = addresses.iter().map(ToString::to_string).collect();
                f.write_str(&words.join(", "))
            }
            Self::Unknown(why) => write!(f, "unknown: {why}"),
        }
    }
}
