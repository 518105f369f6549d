//! What the steps look at: one window, seen from one pod.

use std::net::SocketAddr;

use hoplab_proxies::record::Role;

use crate::{
    evidence::{ConntrackEntry, Evidence, Window},
    interception::INBOUND_SOURCE,
    judge::{
        Case, Check, Claim, Witness,
        connections::{Accepted, Closed, End, Opened, ends},
    },
    rules::{self, CounterDelta, Family, RuleId, Table, spec_text},
};

/// A window seen from one pod.
pub(super) struct Scene<'a> {
    pub case: &'a Case<'a>,
    pub window: &'a Window,
    ends: Vec<End>,
    pub pod: &'a str,
    delta: Result<CounterDelta, String>,
}

/// A finding in the making: the witness and what it saw, or why it saw nothing.
pub(super) type Saw<T> = Result<T, String>;

impl<'a> Scene<'a> {
    pub fn new(
        case: &'a Case<'a>,
        evidence: &'a Evidence,
        flow: &str,
        pod: &'a str,
    ) -> Option<Self> {
        let window = evidence
            .windows
            .iter()
            .find(|w| w.flow == flow && w.family == case.family)?;
        let read = window
            .counters
            .get(pod)
            .ok_or_else(|| format!("counters of {pod}"));
        let delta = read.and_then(|c| c.after.since(&c.before).map_err(|e| e.to_string()));
        Some(Self {
            case,
            window,
            ends: ends(&window.records),
            pod,
            delta,
        })
    }

    /// Address of a pod at a port.
    pub fn at(&self, pod: &str, port: u16) -> SocketAddr {
        let addr = self
            .case
            .topology
            .pod(pod)
            .map(|p| p.addr.of(self.case.family));
        SocketAddr::new(addr.unwrap_or([0, 0, 0, 0].into()), port)
    }

    /// The first port of a pod's app.
    pub fn app_port(&self, pod: &str) -> u16 {
        let app = self.case.topology.pod(pod).and_then(|p| p.app.as_ref());
        app.and_then(|a| a.ports.first()).copied().unwrap_or(0)
    }

    pub fn loopback(&self, port: u16) -> SocketAddr {
        let ip: std::net::IpAddr = match self.case.family {
            Family::V4 => std::net::Ipv4Addr::LOCALHOST.into(),
            Family::V6 => std::net::Ipv6Addr::LOCALHOST.into(),
        };
        SocketAddr::new(ip, port)
    }

    pub fn inbound_source(&self) -> std::net::IpAddr {
        let usual = INBOUND_SOURCE[usize::from(self.case.family == Family::V6)];
        let source = self.case.interception.source(self.case.family);
        // The notes are about a proxy with a source of its own.
        source.unwrap_or(usual)
    }

    pub fn counters(&self) -> Witness {
        Witness::Counters {
            pod: self.pod.to_string(),
        }
    }

    pub fn conntrack(&self) -> Witness {
        Witness::Conntrack {
            pod: self.pod.to_string(),
        }
    }

    pub fn log(&self, role: Role) -> Witness {
        Witness::Log {
            pod: self.pod.to_string(),
            role,
        }
    }

    /// Packets of a rule of the lab's own set; one that is not in the pod moved nothing.
    pub fn packets(&self, chain: &str, place: u32) -> Saw<u64> {
        let delta = self.delta.as_ref().map_err(Clone::clone)?;
        let rule = RuleId::new(self.case.family, Table::Nat, chain, place);
        let applied = self.case.rules_of(self.pod).alignment.applied(&rule);
        Ok(applied.and_then(|r| delta.get(r)).map_or(0, |c| c.packets))
    }

    /// Packets of all rules of a chain.
    pub fn chain_packets(&self, chain: &str) -> Saw<u64> {
        let delta = self.delta.as_ref().map_err(Clone::clone)?;
        let of_chain = delta
            .moved()
            .filter(|(r, _)| r.table == Table::Nat && r.chain == chain);
        Ok(rules::packets(of_chain.map(|(_, c)| c.packets)))
    }

    /// Rule text, for the evidence column.
    pub fn rule(&self, chain: &str, place: u32) -> String {
        let id = RuleId::new(self.case.family, Table::Nat, chain, place);
        let text = self
            .case
            .rules_of(self.pod)
            .reference
            .rule(&id)
            .map(|r| spec_text(chain, &r.spec));
        let moved = self
            .packets(chain, place)
            .map_or("?".into(), |n| n.to_string());
        let text = text.unwrap_or_default();
        let text = text
            .strip_prefix(&format!("-A {chain} "))
            .unwrap_or(&text)
            .to_string();
        format!("{chain} {place} `{text}` +{moved}")
    }

    /// Did a rule move by exactly this much?
    pub fn moved(&self, chain: &str, place: u32, wanted: u64) -> Check {
        self.count(
            &format!("{chain} {place}"),
            self.packets(chain, place),
            wanted,
        )
    }

    pub fn count(&self, what: &str, had: Saw<u64>, wanted: u64) -> Check {
        match had {
            Err(why) => Check::missing(self.counters(), why),
            Ok(had) if had == wanted => Check::agrees(self.counters()),
            Ok(had) => Check::contradicts(
                self.counters(),
                format!("{what} +{wanted}"),
                format!("+{had}"),
            ),
        }
    }

    /// Connections this pod opened itself: each asks nat OUTPUT once.
    pub fn opened_here(&self) -> u64 {
        self.ends
            .iter()
            .filter(|e| e.pod == self.pod && e.opened().is_some())
            .count() as u64
    }

    pub fn accept(&self, pod: &str, role: Role, listener: u16) -> Saw<(&End, &Accepted)> {
        self.ends
            .iter()
            .filter(|e| e.pod == pod && e.role == role)
            .find_map(|e| Some((e, e.accepted().filter(|a| a.listener.port() == listener)?)))
            .ok_or_else(|| format!("an accept of {pod} at port {listener}"))
    }

    pub fn connect(&self, pod: &str, role: Role, remote: SocketAddr) -> Saw<(&End, &Opened)> {
        self.ends
            .iter()
            .filter(|e| e.pod == pod && e.role == role)
            .find_map(|e| Some((e, e.opened().filter(|o| o.remote == remote)?)))
            .ok_or_else(|| format!("a connect of {pod} to {remote}"))
    }

    /// The connect of any destination for which `wanted` is true.
    pub fn connect_where(
        &self,
        role: Role,
        wanted: impl Fn(&Opened) -> bool,
    ) -> Saw<(&End, &Opened)> {
        self.ends
            .iter()
            .filter(|e| e.pod == self.pod && e.role == role)
            .find_map(|e| Some((e, e.opened().filter(|o| wanted(o))?)))
            .ok_or_else(|| format!("such a connect of {}", self.pod))
    }

    /// Entry of this pod's conntrack for a connection, by its own first packet.
    pub fn entry(&self, src: Option<SocketAddr>, dst: SocketAddr) -> Saw<&ConntrackEntry> {
        let entries = self.window.conntrack.get(self.pod);
        entries
            .into_iter()
            .flatten()
            .find(|e| e.original.dst == dst && src.is_none_or(|src| e.original.src == src))
            .ok_or_else(|| format!("a conntrack entry to {dst}"))
    }

    /// New entries in this pod's conntrack.
    pub fn entries(&self) -> Saw<u64> {
        let entries = self.window.conntrack.get(self.pod);
        entries
            .map(|e| e.len() as u64)
            .ok_or_else(|| format!("conntrack of {}", self.pod))
    }

    /// Where conntrack says that answers come from.
    pub fn answers_from(&self, entry: Saw<&ConntrackEntry>, wanted: SocketAddr) -> Check {
        match entry {
            Err(why) => Check::missing(self.conntrack(), why),
            Ok(entry) => Check::equal(
                self.conntrack(),
                "answers come from",
                &wanted,
                &entry.reply.src,
            ),
        }
    }
}

/// A check on something a log holds.
pub(super) fn saw<T>(
    witness: Witness,
    found: Saw<T>,
    test: impl Fn(&T) -> Result<(), (String, String)>,
) -> Check {
    match found {
        Err(why) => Check::missing(witness, why),
        Ok(value) => match test(&value) {
            Ok(()) => Check::agrees(witness),
            Err((wanted, had)) => Check::contradicts(witness, wanted, had),
        },
    }
}

/// Equality as `saw` wants it.
pub(super) fn same<T: PartialEq + std::fmt::Display>(
    what: &str,
    wanted: T,
    had: T,
) -> Result<(), (String, String)> {
    if wanted == had {
        return Ok(());
    }
    Err((format!("{what} {wanted}"), format!("{what} {had}")))
}

pub(super) fn claim(text: impl Into<String>, checks: Vec<Check>) -> Claim {
    Claim::new(text, checks)
}

/// The end of a connection, when its record is there.
pub(super) fn closed(end: Saw<&End>) -> Saw<&Closed> {
    let end = end?;
    end.closed
        .as_ref()
        .ok_or_else(|| format!("the close of a connection of {}", end.pod))
}
