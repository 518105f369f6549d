//! A trace in the network namespace of a process, with what else a person wants to know there: what the rules say, the
//! names of interfaces, conntrack's entries.

mod entries;
mod rules;

use std::{collections::BTreeMap, os::fd::BorrowedFd, time::Duration};

use self::{entries::Entries, rules::Rules};
use super::{Lost, Options, Selection, TraceError, TraceWatch};
use crate::{
    diagnostic::Diagnostic,
    evidence::ConntrackEntry,
    net::ProcessNamespace,
    netfilter::{ConntrackWatch, Held},
    rules::RuleSet,
    traced::{PodTrace, RuleTexts, TracedPacket},
};

/// Observers in the network namespace of a process, and what is known about that namespace. Dropping it removes the
/// observers, see [`TraceWatch`].
pub struct NamespaceTrace {
    namespace: ProcessNamespace,
    watch: TraceWatch,
    conntrack: ConntrackWatch,
    entries: Entries,
    rules: Rules,
    texts: RuleTexts,
    /// Generation of the rule set that the texts are of.
    texts_of: Option<u32>,
    interfaces: BTreeMap<u32, String>,
    /// Times that events of conntrack were lost.
    events_lost: u64,
}

impl NamespaceTrace {
    /// Reads the rules there, with the tools that hold them, and puts observers in.
    ///
    /// # Errors
    /// The namespace can't be entered, its rules can't be read, or there can't be observers, see
    /// [`TraceWatch::open`]. Nothing is left then.
    pub fn open(namespace: ProcessNamespace, selection: Selection) -> Result<Self, TraceError> {
        let opened = namespace.visit(|| {
            let rules = Rules::here(namespace.pid())?;
            let conntrack = ConntrackWatch::open()?;
            let watch = TraceWatch::open(Options {
                selection,
                legacy: rules.legacy.clone(),
                ..Options::default()
            })?;
            Ok::<_, TraceError>((rules, conntrack, watch, interfaces()))
        });
        let (rules, conntrack, watch, interfaces) = opened??;
        let mut trace = Self {
            namespace,
            watch,
            conntrack,
            entries: Entries::default(),
            rules,
            texts: RuleTexts::default(),
            texts_of: None,
            interfaces,
            events_lost: 0,
        };
        // The observers themselves made one generation; if that is all, the rules are as they were read.
        if trace.rules.generation.wrapping_add(1) == trace.watch.generation() {
            trace.rules.generation = trace.watch.generation();
        }
        trace.take_texts();
        trace.follow_rules()?;
        Ok(trace)
    }

    /// Process and namespace.
    pub fn namespace(&self) -> &ProcessNamespace {
        &self.namespace
    }

    /// Name of the table of observers.
    pub fn table(&self) -> &str {
        self.watch.table()
    }

    /// The rules there as their tools print them, by who holds them; none where there are no rules.
    pub fn held(&self) -> &[Held] {
        &self.rules.held
    }

    /// Complaints about rules that could not be read; there are no texts of those.
    pub fn unread(&self) -> &[Diagnostic] {
        &self.rules.unread
    }

    /// What the rules say that packets matched.
    pub fn texts(&self) -> &RuleTexts {
        &self.texts
    }

    /// Names of the interfaces by index: those that packets met, and those that were there at the beginning.
    pub fn interfaces(&self) -> &BTreeMap<u32, String> {
        &self.interfaces
    }

    /// conntrack's entry of a packet, as it began; none for one from before the trace.
    pub fn entry(&self, packet: &TracedPacket) -> Option<&ConntrackEntry> {
        self.entries.by_id.get(&packet.conntrack?.id)
    }

    /// What can be read when there is something to read, for waiting with others, see [`TraceWatch::as_fds`].
    pub fn as_fds(&self) -> [BorrowedFd<'_>; 2] {
        self.watch.as_fds()
    }

    /// Waits as [`TraceWatch::wait_beside`] does.
    ///
    /// # Errors
    /// poll(2) fails.
    pub fn wait(
        &self,
        others: &[BorrowedFd<'_>],
        timeout: Option<Duration>,
    ) -> Result<bool, TraceError> {
        self.watch.wait_beside(others, timeout)
    }

    /// Whether a packet is on its way, see [`TraceWatch::is_waiting`].
    pub fn is_waiting(&self) -> bool {
        self.watch.is_waiting()
    }

    /// Packets whose way is over, see [`TraceWatch::ended`].
    ///
    /// # Errors
    /// A socket fails, or rules that changed can't be read again.
    pub fn ended(&mut self) -> Result<Vec<TracedPacket>, TraceError> {
        let packets = self.watch.ended()?;
        self.learn(&packets)?;
        Ok(packets)
    }

    /// All packets so far, see [`TraceWatch::drain`], with the names of the interfaces.
    ///
    /// # Errors
    /// As [`NamespaceTrace::ended`].
    pub fn drain(&mut self) -> Result<PodTrace, TraceError> {
        let mut packets = self.watch.drain()?;
        self.learn(&packets)?;
        self.add_zones(&mut packets)?;
        Ok(PodTrace {
            interfaces: self.interfaces.clone(),
            packets,
        })
    }

    /// Puts conntrack's zones to packets. The kernel tells of an entry just after a packet's last observer, so this is
    /// to be called a moment after the packet was read, such as when its answer has come.
    ///
    /// # Errors
    /// A socket fails.
    pub fn add_zones<'a>(
        &mut self,
        packets: impl IntoIterator<Item = &'a mut TracedPacket>,
    ) -> Result<(), TraceError> {
        self.entries.add(self.conntrack.begun()?);
        self.events_lost += self.conntrack.newly_lost();
        for packet in packets {
            let entry = packet
                .conntrack
                .and_then(|it| self.entries.by_id.get(&it.id));
            super::add_zones(
                std::slice::from_mut(packet),
                entry.map_or(&[], std::slice::from_ref),
            );
        }
        Ok(())
    }

    /// What was lost since it was opened, events of conntrack included.
    pub fn lost(&self) -> Lost {
        let mut lost = self.watch.lost();
        lost.messages += self.events_lost;
        lost
    }

    /// Whether the rules of legacy iptables are others than at the beginning. The kernel does not report that; what
    /// was said of packets since is uncertain then.
    ///
    /// # Errors
    /// They can't be read.
    pub fn has_legacy_changed(&self) -> Result<bool, TraceError> {
        if self.rules.legacy.is_empty() {
            return Ok(false);
        }
        let now = self
            .namespace
            .visit(|| Rules::here(self.namespace.pid()))??;
        let bare = |sets: &[RuleSet]| -> Vec<RuleSet> {
            sets.iter().map(RuleSet::without_counters).collect()
        };
        Ok(bare(&now.legacy) != bare(&self.rules.legacy))
    }

    /// Removes the observers. What they saw last, and all that was lost.
    ///
    /// # Errors
    /// As [`NamespaceTrace::ended`]; the observers are gone all the same.
    pub fn stop(&mut self) -> Result<(Vec<TracedPacket>, Lost), TraceError> {
        self.watch.remove();
        let packets = self.watch.drain()?;
        self.learn(&packets)?;
        Ok((packets, self.lost()))
    }

    /// Finds out what is new in the namespace: interfaces that packets met, and other rules.
    fn learn(&mut self, packets: &[TracedPacket]) -> Result<(), TraceError> {
        if packets.is_empty() {
            return Ok(());
        }
        let stations = packets.iter().flat_map(|it| &it.stations);
        let mut met = stations.flat_map(|it| [it.input, it.output]).flatten();
        if met.any(|index| !self.interfaces.contains_key(&index)) {
            let now = self.namespace.visit(interfaces)?;
            self.interfaces.extend(now);
        }
        self.follow_rules()
    }

    /// Reads the rules again when there are others.
    fn follow_rules(&mut self) -> Result<(), TraceError> {
        if self.texts_of == Some(self.watch.generation()) {
            return Ok(());
        }
        let legacy = std::mem::take(&mut self.rules.legacy);
        let pid = self.namespace.pid();
        let rules = self.namespace.visit(|| Rules::here(pid));
        match rules.map_err(TraceError::from).and_then(|it| it) {
            // What the kernel's lines are understood by stays what it was.
            Ok(rules) => self.rules = Rules { legacy, ..rules },
            Err(error) => {
                self.rules.legacy = legacy;
                return Err(error);
            }
        }
        self.take_texts();
        // Whatever generation they were read at: a newer one brings us here again.
        self.texts_of = Some(self.watch.generation());
        Ok(())
    }

    /// Takes the texts of rules that are of the generation whose handles are known.
    fn take_texts(&mut self) {
        for set in &self.rules.legacy {
            self.texts.add_legacy(set);
        }
        if let Some(listing) = &self.rules.listing {
            self.texts.add_nft_listing(listing);
        }
        if self.rules.generation == self.watch.generation() {
            for set in &self.rules.nft {
                let handle = |chain: &_, ordinal| self.watch.handle_of(chain, ordinal);
                self.texts.add_iptables_nft(set, handle);
            }
            self.texts_of = Some(self.rules.generation);
        }
    }
}

/// Names of the interfaces in the namespace the calling thread is in; none where the kernel does not tell.
fn interfaces() -> BTreeMap<u32, String> {
    let Ok(all) = nix::net::if_::if_nameindex() else {
        return BTreeMap::new();
    };
    let named = all
        .iter()
        .map(|it| (it.index(), it.name().to_string_lossy().into_owned()));
    named.collect()
}
