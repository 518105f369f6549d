//! The trace as a witness: of each leg in each pod, and against the counters and the model of a pod.

mod pairs;

use self::pairs::{against_counters, entry_check, owner_check};
use super::{
    Case, Check, Witness,
    matching::{Matched, Matching},
    packets::{Difference, Named, Names, Way, rules_of},
    traces::{PodPackets, Touched, touched},
};
use crate::{
    evidence::Window,
    model::Journey,
    predict::{Crossing, Leg, LegEnd},
    rules::{CounterDelta, RuleId},
    topology::NODE,
    traced::{TracedPacket, Tracing},
};

impl Case<'_> {
    /// What the traces of the pods say of a leg.
    pub(super) fn trace_checks(&self, matched: &Matched) -> Vec<Check> {
        if self.tracing == Tracing::Off {
            return Vec::new();
        }
        let of_place = |(place, touched): (usize, Touched)| {
            let (pod, crossing) = (touched.pod, touched.crossing);
            let witness = Witness::Trace {
                pod: pod.to_owned(),
            };
            match matched.packets.iter().find(|it| it.place == place) {
                Some(packets) => self.leg_in_pod(&witness, matched, crossing, packets),
                None => vec![Check::missing(witness, format!("the trace of {pod}"))],
            }
        };
        let places = touched(matched.leg).into_iter().enumerate();
        let places = places.filter(|(_, it)| it.pod != NODE);
        places.flat_map(of_place).collect()
    }

    fn leg_in_pod(
        &self,
        witness: &Witness,
        matched: &Matched,
        crossing: Option<&Crossing>,
        packets: &PodPackets,
    ) -> Vec<Check> {
        let leg = matched.leg;
        if let LegEnd::Unrouted { .. } = &leg.end {
            return vec![match packets.first() {
                None => Check::agrees(witness.clone()),
                Some(_) => {
                    let had = format!("one to {}", leg.remote);
                    Check::contradicts(witness.clone(), "no packet", had)
                }
            }];
        }
        let mut checks: Vec<Check> = self
            .ways(&self.names_of_meant(packets.pod), leg, crossing, packets)
            .into_iter()
            .map(|(what, difference)| match difference {
                Difference::Untold(why) => {
                    Check::missing(witness.clone(), format!("{what}: {why}"))
                }
                Difference::Seen { wanted, had } => {
                    Check::contradicts(witness.clone(), format!("{what}: {wanted}"), had)
                }
            })
            .collect();
        match packets.first() {
            None => checks.push(Check::missing(
                witness.clone(),
                format!("the first packet to {}", leg.remote),
            )),
            Some(first) => {
                checks.extend(owner_check(witness, matched, first));
                let entry = crossing.and_then(|it| matched.entry(it));
                let apart = matched.apart[usize::from(packets.place > 0)];
                checks.extend(entry.and_then(|it| entry_check(witness, packets, it, apart)));
            }
        }
        if packets.answer().is_none() && expects_answer(leg) {
            let what = format!("the answer of {}", leg.remote);
            checks.push(Check::missing(witness.clone(), what));
        }
        if checks.is_empty() {
            checks.push(Check::agrees(witness.clone()));
        }
        checks
    }

    fn names_of_meant(&self, pod: &str) -> Names<'_> {
        let sets = self.rules_of(pod);
        Names {
            told: &sets.reference,
            alignment: Some(&sets.alignment),
            applied: &sets.applied,
        }
    }

    /// Where packets of a leg took another way than predicted, and which packet.
    fn ways(
        &self,
        names: &Names,
        leg: &Leg,
        crossing: Option<&Crossing>,
        packets: &PodPackets,
    ) -> Vec<(String, Difference)> {
        let way = |journey: Option<&Journey>| match crossing {
            Some(_) => journey.and_then(Way::of),
            None => Some(Way::without_rules()),
        };
        let own = packets.first().and_then(|it| it.first().source_port);
        let behind = packets.first().and_then(|it| it.last().source_port);
        let first = way(crossing.map(|it| &it.first));
        let answer =
            way(crossing.and_then(|it| it.answer.as_ref())).map(|it| it.sent_to_ports(own, behind));
        let to = leg.remote;
        let ends = [
            (format!("the first packet to {to}"), first, packets.first()),
            (
                format!("the first answer of {to}"),
                answer,
                packets.answer(),
            ),
        ];
        let differs = |(what, way, packet): (String, Option<Way>, Option<&TracedPacket>)| {
            let packet = packet.filter(|it| !is_word(it))?;
            Some((what, way?.differs(packet, names)?))
        };
        let mut found: Vec<_> = ends.into_iter().filter_map(differs).collect();
        for (forward, packet) in packets.later().filter(|(_, packet)| !is_word(packet)) {
            let ways = crossing.map_or(&[][..], |it| it.ways(forward));
            let what = match forward {
                true => format!("a later packet to {to}"),
                false => format!("a later answer of {to}"),
            };
            found.extend(later(ways, packet, names).map(|it| (what, it)));
        }
        found
    }

    /// The trace of a pod against what the model reads from the rules in the pod, and against the pod's counters.
    pub(super) fn trace_of_pod(
        &self,
        pod: &str,
        window: &Window,
        held: &Matching,
        counted: Option<&CounterDelta>,
    ) -> Vec<Check> {
        // The node is not traced.
        if self.tracing == Tracing::Off || pod == NODE {
            return Vec::new();
        }
        let witness = Witness::Trace {
            pod: pod.to_owned(),
        };
        let Some(trace) = window.traces.get(pod) else {
            return vec![Check::missing(witness, format!("the trace of {pod}"))];
        };
        let applied = &self.rules_of(pod).applied;
        let names = Names {
            told: applied,
            alignment: None,
            applied,
        };
        let mut checks: Vec<Check> = Vec::new();
        let of_pod = held.legs.iter().flat_map(|matched| {
            let places = touched(matched.leg).into_iter().enumerate();
            let here = places.filter(|(_, it)| it.pod == pod);
            here.filter_map(move |(place, it)| {
                let mut packets = matched.packets.iter();
                let packets = packets.find(|it| it.place == place)?;
                Some((matched, it.crossing?, packets))
            })
        });
        for (matched, crossing, packets) in of_pod {
            for (what, difference) in self.ways(&names, matched.leg, Some(crossing), packets) {
                checks.push(match difference {
                    Difference::Untold(why) => {
                        Check::missing(witness.clone(), format!("{what}: {why}"))
                    }
                    Difference::Seen { wanted, had } => Check::disagrees(
                        witness.clone(),
                        format!("{what} {had}"),
                        Witness::Model,
                        wanted,
                    ),
                });
            }
        }
        let named = (applied, &trace.packets[..]);
        checks.extend(
            counted
                .into_iter()
                .flat_map(|it| against_counters(&witness, pod, named, it, self.tracing)),
        );
        let strangers = held.unexplained_packets.get(pod).into_iter().flatten();
        checks.extend(strangers.map(|packet| stranger(&witness, packet)));
        if checks.is_empty() {
            checks.push(Check::agrees(witness));
        }
        checks
    }
}

/// Where a packet after the first took none of the ways there are.
fn later(ways: &[Vec<RuleId>], packet: &TracedPacket, names: &Names) -> Option<Difference> {
    let had = match rules_of(packet, names.applied) {
        Ok(had) => had,
        Err(why) => return Some(Difference::Untold(why)),
    };
    let had: Vec<Named> = had.into_iter().map(|(_, rule)| names.of(rule)).collect();
    let told = |way: &Vec<RuleId>| way.iter().cloned().map(Named::Told).collect::<Vec<_>>();
    let mut wanted: Vec<Vec<Named>> = ways.iter().map(told).collect();
    if wanted.is_empty() {
        wanted.push(Vec::new());
    }
    if wanted.contains(&had) {
        return None;
    }
    let words: Vec<String> = wanted
        .iter()
        .map(|it| names.path(it.iter(), None))
        .collect();
    Some(Difference::Seen {
        wanted: words.join(", or "),
        had: names.path(had.iter(), None),
    })
}

/// A packet that no leg explains.
pub(super) fn stranger(witness: &Witness, packet: &TracedPacket) -> Check {
    let wanted = "no packet but the flow's own";
    Check::contradicts(witness.clone(), wanted, packet.first().to_string())
}

/// The word that something is unreachable, not a packet of the connection.
fn is_word(packet: &TracedPacket) -> bool {
    packet.first().icmp.is_some()
}

fn expects_answer(leg: &Leg) -> bool {
    matches!(leg.end, LegEnd::Accepted { .. } | LegEnd::Refused { .. })
}
