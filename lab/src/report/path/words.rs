//! Hops in words.

use std::net::SocketAddr;

use hoplab_proxies::record::Transport;

use crate::{
    model::WithoutNat,
    path::{Changed, Event, Hop, Leg, Tried, Why},
};

/// What the sender got.
pub(super) fn answer(answer: &str) -> String {
    match answer.chars().all(|it| it.is_ascii_digit()) {
        true => format!("answered {answer}"),
        false => answer.to_owned(),
    }
}

/// `details-v1/app 1000:1000   10.77.0.12:41234 → 10.96.0.14:9080`
pub(super) fn leg(leg: &Leg) -> String {
    let over = match leg.transport {
        Transport::Tcp => "",
        Transport::Udp => " over UDP",
    };
    let mark = match leg.mark {
        0 => String::new(),
        mark => format!(", its socket marked {mark:#x}"),
    };
    let opener = match leg.opener.role {
        None if leg.opener.pod == leg.source.address.to_string() => String::new(),
        _ => format!("{}   ", leg.opener),
    };
    format!("{opener}{} → {}{over}{mark}", leg.source, leg.destination)
}

/// What a hop says beside its place.
pub(super) fn event(leg: &Leg, hop: &Hop) -> String {
    match &hop.event {
        Event::Connect { failed: None, .. } => format!("{} → {}", leg.source, leg.destination),
        Event::Connect {
            failed: Some(errno),
            ..
        } => {
            format!("{} → {}: {errno}", leg.source, leg.destination)
        }
        Event::Rule { text, ordinal, .. } => {
            let ordinal = ordinal.map_or_else(|| "?".to_owned(), |it| it.to_string());
            let text = text.as_deref().unwrap_or("a rule that is not known");
            format!(
                "✔ {ordinal:>2} {}",
                if text.is_empty() {
                    "(every packet)"
                } else {
                    text
                }
            )
        }
        Event::Policy { verdict, .. } => format!("policy {}", verdict.to_string().to_uppercase()),
        Event::Passed { without_nat } => match without_nat {
            Some(WithoutNat::NotFirst) => {
                "no rule: nat is asked for the first packet of a connection only"
            }
            Some(WithoutNat::Settled) => "no rule: nat was asked about this connection before",
            Some(WithoutNat::Untracked) => {
                "no rule: conntrack does not follow it, so nat is not asked"
            }
            None => "no rule",
        }
        .to_owned(),
        Event::Accept {
            process,
            listener,
            at,
            original,
            refused_as_loop,
        } => {
            let by = match at.port() == *listener {
                true => String::new(),
                false => format!(", the listener of port {listener}"),
            };
            let original = original.filter(|it| it != at);
            let original =
                original.map_or_else(String::new, |it| format!(", original destination {it}"));
            let refused = if *refused_as_loop {
                ", which refuses it as a call of itself"
            } else {
                ""
            };
            format!("{process} at {at}{by}{original}{refused}")
        }
        Event::Refused { at } => format!("nobody listens at {at}"),
        Event::Unreachable => "no route; the node says so by ICMP".to_owned(),
        Event::Unknown { why } => why.clone(),
    }
}

/// What is different at the packet.
pub(super) fn change(leg: &Leg, hop: &Hop, change: &Changed) -> String {
    let words = plain(change);
    let by_conntrack = matches!(hop.event, Event::Passed { .. });
    match change {
        Changed::Source { .. } if by_conntrack && change.is_other_port(&leg.source) => {
            format!("{words}: another connection has the port")
        }
        _ => words,
    }
}

fn plain(change: &Changed) -> String {
    match change {
        Changed::Source { before, after } => format!("source {before} → {after}"),
        Changed::Destination { before, after } => format!("destination {before} → {after}"),
        Changed::Mark { before, after } => format!("mark {before:#x} → {after:#x}"),
        Changed::ConnectionMark { before, after } => {
            format!("connection mark {before:#x} → {after:#x}")
        }
        Changed::Zone { zone } => format!("conntrack zone {zone}"),
    }
}

/// Why a rule did not match.
pub(super) fn why(tried: &Tried) -> String {
    match &tried.why {
        Why::Mismatch(mismatch) => mismatch.to_string(),
        Why::Unknown { what } => format!("the model can't tell: {what}"),
        Why::Contradicted => "it matches by the model".to_owned(),
    }
}

/// A connection without its source port.
pub(super) fn stable_leg(leg: &Leg) -> String {
    let over = match leg.transport {
        Transport::Tcp => "",
        Transport::Udp => " over UDP",
    };
    let from = match leg.source.bound {
        true => format!(" from {}", leg.source.address),
        false => String::new(),
    };
    let mark = match leg.mark {
        0 => String::new(),
        mark => format!(", its socket marked {mark:#x}"),
    };
    format!("{}{from} → {}{over}{mark}", leg.opener, leg.destination)
}

/// What is different at the packet, without what is another one the next time: the port it was called from, and what nat
/// makes of it.
pub(super) fn stable_change(leg: &Leg, change: &Changed) -> String {
    let is_own =
        |at: &SocketAddr| (at.ip(), Some(at.port())) == (leg.source.address, leg.source.port);
    let end = |at: &SocketAddr, by_chance: bool| match (by_chance, at) {
        (false, at) => at.to_string(),
        (true, SocketAddr::V4(at)) => format!("{}:*", at.ip()),
        (true, SocketAddr::V6(at)) => format!("[{}]:*", at.ip()),
    };
    let both = |what: &str, before: &SocketAddr, after: &SocketAddr| {
        let by_chance = is_own(before) || is_own(after);
        format!(
            "{what} {} → {}",
            end(before, by_chance),
            end(after, by_chance)
        )
    };
    match change {
        Changed::Source { before, after } => both("source", before, after),
        Changed::Destination { before, after } => both("destination", before, after),
        other => plain(other),
    }
}
