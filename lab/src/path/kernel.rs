//! Hops of a packet that the kernel traced, with the model's reasons for the rules in between.

use std::{collections::BTreeMap, net::SocketAddr};

use super::{
    Event, Hop, Witness,
    chain::Follow,
    modelled::{Marks, attach, turned},
};
use crate::{
    model::{self, Host, Journey},
    rules::{RuleId, RuleSet},
    traced::{Hook, RulePlace, Source, Station, TracedPacket},
};

/// The namespace that a packet was traced in.
#[derive(Clone, Copy)]
pub struct Namespace<'a> {
    /// Rules it holds, of the packet's family.
    pub rules: &'a RuleSet,
    /// Its routes; without them conditions on kinds of addresses are unknown.
    pub host: Option<&'a Host>,
    /// Names of its interfaces by index.
    pub interfaces: &'a BTreeMap<u32, String>,
    /// Text of a rule that `rules` does not hold, such as one of a native nftables table.
    pub text: &'a dyn Fn(&RulePlace) -> Option<String>,
}

/// What is known of a traced packet beside the trace.
#[derive(Clone, Copy, Default)]
pub struct Known<'a> {
    /// What the model expects of its whole way.
    pub journey: Option<&'a Journey>,
    /// Mark of its connection before it.
    pub connmark: u32,
    /// User and group that its socket was made with, where the trace does not tell: `-m owner` looks at the listener
    /// of a SYN-ACK (`skb_to_full_sk` in net/netfilter/xt_owner.c), the log does not.
    pub owner: Option<(u32, u32)>,
}

/// The hops of a traced packet, in order. The model is asked about the packet as the trace shows it at each chain, so
/// that its reasons are about this packet; where it would decide otherwise, the hop says so.
///
/// A rule that `known.journey` wants and the kernel did not ask contradicts.
pub fn of_packet(namespace: &Namespace<'_>, packet: &TracedPacket, known: &Known<'_>) -> Vec<Hop> {
    let visits = visits(packet);
    let mut marks = Marks {
        packet: 0,
        connection: known.connmark,
        zone: None,
    };
    let mut hops = Vec::new();
    let mut ends: Option<(SocketAddr, SocketAddr)> = None;
    for (n, stations) in visits.iter().enumerate() {
        let came = ends.unwrap_or_else(|| ends_of(&stations[0]));
        if n > 0 && stations[0].hook == Hook::Prerouting {
            // Over lo the packet keeps the entry it was given in OUTPUT: no zone counts any more (`xt_ct_target`).
            marks.zone.get_or_insert(0);
        }
        let left = left(stations, visits.get(n + 1).copied(), came);
        let mut here = Vec::new();
        for station in stations.iter().filter(|it| it.source != Source::Observer) {
            let follow = Follow::new(namespace, (packet, known), station, &mut marks);
            here.extend(follow.hops());
        }
        let expected = known.journey.and_then(|it| it.passages.get(n));
        let expected = expected.filter(|it| it.hook == stations[0].hook);
        attach(&mut here, turned(came, left), || {
            let without_nat = expected.and_then(|it| it.without_nat);
            let mut passed = hop_at(namespace, &stations[0], Event::Passed { without_nat });
            passed.witnesses.insert(Witness::Trace);
            passed
        });
        if let Some(expected) = expected {
            compare(&mut here, stations, expected, namespace.rules);
        }
        hops.append(&mut here);
        ends = Some(left);
    }
    hops
}

/// Stations of the same hook, met one after the other.
fn visits(packet: &TracedPacket) -> Vec<&[Station]> {
    packet.stations.chunk_by(|a, b| a.hook == b.hook).collect()
}

fn ends_of(station: &Station) -> (SocketAddr, SocketAddr) {
    (
        station.header.source_end(),
        station.header.destination_end(),
    )
}

/// Priorities at which conntrack translates: NF_IP_PRI_NAT_DST and NF_IP_PRI_NAT_SRC.
fn nat_priority(hook: Hook) -> i32 {
    match hook {
        Hook::Prerouting | Hook::Output => -100,
        Hook::Input | Hook::Forward | Hook::Postrouting => 100,
    }
}

/// The two ends as they leave a hook: as something after nat saw them, else as the next hook first saw them. A
/// destination is translated at PREROUTING and OUTPUT, a source at INPUT and POSTROUTING.
fn left(
    stations: &[Station],
    next: Option<&[Station]>,
    came: (SocketAddr, SocketAddr),
) -> (SocketAddr, SocketAddr) {
    let last = &stations[stations.len() - 1];
    let hook = last.hook;
    if last.priority > nat_priority(hook) {
        return ends_of(last);
    }
    let Some(next) = next else { return came };
    let after = ends_of(&next[0]);
    match hook {
        Hook::Prerouting | Hook::Output => (came.0, after.1),
        Hook::Input | Hook::Postrouting => after,
        Hook::Forward => came,
    }
}

/// A hop at a station, which nobody saw yet.
pub(super) fn hop_at(namespace: &Namespace<'_>, station: &Station, event: Event) -> Hop {
    let name = |index: Option<u32>| {
        let index = index?;
        let name = namespace.interfaces.get(&index).cloned();
        Some(name.unwrap_or_else(|| format!("interface {index}")))
    };
    Hop::at(
        station.hook,
        name(station.input),
        name(station.output),
        event,
    )
}

/// Gives the model's word on a hook where nothing matched, and complains about rules that it wants and nobody asked.
fn compare(hops: &mut [Hop], stations: &[Station], expected: &model::Passage, rules: &RuleSet) {
    let chains = stations.iter().filter(|it| it.source != Source::Observer);
    let seen: Vec<_> = chains.filter_map(|it| it.builtin_in(rules)).collect();
    let unseen = expected
        .tables
        .iter()
        .filter(|(table, _)| seen.iter().all(|(_, it, _)| it != table));
    let wanted: Vec<RuleId> = unseen.flat_map(|(_, it)| it.moved()).collect();
    let Some(last) = hops.last_mut() else { return };
    for rule in &wanted {
        let words = format!(
            "the model says that {} matches, the trace has nothing of it",
            rule.short()
        );
        last.contradictions.push(words);
    }
    let quiet = wanted.is_empty() && expected.tables.iter().all(|(_, it)| it.moved().is_empty());
    let changes = |it: &Hop| !it.changes.is_empty();
    let turns = (expected.came.src, expected.came.dst) != (expected.left.src, expected.left.dst);
    // Which port nat takes for one that is taken, the model does not know.
    if quiet && matches!(last.event, Event::Passed { .. }) && changes(last) == turns {
        last.witnesses.insert(Witness::Model);
    }
}
