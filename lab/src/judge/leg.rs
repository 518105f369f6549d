//! The claim about one leg: both ends' logs, the rules of its traversals, and conntrack tell the same story.

use std::{collections::BTreeMap, net::SocketAddr};

use hoplab_proxies::record::{CloseOutcome, ConnectResult, Transport};

use super::{
    Case, Check, Claim, Witness,
    claim::process_words,
    connections::{Accepted, End},
    matching::Matched,
    pods::PodMoves,
};
use crate::{
    evidence::ConntrackEntry,
    predict::{Crossing, Leg, LegEnd, is_unreachable},
};

impl Case<'_> {
    /// Judges one predicted leg; its connection may stay open, when a flow holds it.
    pub(super) fn leg_claim(
        &self,
        matched: &Matched,
        moves: &BTreeMap<String, PodMoves>,
        stays_open: bool,
    ) -> Claim {
        let leg = matched.leg;
        let mut checks = vec![opener_check(matched, stays_open)];
        if let LegEnd::Accepted { .. } = &leg.end {
            checks.push(accepter_check(matched, stays_open));
        }
        if let LegEnd::Unknown { why } = &leg.end {
            checks.push(Check::missing(
                Witness::Model,
                format!("a prediction: {why}"),
            ));
        }
        for crossing in leg.crossings() {
            checks.extend(self.counter_checks(crossing, matched, moves));
        }
        if !matches!(leg.end, LegEnd::Unknown { .. }) {
            let crossings = leg.crossings();
            checks.extend(crossings.filter_map(|crossing| entry_check(matched, crossing)));
            let apart = leg.near.iter().zip([0]).chain(leg.far.iter().zip([1]));
            checks.extend(
                apart.filter_map(|(crossing, at)| apart_check(crossing, matched.apart[at])),
            );
        }
        checks.extend(self.trace_checks(matched));
        Claim::new(leg_words(leg), checks)
    }
}

/// `reviews-v2/app (1000:1000) → 10.96.0.14:9080, redirected to reviews-v2/proxy at 127.0.0.1:15001`
fn leg_words(leg: &Leg) -> String {
    let (uid, gid) = leg.opener.owner;
    let who = process_words(&leg.opener.pod, leg.opener.role);
    let source = if leg.opener.bound {
        format!(" from {}", leg.opener.source)
    } else {
        String::new()
    };
    let end = match &leg.end {
        LegEnd::Accepted {
            pod,
            listener,
            port,
            local,
            refused_as_loop,
            ..
        } => {
            let role = listener.role();
            let turned = match *local == leg.remote {
                true if local.port() != *port => format!("intercepted by port {port}, accepted"),
                true => "accepted".to_string(),
                false => "redirected, accepted".to_string(),
            };
            let refused = if *refused_as_loop {
                ", refused there as a loop"
            } else {
                ""
            };
            format!("{turned} at {local} by {pod}/{role}{refused}")
        }
        LegEnd::Refused { pod, local } => format!("refused at {local} by {pod}"),
        LegEnd::Unreachable => "unreachable, says the node".to_string(),
        LegEnd::Unrouted { pod } => format!("unreachable: {pod} has no route there"),
        LegEnd::Dropped { pod } => format!("dropped in {pod}"),
        LegEnd::Unknown { why } => format!("unknown: {why}"),
    };
    let mark = match leg.opener.mark {
        0 => String::new(),
        mark => format!(" marked {mark:#x}"),
    };
    let over = match leg.transport {
        Transport::Tcp => "",
        Transport::Udp => " over UDP",
    };
    format!(
        "{who} ({uid}:{gid}){source}{mark} → {}{over}: {end}",
        leg.remote
    )
}

fn opener_check(matched: &Matched, stays_open: bool) -> Check {
    let leg = matched.leg;
    let witness = Witness::Log {
        pod: leg.opener.pod.clone(),
        role: leg.opener.role,
    };
    let Some((end, opened)) = matched.opener.and_then(|e| Some((e, e.opened()?))) else {
        return Check::missing(witness, format!("the connect to {}", leg.remote));
    };
    let owner = format!("{}:{}", opened.owner.uid, opened.owner.gid);
    let wanted_owner = format!("{}:{}", leg.opener.owner.0, leg.opener.owner.1);
    if owner != wanted_owner {
        return Check::contradicts(witness, format!("socket owner {wanted_owner}"), owner);
    }
    let bound = opened.bound.is_some();
    if bound != leg.opener.bound {
        let words = |b: bool| {
            if b {
                "a bound source"
            } else {
                "a source of the kernel's choice"
            }
        };
        return Check::contradicts(witness, words(leg.opener.bound), words(bound));
    }
    if opened.mark != leg.opener.mark {
        let hex = |mark: u32| format!("{mark:#x}");
        return Check::equal(
            witness,
            "socket mark",
            &hex(leg.opener.mark),
            &hex(opened.mark),
        );
    }
    match (&leg.end, &opened.result) {
        (LegEnd::Unreachable, ConnectResult::Failed { errno }) if is_unreachable(errno) => {
            Check::agrees(witness)
        }
        (LegEnd::Unreachable, ConnectResult::Failed { errno }) => {
            Check::contradicts(witness, "connect ENETUNREACH", format!("connect {errno}"))
        }
        (LegEnd::Unrouted { .. }, ConnectResult::Failed { errno }) => {
            Check::equal(witness, "connect", &"ENETUNREACH".to_string(), errno)
        }
        (LegEnd::Unreachable | LegEnd::Unrouted { .. }, ConnectResult::Connected { local, .. }) => {
            Check::contradicts(
                witness,
                "connect ENETUNREACH",
                format!("connected from {local}"),
            )
        }
        // `errno_name` of the stubs has this word for a deadline of their own.
        (LegEnd::Dropped { .. }, ConnectResult::Failed { errno }) => {
            Check::equal(witness, "connect", &"timeout".to_string(), errno)
        }
        (LegEnd::Dropped { .. }, ConnectResult::Connected { local, .. }) => {
            let had = format!("connected from {local}");
            Check::contradicts(witness, "no answer", had)
        }
        // A UDP socket connects to anything; the refusal comes later.
        (LegEnd::Refused { .. }, _) if leg.transport == Transport::Udp => match &end.closed {
            None => Check::missing(
                witness,
                format!("the close of the connection to {}", leg.remote),
            ),
            Some(closed) => match &closed.outcome {
                CloseOutcome::Error(words) if words.contains("ECONNREFUSED") => {
                    Check::agrees(witness)
                }
                other => Check::contradicts(witness, "refused", format!("{other:?}")),
            },
        },
        (LegEnd::Refused { .. }, ConnectResult::Failed { errno }) => {
            Check::equal(witness, "connect", &"ECONNREFUSED".to_string(), errno)
        }
        (LegEnd::Refused { .. }, ConnectResult::Connected { local, .. }) => Check::contradicts(
            witness,
            "connect refused",
            format!("connected from {local}"),
        ),
        (_, ConnectResult::Failed { errno }) => {
            Check::contradicts(witness, "connected", errno.clone())
        }
        (_, ConnectResult::Connected { local, .. }) if local.ip() != leg.opener.source => {
            Check::equal(witness, "source", &leg.opener.source, &local.ip())
        }
        (_, ConnectResult::Connected { .. }) if stays_open => still_open(witness, end),
        (_, ConnectResult::Connected { .. }) if end.closed.is_none() => Check::missing(
            witness,
            format!("the close of the connection to {}", leg.remote),
        ),
        _ => Check::agrees(witness),
    }
}

fn accepter_check(matched: &Matched, stays_open: bool) -> Check {
    let LegEnd::Accepted {
        pod,
        listener,
        port,
        local,
        original_dst,
        refused_as_loop,
    } = &matched.leg.end
    else {
        unreachable!("called for accepted legs only");
    };
    let witness = Witness::Log {
        pod: pod.clone(),
        role: listener.role(),
    };
    let Some((end, accepted)) = matched.accepter.and_then(|e| Some((e, e.accepted()?))) else {
        return Check::missing(
            witness,
            format!(
                "the accept at {local} of the connection to {}",
                matched.leg.remote
            ),
        );
    };
    if end.pod != *pod || end.role != listener.role() || accepted.local != *local {
        let by = process_words(&end.pod, end.role);
        let had = format!("accepted at {} by {by}", accepted.local);
        return Check::contradicts(witness, format!("accepted at {local}"), had);
    }
    if accepted.listener.port() != *port {
        return Check::equal(witness, "listener", port, &accepted.listener.port());
    }
    if accepted.peer.ip() != matched.leg.seen_from {
        return Check::equal(witness, "peer", &matched.leg.seen_from, &accepted.peer.ip());
    }
    if let Some(check) = original_dst_check(&witness, accepted, *original_dst) {
        return check;
    }
    if stays_open {
        return still_open(witness, end);
    }
    let Some(closed) = &end.closed else {
        return Check::missing(
            witness,
            format!("the close of the connection from {}", accepted.peer),
        );
    };
    let refused = matches!(closed.outcome, CloseOutcome::LoopRefused(_));
    if refused != *refused_as_loop {
        let words = |r: bool| if r { "refused as a loop" } else { "served" };
        return Check::contradicts(
            witness,
            words(*refused_as_loop),
            format!("{:?}", closed.outcome),
        );
    }
    bytes_check(witness, matched.opener, end)
}

/// A held connection is open at the end of its flow.
fn still_open(witness: Witness, end: &End) -> Check {
    match &end.closed {
        None => Check::agrees(witness),
        Some(closed) => {
            let had = format!("closed: {:?}", closed.outcome);
            Check::contradicts(witness, "a connection that stays open", had)
        }
    }
}

/// None when the original destination is as predicted.
fn original_dst_check(
    witness: &Witness,
    accepted: &Accepted,
    wanted: Option<SocketAddr>,
) -> Option<Check> {
    let had = accepted.original_dst.addr();
    if had == wanted {
        return None;
    }
    let words = |dst: Option<SocketAddr>| match dst {
        Some(dst) => format!("original destination {dst}"),
        None => "no original destination".to_string(),
    };
    Some(Check::contradicts(
        witness.clone(),
        words(wanted),
        words(had),
    ))
}

/// What one end sent, the other received; only when both ended in order.
fn bytes_check(witness: Witness, opener: Option<&End>, accepter: &End) -> Check {
    let near = opener.and_then(|e| e.closed.as_ref());
    if let (Some(near), Some(far)) = (near, &accepter.closed) {
        let done = near.outcome == CloseOutcome::Done && far.outcome == CloseOutcome::Done;
        if done && (near.sent, near.received) != (far.received, far.sent) {
            return Check::contradicts(
                witness,
                format!(
                    "{} bytes in and {} out, as the opener says",
                    near.sent, near.received
                ),
                format!("{} and {}", far.received, far.sent),
            );
        }
    }
    Check::agrees(witness)
}

/// What conntrack says of a connection in a pod. Asleep it is no witness, but for an entry that nobody can have made.
fn entry_check(matched: &Matched, crossing: &Crossing) -> Option<Check> {
    if crossing.tracked {
        return Some(conntrack_check(matched, crossing));
    }
    let entry = matched.entry(crossing)?;
    let witness = Witness::Conntrack {
        pod: crossing.pod.clone(),
    };
    let had = format!("one with answers from {}", entry.reply.src);
    let wanted = "no entry, since no rule needs conntrack";
    Some(Check::contradicts(witness, wanted, had))
}

/// The entry of a connection in a pod: where answers come from, its zone, its mark.
pub(super) fn conntrack_check(matched: &Matched, crossing: &Crossing) -> Check {
    let witness = Witness::Conntrack {
        pod: crossing.pod.clone(),
    };
    // conntrack keeps an entry once the first packet has passed (`nf_conntrack_confirm`).
    let is_dropped = matches!(&matched.leg.end, LegEnd::Dropped { pod } if *pod == crossing.pod);
    let entry = match (matched.entry(crossing), crossing.known) {
        (None, _) if is_dropped => return Check::agrees(witness),
        (Some(_), _) if is_dropped => {
            return Check::contradicts(witness, "no entry of what is dropped", "one");
        }
        (Some(entry), false) => entry,
        (None, true) => return Check::agrees(witness),
        (None, false) => {
            return Check::missing(witness, format!("an entry to {}", matched.leg.remote));
        }
        (Some(_), true) => {
            return Check::contradicts(witness, "the entry of an earlier flow", "a new one");
        }
    };
    let from = crossing.answers_from;
    if entry.reply.src != from {
        return Check::equal(witness, "answers come from", &from, &entry.reply.src);
    }
    let zone = entry.zone.unwrap_or(0);
    if zone != crossing.zone {
        return Check::equal(witness, "zone", &crossing.zone, &zone);
    }
    // An entry that was gone before it could be read is told as it began, without counters and mark.
    let read = entry.original_counter.is_some();
    if read && entry.mark != crossing.mark {
        let hex = |mark: u32| format!("{mark:#x}");
        return Check::equal(
            witness,
            "connection mark",
            &hex(crossing.mark),
            &hex(entry.mark),
        );
    }
    Check::agrees(witness)
}

/// Answers that rules put in a zone of their own are a connection of their own to conntrack.
fn apart_check(crossing: &Crossing, entry: Option<&ConntrackEntry>) -> Option<Check> {
    let wanted = crossing.answers_apart?;
    let witness = Witness::Conntrack {
        pod: crossing.pod.clone(),
    };
    Some(match entry {
        None => Check::missing(
            witness,
            format!("an entry of the answers from {}", crossing.answers_from),
        ),
        Some(entry) => Check::equal(
            witness,
            "zone of the answers",
            &wanted,
            &entry.zone.unwrap_or(0),
        ),
    })
}
