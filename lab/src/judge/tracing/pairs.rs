//! The trace of a pod held against one other witness: the log's owner of a socket, conntrack's entry, the counters.

use std::collections::BTreeMap;

use super::is_word;
use crate::{
    evidence::ConntrackEntry,
    judge::{
        Check, Witness, claim::process_words, matching::Matched, packets::rules_of,
        pods::rule_name, traces::PodPackets,
    },
    rules::{Counter, CounterDelta, RuleId, RuleSet, Table},
    traced::{Hook, Owner, TracedPacket, Tracing},
};

/// The socket that sent the first packet: its owner by the kernel, by the log of its process, and as predicted.
pub(super) fn owner_check(
    witness: &Witness,
    matched: &Matched,
    first: &TracedPacket,
) -> Option<Check> {
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
pub(super) fn entry_check(
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
pub(super) fn against_counters(
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
    let complaint = |(rule, counter): (&RuleId, &Counter)| {
        let matched = matched.get(rule).copied().unwrap_or(0);
        Check::disagrees(
            witness.clone(),
            format!("{} matched {matched} packets", rule_name(rule)),
            counters.clone(),
            format!("it counted {}", counter.packets),
        )
    };
    wrong.map(complaint).collect()
}
