//! What happens in the pod that is looked at: connections by a trace, counters by reading the rules.

use std::{os::fd::BorrowedFd, time::Instant};

use super::{
    super::counters::counted,
    view::{Connection, Counted},
};
use crate::{
    failure::Failure,
    live::RunningLab,
    rules::spec_text,
    trace::{NamespaceTrace, Selection},
    traced::{Block, Blocks, Header, Ordinal},
};

/// The pod, with observers in it until this is dropped.
pub(super) struct Watched {
    pod: String,
    trace: NamespaceTrace,
    blocks: Blocks,
}

impl Watched {
    pub fn open(lab: &RunningLab, pod: &str) -> Result<Self, Failure> {
        Ok(Self {
            pod: pod.to_owned(),
            trace: NamespaceTrace::open(lab.namespace_of(pod)?, Selection::default())?,
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
        let mut all = Vec::new();
        for held in counted(&self.pod, self.trace.namespace(), None)? {
            let tables = held.rules.tables.keys();
            all.extend(
                tables
                    .flat_map(|table| held.rules.rules(*table))
                    .map(|(id, rule)| {
                        let text = spec_text(&id.chain, &rule.spec);
                        Counted {
                            // Without `-A CHAIN`.
                            text: text.splitn(3, ' ').nth(2).unwrap_or_default().to_owned(),
                            packets: rule.counters.map(|it| it.packets),
                            by: held.by,
                            id,
                        }
                    }),
            );
        }
        Ok(all)
    }
}

/// A connection as its first packet shows it; none for one whose beginning was not seen.
fn connection(block: Block) -> Option<Connection> {
    let (_, first) = block.packets.into_iter().find(|(reply, _)| !reply)?;
    let (began, ended) = (first.first(), first.last());
    let rules = first.rules().map(|(_, place, _)| match &place.ordinal {
        Ordinal::Known(ordinal) => format!("{} {ordinal}", place.chain.chain),
        Ordinal::Unknown(_) => format!("{} ?", place.chain.chain),
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
