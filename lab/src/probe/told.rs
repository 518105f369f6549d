//! The trace's side: which rules the first packet of each flow met, and whether something dropped it.

use std::collections::{BTreeMap, HashMap};

use crate::{
    behaviour::{Flow, Hop},
    model::Hook,
    rules::{Family, Protocol, RuleId, RuleSet, Table},
    traced::{ChainName, Ordinal, RulePlace, Source, Step, TracedPacket},
};

/// First packets by what names a flow: protocol number and source port.
#[derive(Default)]
pub(super) struct Told {
    packets: HashMap<(u8, u16), TracedPacket>,
    chains: Chains,
}

impl Told {
    pub fn new(rules: &BTreeMap<Family, RuleSet>) -> Self {
        Self {
            packets: HashMap::new(),
            chains: Chains::of(rules),
        }
    }

    /// Takes what the trace gave; of packets sent again the first counts. Says how many new flows are told of.
    pub fn add(&mut self, packets: Vec<TracedPacket>) -> usize {
        let before = self.packets.len();
        for packet in packets {
            let first = packet.first();
            let opens = first.tcp.is_none_or(|tcp| tcp.opens());
            let Some(port) = first.source_port.filter(|_| opens) else {
                continue;
            };
            self.packets.entry((first.protocol, port)).or_insert(packet);
        }
        self.packets.len() - before
    }

    fn packet(&self, flow: &Flow, port: u16) -> Option<&TracedPacket> {
        let number = match flow.protocol {
            Protocol::Udp => 17,
            _ => 6,
        };
        let packet = self.packets.get(&(number, port))?;
        (packet.first().source == flow.source).then_some(packet)
    }

    /// What dropped the flow's first packet, in words.
    pub fn dropped(&self, flow: &Flow, port: u16) -> Option<String> {
        let step = self.packet(flow, port)?.dropped()?;
        Some(match step {
            Step::Rule { place, .. } => match self.chains.rule(place, flow.family()) {
                Some(rule) => rule.to_string(),
                None => place.to_string(),
            },
            Step::Policy { chain, .. } => format!("the policy of {chain}"),
            Step::End { chain, .. } => format!("the end of {chain}"),
        })
    }

    /// The last hook it was seen at.
    pub fn last_hook(&self, flow: &Flow, port: u16) -> Option<Hook> {
        let stations = &self.packet(flow, port)?.stations;
        stations.last().map(|it| it.hook)
    }

    /// The rules it matched, hook by hook, and what makes that uncertain.
    pub fn hops(&self, flow: &Flow, port: u16) -> (Vec<Hop>, Vec<String>) {
        let Some(packet) = self.packet(flow, port) else {
            return (
                Vec::new(),
                vec!["the trace has no first packet of it".to_owned()],
            );
        };
        let mut hops: Vec<Hop> = Vec::new();
        let mut doubts = packet.doubts.clone();
        for station in packet
            .stations
            .iter()
            .filter(|it| it.source != Source::Observer)
        {
            let mut rules = Vec::new();
            for step in &station.steps {
                let Step::Rule { place, .. } = step else {
                    continue;
                };
                match self.chains.rule(place, flow.family()) {
                    Some(rule) => rules.push(rule),
                    None => doubts.push(format!("{place} is no rule of the set")),
                }
            }
            match hops.last_mut().filter(|last| last.hook == station.hook) {
                Some(last) => last.rules.extend(rules),
                None => hops.push(Hop {
                    hook: station.hook,
                    rules,
                }),
            }
        }
        (hops, doubts)
    }
}

/// Which table each chain of native nft counts for: the view that `rules` makes of it.
#[derive(Default)]
struct Chains {
    /// By family, nft's table and chain: our table and the chain's name there.
    native: HashMap<(Family, String, String), (Table, String)>,
}

impl Chains {
    fn of(rules: &BTreeMap<Family, RuleSet>) -> Self {
        let mut native = HashMap::new();
        for (family, set) in rules {
            for (table, chains) in &set.tables {
                let bases = chains.chains().iter().filter_map(|it| it.nft.as_ref());
                let tables: Vec<String> = bases.map(|it| it.table.clone()).collect();
                for chain in chains.chains() {
                    let own = |name: &str| (*table, name.to_owned());
                    match &chain.nft {
                        Some(base) => {
                            let key = (*family, base.table.clone(), base.chain.clone());
                            native.insert(key, own(&chain.name));
                        }
                        None => {
                            for of in &tables {
                                let key = (*family, of.clone(), chain.name.clone());
                                native.entry(key).or_insert_with(|| own(&chain.name));
                            }
                        }
                    }
                }
            }
        }
        Self { native }
    }

    fn rule(&self, place: &RulePlace, family: Family) -> Option<RuleId> {
        let ChainName {
            family: of,
            table,
            chain,
        } = &place.chain;
        let key = (family, format!("{of} {table}"), chain.clone());
        if let (Some((table, name)), Ordinal::Known(ordinal)) =
            (self.native.get(&key), &place.ordinal)
        {
            return Some(RuleId::new(family, *table, name, *ordinal));
        }
        place.rule_id()
    }
}
