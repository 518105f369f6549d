//! The verdict on one flow: the answer, every leg, every pod, and that nothing else happened.

use hoplab_proxies::{
    record::{ConnectResult, Role},
    wire::CallOutcome,
};
use serde::Serialize;

use super::{
    Case, Check, Claim, Finding, Verdict, Witness,
    connections::{End, ends},
    matching::{Matching, match_legs},
};
use crate::{
    evidence::{Quiet, Window},
    failure::{Class, Failure},
    predict::{Turns, predict},
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
    /// TCP connections it opened, or tried to, by the logs.
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
        let elsewhere = self
            .topology
            .sidecars()
            .filter(|pod| !moves.contains_key(*pod));
        let elsewhere = elsewhere.flat_map(|pod| nothing_else_in(pod, &matching, window));
        claims.push(nothing_else(&matching, window, elsewhere.collect()));
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
            legs: ends.iter().filter(|e| e.opened().is_some()).count(),
            moved: moved.flat_map(|d| d.moved()).map(|(_, c)| c.packets).sum(),
            claims,
            took_us: window.took_us,
        })
    }
}

fn answer_claim(flow: &Flow, window: &Window, matching: &Matching) -> Claim {
    let had = answer_words(&window.outcome);
    let matches = match (flow.answer, &window.outcome) {
        (Answer::Status(wanted), CallOutcome::Answer { status, .. }) => wanted == *status,
        (Answer::Refused, CallOutcome::ConnectFailed(errno)) => errno == "ECONNREFUSED",
        (Answer::Closed, CallOutcome::Closed(_)) => true,
        (Answer::NoName, CallOutcome::Unresolved(code)) => code == "NXDOMAIN",
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
        (
            Some(ConnectResult::Failed { errno }),
            Answer::Status(_) | Answer::Closed | Answer::Resolved | Answer::NoName,
        ) => Check::contradicts(witness, "connected", errno.clone()),
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
        CallOutcome::Resolved(addresses) => {
            let words: Vec<String> = addresses.iter().map(ToString::to_string).collect();
            words.join(", ")
        }
        CallOutcome::Unresolved(code) => code.clone(),
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
fn nothing_else(matching: &Matching, window: &Window, elsewhere: Vec<Check>) -> Claim {
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
    checks.extend(
        elsewhere
            .into_iter()
            .filter(|c| c.finding != Finding::Agrees),
    );
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
