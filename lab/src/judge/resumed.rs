//! The verdict on a flow that goes over a held connection: nothing of it is new, so no rule of nat is asked. But where
//! conntrack was made to forget it: there it is taken up in its middle, and rules are asked as for a new one.

use hoplab_proxies::{
    record::{CloseOutcome, Event, Role},
    wire::CallOutcome,
};

use super::{
    Case, Check, Claim, Finding, FlowVerdict, Verdict, Witness,
    agreement::Predicted,
    connections::ends,
    flow::{answer_words, model_on_answer, nothing_else, nothing_else_in},
    leg::conntrack_check,
    matching::match_legs,
    pods::PodMoves,
};
use crate::{
    evidence::Window,
    predict::{Crossing, HeldOver, Leg, Memory, Reply, World, predict},
    rules::{self, CounterDelta, Table},
    topology::{Flow, Sender},
};

impl Case<'_> {
    /// Judges a flow over a held connection.
    pub(super) fn resumed(
        &self,
        flow: &Flow,
        window: &Window,
        memory: &Memory,
    ) -> (FlowVerdict, Predicted) {
        let ends = ends(&window.records);
        let held = flow.connection.resume.as_ref();
        let held = held.and_then(|it| memory.held(it));
        let held = held.filter(|it| !it.forgotten_in.is_empty());
        let again = |world: World| held.map(|it| taken_up(world, flow, it)).unwrap_or_default();
        let (meant, in_pods) = (again(self.meant()), again(self.held()));
        let matching = match_legs(&meant.legs, &ends, window);
        let moves = self.pod_moves(
            flow,
            window,
            &matching,
            &match_legs(&in_pods.legs, &ends, window),
        );
        let expected = Reply::expected(&self.meant(), flow);
        let mut claims = vec![answer_claim(flow, window, &expected)];
        let predicted = meant.answer.as_ref();
        claims[0]
            .checks
            .extend(predicted.and_then(|it| model_on_answer(&expected, it)));
        for (pod, of_pod) in &moves {
            let mut others = nothing_else_in(pod, &matching, window);
            let legs = matching.legs.iter();
            let crossings = legs.flat_map(|it| it.leg.crossings().map(move |c| (it, c)));
            let mine = crossings.filter(|(_, crossing)| crossing.pod == *pod);
            others.extend(mine.map(|(leg, crossing)| conntrack_check(leg, crossing)));
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

/// A held connection in the pods that have forgotten it.
#[derive(Default)]
struct TakenUp {
    /// Its connections, with their crossings of those pods alone; up to the one that rules now lead elsewhere.
    legs: Vec<Leg>,
    /// What the sender must get, where that can be told.
    answer: Option<Reply>,
}

/// What the rules do to the next packets of a held connection. Where they lead it to another socket than before, that one
/// knows nothing of it, and resets it.
fn taken_up(world: World, flow: &Flow, held: &HeldOver) -> TakenUp {
    let world = world.midway();
    let mut legs = predict(&world, flow, &mut held.turns.clone());
    let lived = Reply::predicted(&world, flow, &legs);
    let mut lost = None;
    for (at, leg) in legs.iter_mut().enumerate() {
        for (from, crossing) in [
            (leg.opener.source, &mut leg.near),
            (leg.seen_from, &mut leg.far),
        ] {
            let is_asked = |it: &mut Crossing| held.forgotten_in.contains(&it.pod);
            crossing.take_if(|it| !is_asked(it));
            let Some(asked) = crossing else { continue };
            if held.ended_at(&asked.pod, from, leg.remote) != Some(asked.answers_from) {
                lost.get_or_insert(at);
            }
        }
    }
    let answer = match lost {
        None => Some(lived),
        Some(0) => Some(Reply::Reset),
        Some(_) => None,
    };
    legs.truncate(lost.map_or(usize::MAX, |at| at + 1));
    TakenUp { legs, answer }
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
