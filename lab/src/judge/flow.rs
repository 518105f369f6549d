//! The verdict on one flow: the answer, every leg, every pod, and that nothing else happened.

use std::collections::BTreeMap;

use hoplab_proxies::{
    record::{CloseOutcome, ConnectResult, Role},
    wire::CallOutcome,
};
use serde::Serialize;

use super::{
    Case, Check, Claim, Verdict, Witness,
    connections::{Accepted, End, ends},
    matching::{Matched, Matching, match_legs},
    pods::PodMoves,
};
use crate::{
    evidence::{ConntrackEntry, Quiet, Window},
    failure::{Class, Failure},
    model::Outcome,
    predict::{Leg, LegEnd, Turns, predict},
    topology::{Answer, Flow, Sender},
};

/// The verdict on one flow.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct FlowVerdict {
    /// Name of the flow.
    pub flow: String,
    /// The lab file's line about it.
    pub about: String,
    /// Worst of its claims.
    pub verdict: Verdict,
    /// What the sender got, in words.
    pub answer: String,
    /// TCP connections it made.
    pub legs: usize,
    /// nat rules that moved in all pods, packets.
    pub moved: u64,
    /// Everything that was claimed and looked at.
    pub claims: Vec<Claim>,
    /// Microseconds from the first byte to the last record.
    pub took_us: u64,
}

impl Case<'_> {
    /// Judges one flow; `turns` is where the proxies stood before it.
    pub(super) fn flow(&self, window: &Window, turns: &Turns) -> Result<FlowVerdict, Failure> {
        let flow = self.topology.flow(&window.flow).ok_or_else(|| {
            Failure::new(
                Class::Input,
                format!(
                    "the evidence holds a flow `{}` that lab `{}` does not have",
                    window.flow, self.topology.name
                ),
            )
        })?;
        let legs = predict(self.topology, &self.reference, flow, &mut turns.clone());
        let applied_legs = predict(self.topology, &self.applied, flow, &mut turns.clone());
        let ends = ends(&window.records);
        let matching = match_legs(&legs, &ends, window);
        let moves = self.pod_moves(flow, window);
        let mut claims = vec![answer_claim(flow, window, &matching)];
        claims.extend(matching.legs.iter().map(|leg| self.leg_claim(leg, &moves)));
        for (pod, of_pod) in &moves {
            let others = nothing_else_in(pod, &matching, window);
            claims.push(self.pod_claim(pod, of_pod, &legs, &applied_legs, others));
        }
        claims.push(nothing_else(&matching, window));
        let moved = moves.values().filter_map(|m| m.observed.as_ref().ok());
        Ok(FlowVerdict {
            flow: flow.name.clone(),
            about: flow.about.clone(),
            verdict: claims
                .iter()
                .map(Claim::verdict)
                .max()
                .unwrap_or(Verdict::Unproven),
            answer: answer_words(&window.outcome),
            legs: matching.legs.len(),
            moved: moved.flat_map(|d| d.moved()).map(|(_, c)| c.packets).sum(),
            claims,
            took_us: window.took_us,
        })
    }

    fn leg_claim(&self, matched: &Matched, moves: &BTreeMap<String, PodMoves>) -> Claim {
        let leg = matched.leg;
        let mut checks = vec![opener_check(matched)];
        if let LegEnd::Accepted { .. } = &leg.end {
            checks.push(accepter_check(matched));
        }
        if let LegEnd::Unknown { why } = &leg.end {
            checks.push(Check::missing(
                Witness::Model,
                format!("a prediction: {why}"),
            ));
        }
        if let Some(output) = &leg.output {
            checks.extend(self.counter_checks(&leg.opener.pod, output, moves));
        }
        if let (Some(prerouting), Some(pod)) = (&leg.prerouting, leg.end.pod()) {
            checks.extend(self.counter_checks(pod, prerouting, moves));
        }
        if let LegEnd::Accepted { pod, local, .. } | LegEnd::Refused { pod, local } = &leg.end {
            if let Some(output) = &leg.output {
                let turned = matches!(output.decided, Outcome::Redirected { .. });
                let landing = if turned { *local } else { leg.remote };
                checks.push(conntrack_check(&leg.opener.pod, leg, matched.near, landing));
            }
            if leg.prerouting.is_some() {
                checks.push(conntrack_check(pod, leg, matched.far, *local));
            }
        }
        Claim::new(leg_words(leg), checks)
    }
}

/// `reviews-v2/app (1000:1000) → 10.96.0.14:9080, redirected to reviews-v2/proxy at 127.0.0.1:15001`
fn leg_words(leg: &Leg) -> String {
    let (uid, gid) = leg.opener.owner;
    let who = Witness::Log {
        pod: leg.opener.pod.clone(),
        role: leg.opener.role,
    };
    let who = who.to_string();
    let who = who.trim_start_matches("log ");
    let source = if leg.opener.bound {
        format!(" from {}", leg.opener.source)
    } else {
        String::new()
    };
    let end = match &leg.end {
        LegEnd::Accepted {
            pod,
            listener,
            local,
            refused_as_loop,
            ..
        } => {
            let role = if listener.role() == Role::App {
                "app"
            } else {
                "proxy"
            };
            let turned = if *local == leg.remote {
                "accepted"
            } else {
                "redirected"
            };
            let refused = if *refused_as_loop {
                ", refused there as a loop"
            } else {
                ""
            };
            format!("{turned} at {local} by {pod}/{role}{refused}")
        }
        LegEnd::Refused { pod, local } => format!("refused at {local} by {pod}"),
        LegEnd::Unknown { why } => format!("unknown: {why}"),
    };
    format!("{who} ({uid}:{gid}){source} → {}: {end}", leg.remote)
}

fn opener_check(matched: &Matched) -> Check {
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
    match (&leg.end, &opened.result) {
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
        (_, ConnectResult::Connected { .. }) if end.closed.is_none() => Check::missing(
            witness,
            format!("the close of the connection to {}", leg.remote),
        ),
        _ => Check::agrees(witness),
    }
}

fn accepter_check(matched: &Matched) -> Check {
    let LegEnd::Accepted {
        pod,
        listener,
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
        let had = format!("accepted at {} by {}", accepted.local, end.witness());
        return Check::contradicts(witness, format!("accepted at {local}"), had);
    }
    if accepted.peer.ip() != matched.leg.opener.source {
        return Check::equal(
            witness,
            "peer",
            &matched.leg.opener.source,
            &accepted.peer.ip(),
        );
    }
    if let Some(check) = original_dst_check(&witness, accepted, *original_dst) {
        return check;
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

/// None when the original destination is as predicted.
fn original_dst_check(
    witness: &Witness,
    accepted: &Accepted,
    wanted: Option<std::net::SocketAddr>,
) -> Option<Check> {
    let had = accepted.original_dst.addr();
    if had == wanted {
        return None;
    }
    let words = |dst: Option<std::net::SocketAddr>| match dst {
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

/// `landing` is where the kernel is expected to have turned the connection to.
fn conntrack_check(
    pod: &str,
    leg: &Leg,
    entry: Option<&ConntrackEntry>,
    landing: std::net::SocketAddr,
) -> Check {
    let witness = Witness::Conntrack {
        pod: pod.to_string(),
    };
    match entry {
        None => Check::missing(witness, format!("an entry to {}", leg.remote)),
        Some(entry) => Check::equal(witness, "answers come from", &landing, &entry.reply.src),
    }
}

fn answer_claim(flow: &Flow, window: &Window, matching: &Matching) -> Claim {
    let had = answer_words(&window.outcome);
    let matches = match (flow.answer, &window.outcome) {
        (Answer::Status(wanted), CallOutcome::Answer { status, .. }) => wanted == *status,
        (Answer::Refused, CallOutcome::ConnectFailed(errno)) => errno == "ECONNREFUSED",
        (Answer::Closed, CallOutcome::Closed(_)) => true,
        _ => false,
    };
    let answer = if matches {
        Check::agrees(Witness::Answer)
    } else {
        Check::contradicts(Witness::Answer, flow.answer.to_string(), had)
    };
    let role = match flow.from.sender {
        Sender::App => Role::App,
        Sender::Proxy => Role::Proxy,
        Sender::As { .. } => Role::Probe,
    };
    let pod = flow.from.pod.clone().unwrap_or_else(|| "node".into());
    let witness = Witness::Log { pod, role };
    let first = matching
        .legs
        .first()
        .and_then(|l| l.opener)
        .and_then(End::opened);
    let log = match (first.map(|o| &o.result), flow.answer) {
        (None, _) => Check::missing(witness, "the sender's connect"),
        (Some(ConnectResult::Connected { .. }), Answer::Refused) => {
            Check::contradicts(witness, "connect refused", "connected")
        }
        (Some(ConnectResult::Failed { errno }), Answer::Status(_) | Answer::Closed) => {
            Check::contradicts(witness, "connected", errno.clone())
        }
        _ => Check::agrees(witness),
    };
    Claim::new(
        format!("{} → {}: {}", flow.from, flow.to, flow.answer),
        vec![answer, log],
    )
}

pub(super) fn answer_words(outcome: &CallOutcome) -> String {
    match outcome {
        CallOutcome::Answer { status, .. } => status.to_string(),
        CallOutcome::ConnectFailed(errno) if errno == "ECONNREFUSED" => "refused".into(),
        CallOutcome::ConnectFailed(errno) => errno.clone(),
        CallOutcome::Closed(_) => "closed".into(),
        CallOutcome::Timeout => "timeout".into(),
    }
}

/// Connections and conntrack entries in a pod that no leg explains.
fn nothing_else_in(pod: &str, matching: &Matching, window: &Window) -> Vec<Check> {
    let mut checks = Vec::new();
    let conntrack = Witness::Conntrack {
        pod: pod.to_string(),
    };
    match (
        matching.unexplained_entries.get(pod),
        window.conntrack.contains_key(pod),
    ) {
        (Some(entries), _) => {
            let had = entries
                .iter()
                .map(|e| format!("{} → {}", e.original.src, e.original.dst));
            let had = had.collect::<Vec<_>>().join(", ");
            checks.push(Check::contradicts(
                conntrack,
                "no entry but the flow's own",
                had,
            ));
        }
        (None, true) => checks.push(Check::agrees(conntrack)),
        (None, false) => checks.push(Check::missing(conntrack, "the table")),
    }
    checks
}

/// A stray beginning contradicts; a stray end (a close without its beginning) is a gap in the log.
fn nothing_else(matching: &Matching, window: &Window) -> Claim {
    let mut checks: Vec<Check> = matching
        .unexplained_ends
        .iter()
        .map(|end| match end.began {
            Some(_) => {
                let wanted = "no connection but the flow's own";
                Check::contradicts(end.witness(), wanted, end.words())
            }
            None => Check::missing(end.witness(), format!("a record: {}", end.words())),
        })
        .collect();
    let lost = window.lost.iter();
    checks.extend(lost.map(|what| Check::missing(Witness::Answer, what.clone())));
    match &window.quiet {
        Quiet::Closed => {}
        Quiet::Deadline(open) => {
            let what = format!("the end of the flow: {}", open.join("; "));
            checks.push(Check::missing(Witness::Answer, what));
        }
    }
    if checks.is_empty() {
        let logs = matching.legs.iter().filter_map(|l| l.opener.or(l.accepter));
        checks.extend(logs.map(|end| Check::agrees(end.witness())));
        checks.push(Check::agrees(Witness::Answer));
    }
    Claim::new(
        "every connection is one of the flow's own, and closed",
        checks,
    )
}
