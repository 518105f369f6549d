//! Hops of a packet that the kernel traced, with the model's reasons for the rules in between.

use std::{collections::BTreeMap, net::SocketAddr};

use super::{
    Event, Hop, Tried, Witness,
    modelled::{Marks, attach, not_taken, rule_text, turned},
};
use crate::{
    model::{self, Host, Journey, Packet, Traversal, TryResult, evaluate},
    rules::{CtState, Protocol, RuleId, RuleSet, TcpFlags},
    traced::{
        ChainName, Header, Hook, Ordinal, Owner, RulePlace, Source, Station, Step, TracedPacket,
        Verdict,
    },
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

fn hop_at(namespace: &Namespace<'_>, station: &Station, event: Event) -> Hop {
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
    if quiet && matches!(last.event, Event::Passed { .. }) {
        last.witnesses.insert(Witness::Model);
    }
}

/// One base chain: the steps of the trace beside the rules that the model asks.
struct Follow<'a> {
    namespace: &'a Namespace<'a>,
    station: &'a Station,
    marks: &'a mut Marks,
    /// What the model does with the packet as it came here; none for a table that it does not know.
    model: Option<Traversal>,
    /// The next of the model's tries; none once it has lost its way.
    next: Option<usize>,
    pending: Vec<Tried>,
}

impl<'a> Follow<'a> {
    fn new(
        namespace: &'a Namespace<'a>,
        (packet, known): (&TracedPacket, &Known<'_>),
        station: &'a Station,
        marks: &'a mut Marks,
    ) -> Self {
        if let Some(mark) = station.mark {
            marks.packet = mark;
        }
        let asked = as_seen(namespace, (packet, known), station, *marks);
        let builtin = station.builtin_in(namespace.rules);
        let builtin = builtin.filter(|(family, ..)| *family == namespace.rules.family);
        let table = builtin.as_ref().map(|(_, table, _)| *table);
        let model = table
            .zip(asked)
            .map(|(table, asked)| evaluate(namespace.rules, table, station.hook, &asked));
        Self {
            namespace,
            station,
            marks,
            next: model.as_ref().map(|_| 0),
            model,
            pending: Vec::new(),
        }
    }

    fn hops(mut self) -> Vec<Hop> {
        let station = self.station;
        let steps = station.steps.iter();
        let mut hops: Vec<Hop> = steps.filter_map(|step| self.step(step)).collect();
        if let (Some(model), Some(last)) = (&self.model, hops.last_mut())
            && let Some(next) = self.next
            && !matches!(last.event, Event::Policy { .. })
        {
            let more = model.tried[next..]
                .iter()
                .filter(|it| it.result == TryResult::Matched);
            // The chain ended with a rule for the kernel, and goes on for the model.
            if let Some(more) = more.into_iter().next() {
                last.contradictions.push(format!(
                    "by the model {} matches after it, the trace has nothing of it",
                    more.rule.short()
                ));
            }
        }
        hops
    }

    fn step(&mut self, step: &Step) -> Option<Hop> {
        match step {
            Step::Rule {
                place,
                verdict,
                mark,
                ..
            } => Some(self.rule(place, verdict, *mark)),
            Step::End { .. } => None,
            Step::Policy { verdict, .. } => self.policy(verdict),
        }
    }

    fn rule(&mut self, place: &RulePlace, verdict: &Verdict, mark: u32) -> Hop {
        let id = self.station.rule_id(place, self.namespace.rules).ok();
        let rules = self.namespace.rules;
        let mut contradictions = Vec::new();
        let agrees = id
            .as_ref()
            .is_some_and(|id| self.catch_up(id, &mut contradictions));
        let before = *self.marks;
        let rule = id.as_ref().and_then(|id| rules.rule(id));
        if let Some(rule) = rule {
            let left = self.model.as_ref().map(|it| it.left.clone());
            let left = left.unwrap_or_else(|| blank(&self.station.header));
            self.marks.apply(&rule.spec.target, &left);
        }
        // nftables reports the mark after the rule, legacy before it.
        if self.station.source == Source::NftTrace {
            self.marks.packet = mark;
        }
        let text = id.as_ref().and_then(|id| rule_text(rules, id));
        let name = id.as_ref().map(|id| (id.table.name(), &id.chain));
        let (table, chain) = name.unwrap_or((&place.chain.table, &place.chain.chain));
        let event = Event::Rule {
            table: table.to_owned(),
            chain: chain.clone(),
            ordinal: match place.ordinal {
                Ordinal::Known(ordinal) => Some(ordinal),
                Ordinal::Unknown(_) => None,
            },
            text: text.or_else(|| (self.namespace.text)(place)),
            verdict: verdict.clone(),
        };
        let mut hop = hop_at(self.namespace, self.station, event);
        hop.tried = std::mem::take(&mut self.pending);
        hop.changes = self.marks.since(before);
        hop.contradictions = contradictions;
        hop.witnesses.insert(Witness::Trace);
        if agrees {
            hop.witnesses.insert(Witness::Model);
        }
        hop
    }

    /// Lets the model ask until it comes to the rule that the kernel says matched. True when it matches for the model,
    /// too.
    fn catch_up(&mut self, id: &RuleId, contradictions: &mut Vec<String>) -> bool {
        let (Some(model), Some(next)) = (&self.model, self.next) else {
            return false;
        };
        let Some(found) = model.tried[next..].iter().position(|it| it.rule == *id) else {
            contradictions.push(format!(
                "the model never asks {}, the trace says it matched",
                id.short()
            ));
            self.next = None;
            return false;
        };
        let rules = self.namespace.rules;
        for one in &model.tried[next..next + found] {
            if one.result == TryResult::Matched {
                contradictions.push(format!(
                    "by the model {} matches before it, the trace went on",
                    one.rule.short()
                ));
            }
            self.pending.push(not_taken(rules, &one.rule, &one.result));
        }
        self.next = Some(next + found + 1);
        match &model.tried[next + found].result {
            TryResult::Matched => true,
            TryResult::Unknown(_) => false,
            TryResult::Failed(mismatch) => {
                contradictions.push(format!(
                    "the trace says it matched, the model does not: {mismatch}"
                ));
                false
            }
        }
    }

    /// None where the chain has no rule: nothing was decided there.
    fn policy(&mut self, verdict: &Verdict) -> Option<Hop> {
        let mut contradictions = Vec::new();
        let rules = self.namespace.rules;
        let rest = self.model.as_ref().zip(self.next);
        let rest = rest.map(|(model, next)| (&model.tried[next..], &model.decided));
        let mut agrees = false;
        if let Some((tried, decided)) = rest {
            for one in tried {
                if one.result == TryResult::Matched {
                    contradictions.push(format!(
                        "by the model {} matches, the trace came to the policy",
                        one.rule.short()
                    ));
                }
                self.pending.push(not_taken(rules, &one.rule, &one.result));
            }
            agrees = matches!(
                (decided, verdict),
                (
                    model::Outcome::Accepted {
                        by: model::By::Policy(_)
                    },
                    Verdict::Accept
                ) | (
                    model::Outcome::Dropped {
                        by: model::By::Policy(_)
                    },
                    Verdict::Drop
                )
            );
        }
        let of_rules = self.station.steps.len() > 1 || !self.pending.is_empty();
        if *verdict == Verdict::Accept && !of_rules && contradictions.is_empty() {
            return None;
        }
        let builtin = self.station.builtin_in(rules);
        let name = builtin.map(|(_, table, chain)| (table.name().to_owned(), chain));
        let (table, chain) = name.unwrap_or_else(|| {
            let ChainName { table, chain, .. } = &self.station.chain;
            (table.clone(), chain.clone())
        });
        let event = Event::Policy {
            table,
            chain,
            verdict: verdict.clone(),
        };
        let mut hop = hop_at(self.namespace, self.station, event);
        hop.tried = std::mem::take(&mut self.pending);
        hop.contradictions = contradictions;
        hop.witnesses.insert(Witness::Trace);
        if agrees {
            hop.witnesses.insert(Witness::Model);
        }
        Some(hop)
    }
}

/// The packet as rules see it at a station; none for a protocol without a name.
fn as_seen(
    namespace: &Namespace<'_>,
    (packet, known): (&TracedPacket, &Known<'_>),
    station: &Station,
    marks: Marks,
) -> Option<Packet> {
    let header = &station.header;
    let name = |index: Option<u32>| namespace.interfaces.get(&index?).cloned();
    let output = matches!(station.hook, Hook::Output | Hook::Postrouting);
    let owner = match packet.owner {
        Owner::Socket { uid, gid } if output => Some((uid, gid)),
        Owner::Missing(_) if output => known.owner,
        _ => None,
    };
    let kind = |address| namespace.host.map(|host| host.kind(address));
    Some(Packet {
        in_iface: name(station.input),
        out_iface: name(station.output),
        owner,
        mark: marks.packet,
        connmark: marks.connection,
        zone: marks.zone,
        state: state(packet, station),
        src_kind: kind(header.source),
        dst_kind: kind(header.destination),
        ..blank(header)
    })
}

fn blank(header: &Header) -> Packet {
    // ECE and CWR have no name in rules.
    let flags = header.tcp.map_or(0, |tcp| tcp.flags & 0x3f);
    Packet {
        protocol: Protocol::from_number(header.protocol),
        tcp_flags: TcpFlags::from_bits(flags).unwrap_or(TcpFlags::NONE),
        ..Packet::tcp(header.source_end(), header.destination_end())
    }
}

/// conntrack's state here, where the trace tells it; else the one such a packet has as a rule.
fn state(packet: &TracedPacket, station: &Station) -> CtState {
    let seen = station.conntrack.map(|it| it.state);
    match seen {
        Some(1) => CtState::Invalid,
        Some(2) => CtState::Established,
        Some(4) => CtState::Related,
        Some(8) => CtState::New,
        Some(64) => CtState::Untracked,
        _ if packet.conntrack.is_some_and(|it| it.reply) => CtState::Established,
        _ if packet.first().tcp.is_some_and(|tcp| !tcp.opens()) => CtState::Established,
        _ => CtState::New,
    }
}
