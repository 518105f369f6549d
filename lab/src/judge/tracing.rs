//! The trace as a witness: of each leg in each pod, and against the counters and the model of a pod.

use std::collections::BTreeMap;

use super::{
    Case, Check, Witness,
    claim::process_words,
    matching::{Matched, Matching},
    packets::{Difference, Named, Names, Way, rules_of},
    traces::{PodPackets, pods_of},
};
use crate::{
    evidence::{ConntrackEntry, Window},
    model::Journey,
    predict::{Crossing, Leg, LegEnd, NODE},
    rules::{CounterDelta, RuleId, RuleSet, Table},
    traced::{Hook, Owner, TracedPacket, Tracing},
};

impl Case<'_> {
    /// What the traces of the pods say of a leg.
    pub(super) fn trace_checks(&self, matched: &Matched) -> Vec<Check> {
        if self.tracing == Tracing::Off {
            return Vec::new();
        }
        let pods = pods_of(matched.leg);
        let of_pod = |(pod, crossing): (&str, Option<&Crossing>)| {
            let witness = Witness::Trace {
                pod: pod.to_owned(),
            };
            match matched.packets.iter().find(|it| it.pod == pod) {
                Some(packets) => self.leg_in_pod(&witness, matched, crossing, packets),
                None => vec![Check::missing(witness, format!("the trace of {pod}"))],
            }
        };
        let pods = pods.into_iter().filter(|(pod, _)| *pod != NODE);
        pods.flat_map(of_pod).collect()
    }

    fn leg_in_pod(
        &self,
        witness: &Witness,
        matched: &Matched,
        crossing: Option<&Crossing>,
        packets: &PodPackets,
    ) -> Vec<Check> {
        let leg = matched.leg;
        let mut checks: Vec<Check> = self
            .ways(&self.names_of_meant(), leg, crossing, packets)
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
                let apart = matched.apart[usize::from(leg.opener.pod != packets.pod)];
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

    fn names_of_meant(&self) -> Names<'_> {
        Names {
            told: &self.reference,
            alignment: Some(&self.alignment),
            applied: &self.applied,
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
        if self.tracing == Tracing::Off {
            return Vec::new();
        }
        let witness = Witness::Trace {
            pod: pod.to_owned(),
        };
        let Some(trace) = window.traces.get(pod) else {
            return vec![Check::missing(witness, format!("the trace of {pod}"))];
        };
        let names = Names {
            told: &self.applied,
            alignment: None,
            applied: &self.applied,
        };
        let mut checks: Vec<Check> = Vec::new();
        for matched in &held.legs {
            let crossing = matched.leg.crossings().find(|it| it.pod == pod);
            let packets = matched.packets.iter().find(|it| it.pod == pod);
            let Some((crossing, packets)) = crossing.zip(packets) else {
                continue;
            };
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
        let named = (&self.applied, &trace.packets[..]);
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

/// The socket that sent the first packet: its owner by the kernel, by the log of its process, and as predicted.
fn owner_check(witness: &Witness, matched: &Matched, first: &TracedPacket) -> Option<Check> {
    if first.stations.first()?.hook != Hook::Output {
        return None;
    }
    let leg = matched.leg;
    let what = format!("the socket of the first packet to {}", leg.remote);
    let (uid, gid) = match &first.owner {
        Owner::Socket { uid, gid } => (*uid, *gid),
        Owner::Missing(why) => {
            return Some(Check::missing(witness.clone(), format!("{what}: {why}")));
        }
    };
    let had = format!("{uid}:{gid}");
    let logged = matched.opener.and_then(|it| Some((it, it.opened()?)));
    if let Some((end, opened)) = logged
        && (opened.owner.uid, opened.owner.gid) != (uid, gid)
    {
        let said = format!("{}:{}", opened.owner.uid, opened.owner.gid);
        let who = process_words(&end.pod, end.role);
        return Some(Check::disagrees(
            witness.clone(),
            format!("{what} is of {had}"),
            end.witness(),
            format!("that of {who} is of {said}"),
        ));
    }
    let (wanted_uid, wanted_gid) = leg.opener.owner;
    ((uid, gid) != (wanted_uid, wanted_gid)).then(|| {
        let wanted = format!("{what} is of {wanted_uid}:{wanted_gid}");
        Check::contradicts(witness.clone(), wanted, had)
    })
}

/// The packets before and after translation against the entry of conntrack.
fn entry_check(
    witness: &Witness,
    packets: &PodPackets,
    entry: &ConntrackEntry,
    apart: Option<&ConntrackEntry>,
) -> Option<Check> {
    let conntrack = match witness {
        Witness::Trace { pod } => Witness::Conntrack { pod: pod.clone() },
        other => other.clone(),
    };
    let disagree = |had: String, said: String| {
        Some(Check::disagrees(
            witness.clone(),
            had,
            conntrack.clone(),
            said,
        ))
    };
    let first = packets.first().filter(|it| it.dropped().is_none());
    let answer = packets
        .answer()
        .filter(|it| it.dropped().is_none() && !is_word(it));
    let (original, reply) = (&entry.original, &entry.reply);
    let came = first.map(|it| {
        (
            "the first packet comes as",
            it.first(),
            original.src,
            original.dst,
        )
    });
    let left = first.map(|it| ("the first packet ends as", it.last(), reply.dst, reply.src));
    let ids = [
        (first, "the first packet", entry),
        (answer, "the answer", apart.unwrap_or(entry)),
    ];
    for (packet, what, entry) in ids {
        let seen = packet.and_then(|it| it.conntrack);
        if let Some(other) = seen.filter(|it| it.id != entry.id) {
            return disagree(
                format!("{what} has the entry {}", other.id),
                format!("its entry is {}", entry.id),
            );
        }
    }
    // Answers in a zone of their own are not turned back.
    let answer = answer.filter(|_| apart.is_none());
    let back = answer.map(|it| ("the answer comes as", it.first(), reply.src, reply.dst));
    let home = answer.map(|it| ("the answer ends as", it.last(), original.dst, original.src));
    for (what, header, source, destination) in [came, left, back, home].into_iter().flatten() {
        if (header.source_end(), header.destination_end()) != (source, destination) {
            let had = format!(
                "{what} {} → {}",
                header.source_end(),
                header.destination_end()
            );
            return disagree(had, format!("its entry makes it {source} → {destination}"));
        }
    }
    None
}

/// nat is asked for first packets only, and all of them are traced: its rules match as often as they count. Of other
/// tables that is so only when every packet is traced.
fn against_counters(
    witness: &Witness,
    pod: &str,
    (applied, packets): (&RuleSet, &[TracedPacket]),
    counted: &CounterDelta,
    tracing: Tracing,
) -> Vec<Check> {
    let mut matched: BTreeMap<RuleId, u64> = BTreeMap::new();
    for packet in packets {
        // What can't be named is told elsewhere.
        for (_, rule) in rules_of(packet, applied).unwrap_or_default() {
            *matched.entry(rule).or_insert(0) += 1;
        }
    }
    let counters = Witness::Counters {
        pod: pod.to_owned(),
    };
    let rules = counted.rules().iter();
    let wrong = rules.filter(|(rule, counter)| {
        let matched = matched.get(rule).copied().unwrap_or(0);
        let all = rule.table == Table::Nat || tracing == Tracing::All;
        matched > counter.packets || (all && matched != counter.packets)
    });
    let complaint = |(rule, counter): (&RuleId, &crate::rules::Counter)| {
        let matched = matched.get(rule).copied().unwrap_or(0);
        Check::disagrees(
            witness.clone(),
            format!("{} matched {matched} packets", super::pods::rule_name(rule)),
            counters.clone(),
            format!("it counted {}", counter.packets),
        )
    };
    wrong.map(complaint).collect()
}
