//! What is traced in the pods. Observers stay as long as the lab, and are read after each flow; in a lab that outlives
//! its command they are there only while a flow is sent: who looks around in a pod finds the pod's own rules.

use std::{collections::BTreeMap, thread};

use nix::net::if_::if_nameindex;

use super::live::Live;
use crate::{
    evidence::ConntrackEntry,
    failure::Failure,
    net::Job,
    netfilter::{Backend, RuleTool as Tool},
    rules::RuleSet,
    topology::NODE,
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
    /// Puts observers into the namespace of the calling thread, whose rules are `saved`; none with tracing off. Of these
    /// only those of legacy iptables matter. `room` is that of each socket, where it is not the usual.
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

impl Live {
    /// Puts observers into every pod that has none, all pods at once. They know the legacy rules that were read last.
    ///
    /// # Errors
    /// As [`TraceWatch::open`], for the first pod; others may have observers then.
    pub fn observe(&mut self) -> Result<(), Failure> {
        let (tracing, tool, room) = (self.tracing, self.tool, self.event_room);
        let mut jobs = Vec::new();
        let pods = self.pods.iter_mut().filter(|(name, _)| *name != NODE);
        let pods = pods.map(|(_, pod)| pod);
        for pod in pods.filter(|pod| pod.trace.is_none()) {
            let rules = pod.legacy.clone();
            let job = pod
                .namespace
                .job(move |_| PodWatch::open(tracing, tool, &rules, room));
            jobs.push((pod, job));
        }
        // All have begun: one that fails leaves nothing that is still to come.
        let opened: Vec<_> = jobs
            .into_iter()
            .map(|(pod, job)| (pod, job.wait()))
            .collect();
        for (pod, watch) in opened {
            pod.trace = watch??;
        }
        Ok(())
    }

    /// Removes the observers from every pod, and waits until they are gone.
    pub fn stop_observing(&mut self) {
        let mut jobs = Vec::new();
        for pod in self.pods.values_mut() {
            if let Some(mut watch) = pod.trace.take() {
                jobs.push(pod.namespace.job(move |_| {
                    watch.watch.withdraw();
                    watch
                }));
            }
        }
        // A thread is gone only with its namespace.
        let gone: Vec<_> = jobs.into_iter().flat_map(Job::wait).collect();
        // To close their sockets takes longer, see `withdraw`.
        thread::spawn(move || drop(gone));
    }

    /// From now on commands come and go.
    pub fn keep(&mut self) {
        self.is_kept = true;
        self.stop_observing();
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
