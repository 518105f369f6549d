//! The trace's side: which rules the first packet of each flow met, and whether something dropped it.

use std::collections::{BTreeMap, HashMap};
use std::net::SocketAddr;

use super::stray::STRAY;
use crate::{
    behaviour::{Flow, Hop},
    model::Hook,
    rules::{Family, Protocol, RuleId, RuleSet},
    traced::{RulePlace, Source, Station, Step, TracedPacket},
};

/// What names a flow: protocol number and both ends as it is sent.
type Name = (u8, SocketAddr, SocketAddr);

/// First packets by what names their flow.
#[derive(Default)]
pub(super) struct Told {
    packets: HashMap<Name, TracedPacket>,
    /// The rules as the kernel has them: a trace names places, which are theirs.
    rules: BTreeMap<Family, RuleSet>,
}

impl Told {
    pub fn new(rules: BTreeMap<Family, RuleSet>) -> Self {
        Self {
            packets: HashMap::new(),
            rules,
        }
    }

    /// Takes what the trace gave; of packets sent again the first counts. Says how many new flows are told of.
    pub fn add(&mut self, packets: Vec<TracedPacket>) -> usize {
        let before = self.packets.len();
        for packet in packets {
            let first = packet.first();
            let opens = first
                .tcp
                .is_none_or(|tcp| tcp.opens() || tcp.flags == STRAY);
            if opens && first.source_port.is_some() {
                let name = (first.protocol, first.source_end(), first.destination_end());
                self.packets.entry(name).or_insert(packet);
            }
        }
        self.packets.len() - before
    }

    fn packet(&self, flow: &Flow, port: u16) -> Option<&TracedPacket> {
        let number = match flow.protocol {
            Protocol::Udp => 17,
            _ => 6,
        };
        let from = SocketAddr::new(flow.source, port);
        self.packets.get(&(number, from, flow.to))
    }

    /// What dropped the flow's first packet, in words.
    pub fn dropped(&self, flow: &Flow, port: u16) -> Option<String> {
        let packet = self.packet(flow, port)?;
        let mut steps = packet
            .stations
            .iter()
            .flat_map(|station| station.steps.iter().map(move |it| (station, it)));
        let (station, step) = steps.find(|(_, step)| step.drops())?;
        Some(match step {
            Step::Rule { place, .. } => match self.rule(station, place, flow.family()) {
                Ok(rule) => rule.to_string(),
                Err(_) => place.to_string(),
            },
            Step::Policy { chain, .. } => format!("the policy of {chain}"),
            Step::End { chain, .. } => format!("the end of {chain}"),
        })
    }

    fn rule(&self, station: &Station, place: &RulePlace, family: Family) -> Result<RuleId, String> {
        match self.rules.get(&family) {
            Some(rules) => station.rule_id(place, rules),
            None => Err(format!("rules that hold {place}")),
        }
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
                match self.rule(station, place, flow.family()) {
                    Ok(rule) => rules.push(rule),
                    Err(missing) => doubts.push(format!("the trace lacks {missing}")),
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
