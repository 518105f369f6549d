//! The verdict on a flow that goes over a held connection: nothing of it is new, so no rule of nat is asked.

use hoplab_proxies::{
    record::{CloseOutcome, Event, Role},
    wire::CallOutcome,
};

use super::{
    Case, Check, Claim, Finding, FlowVerdict, Verdict, Witness,
    agreement::Predicted,
    connections::ends,
    flow::{answer_words, nothing_else, nothing_else_in},
    matching::match_legs,
    pods::PodMoves,
};
use crate::{
    evidence::Window,
    predict::Reply,
    rules::{self, CounterDelta, Table},
    topology::{Flow, Sender},
};

impl Case<'_> {
    /// Judges a flow over a held connection.
    pub(super) fn resumed(&self, flow: &Flow, window: &Window) -> (FlowVerdict, Predicted) {
        let ends = ends(&window.records);
        let matching = match_legs(&[], &ends, window);
        let moves = self.pod_moves(flow, window, &matching, &matching);
        let expected = Reply::expected(&self.meant(), flow);
        let mut claims = vec![answer_claim(flow, window, &expected)];
        for (pod, of_pod) in &moves {
            let others = nothing_else_in(pod, &matching, window);
            claims.push(self.pod_claim(pod, of_pod, &matching, others));
        }
        let mut nothing = nothing_else(&matching, window, Vec::new());
        if nothing
            .checks
            .iter()
            .all(|it| it.finding == Finding::Agrees)
        {
            let watched = window.conntrack.keys().cloned();
            nothing
                .checks
                .extend(watched.map(|pod| Check::agrees(Witness::Conntrack { pod })));
        }
        claims.push(nothing);
        let moved = moves.values().filter_map(|it| it.observed.as_ref().ok());
        let moved = moved.flat_map(CounterDelta::moved);
        let nat = moved.filter(|(rule, _)| rule.table == Table::Nat);
        let worst = claims.iter().map(Claim::verdict).max();
        let verdict = FlowVerdict {
            flow: flow.name.clone(),
            family: self.family,
            about: flow.about.clone(),
            verdict: worst.unwrap_or(Verdict::Unproven),
            answer: answer_words(&window.outcome),
            file_expects: None,
            legs: 0,
            moved: rules::packets(nat.map(|(_, c)| c.packets)),
            agreement: moves.values().map(PodMoves::agreement).sum(),
            hops: Default::default(),
            traced: window.traces.values().map(|it| it.packets.len()).sum(),
            claims,
            took_us: window.took_us,
        };
        let predicted = moves.into_iter().map(|(pod, it)| (pod, it.predicted));
        (verdict, predicted.collect())
    }
}

/// What the sender got, and what its log says of the connection.
fn answer_claim(flow: &Flow, window: &Window, expected: &Reply) -> Claim {
    let answer = match expected.is(&window.outcome) {
        true => Check::agrees(Witness::Answer),
        false => {
            let had = answer_words(&window.outcome);
            Check::contradicts(Witness::Answer, expected.to_string(), had)
        }
    };
    let role = match flow.from.sender {
        Sender::App => Role::App,
        Sender::Proxy => Role::Proxy,
        Sender::As { .. } => Role::Probe,
    };
    let pod = flow.from.pod.clone().unwrap_or_else(|| "node".into());
    let mut of_sender = window
        .of_held
        .iter()
        .filter(|it| it.pod == pod && it.role == role);
    let closed = of_sender.find_map(|it| match &it.event {
        Event::Close { outcome, .. } => Some(outcome),
        _ => None,
    });
    let had = match closed {
        None => "still open",
        Some(CloseOutcome::Reset) => "reset",
        Some(_) => "closed",
    };
    let wanted = match expected {
        Reply::Reset => "reset",
        Reply::Closed => match &window.outcome {
            // A reset is one way to be closed.
            CallOutcome::Closed(words) if words == "ECONNRESET" => "reset",
            _ => "closed",
        },
        _ => "still open",
    };
    let log = Check::equal(Witness::Log { pod, role }, "", &wanted, &had);
    let text = format!(
        "{} → {}, over a held connection: {expected}",
        flow.from, flow.to
    );
    Claim::new(text, vec![answer, log])
}
