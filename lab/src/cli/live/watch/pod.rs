//! What happens in the pod that is looked at: connections by a trace, counters by reading the rules.

use std::{os::fd::BorrowedFd, time::Instant};

use super::view::{Connection, Counted};
use crate::{
    failure::Failure,
    live::RunningLab,
    net::ProcessNamespace,
    netfilter::rules_here,
    rules::{self, Family, spec_text},
    trace::{NamespaceTrace, Selection},
    traced::{Block, Blocks, Header},
};

/// The pod, with observers in it until this is dropped.
pub(super) struct Watched {
    trace: NamespaceTrace,
    blocks: Blocks,
}

impl Watched {
    pub fn open(lab: &RunningLab, pod: &str) -> Result<Self, Failure> {
        let namespace = ProcessNamespace::open(lab.pid_in(pod)?)?;
        Ok(Self {
            trace: NamespaceTrace::open(namespace, Selection::default())?,
            blocks: Blocks::default(),
        })
    }

    /// What can be read when there is something to read.
    pub fn as_fds(&self) -> [BorrowedFd<'_>; 2] {
        self.trace.as_fds()
    }

    /// When there may be something to show although nothing is to be read.
    pub fn next(&self) -> Option<Instant> {
        self.blocks.next()
    }

    /// Connections that began.
    pub fn connections(&mut self) -> Result<Vec<Connection>, Failure> {
        let now = Instant::now();
        for packet in self.trace.ended()? {
            self.blocks.add(packet, now);
        }
        let blocks = self.blocks.ready(now, |_| true).into_iter();
        Ok(blocks
            .filter(|it| !it.again)
            .filter_map(connection)
            .collect())
    }

    /// The rules, with what they counted.
    pub fn rules(&self) -> Result<Vec<Counted>, Failure> {
        let namespace = self.trace.namespace();
        let place = format!("process {}", namespace.pid());
        let held = namespace.visit(|| rules_here(&place))??;
        let mut all = Vec::new();
        for held in held {
            // What can't be read was said of the lab when it came up, and has no counters to show.
            let read = rules::read(&held.text, &place, Family::V4).and_then(|it| it.rules());
            for set in read.unwrap_or_default() {
                let rules = set.tables.keys().flat_map(|table| set.rules(*table));
                all.extend(rules.map(|(id, rule)| {
                    let text = spec_text(&id.chain, &rule.spec);
                    let text = text.splitn(3, ' ').nth(2).unwrap_or_default().to_owned();
                    Counted {
                        text,
                        packets: rule.counters.map(|it| it.packets),
                        id,
                    }
                }));
            }
        }
        Ok(all)
    }
}

/// A connection as its first packet shows it; none for one whose beginning was not seen.
fn connection(block: Block) -> Option<Connection> {
    let (_, first) = block.packets.into_iter().find(|(reply, _)| !reply)?;
    let (began, ended) = (first.first(), first.last());
    let rules = first.rules().map(|(_, place, _)| match &place.ordinal {
        crate::traced::Ordinal::Known(ordinal) => format!("{} {ordinal}", place.chain.chain),
        crate::traced::Ordinal::Unknown(_) => format!("{} ?", place.chain.chain),
    });
    let path = rules.collect::<Vec<_>>().join(" > ");
    let became = match first.dropped() {
        Some(step) => Some(format!("dropped: {step}")),
        None => {
            let moved = began.destination_end() != ended.destination_end();
            moved.then(|| format!("⇒ {}", ended.destination_end()))
        }
    };
    Some(Connection {
        ends: ends(began),
        path,
        became,
    })
}

fn ends(header: &Header) -> String {
    let protocol = match header.protocol {
        6 => "tcp",
        17 => "udp",
        _ => "icmp",
    };
    format!(
        "{protocol} {} → {}",
        header.source_end(),
        header.destination_end()
    )
}
