//! Packets that nothing tells apart but their order, such as the same datagram sent again and again: which of them the
//! next report is about, without asking all of them. Pure.

use std::collections::{BTreeMap, HashMap};

use super::{
    Hook, Station,
    building::{Building, Place},
    wire::TraceLine,
};

/// Packets by their numbers.
pub(super) type Packets = BTreeMap<u64, Building>;

/// Numbers of packets that look the same, oldest first.
#[derive(Debug, Default)]
pub(super) struct Alike {
    numbers: Vec<u64>,
    /// Those that may come to another station.
    open: Vec<u64>,
    /// All before this one have an owner, or need none.
    unowned: u64,
    /// By base chain of ip_tables: all before this one are through.
    lined: HashMap<Place, u64>,
}

impl Alike {
    pub fn add(&mut self, number: u64) {
        self.numbers.push(number);
        self.open.push(number);
    }

    /// Keeps those that are there, and returns whether there are any.
    pub fn keep(&mut self, packets: &Packets) -> bool {
        self.numbers.retain(|it| packets.contains_key(it));
        self.open.retain(|it| packets.contains_key(it));
        !self.numbers.is_empty()
    }

    /// The newest that can have come to a station.
    pub fn coming_to(&mut self, station: &Station, packets: &Packets) -> Option<u64> {
        while let Some(last) = self.open.last()
            && packets[last].ended
        {
            self.open.pop();
        }
        let mut newest = self.open.iter().rev();
        newest.find(|it| packets[*it].can_come_to(station)).copied()
    }

    /// The oldest that was sent here, by nobody knows whom.
    pub fn without_owner(&mut self, packets: &Packets) -> Option<u64> {
        let first = |it: &Building| it.stations.first().map(|it| it.hook);
        let needs = |it: &Building| it.owner.is_none() && first(it) == Some(Hook::Output);
        let rest = from(&self.numbers, self.unowned);
        let found = rest.iter().find(|it| needs(&packets[*it])).copied();
        self.unowned = found.unwrap_or(self.unowned);
        found
    }

    /// The oldest that takes a TRACE line of a base chain.
    pub fn taking(&mut self, place: Place, line: &TraceLine, packets: &Packets) -> Option<u64> {
        let through = self.lined.entry(place).or_default();
        let rest = from(&self.numbers, *through);
        let done = |it: &&u64| packets[*it].is_through(place);
        let rest = &rest[rest.iter().take_while(done).count()..];
        *through = rest.first().map_or(*through, |it| *it);
        rest.iter()
            .find(|it| packets[*it].takes_line(place, line))
            .copied()
    }
}

/// The numbers from one on.
fn from(numbers: &[u64], first: u64) -> &[u64] {
    &numbers[numbers.partition_point(|it| *it < first)..]
}
