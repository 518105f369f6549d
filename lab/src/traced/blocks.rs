//! Connections while they happen: which packets are shown together, and when. Pure; the clock is the caller's.

use std::{
    collections::{HashMap, VecDeque},
    time::{Duration, Instant},
};

use super::{JoinedBy, TracedPacket};

/// How long a first packet waits for its answer, so that both are shown together.
const FOR_ANSWER: Duration = Duration::from_millis(200);
/// How many connections are remembered, so that later packets are told to be of the same one.
const REMEMBERED: usize = 65_536;

/// Packets of one connection that are shown together.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Block {
    /// Number of the connection, counted from 1 in the order in which they are shown.
    pub number: u64,
    /// There was a block of this connection before.
    pub again: bool,
    /// Packets in the order they ended; true for those in the direction of the answer.
    pub packets: Vec<(bool, TracedPacket)>,
}

/// Packets that wait for others of their connection, and what is remembered of connections.
#[derive(Debug, Default)]
pub struct Blocks {
    waiting: Vec<Waiting>,
    known: HashMap<JoinedBy, Known>,
    /// The keys of `known`, oldest first.
    order: VecDeque<JoinedBy>,
    shown: u64,
}

#[derive(Debug)]
struct Waiting {
    key: JoinedBy,
    since: Instant,
    packets: Vec<(bool, TracedPacket)>,
}

#[derive(Debug, Clone, Copy, Default)]
struct Known {
    /// Its number, once it was shown.
    number: Option<u64>,
    answered: bool,
}

impl Blocks {
    /// Takes a packet whose way is over.
    pub fn add(&mut self, packet: TracedPacket, now: Instant) {
        let (key, reply) = self.key(&packet);
        let known = self.remember(key);
        known.answered |= reply;
        let packet = (reply, packet);
        match self.waiting.iter_mut().find(|it| it.key == key) {
            Some(waiting) => waiting.packets.push(packet),
            None => self.waiting.push(Waiting {
                key,
                since: now,
                packets: vec![packet],
            }),
        }
    }

    /// Blocks that wait for nothing more, of connections of which one packet at least is wanted, or was before.
    pub fn ready(&mut self, now: Instant, wanted: impl Fn(&TracedPacket) -> bool) -> Vec<Block> {
        self.take(wanted, |it, known| {
            let last = |(_, packet): &(bool, TracedPacket)| packet.dropped().is_some();
            known.answered || it.packets.iter().any(last) || now >= it.since + FOR_ANSWER
        })
    }

    /// All blocks there are.
    pub fn rest(&mut self, wanted: impl Fn(&TracedPacket) -> bool) -> Vec<Block> {
        self.take(wanted, |_, _| true)
    }

    /// When the next block stops waiting.
    pub fn next(&self) -> Option<Instant> {
        self.waiting.iter().map(|it| it.since + FOR_ANSWER).min()
    }

    /// How many connections were given out.
    pub fn shown(&self) -> u64 {
        self.shown
    }

    fn take(
        &mut self,
        wanted: impl Fn(&TracedPacket) -> bool,
        is_ready: impl Fn(&Waiting, Known) -> bool,
    ) -> Vec<Block> {
        let mut blocks = Vec::new();
        let all = std::mem::take(&mut self.waiting);
        for waiting in all {
            let known = self.known.get(&waiting.key).copied().unwrap_or_default();
            if !is_ready(&waiting, known) {
                self.waiting.push(waiting);
                continue;
            }
            let again = known.number.is_some();
            if !again && !waiting.packets.iter().any(|(_, packet)| wanted(packet)) {
                continue;
            }
            let number = known.number.unwrap_or(self.shown + 1);
            self.shown = self.shown.max(number);
            self.remember(waiting.key).number = Some(number);
            blocks.push(Block {
                number,
                again,
                packets: waiting.packets,
            });
        }
        blocks
    }

    fn remember(&mut self, key: JoinedBy) -> &mut Known {
        if !self.known.contains_key(&key) {
            if self.order.len() == REMEMBERED
                && let Some(oldest) = self.order.pop_front()
            {
                self.known.remove(&oldest);
            }
            self.order.push_back(key);
        }
        self.known.entry(key).or_default()
    }

    /// What joins a packet to its connection, and whether it goes in the direction of the answer.
    fn key(&mut self, packet: &TracedPacket) -> (JoinedBy, bool) {
        if let Some(entry) = packet.conntrack {
            return (JoinedBy::ConntrackId(entry.id), entry.reply);
        }
        let header = packet.first();
        let (source, destination) = (header.source_end(), header.destination_end());
        let tuple = |source, destination| JoinedBy::Tuple {
            protocol: header.protocol,
            source,
            destination,
        };
        let (there, back) = (tuple(source, destination), tuple(destination, source));
        if self.known.contains_key(&back) {
            return (back, true);
        }
        // A port that is used again opens another connection.
        let opens = header.tcp.is_some_and(|tcp| tcp.opens());
        if opens && self.known.get(&there).is_some_and(|it| it.answered) {
            self.known.remove(&there);
            self.order.retain(|it| *it != there);
        }
        (there, false)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::traced::{
        ChainName, Header, Hook, Owner, PacketConntrack, Source, Station, Step, TableFamily,
        TcpHeader, Verdict,
    };

    const SYN: u8 = 0x02;
    const SYN_ACK: u8 = 0x12;

    /// A packet between two ports, with conntrack's id if it has one.
    fn packet(from: u16, to: u16, flags: u8, entry: Option<(u32, bool)>) -> TracedPacket {
        let header = Header {
            source: [10, 0, 0, 1].into(),
            destination: [10, 0, 0, 1].into(),
            protocol: 6,
            source_port: Some(from),
            destination_port: Some(to),
            ip_id: None,
            flow_label: None,
            hops_left: 64,
            length: 60,
            tcp: Some(TcpHeader {
                sequence: 1,
                acknowledgement: 0,
                flags,
            }),
            icmp: None,
            payload: Vec::new(),
        };
        let station = Station {
            hook: Hook::Input,
            priority: 0,
            chain: ChainName {
                family: TableFamily::Ip,
                table: "filter".into(),
                chain: "INPUT".into(),
            },
            source: Source::NftTrace,
            header,
            input: None,
            output: None,
            mark: None,
            conntrack: None,
            steps: Vec::new(),
        };
        let conntrack = entry.map(|(id, reply)| PacketConntrack {
            id,
            reply,
            status: 0,
            state: 8,
            zone: None,
        });
        TracedPacket {
            stations: vec![station],
            conntrack,
            owner: Owner::Missing("it does not matter".into()),
            doubts: Vec::new(),
        }
    }

    /// Number, whether it goes on, and the direction of each packet.
    fn told(blocks: &[Block]) -> Vec<(u64, bool, Vec<bool>)> {
        let told = |it: &Block| {
            let replies = it.packets.iter().map(|(reply, _)| *reply);
            (it.number, it.again, replies.collect())
        };
        blocks.iter().map(told).collect()
    }

    #[test]
    fn a_first_packet_waits_for_its_answer_and_later_ones_keep_the_number() {
        let (mut blocks, now) = (Blocks::default(), Instant::now());
        blocks.add(packet(1, 2, SYN, Some((7, false))), now);
        assert_eq!(told(&blocks.ready(now, |_| true)), []);
        assert_eq!(blocks.next(), Some(now + FOR_ANSWER));
        blocks.add(packet(3, 4, SYN, Some((8, false))), now);
        blocks.add(packet(2, 1, SYN_ACK, Some((7, true))), now);
        let first = vec![(1, false, vec![false, true])];
        assert_eq!(told(&blocks.ready(now, |_| true)), first);
        blocks.add(packet(1, 2, 0x10, Some((7, false))), now);
        let more = vec![(1, true, vec![false])];
        assert_eq!(told(&blocks.ready(now, |_| true)), more);
        assert_eq!(told(&blocks.rest(|_| true)), [(2, false, vec![false])]);
        assert_eq!(blocks.shown(), 2);
    }

    #[test]
    fn nobody_waits_for_the_answer_to_a_dropped_packet_or_for_ever() {
        let (mut blocks, now) = (Blocks::default(), Instant::now());
        let mut dropped = packet(1, 2, SYN, Some((7, false)));
        let chain = dropped.stations[0].chain.clone();
        dropped.stations[0].steps.push(Step::Policy {
            chain,
            verdict: Verdict::Drop,
        });
        blocks.add(dropped, now);
        blocks.add(packet(3, 4, SYN, Some((8, false))), now);
        assert_eq!(
            told(&blocks.ready(now, |_| true)),
            [(1, false, vec![false])]
        );
        let later = now + FOR_ANSWER;
        assert_eq!(
            told(&blocks.ready(later, |_| true)),
            [(2, false, vec![false])]
        );
        assert_eq!(blocks.next(), None);
    }

    #[test]
    fn a_connection_is_wanted_as_soon_as_one_packet_is_and_numbers_have_no_gaps() {
        let (mut blocks, now) = (Blocks::default(), Instant::now());
        let answers = |it: &TracedPacket| it.first().source_port == Some(4);
        for (port, id) in [(1, 7), (3, 8)] {
            blocks.add(packet(port, port + 1, SYN, Some((id, false))), now);
            blocks.add(packet(port + 1, port, SYN_ACK, Some((id, true))), now);
        }
        let wanted = vec![(1, false, vec![false, true])];
        assert_eq!(told(&blocks.ready(now, answers)), wanted);
        // What was not shown is not remembered as shown.
        blocks.add(packet(4, 9, 0x10, Some((7, false))), now);
        assert_eq!(told(&blocks.ready(now, answers)), [(2, false, vec![false])]);
    }

    #[test]
    fn without_conntrack_both_directions_are_one_connection_until_the_port_opens_another() {
        let (mut blocks, now) = (Blocks::default(), Instant::now());
        blocks.add(packet(1, 2, SYN, None), now);
        blocks.add(packet(2, 1, SYN_ACK, None), now);
        let first = vec![(1, false, vec![false, true])];
        assert_eq!(told(&blocks.ready(now, |_| true)), first);
        blocks.add(packet(1, 2, SYN, None), now);
        assert_eq!(told(&blocks.rest(|_| true)), [(2, false, vec![false])]);
    }

    #[test]
    fn what_is_remembered_is_bounded() {
        let (mut blocks, now) = (Blocks::default(), Instant::now());
        let many = u32::try_from(REMEMBERED).expect("it is small") + 10;
        for id in 0..many {
            blocks.add(packet(1, 2, SYN, Some((id, true))), now);
            blocks.rest(|_| true);
        }
        assert_eq!(
            (blocks.known.len(), blocks.order.len()),
            (REMEMBERED, REMEMBERED)
        );
    }
}
