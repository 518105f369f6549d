//! The way back, and once more there: without the answer to its first packet, and the word that it came, a connection is
//! not there.

use std::net::IpAddr;

use super::course::{Arrival, Place};
use super::flow::{Flow, Origin};
use super::stage::INTERFACE;
use crate::model::{
    Hook, Host, Journey, JourneyEnd, Known, Outcome, Packet, Turned, journey_of_known,
};
use crate::rules::{CtState, Protocol, RuleSet, TcpFlags};

/// What becomes of an answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Answer {
    /// It comes back to who sent the flow.
    Arrives,
    /// It does not, and why.
    Lost(String),
    /// The model cannot tell.
    Unknown(String),
}

/// Who listens in the pod: sockets of root.
const LISTENER: (u32, u32) = (0, 0);

/// Follows the SYN-ACK of a TCP flow. Datagrams are not answered.
pub(super) fn answer(
    rules: &RuleSet,
    host: &Host,
    flow: &Flow,
    way: &Journey,
    arrival: &Arrival,
) -> Answer {
    if flow.stray {
        return Answer::Lost("it belongs to no connection".to_owned());
    }
    let Some(last) = way.passages.last().map(|it| &it.left) else {
        return Answer::Arrives;
    };
    let source_changes = way.passages.iter().flat_map(|it| &it.tables).any(|it| {
        matches!(
            it.1.decided,
            Outcome::SourceNat { .. } | Outcome::Masqueraded { .. }
        )
    });
    // Where the source is translated the answer goes to an address that only conntrack knows.
    if flow.protocol != Protocol::Tcp || source_changes {
        return Answer::Arrives;
    }
    let opened = &way.passages[0].came;
    if let Some(why) = unroutable(host, arrival, last.src.ip()) {
        return Answer::Lost(why);
    }
    let back = Packet::tcp(arrival.local, last.src);
    let back = Packet {
        state: match last.state {
            CtState::Untracked => CtState::New,
            _ => CtState::Established,
        },
        connmark: last.connmark,
        tcp_flags: syn_ack(),
        ..back
    };
    let back = match arrival.place {
        Place::Pod => {
            let back = back.owned_by(LISTENER.0, LISTENER.1);
            match &flow.origin {
                // Where it came in by another interface, a route leads back there.
                Origin::Outside { interface } if interface != INTERFACE => {
                    back.leaving_by(interface)
                }
                _ => back,
            }
        }
        Place::Outside => back.coming_in(flow.leaves.as_deref().unwrap_or(INTERFACE)),
    };
    let turned = way.passages.iter().find_map(turned);
    let known = Known {
        answers: true,
        turned,
        source: None,
    };
    let back = journey_of_known(rules, host, back, known);
    let left = back.passages.last().map(|it| it.left.clone());
    let source = left.as_ref().map(|it| it.src);
    let seems = source.is_none_or(|it| it == flow.to);
    let arrives = match &back.end {
        JourneyEnd::Unknown(why) => return Answer::Unknown(format!("the answer: {why}")),
        JourneyEnd::Gone(outcome) => return Answer::Lost(outcome.to_string()),
        _ if !seems => {
            let from = source.map_or_else(String::new, |it| it.to_string());
            return Answer::Lost(format!("it comes from {from}"));
        }
        JourneyEnd::Delivered { at, .. } => match flow.origin {
            Origin::Pod { .. } if *at == opened.src => Ok(()),
            _ => Err(format!("it stays in the pod, for {at}")),
        },
        JourneyEnd::Sent { to } => match flow.origin {
            Origin::Outside { .. } => Ok(()),
            Origin::Pod { .. } => Err(format!("it leaves the pod, for {to}")),
        },
    };
    if let Err(why) = arrives {
        return Answer::Lost(why);
    }
    let next = Packet {
        state: CtState::Established,
        connmark: left.map_or(0, |it| it.connmark),
        tcp_flags: ack(),
        ..super::course::packet(flow)
    };
    let known = Known {
        answers: false,
        turned,
        source: None,
    };
    match last.state {
        CtState::Untracked => Answer::Arrives,
        _ => follows(way, &journey_of_known(rules, host, next, known)),
    }
}

/// Whether the opener's next packet goes where the first went: the answer may have marked the connection.
fn follows(first: &Journey, next: &Journey) -> Answer {
    match (&first.end, &next.end) {
        (_, JourneyEnd::Unknown(why)) => Answer::Unknown(format!("the next packet: {why}")),
        (JourneyEnd::Delivered { .. }, JourneyEnd::Delivered { .. }) => Answer::Arrives,
        (JourneyEnd::Sent { to }, JourneyEnd::Sent { to: then }) if to == then => Answer::Arrives,
        (_, JourneyEnd::Gone(outcome)) => Answer::Lost(format!("the next packet is {outcome}")),
        _ => Answer::Lost("the next packet goes elsewhere".to_owned()),
    }
}

/// Why no route takes an answer to there. Of IPv4 nothing leaves the machine with a loopback source, whatever rules would
/// have made of it (`__mkroute_output` in net/ipv4/route.c): it is looked up before any rule is asked.
fn unroutable(host: &Host, arrival: &Arrival, to: IpAddr) -> Option<String> {
    let from = arrival.local.ip();
    let loopback = from.is_ipv4() && from.is_loopback() && arrival.place == Place::Pod;
    let leaves = host.route(to, 0).is_ok_and(|interface| interface != "lo");
    (loopback && leaves).then(|| format!("no route takes it from {from} to {to}"))
}

fn turned(passage: &crate::model::Passage) -> Option<Turned> {
    let (from, to) = (passage.came.dst, passage.left.dst);
    let hook = passage.hook;
    let at = matches!(hook, Hook::Prerouting | Hook::Output).then_some(hook)?;
    (from != to).then_some(Turned { at, from, to })
}

fn ack() -> TcpFlags {
    TcpFlags::from_bits(0x10).unwrap_or(TcpFlags::NONE)
}

fn syn_ack() -> TcpFlags {
    TcpFlags::from_bits(0x12).unwrap_or(TcpFlags::SYN)
}
