//! Traces the packets of one namespace while it is there.

use std::{
    io,
    os::fd::AsFd,
    time::{Duration, Instant},
};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use super::{
    Lost, NftEvent, Options, TraceError, TracedPacket,
    assemble::Assembler,
    legacy::LegacyRules,
    log_groups::{LISTEN_LOG, LogGroup, bind_own_group, bind_trace_lines, gap, is_packet, leave},
    logger::Logger,
    netlink::{Asking, Heard, Listening, NFTABLES},
    observers::{Observers, TABLE_PREFIX},
    rulebook::RuleBook,
    ruleset,
    wire::{LogEvent, Message, messages},
};
use crate::rules::{RuleSet, Table};

/// Multicast group of changes of the rule set (NFNLGRP_NFTABLES in linux/netfilter/nfnetlink.h).
const GROUP_CHANGES: u32 = 7;
/// Multicast group of trace messages (NFNLGRP_NFTRACE).
const GROUP_TRACE: u32 = 9;
/// How long the report of a committed change may be on its way.
const REPORT_DEADLINE: Duration = Duration::from_secs(1);

/// Datagrams that one call reads from a socket while there is traffic, so that it comes to an end.
const READ_AT_ONCE: usize = 8_192;
/// No message takes less of a socket's room, with the kernel's own data about it.
const SMALLEST: usize = 512;

const INSTALL: &str = "install observers";
const LISTEN: &str = "listen to the trace of packets";

/// Observers in one namespace, and what they report. Dropping it removes the observers; so does the kernel, when the
/// process ends in whatever way.
///
/// Packets, rules and counters of the namespace stay as they are: the observers are in a table of their own, of type
/// filter, and accept everything.
pub struct TraceWatch {
    /// Owns the table of observers; `None` once they are removed.
    owner: Option<Asking>,
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

/// Whether a read came to the end of what was waiting.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Reached {
    End,
    Limit,
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
        let table = format!("{TABLE_PREFIX}{}", owner.port);
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
            owner: Some(owner),
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

    /// Waits until there is something to read. False when the time is over before.
    ///
    /// # Errors
    /// poll(2) fails.
    pub fn wait(&self, timeout: Duration) -> Result<bool, TraceError> {
        readable(&[&self.events, &self.logs], timeout).map_err(TraceError::netlink(LISTEN))
    }

    /// All packets so far, in the order they were first seen: to be called when the traffic is over. A packet that is
    /// still on its way comes in two parts, now and next time.
    ///
    /// # Errors
    /// A socket fails. What is lost is no error but counted, see [`TraceWatch::lost`].
    pub fn drain(&mut self) -> Result<Vec<TracedPacket>, TraceError> {
        // All that can have been waiting at this moment.
        let limit = self.events.room.max(self.logs.room) / SMALLEST;
        self.read(limit)?;
        if !self.held.is_empty() {
            // They were logged while the events that explain them had been read already; now those are there too.
            self.read(limit)?;
        }
        Ok(self.assembler.take(true))
    }

    /// Packets that nothing can follow any more: dropped, delivered or gone. For reading while there is traffic; one
    /// call reads a bounded part of what is waiting.
    ///
    /// # Errors
    /// As [`TraceWatch::drain`].
    pub fn ended(&mut self) -> Result<Vec<TracedPacket>, TraceError> {
        match self.read(READ_AT_ONCE)? {
            Reached::End => Ok(self.assembler.take(false)),
            // Lines about packets that have ended may be behind the limit.
            Reached::Limit => Ok(Vec::new()),
        }
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
    fn remove(&mut self) {
        if let Some(mut owner) = self.owner.take()
            && let Err(error) = owner.transact(&[Observers::removal(&self.table)])
        {
            tracing::warn!(table = self.table, %error, "could not remove the observers; closing their socket will");
        }
        self.loggers.clear();
    }

    /// Returns whether the log groups were read to their end.
    fn read(&mut self, limit: usize) -> Result<Reached, TraceError> {
        let mut events = Vec::new();
        let mut reached = self.read_events(limit, &mut events)?;
        // The trace names rules by handle; places are looked up in the rules as they are after the packets, which
        // tells together with the reports of changes which places are sure.
        while ruleset::generation(&mut self.queries)? != self.book.generation() {
            let rules = ruleset::read(&mut self.queries)?;
            let id = rules.id;
            self.book.advance(rules);
            reached = self.await_report(id, limit, &mut events)?;
        }
        for event in events {
            self.assembler.nft(event, &self.book);
        }
        self.book.settle();
        let last = reached == Reached::End;
        for event in std::mem::take(&mut self.held) {
            if !self.assembler.log(&event, &self.rules, last) {
                self.held.push(event);
            }
        }
        // After the events of nftables, so that most of what the lines are about is known.
        let reached = self.read_logs(limit)?;
        self.lost.fragments = self.assembler.fragments();
        let dropped = |socket: &Listening| socket.dropped().map_err(TraceError::netlink(LISTEN));
        self.lost.messages = dropped(&self.events)? + dropped(&self.logs)?;
        Ok(reached)
    }

    /// Reads on until the change that made this generation has been reported: what it changed must be known.
    fn await_report(
        &mut self,
        id: u32,
        limit: usize,
        events: &mut Vec<NftEvent>,
    ) -> Result<Reached, TraceError> {
        let deadline = Instant::now() + REPORT_DEADLINE;
        let overruns = self.lost.overruns;
        loop {
            let reached = self.read_events(limit, events)?;
            let behind = id.wrapping_sub(self.reported) as i32 > 0;
            let left = deadline.saturating_duration_since(Instant::now());
            if !behind {
                return Ok(reached);
            }
            if self.lost.overruns > overruns || left.is_zero() {
                self.book.lose_sight();
                return Ok(reached);
            }
            readable(&[&self.events], left).map_err(TraceError::netlink(LISTEN))?;
        }
    }

    fn read_events(
        &mut self,
        limit: usize,
        events: &mut Vec<NftEvent>,
    ) -> Result<Reached, TraceError> {
        let Self {
            events: socket,
            book,
            reported,
            lost,
            table,
            ..
        } = self;
        for _ in 0..limit {
            let mut unreadable = 0;
            let heard = socket.hear(&mut |datagram| {
                let Ok(messages) = messages(datagram) else {
                    unreadable += 1;
                    return;
                };
                for message in messages {
                    let read = read_event(&message, table, book, reported, events);
                    unreadable += u64::from(read.is_err());
                }
            });
            lost.unreadable += unreadable;
            match heard.map_err(TraceError::netlink(LISTEN))? {
                Heard::Datagram => {}
                Heard::Nothing => return Ok(Reached::End),
                Heard::Overrun => {
                    lost.overruns += 1;
                    book.lose_sight();
                }
            }
        }
        Ok(Reached::Limit)
    }

    fn read_logs(&mut self, limit: usize) -> Result<Reached, TraceError> {
        let Self {
            logs,
            groups,
            lost,
            assembler,
            rules,
            held,
            ..
        } = self;
        for _ in 0..limit {
            let heard = logs.hear(&mut |datagram| {
                let Ok(messages) = messages(datagram) else {
                    lost.unreadable += 1;
                    return;
                };
                for message in messages {
                    if !is_packet(&message) {
                        continue;
                    }
                    let Ok(event) = LogEvent::decode(message.body) else {
                        lost.unreadable += 1;
                        continue;
                    };
                    lost.log_gaps += gap(groups, &message, &event);
                    if !assembler.log(&event, rules, false) {
                        held.push(event);
                    }
                }
            });
            match heard.map_err(TraceError::netlink(LISTEN_LOG))? {
                Heard::Datagram => {}
                Heard::Nothing => return Ok(Reached::End),
                Heard::Overrun => lost.overruns += 1,
            }
        }
        Ok(Reached::Limit)
    }
}

impl Drop for TraceWatch {
    fn drop(&mut self) {
        self.remove();
        for group in &self.groups {
            if let Err(error) = leave(&self.logs, group.number) {
                tracing::warn!(group = group.number, %error, "could not leave an nflog group; closing its socket will");
            }
        }
    }
}

/// Takes a message of the two multicast groups.
fn read_event(
    message: &Message<'_>,
    own: &str,
    book: &mut RuleBook,
    reported: &mut u32,
    events: &mut Vec<NftEvent>,
) -> Result<(), super::wire::Malformed> {
    let [subsystem, kind] = message.kind.to_be_bytes();
    if subsystem != NFTABLES {
        return Ok(());
    }
    match kind {
        ruleset::TRACE => events.push(NftEvent::decode(message.body)?),
        ruleset::NEW_RULE | ruleset::DELETE_RULE => {
            let (chain, handle) = ruleset::rule(message.body)?;
            if chain.table != own {
                book.touch_rule(chain, handle);
            }
        }
        ruleset::NEW_CHAIN | ruleset::DELETE_CHAIN => {
            let (chain, _) = ruleset::chain(message.body)?;
            if chain.table != own {
                book.touch_chain(chain);
            }
        }
        ruleset::NEW_TABLE | ruleset::DELETE_TABLE => {
            let (family, table) = ruleset::table(message.body)?;
            if table != own {
                book.touch_table(family, table);
            }
        }
        ruleset::NEW_GENERATION => *reported = ruleset::generation_of(message.body)?,
        _ => {}
    }
    Ok(())
}

fn readable(sockets: &[&Listening], timeout: Duration) -> io::Result<bool> {
    let fds = sockets.iter().map(|it| it.as_socket().as_fd());
    let mut fds: Vec<PollFd<'_>> = fds.map(|fd| PollFd::new(fd, PollFlags::POLLIN)).collect();
    let timeout = PollTimeout::try_from(timeout).unwrap_or(PollTimeout::MAX);
    match poll(&mut fds, timeout) {
        Ok(count) => Ok(count > 0),
        Err(nix::errno::Errno::EINTR) => Ok(false),
        Err(error) => Err(error.into()),
    }
}
