//! The verdict on one flow: the answer, every leg, every pod, and that nothing else happened.

use std::net::SocketAddr;

use hoplab_proxies::{
    record::{ConnectResult, Role, Transport},
    wire::CallOutcome,
};
use serde::Serialize;

use super::{
    Agreement, Case, Check, Claim, Finding, Hops, Verdict, Witness,
    agreement::Predicted,
    connections::{End, ends},
    gaps::allow_for,
    matching::{Matching, match_legs},
    pods::PodMoves,
    tracing::stranger,
};
use crate::{
    evidence::{Quiet, Window},
    failure::{Class, Failure},
    lab_file::Expect,
    predict::{Memory, Reply, Turns, is_unreachable, predict},
    rules::{self, CounterDelta, Family, Table},
    topology::{Flow, NODE, Sender},
};

/// The verdict on one flow.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct FlowVerdict {
    /// Name of the flow.
    pub flow: String,
    /// Family it ran over.
    pub family: Family,
    /// The lab file's line about it.
    pub about: String,
    /// Worst of its claims.
    pub verdict: Verdict,
    /// What the sender got, in words.
    pub answer: String,
    /// Where the lab file, written for its own rules, expects another answer than the rules that were meant give: that
    /// answer. The file is no witness then.
    pub file_expects: Option<String>,
    /// Connections it opened, or tried to, by the logs.
    pub legs: usize,
    /// nat rules that moved in all pods, packets.
    pub moved: u64,
    /// Rules whose moves the model predicted from the rules in the pods.
    pub agreement: Agreement,
    /// How many kinds of witnesses each connection has.
    pub hops: Hops,
    /// Packets that were traced, in all pods.
    pub traced: usize,
    /// Everything that was claimed and looked at.
    pub claims: Vec<Claim>,
    /// Microseconds from the first byte to the last record.
    pub took_us: u64,
}

impl Case<'_> {
    /// Judges one flow; `turns` is where the proxies stood before it. Gives what the model predicts of the pods, too.
    pub(super) fn flow(
        &self,
        window: &Window,
        turns: &Turns,
        memory: &Memory,
    ) -> Result<(FlowVerdict, Predicted), Failure> {
        let flow = self.topology.flow(&window.flow).ok_or_else(|| {
            Failure::new(
                Class::Input,
                format!(
                    "the evidence holds a flow `{}` that lab `{}` does not have",
                    window.flow, self.topology.name
                ),
            )
        })?;
        if flow.connection.resume.is_some() {
            return Ok(self.resumed(flow, window, memory));
        }
        let picked = picked(window);
        let meant = self.meant().remembering(memory).picking(picked.clone());
        let held = self.held().remembering(memory).picking(picked);
        let legs = predict(&meant, flow, &mut turns.clone());
        let held_legs = predict(&held, flow, &mut turns.clone());
        let ends = ends(&window.records);
        let matching = match_legs(&legs, &ends, window);
        let held_matching = match_legs(&held_legs, &ends, window);
        let moves = self.pod_moves(flow, window, &matching, &held_matching);
        let predicted = Reply::predicted(&meant, flow, &legs);
        let of_file = Reply::expected(&meant, flow);
        let expected = match self.expect {
            Expect::File | Expect::Outcome => &of_file,
            Expect::Rules => &predicted,
        };
        let mut claims = vec![answer_claim(flow, window, &matching, expected)];
        if self.expect != Expect::Rules {
            claims[0]
                .checks
                .extend(model_on_answer(&of_file, &predicted));
            claims.extend(self.seen_claims(flow, &legs, &ends, window));
        }
        let stays_open = flow.connection.hold.is_some();
        let of_legs = matching
            .legs
            .iter()
            .map(|leg| self.leg_claim(leg, &moves, stays_open));
        let of_legs: Vec<Claim> = of_legs.collect();
        let hops = of_legs.iter().map(Hops::of).sum();
        claims.extend(of_legs);
        for (pod, of_pod) in &moves {
            let others = nothing_else_in(pod, &matching, window);
            let observed = of_pod.observed.as_ref().ok();
            let traced = self.trace_of_pod(pod, window, &held_matching, observed);
            let others = others.into_iter().chain(traced).collect();
            claims.push(self.pod_claim(pod, of_pod, &matching, others));
        }
        let elsewhere = self
            .topology
            .sidecars()
            .filter(|pod| !moves.contains_key(*pod));
        let node = meant.has_rules(None) && !moves.contains_key(NODE);
        let elsewhere = elsewhere.chain(node.then_some(NODE));
        let elsewhere = elsewhere.flat_map(|pod| nothing_else_in(pod, &matching, window));
        let unwatched = held_matching.unexplained_packets.iter();
        let unwatched = unwatched.filter(|(pod, _)| !moves.contains_key(**pod));
        let strangers = unwatched.flat_map(|(pod, packets)| {
            let witness = Witness::Trace {
                pod: (*pod).to_owned(),
            };
            packets.iter().map(move |it| stranger(&witness, it))
        });
        let elsewhere = elsewhere.chain(strangers).collect();
        claims.push(nothing_else(&matching, window, elsewhere));
        allow_for(&mut claims, window);
        let moved = moves.values().filter_map(|m| m.observed.as_ref().ok());
        let moved = moved.flat_map(CounterDelta::moved);
        let nat = moved.filter(|(rule, _)| rule.table == Table::Nat);
        let verdict = FlowVerdict {
            flow: flow.name.clone(),
            family: self.family,
            about: flow.about.clone(),
            verdict: claims
                .iter()
                .map(Claim::verdict)
                .max()
                .unwrap_or(Verdict::Unproven),
            answer: answer_words(&window.outcome),
            file_expects: (*expected != of_file).then(|| of_file.to_string()),
            legs: ends.iter().filter(|e| e.opened().is_some()).count(),
            moved: rules::packets(nat.map(|(_, c)| c.packets)),
            agreement: moves.values().map(PodMoves::agreement).sum(),
            hops,
            traced: window.traces.values().map(|it| it.packets.len()).sum(),
            claims,
            took_us: window.took_us,
        };
        let predicted = moves.into_iter().map(|(pod, it)| (pod, it.predicted));
        Ok((verdict, predicted.collect()))
    }
}

/// Which endpoint the node picked for each connection to a VIP, by its conntrack.
pub(crate) fn picked(window: &Window) -> Vec<(SocketAddr, SocketAddr)> {
    let entries = window.conntrack.get(NODE).into_iter().flatten();
    let picked = entries.map(|it| (it.original.dst, it.reply.src));
    picked.filter(|(vip, endpoint)| vip != endpoint).collect()
}

/// The person and the model on the answer, by the lab's own rules.
pub(super) fn model_on_answer(of_file: &Reply, predicted: &Reply) -> Option<Check> {
    match predicted {
        // What the model can't tell, the claim about the connection says.
        Reply::Unknown(_) => None,
        predicted if predicted == of_file => Some(Check::agrees(Witness::Model)),
        predicted => Some(Check::contradicts(
            Witness::Model,
            format!("by the lab file {of_file}"),
            format!("by the model of the lab's own rules {predicted}"),
        )),
    }
}

fn answer_claim(flow: &Flow, window: &Window, matching: &Matching, expected: &Reply) -> Claim {
    let had = answer_words(&window.outcome);
    let answer = match expected {
        Reply::Unknown(why) => Check::missing(Witness::Model, format!("a prediction: {why}")),
        expected if expected.is(&window.outcome) => Check::agrees(Witness::Answer),
        expected => Check::contradicts(Witness::Answer, expected.to_string(), had),
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
    // A UDP socket connects to anything.
    let connects = expected
        .connects()
        .filter(|_| flow.ask.transport() == Transport::Tcp);
    let log = match (first.map(|o| &o.result), connects) {
        (None, _) => Check::missing(witness, "the sender's connect"),
        (Some(ConnectResult::Connected { .. }), Some(false)) => {
            Check::contradicts(witness, format!("connect {expected}"), "connected")
        }
        (Some(ConnectResult::Failed { errno }), Some(true)) => {
            Check::contradicts(witness, "connected", errno.clone())
        }
        _ => Check::agrees(witness),
    };
    Claim::new(
        format!("{} → {}: {expected}", flow.from, flow.to),
        vec![answer, log],
    )
}

pub(crate) fn answer_words(outcome: &CallOutcome) -> String {
    match outcome {
        CallOutcome::Answer { status, .. } => status.to_string(),
        CallOutcome::ConnectFailed(errno) if errno == "ECONNREFUSED" => "refused".into(),
        CallOutcome::ConnectFailed(errno) if is_unreachable(errno) => "unreachable".into(),
        CallOutcome::ConnectFailed(errno) => errno.clone(),
        CallOutcome::Closed(_) => "closed".into(),
        CallOutcome::Timeout => "timeout".into(),
        CallOutcome::Resolved(addresses) => {
            let words: Vec<String> = addresses.iter().map(ToString::to_string).collect();
            words.join(", ")
        }
        CallOutcome::Unresolved(code) if code == "NXDOMAIN" => "no such name".into(),
        CallOutcome::Unresolved(code) => code.clone(),
    }
}

/// Connections and conntrack entries in a pod that no leg explains.
pub(super) fn nothing_else_in(pod: &str, matching: &Matching, window: &Window) -> Vec<Check> {
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
pub(super) fn nothing_else(matching: &Matching, window: &Window, elsewhere: Vec<Check>) -> Claim {
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
    checks.extend(lost.map(|what| Check::missing(Witness::Answer, what.to_string())));
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
