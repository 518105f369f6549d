//! From single events to packets. Pure.
//!
//! A trace id is used again for later packets and changes on the way over lo. So events are first put together per
//! base chain, which the id is good for: the first event of each carries the packet's header, and those that follow
//! belong to it. Then base chains are put together by what nat leaves of a packet as it is (IP id or flow label, TCP
//! numbers, first bytes of UDP), in the order of hooks and priorities.

use std::{
    collections::HashMap,
    time::{Duration, Instant},
};

use super::{
    ChainName, Hook, NftEvent, NftKind, Owner, Source, Station, TableFamily, TracedPacket,
    alike::{Alike, Packets},
    building::{Building, Place},
    legacy::{self, LegacyRules},
    observers::{self, OWNER_PREFIX},
    rulebook::RuleBook,
    wire::{Identity, LogEvent, TraceLine},
};
use crate::traced::OBSERVER_TABLES;

/// How long a packet may be between two hooks: over lo through a queue of the machine, or with a program that it was
/// queued for. After that nobody waits for what follows.
pub(crate) const PATIENCE: Duration = Duration::from_secs(1);

/// Packets that are being put together.
#[derive(Debug, Default)]
pub(crate) struct Assembler {
    /// Name of our own table.
    table: String,
    packets: Packets,
    /// Packets by what names them.
    known: HashMap<Identity, Alike>,
    /// The base chain that events with this trace id belong to now: packet and station.
    current: HashMap<u32, (u64, Place)>,
    next: u64,
    fragments: u64,
}

impl Assembler {
    pub fn new(table: String) -> Self {
        Self {
            table,
            ..Self::default()
        }
    }

    /// Events so far that belong to nothing, because what they belong to was lost.
    pub fn fragments(&self) -> u64 {
        self.fragments
    }

    /// Takes an event of nftables' trace.
    pub fn nft(&mut self, event: NftEvent, book: &RuleBook) {
        let own = event.chain.table == self.table;
        if !own && event.chain.table.starts_with(OBSERVER_TABLES) {
            // The observers of somebody else.
            return;
        }
        if event.header.is_some() {
            self.begin(&event, own, book);
        }
        let Some((number, place)) = self.current.get(&event.id).copied() else {
            self.fragments += 1;
            return;
        };
        let building = self.packets.get_mut(&number);
        let station = building.and_then(|it| {
            let station = it.stations.iter().position(|it| it.place() == place)?;
            Some((it, station))
        });
        let Some((building, station)) = station else {
            self.fragments += 1;
            return;
        };
        let chain = &building.stations[station].chain;
        if (chain.family, &chain.table) != (event.chain.family, &event.chain.table) {
            self.fragments += 1;
            self.current.remove(&event.id);
            return;
        }
        building.mark = Some(event.mark);
        if own {
            // The last report of a base chain; there may be one before it that only says that no rule decided.
            if let NftKind::Policy(_) = event.kind {
                building.left(station);
            }
            return;
        }
        building.step(station, event, book);
    }

    /// The first event of a base chain.
    fn begin(&mut self, event: &NftEvent, own: bool, book: &RuleBook) {
        let base = if own {
            let base = observers::base_of(&event.chain.chain);
            book.base(&ChainName {
                chain: base.to_owned(),
                ..event.chain.clone()
            })
        } else {
            book.base(&event.chain)
        };
        let (Some(header), Some((hook, priority))) = (&event.header, base) else {
            // Tracing began inside a chain, or the base chain came and went: no saying where.
            self.current.remove(&event.id);
            return;
        };
        let source = if own {
            Source::Observer
        } else {
            Source::NftTrace
        };
        let station = Station {
            hook,
            priority,
            chain: event.chain.clone(),
            source,
            header: header.clone(),
            input: event.input,
            output: event.output,
            mark: None,
            conntrack: event.conntrack,
            steps: Vec::new(),
        };
        let identity = header.identity();
        let alike = self.known.get_mut(&identity);
        let number = match alike.and_then(|it| it.coming_to(&station, &self.packets)) {
            Some(number) => number,
            None => self.add(identity),
        };
        self.current.insert(event.id, (number, station.place()));
        let building = self.packets.get_mut(&number).expect("it was just found");
        // A rule may have set the mark before it was reported; all else leaves it alone.
        let may_have_set = !own && matches!(event.kind, NftKind::Rule(_)) && event.handle.is_some();
        let mark = if may_have_set {
            building.mark
        } else {
            Some(event.mark)
        };
        building.arrive(Station { mark, ..station });
    }

    fn add(&mut self, identity: Identity) -> u64 {
        let number = self.next;
        self.next += 1;
        self.known.entry(identity.clone()).or_default().add(number);
        self.packets.insert(number, Building::new(identity));
        number
    }

    /// Takes a message of a log group: our own, or ip_tables' TRACE. False when its packet is not known; the message
    /// should come again after more events of nftables, which are read from another socket. With `last`, there are no
    /// more: a line is kept all the same then, and counted.
    pub fn log(&mut self, event: &LogEvent, rules: &LegacyRules, last: bool) -> bool {
        if event.prefix == OWNER_PREFIX {
            return self.owner(event);
        }
        match TraceLine::parse(&event.prefix) {
            Some(line) => self.line(event, &line, rules, last),
            None => true,
        }
    }

    fn owner(&mut self, event: &LogEvent) -> bool {
        let Some((uid, gid)) = event.uid.zip(event.gid) else {
            return true;
        };
        let alike = self.known.get_mut(&event.header.identity());
        let number = alike.and_then(|it| it.without_owner(&self.packets));
        let building = number.and_then(|it| self.packets.get_mut(&it));
        let Some(building) = building else {
            return false;
        };
        building.owner = Some(Owner::Socket { uid, gid });
        true
    }

    fn line(
        &mut self,
        event: &LogEvent,
        line: &TraceLine,
        rules: &LegacyRules,
        last: bool,
    ) -> bool {
        let place = event
            .hook
            .and_then(|hook| Some((hook, legacy::priority(&line.table, hook)?)));
        let Some((hook, priority)) = place else {
            self.fragments += 1;
            return true;
        };
        let place = (hook, priority, Source::LegacyTrace);
        let identity = event.header.identity();
        let alike = self.known.get_mut(&identity);
        let number = match alike.and_then(|it| it.taking(place, line, &self.packets)) {
            Some(number) => number,
            None if last => {
                // Its observers' events were lost.
                self.fragments += 1;
                self.add(identity)
            }
            None => return false,
        };
        let family = event.header.family();
        let (step, doubt) = rules.step(family, line, event.mark);
        let building = self.packets.get_mut(&number).expect("it was just found");
        if let (None, Hook::Output, Some((uid, gid))) =
            (&building.owner, hook, event.uid.zip(event.gid))
        {
            building.owner = Some(Owner::Socket { uid, gid });
        }
        if building.stations.iter().all(|it| it.place() != place) {
            let chain = ChainName {
                family: TableFamily::of(family),
                table: line.table.clone(),
                chain: hook.chain().to_owned(),
            };
            building.arrive(Station {
                hook,
                priority,
                chain,
                source: Source::LegacyTrace,
                header: event.header.clone(),
                input: event.input,
                output: event.output,
                mark: Some(event.mark),
                conntrack: None,
                steps: Vec::new(),
            });
        }
        building.doubts.extend(doubt);
        building.ended |= step.drops();
        let station = building.stations.iter_mut().find(|it| it.place() == place);
        station.expect("it was just put there").steps.push(step);
        true
    }

    /// Whether there are packets whose end was not seen.
    pub fn is_waiting(&self) -> bool {
        !self.packets.is_empty()
    }

    /// All packets.
    pub fn take_all(&mut self) -> Vec<TracedPacket> {
        self.take(|_| true)
    }

    /// Packets that nothing can follow, and those that nothing has followed for a while.
    pub fn take_ended(&mut self, now: Instant) -> Vec<TracedPacket> {
        for building in self.packets.values_mut() {
            building.look_at(now, PATIENCE);
        }
        self.take(|it| it.ended)
    }

    fn take(&mut self, which: impl Fn(&Building) -> bool) -> Vec<TracedPacket> {
        let done = |it: &Building| which(it) && !it.stations.is_empty();
        let numbers = self.packets.iter().filter(|(_, it)| done(it));
        let numbers: Vec<u64> = numbers.map(|(number, _)| *number).collect();
        let taken = numbers.iter().filter_map(|it| self.packets.remove(it));
        let taken: Vec<Building> = taken.collect();
        for building in &taken {
            // Once for all that look like this one.
            let Some(mut alike) = self.known.remove(&building.identity) else {
                continue;
            };
            if alike.keep(&self.packets) {
                self.known.insert(building.identity.clone(), alike);
            }
        }
        let packets = &self.packets;
        self.current
            .retain(|_, (number, _)| packets.contains_key(number));
        taken.into_iter().map(Building::finish).collect()
    }
}
