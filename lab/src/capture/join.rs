//! Which packet of an interface is which packet of a trace. Pure; the clock is the caller's.

use std::{
    collections::{BTreeMap, HashMap, VecDeque},
    net::SocketAddr,
    time::{Duration, Instant},
};

use super::{Frame, comment};
use crate::traced::{Header, Identity, RuleTexts, TracedPacket};

/// How long a packet waits for what the kernel tells of its rules.
const FOR_RULES: Duration = Duration::from_millis(500);
/// How long what the kernel told waits for its packet: a packet comes by several interfaces.
const FOR_PACKET: Duration = Duration::from_secs(5);
/// How many of those are kept.
const MOST_WAYS: usize = 65_536;
/// Bytes of packets that may wait; the oldest go without their rules then.
const MOST_BYTES: usize = 32 << 20;

/// A packet with what is said of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Joined {
    /// The packet.
    pub frame: Frame,
    /// Its pod, and its rules where they are known.
    pub comment: String,
    /// Whether they are known.
    pub has_rules: bool,
}

/// Packets that wait for their rules, and rules that wait for their packet.
#[derive(Debug, Default)]
pub(super) struct Join {
    /// In the order of time; the number tells those of one moment apart.
    waiting: BTreeMap<(Duration, u64), Waiting>,
    bytes: usize,
    number: u64,
    ways: HashMap<(String, Identity), Vec<Way>>,
    /// The keys of `ways`, oldest first.
    order: VecDeque<(Instant, (String, Identity))>,
}

#[derive(Debug)]
struct Waiting {
    frame: Frame,
    pod: String,
    header: Option<Header>,
    /// Until when it waits; none for one whose rules the kernel does not tell.
    until: Option<Instant>,
}

/// One packet's way through a pod.
#[derive(Debug)]
struct Way {
    /// Source and destination at each of its stations.
    ends: Vec<(SocketAddr, SocketAddr)>,
    lines: Vec<String>,
}

impl Join {
    /// Takes a packet of an interface. `traced`: the rules of its pod are observed.
    pub fn add_frame(&mut self, frame: Frame, pod: &str, traced: bool, now: Instant) {
        let header = frame.header();
        let awaits = traced && header.as_ref().is_some_and(is_told);
        self.bytes += frame.bytes.len();
        self.number += 1;
        let waiting = Waiting {
            pod: pod.to_owned(),
            header,
            until: awaits.then(|| now + FOR_RULES),
            frame,
        };
        self.waiting
            .insert((waiting.frame.time, self.number), waiting);
    }

    /// Takes what the kernel told of a packet in a pod.
    pub fn add_way(&mut self, pod: &str, packet: &TracedPacket, texts: &RuleTexts, now: Instant) {
        let key = (pod.to_owned(), packet.first().identity());
        let ends = packet.stations.iter().map(|it| ends(&it.header));
        let way = Way {
            ends: ends.collect(),
            lines: comment::of_way(packet, texts),
        };
        self.ways.entry(key.clone()).or_default().push(way);
        self.order.push_back((now, key));
    }

    /// Packets that wait for nothing more, and for none before them.
    pub fn ready(&mut self, now: Instant) -> Vec<Joined> {
        let ready = self.take(|join, it| {
            let over = it.until.is_none_or(|until| until <= now);
            over || join.bytes > MOST_BYTES || join.way(it).is_some()
        });
        while let Some((since, key)) = self.order.front() {
            if self.order.len() <= MOST_WAYS && *since + FOR_PACKET > now {
                break;
            }
            if let Some(ways) = self.ways.get_mut(key) {
                ways.remove(0);
                if ways.is_empty() {
                    self.ways.remove(key);
                }
            }
            self.order.pop_front();
        }
        ready
    }

    /// All packets there are.
    pub fn rest(&mut self) -> Vec<Joined> {
        self.take(|_, _| true)
    }

    /// When the next packet stops waiting.
    pub fn next(&self) -> Option<Instant> {
        let (_, first) = self.waiting.first_key_value()?;
        first.until
    }

    fn take(&mut self, is_ready: impl Fn(&Self, &Waiting) -> bool) -> Vec<Joined> {
        let mut ready = Vec::new();
        while let Some((_, first)) = self.waiting.first_key_value()
            && is_ready(self, first)
            && let Some((_, it)) = self.waiting.pop_first()
        {
            self.bytes -= it.frame.bytes.len();
            let way = self.way(&it).map(|way| way.lines.as_slice());
            ready.push(Joined {
                comment: comment::text(&it.pod, way),
                has_rules: way.is_some(),
                frame: it.frame,
            });
        }
        ready
    }

    /// The way of a packet: the same but for what nat changes, and seen with these very ends.
    fn way(&self, it: &Waiting) -> Option<&Way> {
        let header = it.header.as_ref()?;
        let ways = self.ways.get(&(it.pod.clone(), header.identity()))?;
        ways.iter().find(|way| way.ends.contains(&ends(header)))
    }
}

fn ends(header: &Header) -> (SocketAddr, SocketAddr) {
    (header.source_end(), header.destination_end())
}

/// Whether the observers report the packet, see [`Packets::FirstAndReply`](crate::trace::Packets).
fn is_told(header: &Header) -> bool {
    const SYN_OR_RST: u8 = 0x06;
    const UDP: u8 = 17;
    let unreachable = match header.protocol {
        1 => 3,
        _ => 1,
    };
    let icmp = header.icmp.is_some_and(|it| it.kind == unreachable);
    let tcp = header.tcp.is_some_and(|it| it.flags & SYN_OR_RST != 0);
    tcp || icmp || header.protocol == UDP
}

#[cfg(test)]
mod tests;
