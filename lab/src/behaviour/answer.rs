//! The way back: without the answer to its first packet a connection is not there.

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
        Place::Outside => back.coming_in(INTERFACE),
    };
    let turned = way.passages.iter().find_map(turned);
    let known = Known {
        answers: true,
        turned,
    };
    let back = journey_of_known(rules, host, back, known);
    let source = back.passages.last().map(|it| it.left.src);
    let seems = source.is_none_or(|it| it == flow.to);
    match back.end {
        JourneyEnd::Unknown(why) => Answer::Unknown(format!("the answer: {why}")),
        JourneyEnd::Gone(outcome) => Answer::Lost(outcome.to_string()),
        _ if !seems => Answer::Lost(format!(
            "it comes from {}",
            source.map_or_else(String::new, |it| it.to_string())
        )),
        JourneyEnd::Delivered { at, .. } => match flow.origin {
            Origin::Pod { .. } if at == opened.src => Answer::Arrives,
            _ => Answer::Lost(format!("it stays in the pod, for {at}")),
        },
        JourneyEnd::Sent { to } => match flow.origin {
            Origin::Outside { .. } => Answer::Arrives,
            Origin::Pod { .. } => Answer::Lost(format!("it leaves the pod, for {to}")),
        },
    }
}

fn turned(passage: &crate::model::Passage) -> Option<Turned> {
    let (from, to) = (passage.came.dst, passage.left.dst);
    let hook = passage.hook;
    let at = matches!(hook, Hook::Prerouting | Hook::Output).then_some(hook)?;
    (from != to).then_some(Turned { at, from, to })
}

fn syn_ack() -> TcpFlags {
    TcpFlags::from_bits(0x12).unwrap_or(TcpFlags::SYN)
}
