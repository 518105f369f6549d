//! A connection as one pod's rules and conntrack see it: the first packet's way, and every way a later one can take.

use std::{collections::BTreeMap, net::SocketAddr};

use crate::{
    model::{
        Hook, Host, Journey, JourneyEnd, Known, Outcome, Packet, Source, Turned, journey,
        journey_of_known,
    },
    rules::{CtState, RuleId, RuleSet, Table, TcpFlags},
};

/// A connection in one pod.
#[derive(Debug, Clone, PartialEq)]
pub struct Crossing {
    /// The pod.
    pub pod: String,
    /// The way of the first packet, all tables.
    pub first: Journey,
    /// Where answers come from, as conntrack writes it.
    pub answers_from: SocketAddr,
    /// conntrack zone of its entry; 0 when no rule chose one.
    pub zone: u16,
    /// Mark of its entry in the end.
    pub mark: u32,
    /// conntrack zone of the answers, where that is another one: they make an entry of their own then.
    pub answers_apart: Option<u16>,
    /// Rules that move for a later packet of the opener, one list per way such a packet can take.
    later: Vec<Moved>,
    /// The way of the first answer, where there is one to follow.
    pub answer: Option<Journey>,
    /// Rules that move for a later answer, one list per way.
    answers: Vec<Moved>,
    /// Rules that move for the word that the destination can't be reached.
    told: Moved,
    /// Packets may be lost: how many meet the rules is open.
    pub(super) open: bool,
    /// conntrack knows the connection from an earlier flow, and makes no entry.
    pub known: bool,
    /// conntrack is awake in the pod; where no rule needs it there is no entry.
    pub tracked: bool,
}

/// Rules that one packet moves, in order; one that is met twice stands twice.
type Moved = Vec<RuleId>;

/// The packets of a connection at the hook where one pod first sees them.
pub(super) struct Packets {
    /// The opener's first.
    pub first: Packet,
    /// What the opener's later packets look like: with an owner, and without one when the socket is gone.
    pub later: Vec<Packet>,
    /// The first answer; none when nothing is answered.
    pub answer: Option<Packet>,
    /// What later answers look like.
    pub answers: Vec<Packet>,
    /// The word that the destination can't be reached.
    pub told: Option<Packet>,
}

impl Packets {
    /// Where no rule is asked for later packets.
    pub fn of_first(first: Packet, answer: Option<Packet>) -> Self {
        Self {
            first,
            later: Vec::new(),
            answer,
            answers: Vec::new(),
            told: None,
        }
    }
}

/// How many packets an entry of conntrack counted in each direction, or what the prediction knows without.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counted {
    /// From the opener.
    pub opener: Option<u64>,
    /// From the other end.
    pub answers: Option<u64>,
}

/// By how much a rule moves: at least, and at most where that is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Range {
    /// At least.
    pub least: u64,
    /// At most; none is any number.
    pub most: Option<u64>,
}

impl Range {
    /// Exactly this much.
    pub fn exactly(packets: u64) -> Self {
        Self {
            least: packets,
            most: Some(packets),
        }
    }

    /// True when it holds the number.
    pub fn contains(self, packets: u64) -> bool {
        packets >= self.least && self.most.is_none_or(|most| packets <= most)
    }

    /// The one number it holds, if it is one.
    pub fn only(self) -> Option<u64> {
        self.most.filter(|most| *most == self.least)
    }

    fn add(&mut self, least: u64, most: Option<u64>) {
        self.least = self.least.saturating_add(least);
        self.most = self.most.zip(most).map(|(a, b)| a.saturating_add(b));
    }
}

impl std::fmt::Display for Range {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match (self.least, self.most) {
            (least, Some(most)) if least == most => write!(f, "+{most}"),
            (least, Some(most)) => write!(f, "+{least} to +{most}"),
            (least, None) => write!(f, "+{least} or more"),
        }
    }
}

/// By how much each rule moves; a rule that is not in it does not.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Moves(pub BTreeMap<RuleId, Range>);

impl Moves {
    /// What a rule does.
    pub fn of(&self, rule: &RuleId) -> Range {
        self.0.get(rule).copied().unwrap_or(Range::exactly(0))
    }

    /// Adds packets of one kind.
    pub fn add(&mut self, rule: &RuleId, least: u64, most: Option<u64>) {
        let range = self.0.entry(rule.clone()).or_insert(Range::exactly(0));
        range.add(least, most);
    }

    /// Adds all of another.
    pub fn add_all(&mut self, other: &Self) {
        for (rule, range) in &other.0 {
            self.add(rule, range.least, range.most);
        }
    }

    /// `packets` packets, each of which takes one of the ways.
    fn packets(&mut self, ways: &[Moved], packets: Option<u64>) {
        let times = |way: &Moved, rule: &RuleId| way.iter().filter(|r| *r == rule).count() as u64;
        let mut rules: Vec<&RuleId> = ways.iter().flatten().collect();
        rules.sort();
        rules.dedup();
        for rule in rules {
            let each = || ways.iter().map(|way| times(way, rule));
            let (least, most) = (each().min().unwrap_or(0), each().max().unwrap_or(0));
            self.add(
                rule,
                least * packets.unwrap_or(0),
                packets.map(|n| n * most),
            );
        }
    }
}

impl Crossing {
    /// Follows every kind of packet of a connection through a pod, the way of the first being known.
    pub(super) fn new(
        pod: &str,
        rules: &RuleSet,
        host: &Host,
        packets: Packets,
        first: Journey,
    ) -> Self {
        let turned = turned(&first, &packets.first);
        let source = source(&first, &packets.first);
        let zone = zone_of(&first).unwrap_or(0);
        let mut marks = vec![left(&first).map_or(0, |p| p.connmark)];
        let mut crossing = Self {
            pod: pod.to_string(),
            answers_from: turned.map_or(packets.first.dst, |t| t.to),
            zone,
            mark: 0,
            answers_apart: None,
            later: Vec::new(),
            answer: None,
            answers: Vec::new(),
            told: Vec::new(),
            open: false,
            known: false,
            tracked: true,
            first,
        };
        let ask = |packet: &Packet, answers: bool, connmark: u32| {
            let packet = Packet {
                connmark,
                ..packet.clone()
            };
            let known = Known {
                answers,
                turned,
                source,
            };
            follow(rules, host, packet, known, zone)
        };
        if let Some(answer) = &packets.answer {
            let (way, apart) = ask(answer, true, marks[0]);
            crossing.answers_apart = apart;
            crossing.answer = Some(way);
        }
        if let Some(told) = &packets.told {
            crossing.told = journey(rules, host, told.clone()).moved();
        }
        let mut at = 0;
        while let Some(connmark) = marks.get(at).copied() {
            let later = packets.later.iter().map(|p| (p, false));
            let answers = packets.answers.iter().map(|p| (p, true));
            for (packet, answers) in later.chain(answers) {
                let (way, apart) = ask(packet, answers, connmark);
                let kind = match answers {
                    true => &mut crossing.answers,
                    false => &mut crossing.later,
                };
                let moved = way.moved();
                if !kind.contains(&moved) {
                    kind.push(moved);
                }
                let mark = left(&way).map_or(0, |p| p.connmark);
                if apart.is_none() && !marks.contains(&mark) {
                    marks.push(mark);
                }
            }
            at += 1;
        }
        crossing.mark = marks.last().copied().unwrap_or(0);
        crossing
    }

    /// Source and destination of the first packet as it comes here.
    pub fn came(&self) -> Option<(SocketAddr, SocketAddr)> {
        let passage = self.first.passages.first()?;
        Some((passage.came.src, passage.came.dst))
    }

    /// Where nobody is told of, and there is no route to: the packet comes to its first hook and no further, conntrack keeps
    /// no entry (`nf_conntrack_confirm` comes last), and so every repetition is a first packet for nat.
    pub(super) fn ends_at_first_hook(&mut self) {
        self.first.passages.truncate(1);
        self.later = vec![self.first.moved()];
        self.tracked = false;
    }

    /// Rules that match a packet after the first, of the opener or of the other end: one list per way such a packet can
    /// take. None where rules know first packets only.
    pub fn ways(&self, of_opener: bool) -> &[Vec<RuleId>] {
        match of_opener {
            true => &self.later,
            false => &self.answers,
        }
    }

    /// By how much the rules of the pod move.
    ///
    /// nat is asked once, so its rules move by exactly what the first packet moves. Other tables count every packet:
    /// exactly as many as conntrack counted, where every packet of a direction takes the same way.
    pub fn moves(&self, counted: Counted) -> Moves {
        let mut moves = Moves::default();
        for rule in self.first.moved() {
            let open = self.open && rule.table != Table::Nat;
            moves.add(&rule, 1, (!open).then_some(1));
        }
        if counted.answers != Some(0) {
            let least = u64::from(counted.answers.is_some_and(|it| it > 0));
            for rule in self.answer.iter().flat_map(Journey::moved) {
                moves.add(&rule, least, counted.answers.map(|_| 1));
            }
        }
        for rule in &self.told {
            moves.add(rule, 1, None);
        }
        let rest = |packets: Option<u64>| packets.map(|it| it.saturating_sub(1));
        moves.packets(&self.later, rest(counted.opener));
        moves.packets(&self.answers, rest(counted.answers));
        moves
    }

    /// Why answers do not find their way back to `opener`, where they do not. Those of another pod have to leave this
    /// one, those of this pod to arrive.
    pub(super) fn lost(&self, opener: SocketAddr, leaves: bool) -> Option<String> {
        let answer = self.answer.as_ref()?;
        let back = match &answer.end {
            JourneyEnd::Delivered { at, .. } => !leaves && *at == opener,
            JourneyEnd::Sent { to } => leaves && *to == opener,
            JourneyEnd::Gone(_) | JourneyEnd::Unknown(_) => false,
        };
        let pod = &self.pod;
        match &answer.end {
            _ if back && self.answers_apart.is_some() && self.is_turned() => Some(format!(
                "in {pod} the answer is in another conntrack zone than the question, so nobody turns it back"
            )),
            _ if back => None,
            JourneyEnd::Delivered { at, .. } => Some(format!("in {pod} the answer ends at {at}")),
            JourneyEnd::Sent { to } => Some(format!("{pod} sends the answer out to {to}")),
            JourneyEnd::Gone(outcome) => Some(format!("in {pod} the answer is {outcome}")),
            JourneyEnd::Unknown(why) => {
                Some(format!("in {pod} the answer is lost sight of: {why}"))
            }
        }
    }

    /// Whether nat turned the connection elsewhere.
    fn is_turned(&self) -> bool {
        let mut all = self.first.passages.iter().flat_map(|it| &it.tables);
        all.any(|(_, it)| turns(&it.decided))
    }

    /// The rules of nat that moved, one list per traversal.
    pub fn nat_paths(&self) -> Vec<Vec<RuleId>> {
        let traversals = self.first.passages.iter().flat_map(|it| &it.tables);
        let nat = traversals.filter(|(table, _)| *table == Table::Nat);
        let paths = nat.map(|(_, traversal)| traversal.moved());
        paths.filter(|path| !path.is_empty()).collect()
    }
}

/// The way of a packet of a known connection; the zone, when it is an answer that rules put in another one than the
/// connection's.
pub(crate) fn follow(
    rules: &RuleSet,
    host: &Host,
    packet: Packet,
    known: Known,
    zone: u16,
) -> (Journey, Option<u16>) {
    let way = journey_of_known(rules, host, packet.clone(), known);
    match zone_of(&way).unwrap_or(0) {
        // In another zone conntrack knows nothing of the connection: the answer is a first packet.
        other if known.answers && other != zone => {
            let stranger = Packet {
                state: CtState::New,
                connmark: 0,
                ..packet
            };
            (journey(rules, host, stranger), Some(other))
        }
        _ => (way, None),
    }
}

/// Where nat turned the first packet to.
pub(crate) fn turned(first: &Journey, packet: &Packet) -> Option<Turned> {
    let to = match &first.end {
        JourneyEnd::Delivered { at, .. } => *at,
        JourneyEnd::Sent { to } => *to,
        JourneyEnd::Gone(_) | JourneyEnd::Unknown(_) => return None,
    };
    let at = first.passages.iter().find(|it| {
        let mut tables = it.tables.iter();
        tables.any(|(_, traversal)| turns(&traversal.decided))
    })?;
    Some(Turned {
        at: at.hook,
        from: packet.dst,
        to,
    })
}

/// The source that nat gave the first packet of a connection that goes on.
pub(crate) fn source(first: &Journey, packet: &Packet) -> Option<Source> {
    let left = &first.passages.last()?.left;
    let (from, to) = (packet.src.ip(), left.src.ip());
    let leaves = matches!(first.end, JourneyEnd::Sent { .. });
    (leaves && from != to).then_some(Source { from, to })
}

fn turns(outcome: &Outcome) -> bool {
    matches!(
        outcome,
        Outcome::Redirected { .. } | Outcome::DestinationNat { .. }
    )
}

/// Whether TPROXY handed the first packet to a socket.
pub(super) fn intercepted(first: &Journey) -> bool {
    let mut all = first.passages.iter().flat_map(|it| &it.tables);
    all.any(|(_, it)| matches!(it.decided, Outcome::Intercepted { .. }))
}

/// The zone conntrack looks the packet up in: the one raw left it in, at the first hook.
pub(crate) fn zone_of(way: &Journey) -> Option<u16> {
    let passage = way.passages.first()?;
    let asks = matches!(passage.hook, Hook::Prerouting | Hook::Output);
    let (_, raw) = passage.tables.first().filter(|_| asks)?;
    raw.left.zone
}

/// The packet after the last table.
fn left(way: &Journey) -> Option<&Packet> {
    let (_, last) = way.passages.iter().flat_map(|it| &it.tables).next_back()?;
    Some(&last.left)
}

/// The packet as one of a connection that conntrack knows.
pub(crate) fn established(packet: Packet) -> Packet {
    let tcp = packet.tcp_flags != TcpFlags::NONE;
    Packet {
        state: CtState::Established,
        tcp_flags: match tcp {
            true => TcpFlags::from_names("ACK").unwrap_or(TcpFlags::NONE),
            false => TcpFlags::NONE,
        },
        ..packet
    }
}
