//! Traces the packets of one namespace while it is there.

mod reading;

use std::{
    os::fd::{AsFd as _, BorrowedFd},
    time::{Duration, Instant},
};

use self::reading::readable;
use super::{
    ChainName, Lost, Options, TraceError, TracedPacket,
    assemble::Assembler,
    legacy::LegacyRules,
    log_groups::{LISTEN_LOG, LogGroup, bind_own_group, bind_trace_lines, leave},
    logger::Logger,
    netlink::{Asking, Listening},
    observers::Observers,
    rulebook::RuleBook,
    ruleset,
    wire::LogEvent,
};
use crate::{
    rules::{RuleSet, Table},
    traced::OBSERVER_TABLES,
};

/// Multicast group of changes of the rule set (NFNLGRP_NFTABLES in linux/netfilter/nfnetlink.h).
const GROUP_CHANGES: u32 = 7;
/// Multicast group of trace messages (NFNLGRP_NFTRACE).
const GROUP_TRACE: u32 = 9;

const INSTALL: &str = "install observers";
const LISTEN: &str = "listen to the trace of packets";

/// Observers in one namespace, and what they report. Dropping it removes the observers; so does the kernel, when the
/// process ends in whatever way.
///
/// Packets, rules and counters of the namespace stay as they are: the observers are in a table of their own, of type
/// filter, and accept everything.
pub struct TraceWatch {
    /// Owns the table of observers.
    owner: Asking,
    is_there: bool,
    queries: Asking,
    events: Listening,
    logs: Listening,
    groups: Vec<LogGroup>,
    loggers: Vec<Logger>,
    table: String,
    book: RuleBook,
    /// Newest generation whose report was read.
    reported: u32,
    rules: LegacyRules,
    assembler: Assembler,
    lost: Lost,
    /// Log messages whose packet is not known yet.
    held: Vec<LogEvent>,
}

impl TraceWatch {
    /// Puts observers into the namespace the calling thread is in, and listens. The watch keeps that namespace,
    /// whoever uses it.
    ///
    /// # Errors
    /// No right to do so (CAP_NET_ADMIN in the namespace), a kernel without nftables or nflog, or another program
    /// that reads ip_tables' TRACE lines. Nothing is left then.
    pub fn open(options: Options) -> Result<Self, TraceError> {
        let Options {
            selection,
            legacy,
            room,
        } = options;
        let asking = || Asking::open().map_err(TraceError::netlink(INSTALL));
        let (mut owner, mut queries) = (asking()?, asking()?);
        let listen = || {
            let mut events = Listening::open(room)?;
            events.join(GROUP_CHANGES)?;
            events.join(GROUP_TRACE)?;
            Ok(events)
        };
        let events = listen().map_err(TraceError::netlink(LISTEN))?;
        let mut logs = Listening::open(room).map_err(TraceError::netlink(LISTEN_LOG))?;
        let own_group = bind_own_group(&mut logs)?;
        let mut groups = vec![LogGroup::new(own_group)];
        if !legacy.is_empty() {
            groups.push(LogGroup::new(bind_trace_lines(&mut logs)?));
        }
        let loggers = legacy.iter().map(|set| Logger::take_over(set.family));
        let loggers = loggers.collect::<Result<_, _>>()?;
        let before = ruleset::read(&mut queries)?;
        let has_nat = |set: &RuleSet| set.tables.contains_key(&Table::Nat);
        let table = format!("{OBSERVER_TABLES}{}", owner.port);
        let observers = Observers {
            table: &table,
            group: own_group,
            selection: &selection,
            conntrack: before.has_nat() || legacy.iter().any(has_nat),
        };
        let orders = observers.orders();
        let installed = owner.transact(&orders);
        installed.map_err(TraceError::netlink(INSTALL))?;
        let after = ruleset::read(&mut queries)?;
        let reported = before.id;
        let book = if after.id == before.id.wrapping_add(1) {
            RuleBook::new(after)
        } else {
            let mut book = RuleBook::new(before);
            book.advance(after);
            book
        };
        Ok(Self {
            owner,
            is_there: true,
            queries,
            events,
            logs,
            groups,
            loggers,
            assembler: Assembler::new(table.clone()),
            table,
            book,
            reported,
            rules: LegacyRules(legacy),
            lost: Lost::default(),
            held: Vec::new(),
        })
    }

    /// Name of the table of observers.
    pub fn table(&self) -> &str {
        &self.table
    }

    /// Bytes the kernel gives each socket for what has not been read.
    pub fn room(&self) -> usize {
        self.events.room
    }

    /// Number of the rule set's generation that the places of rules are of; every change of rules by nft or
    /// iptables-nft makes another one, also that of the observers themselves. Legacy iptables has none.
    pub fn generation(&self) -> u32 {
        self.book.generation()
    }

    /// nftables' handle of the rule at a place, counted from 1, in that generation.
    pub fn handle_of(&self, chain: &ChainName, ordinal: u32) -> Option<u64> {
        self.book.handle(chain, ordinal)
    }

    /// Waits until there is something to read. False when the time is over before.
    ///
    /// # Errors
    /// poll(2) fails.
    pub fn wait(&self, timeout: Duration) -> Result<bool, TraceError> {
        self.wait_beside(&[], Some(timeout))
    }

    /// Waits until there is something to read, here or from one of these; without a timeout, as long as it takes.
    /// False when the time is over before, or a signal came.
    ///
    /// # Errors
    /// poll(2) fails.
    pub fn wait_beside(
        &self,
        others: &[BorrowedFd<'_>],
        timeout: Option<Duration>,
    ) -> Result<bool, TraceError> {
        readable(&[&self.events, &self.logs], others, timeout).map_err(TraceError::netlink(LISTEN))
    }

    /// What can be read when there is something to read: for a loop that waits for much else.
    pub fn as_fds(&self) -> [BorrowedFd<'_>; 2] {
        [&self.events, &self.logs].map(|it| it.as_socket().as_fd())
    }

    /// All packets so far, in the order they were first seen: to be called when the traffic is over. A packet that is
    /// still on its way comes in two parts, now and next time.
    ///
    /// # Errors
    /// A socket fails. What is lost is no error but counted, see [`TraceWatch::lost`].
    pub fn drain(&mut self) -> Result<Vec<TracedPacket>, TraceError> {
        self.read()?;
        if !self.held.is_empty() {
            // They were logged while the events that explain them had been read already; now those are there too.
            self.read()?;
        }
        Ok(self.assembler.take_all())
    }

    /// Packets that nothing can follow any more: dropped, delivered or gone; and those of which nothing was seen for
    /// a second, with a doubt that says so. For reading while there is traffic: one call reads what was waiting when
    /// it began, and no more.
    ///
    /// # Errors
    /// As [`TraceWatch::drain`].
    pub fn ended(&mut self) -> Result<Vec<TracedPacket>, TraceError> {
        self.read()?;
        Ok(self.assembler.take_ended(Instant::now()))
    }

    /// Whether a packet is on its way, so that [`TraceWatch::ended`] may give one although nothing more is to be read.
    pub fn is_waiting(&self) -> bool {
        self.assembler.is_waiting()
    }

    /// What was lost since the watch was opened.
    pub fn lost(&self) -> Lost {
        self.lost
    }

    /// Removes the observers, and returns what they saw last and all that was lost.
    ///
    /// # Errors
    /// As [`TraceWatch::drain`]; the observers are gone all the same.
    pub fn stop(mut self) -> Result<(Vec<TracedPacket>, Lost), TraceError> {
        self.remove();
        let packets = self.drain()?;
        Ok((packets, self.lost))
    }

    /// Removes the table and sets back the loggers.
    ///
    /// To close the socket would do, were it not for a child that another thread is just starting: until it executes
    /// its program it holds a copy of the socket, and with it the table.
    pub(super) fn remove(&mut self) {
        if std::mem::take(&mut self.is_there)
            && let Err(error) = self.owner.transact(&[Observers::removal(&self.table)])
        {
            tracing::warn!(table = self.table, %error, "could not remove the observers; closing their socket will");
        }
        self.loggers.clear();
    }
}

impl TraceWatch {
    /// Leaves the namespace as if it had never been there: without table, loggers and log groups. What remains is to
    /// drop the watch: to close the socket that owned a table takes some milliseconds, for which the kernel waits (a
    /// grace period of RCU), and which are nobody's to wait for.
    pub fn withdraw(&mut self) {
        self.remove();
        for group in self.groups.drain(..) {
            if let Err(error) = leave(&self.logs, group.number) {
                tracing::warn!(group = group.number, %error, "could not leave an nflog group; closing its socket will");
            }
        }
    }
}

impl Drop for TraceWatch {
    fn drop(&mut self) {
        self.withdraw();
    }
}
