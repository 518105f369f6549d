//! What the trace shows of an answer: the hooks it passes, the rules it meets, how it looks there.

use super::scene::{Saw, Scene};
use crate::{
    evidence::ConntrackEntry,
    judge::{Check, Witness, gaps::gaps, packets::rules_of},
    rules::{Hook, RuleSet, Table},
    traced::{TracedPacket, Tracing},
};

/// The first answer of a connection, where packets are traced.
pub(super) struct Answer<'a> {
    witness: Witness,
    /// The rules in the pod.
    applied: &'a RuleSet,
    /// None with tracing off.
    found: Option<Saw<&'a TracedPacket>>,
}

impl<'a> Answer<'a> {
    /// Of the connection that conntrack has this entry for.
    pub fn of(scene: &'a Scene<'a>, entry: Saw<&ConntrackEntry>) -> Self {
        let witness = Witness::Trace {
            pod: scene.pod.to_owned(),
        };
        let gap = gaps(scene.window, &witness).next();
        let answer = |entry: &ConntrackEntry| {
            if let Some(gap) = gap {
                return Err(format!("what was lost: {gap}"));
            }
            let trace = scene.window.traces.get(scene.pod);
            let packets = trace.into_iter().flat_map(|it| &it.packets);
            let mut answers = packets.filter(|it| {
                it.conntrack
                    .is_some_and(|seen| seen.id == entry.id && seen.reply)
            });
            answers
                .next()
                .ok_or_else(|| format!("the answer from {}", entry.reply.src))
        };
        Self {
            witness,
            applied: &scene.case.rules_of(scene.pod).applied,
            found: (scene.case.tracing != Tracing::Off).then(|| entry.and_then(answer)),
        }
    }

    /// Does it pass the hook OUTPUT?
    pub fn passes_output(&self) -> Option<Check> {
        self.check(|packet| match packet.hooks().contains(&Hook::Output) {
            true => Ok(()),
            false => Err(("an answer at OUTPUT".to_owned(), hooks(packet))),
        })
    }

    /// Does it meet a rule of nat?
    pub fn meets_nat(&self) -> Option<Check> {
        self.check(|packet| match self.nat(packet) {
            Ok(0) => Err((
                "an answer that meets a rule of nat".to_owned(),
                format!("none, at {}", hooks(packet)),
            )),
            Ok(_) => Ok(()),
            Err(why) => Err(("an answer that meets a rule of nat".to_owned(), why)),
        })
    }

    /// Does it leave by POSTROUTING as if from this port, having come to OUTPUT from another one?
    pub fn leaves_from(&self, port: u16) -> Option<Check> {
        self.check(|packet| {
            let last = packet.stations.last();
            let from = last.filter(|it| it.hook == Hook::Postrouting);
            let from = from.and_then(|it| it.header.source_port);
            match from == Some(port) && packet.first().source_port != Some(port) {
                true => Ok(()),
                false => Err((format!("POSTROUTING from port {port}"), self.words())),
            }
        })
    }

    /// `; the trace shows it at OUTPUT as …, after POSTROUTING as …, and no rule of nat`
    pub fn words(&self) -> String {
        let Some(Ok(packet)) = &self.found else {
            return String::new();
        };
        let met = match self.nat(packet) {
            Ok(0) => "no rule of nat".to_owned(),
            Ok(count) => format!("{count} rules of nat"),
            Err(why) => why,
        };
        let (first, last) = (packet.first(), packet.last());
        format!(
            "; the trace shows it at {}: it comes as {} → {} and ends as {} → {}, and meets {met}",
            hooks(packet),
            first.source_end(),
            first.destination_end(),
            last.source_end(),
            last.destination_end(),
        )
    }

    fn nat(&self, packet: &TracedPacket) -> Result<usize, String> {
        let rules = rules_of(packet, self.applied)?;
        let of_nat = rules.iter().filter(|(_, rule)| rule.table == Table::Nat);
        Ok(of_nat.count())
    }

    fn check(&self, test: impl Fn(&TracedPacket) -> Result<(), (String, String)>) -> Option<Check> {
        let found = self.found.as_ref()?;
        let witness = self.witness.clone();
        Some(match found {
            Err(why) => Check::missing(witness, why.clone()),
            Ok(packet) => match test(packet) {
                Ok(()) => Check::agrees(witness),
                Err((wanted, had)) => Check::contradicts(witness, wanted, had),
            },
        })
    }
}

fn hooks(packet: &TracedPacket) -> String {
    let names: Vec<String> = packet.hooks().iter().map(ToString::to_string).collect();
    names.join(", ")
}
