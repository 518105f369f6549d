//! What is traced in one pod: observers that stay as long as the lab, read after each flow.

use std::collections::BTreeMap;

use nix::net::if_::if_nameindex;

use crate::{
    evidence::ConntrackEntry,
    failure::Failure,
    netfilter::{Backend, RuleTool as Tool},
    rules::RuleSet,
    trace::{self, Lost, Options, Packets, Selection, TraceError, TraceWatch, TracedPacket},
    traced::{PodTrace, Tracing},
};

/// With less room than this for what has not been read, an ordinary user's share, a flow is read while it goes on.
const ROOM_FOR_A_FLOW: usize = 4 << 20;

/// The trace of one pod.
pub(super) struct PodWatch {
    watch: TraceWatch,
    /// Names by index.
    interfaces: BTreeMap<u32, String>,
    /// Read before the flow was over.
    early: Vec<TracedPacket>,
    /// Told already.
    told: Lost,
}

impl PodWatch {
    /// Puts observers into the namespace of the calling thread, whose rules are `saved`; none with tracing off. `room` is
    /// that of each socket, where it is not the usual.
    ///
    /// # Errors
    /// As [`TraceWatch::open`].
    pub fn open(
        tracing: Tracing,
        tool: Tool,
        saved: &[RuleSet],
        room: Option<usize>,
    ) -> Result<Option<Self>, TraceError> {
        let packets = match tracing {
            Tracing::Off => return Ok(None),
            Tracing::FirstAndReply => Packets::FirstAndReply,
            Tracing::All => Packets::All,
        };
        let legacy = match tool {
            Tool::Iptables(Backend::Legacy) => saved.to_vec(),
            Tool::Iptables(Backend::Nft) | Tool::Nft => Vec::new(),
        };
        let usual = Options::default();
        let watch = TraceWatch::open(Options {
            selection: Selection {
                packets,
                ..Selection::default()
            },
            legacy,
            room: room.unwrap_or(usual.room),
        })?;
        Ok(Some(Self {
            watch,
            interfaces: interfaces(),
            early: Vec::new(),
            told: Lost::default(),
        }))
    }

    /// The rules of legacy iptables are these from now on: its trace names places only.
    pub fn rules_are(&mut self, held: Vec<RuleSet>) {
        self.watch.legacy_rules_are(held);
    }

    /// Makes room, where there is little of it.
    ///
    /// # Errors
    /// A socket failed.
    pub fn make_room(&mut self) -> Result<(), TraceError> {
        if self.watch.room() < ROOM_FOR_A_FLOW {
            self.early.extend(self.watch.ended()?);
        }
        Ok(())
    }

    /// Packets since the last call, and what was lost of them, in words.
    ///
    /// # Errors
    /// A socket failed.
    pub fn take(&mut self) -> Result<(PodTrace, Option<String>), Failure> {
        let mut packets = std::mem::take(&mut self.early);
        packets.extend(self.watch.drain()?);
        let lost = self.watch.lost();
        let words = lost.since(self.told).words();
        self.told = lost;
        let trace = PodTrace {
            interfaces: self.interfaces.clone(),
            packets,
        };
        Ok((trace, words))
    }
}

/// Puts in what conntrack's own netlink tells of the same connections.
pub(super) fn complete(
    traces: &mut BTreeMap<String, PodTrace>,
    entries: &BTreeMap<String, Vec<ConntrackEntry>>,
) {
    for (pod, trace) in traces {
        if let Some(entries) = entries.get(pod) {
            trace::add_zones(&mut trace.packets, entries);
        }
    }
}

/// Of the namespace the calling thread is in. A trace without names tells indexes.
fn interfaces() -> BTreeMap<u32, String> {
    let named = if_nameindex().map(|all| {
        all.iter()
            .map(|it| (it.index(), it.name().to_string_lossy().into_owned()))
            .collect()
    });
    named.unwrap_or_else(|error| {
        tracing::warn!(%error, "could not read the names of the interfaces");
        BTreeMap::new()
    })
}
