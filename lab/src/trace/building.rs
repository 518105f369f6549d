//! A packet that is being put together: whether it can have come to a place, and what it was when it is done. Pure.

use std::time::{Duration, Instant};

use super::{
    ConntrackSeen, Hook, NftEvent, NftKind, Ordinal, Owner, PacketConntrack, RulePlace, Source,
    Station, Step, Told, TracedPacket, Verdict,
    rulebook::RuleBook,
    wire::{Identity, TraceLine},
};

/// Index of lo, in every namespace.
const LO: u32 = 1;

/// A station is named by hook and priority while stations may still be put before it.
pub(super) type Place = (Hook, i32, Source);

#[derive(Debug)]
pub(super) struct Building {
    pub stations: Vec<Station>,
    pub identity: Identity,
    pub owner: Option<Owner>,
    pub conntrack: Option<PacketConntrack>,
    pub doubts: Vec<String>,
    /// Mark after the last event.
    pub mark: Option<u32>,
    /// Nothing can follow: it was dropped, delivered, or has left.
    pub ended: bool,
    /// What was known of it when it was last looked at, and since when that is all.
    seen: Option<(usize, Instant)>,
}

impl Building {
    pub fn new(identity: Identity) -> Self {
        Self {
            stations: Vec::new(),
            identity,
            owner: None,
            conntrack: None,
            doubts: Vec::new(),
            mark: None,
            ended: false,
            seen: None,
        }
    }

    /// Gives up on a packet of which there has been nothing new for longer than `patience`.
    pub fn look_at(&mut self, now: Instant, patience: Duration) {
        let steps = self.stations.iter().map(|it| it.steps.len());
        let known = self.stations.len() + steps.sum::<usize>();
        match self.seen {
            Some((before, since)) if before == known => {
                if !self.ended && now.saturating_duration_since(since) >= patience {
                    self.ended = true;
                    let last = self.stations.last().map(|it| it.hook);
                    let after = last.map(|hook| format!(" after {hook}"));
                    self.doubts.push(format!(
                        "it was not seen{}: routing or a socket dropped it, or its reports were lost",
                        after.unwrap_or_default()
                    ));
                }
            }
            _ => self.seen = Some((known, now)),
        }
    }

    /// Whether this packet, having been where it was, can have come to a station.
    pub fn can_come_to(&self, station: &Station) -> bool {
        // Lines of ip_tables come from another socket: they may be ahead of the events.
        let mut events = self.stations.iter().rev();
        let Some(last) = events.find(|it| it.source != Source::LegacyTrace) else {
            return true;
        };
        let next = if last.hook == station.hook {
            (last.priority, &last.chain) < (station.priority, &station.chain)
        } else {
            last.hook.leads_to(station.hook)
                && (last.hook != Hook::Postrouting
                    || (last.output == Some(LO) && station.input == Some(LO)))
        };
        let entry = |seen: &Option<ConntrackSeen>| seen.and_then(|it| it.id);
        let same_entry = match (self.conntrack, entry(&station.conntrack)) {
            (Some(known), Some(id)) => known.id == id,
            _ => true,
        };
        !self.ended && next && same_entry
    }

    /// Whether a TRACE line is about this packet: it passed the hook, and has not been through this table there.
    pub fn takes_line(&self, place: Place, line: &TraceLine) -> bool {
        let (hook, ..) = place;
        let Some(station) = self.stations.iter().find(|it| it.place() == place) else {
            // Dropped before the beacon of this hook, it was last seen at the one before.
            let next = || {
                hook != Hook::Prerouting
                    && self
                        .stations
                        .last()
                        .is_some_and(|it| it.hook.leads_to(hook))
            };
            return self.stations.iter().any(|it| it.hook == hook) || (!self.ended && next());
        };
        // In the base chain numbers only go up.
        let last = station.steps.iter().rev().find_map(|step| match step {
            Step::Rule { place, .. } if place.chain == station.chain => Some(place),
            _ => None,
        });
        let goes_on = match last.map(|place| &place.ordinal) {
            Some(Ordinal::Known(last)) if line.chain == hook.chain() => *last < line.number,
            _ => true,
        };
        !self.is_through(place) && goes_on
    }

    /// Whether the base chain at a place has come to a decision.
    pub fn is_through(&self, place: Place) -> bool {
        let station = self.stations.iter().find(|it| it.place() == place);
        station.is_some_and(|station| {
            station.steps.iter().any(|step| match step {
                Step::Policy { .. } => true,
                Step::Rule { verdict, .. } => verdict.ends_chain(),
                Step::End { .. } => false,
            })
        })
    }

    /// One of our own chains is through with it. The last ones of INPUT and POSTROUTING are the last there are.
    pub fn left(&mut self, station: usize) {
        let Station {
            hook,
            priority,
            output,
            ..
        } = &self.stations[station];
        let leaves = *hook == Hook::Postrouting && *output != Some(LO);
        self.ended |= *priority > 0 && (*hook == Hook::Input || leaves);
    }

    pub fn arrive(&mut self, station: Station) {
        if let Some(seen) = station.conntrack
            && let Some(id) = seen.id
        {
            self.conntrack = Some(PacketConntrack {
                id,
                reply: seen.reply,
                status: seen.status,
                state: seen.state,
                zone: None,
            });
        }
        let hooks = self.stations.iter().map(|it| it.hook);
        let at = hooks.clone().position(|hook| hook == station.hook);
        let at = match at {
            None => self.stations.len(),
            Some(first) => {
                let rest = &self.stations[first..];
                let before = rest
                    .iter()
                    .take_while(|it| it.hook == station.hook && it.priority <= station.priority);
                first + before.count()
            }
        };
        self.stations.insert(at, station);
    }

    pub fn step(&mut self, station: usize, event: NftEvent, book: &RuleBook) {
        let station = &mut self.stations[station];
        let base = event.chain == station.chain;
        let step = match (event.kind, event.handle) {
            (NftKind::Policy(verdict), _) => Step::Policy {
                chain: event.chain,
                verdict,
            },
            (NftKind::Rule(verdict) | NftKind::Return(verdict), Some(handle)) => Step::Rule {
                place: RulePlace {
                    ordinal: book.ordinal(&event.chain, handle),
                    chain: event.chain,
                    handle: Some(handle),
                },
                verdict,
                told: Told::Kernel,
                mark: event.mark,
            },
            // The policy, which comes next, says the same of a base chain.
            (NftKind::Rule(_) | NftKind::Return(_), None) if base => return,
            (NftKind::Rule(_) | NftKind::Return(_), None) => Step::End {
                rules: book.rules_in(&event.chain),
                chain: event.chain,
            },
        };
        self.ended |= step.drops();
        station.steps.push(step);
    }

    pub fn finish(mut self) -> TracedPacket {
        let count = self.stations.len();
        for (n, station) in self.stations.iter_mut().enumerate() {
            // It was seen later, so the last rule of this table let it go on.
            if let Some(Step::Rule { verdict, told, .. }) = station.steps.last_mut()
                && *verdict == Verdict::NotTold
                && n + 1 < count
            {
                (*verdict, *told) = (Verdict::Accept, Told::WentOn);
            }
        }
        let first = &self.stations[0];
        let owner = self.owner.unwrap_or_else(|| {
            let answer = first.header.tcp.is_some_and(|tcp| tcp.flags & 0x12 == 0x12);
            Owner::Missing(
                match (first.hook, answer) {
                    (Hook::Output, true) => "the kernel names no owner of a SYN-ACK in nflog",
                    (Hook::Output, false) => "no socket sent it, or its report was lost",
                    _ => "it came in by an interface",
                }
                .into(),
            )
        });
        TracedPacket {
            stations: self.stations,
            conntrack: self.conntrack,
            owner,
            doubts: self.doubts,
        }
    }
}

impl Station {
    pub(super) fn place(&self) -> Place {
        (self.hook, self.priority, self.source)
    }
}
