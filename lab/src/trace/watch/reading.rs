//! What one call of a watch reads: first the events of nftables, then the log groups, then the loss.

use std::{
    io,
    os::fd::{AsFd, BorrowedFd},
    time::{Duration, Instant},
};

use nix::{
    errno::Errno,
    poll::{PollFd, PollFlags, PollTimeout, poll},
};

use super::{
    super::{
        Lost, NftEvent, TraceError,
        log_groups::{LISTEN_LOG, gap, is_packet},
        netlink::{Heard, Listening, NFTABLES},
        rulebook::RuleBook,
        ruleset,
        wire::{LogEvent, Malformed, Message, messages},
    },
    LISTEN, TraceWatch,
};

/// How long the report of a committed change may be on its way.
const REPORT_DEADLINE: Duration = Duration::from_secs(1);

impl TraceWatch {
    /// Reads what waits at this moment, and what the packets in it need to be understood. More may come meanwhile,
    /// faster than it can be read; so how much waits is asked before.
    ///
    /// The log groups are asked after the events were read: whatever was logged about those events is among it.
    pub(super) fn read(&mut self) -> Result<(), TraceError> {
        let mut events = Vec::new();
        self.read_events(&mut events)?;
        // The trace names rules by handle; places are looked up in the rules as they are after the packets, which
        // tells together with the reports of changes which places are sure.
        while ruleset::generation(&mut self.queries)? != self.book.generation() {
            let rules = ruleset::read(&mut self.queries)?;
            let id = rules.id;
            self.book.advance(rules);
            self.await_report(id, &mut events)?;
        }
        for event in events {
            self.assembler.nft(event, &self.book);
        }
        self.book.settle();
        // Their events were waiting when they were read, and have been read by now.
        for event in std::mem::take(&mut self.held) {
            self.assembler.log(&event, &self.rules, true);
        }
        self.read_logs()?;
        self.lost.fragments = self.assembler.fragments();
        let dropped = |socket: &Listening| socket.dropped().map_err(TraceError::netlink(LISTEN));
        self.lost.messages = dropped(&self.events)? + dropped(&self.logs)?;
        Ok(())
    }

    /// Reads on until the change that made this generation has been reported: what it changed must be known.
    fn await_report(&mut self, id: u32, events: &mut Vec<NftEvent>) -> Result<(), TraceError> {
        let deadline = Instant::now() + REPORT_DEADLINE;
        let overruns = self.lost.overruns;
        loop {
            self.read_events(events)?;
            let behind = id.wrapping_sub(self.reported) as i32 > 0;
            let left = deadline.saturating_duration_since(Instant::now());
            if !behind {
                return Ok(());
            }
            if self.lost.overruns > overruns || left.is_zero() {
                self.book.lose_sight();
                return Ok(());
            }
            readable(&[&self.events], &[], Some(left)).map_err(TraceError::netlink(LISTEN))?;
        }
    }

    fn read_events(&mut self, events: &mut Vec<NftEvent>) -> Result<(), TraceError> {
        let Self {
            events: socket,
            book,
            reported,
            lost,
            table,
            ..
        } = self;
        let failed = TraceError::netlink(LISTEN);
        let overruns = hear_all(socket, lost, &mut |message, _| {
            read_event(message, table, book, reported, events)
        });
        if overruns.map_err(failed)? > 0 {
            book.lose_sight();
        }
        Ok(())
    }

    fn read_logs(&mut self) -> Result<(), TraceError> {
        let Self {
            logs,
            groups,
            lost,
            assembler,
            rules,
            held,
            ..
        } = self;
        let failed = TraceError::netlink(LISTEN_LOG);
        let overruns = hear_all(logs, lost, &mut |message, lost| {
            if !is_packet(message) {
                return Ok(());
            }
            let event = LogEvent::decode(message.body)?;
            lost.log_gaps += gap(groups, message, &event);
            if !assembler.log(&event, rules, false) {
                held.push(event);
            }
            Ok(())
        });
        overruns.map(|_| ()).map_err(failed)
    }
}

/// Hears what waits in a socket now, and returns how often the kernel said that it lost some. `take` says if it can't
/// read a message; that is counted.
fn hear_all(
    socket: &mut Listening,
    lost: &mut Lost,
    take: &mut dyn FnMut(&Message<'_>, &mut Lost) -> Result<(), Malformed>,
) -> io::Result<u64> {
    let mut overruns = 0;
    for _ in 0..socket.waiting()? {
        let heard = socket.hear(&mut |datagram| {
            let Ok(messages) = messages(datagram) else {
                lost.unreadable += 1;
                return;
            };
            for message in messages {
                let unreadable = take(&message, lost).is_err();
                lost.unreadable += u64::from(unreadable);
            }
        });
        match heard? {
            Heard::Datagram => {}
            Heard::Nothing => break,
            Heard::Overrun => overruns += 1,
        }
    }
    lost.overruns += overruns;
    Ok(overruns)
}

/// Takes a message of the two multicast groups.
fn read_event(
    message: &Message<'_>,
    own: &str,
    book: &mut RuleBook,
    reported: &mut u32,
    events: &mut Vec<NftEvent>,
) -> Result<(), Malformed> {
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

/// False when the time is over before, or a signal came.
pub(super) fn readable(
    sockets: &[&Listening],
    others: &[BorrowedFd<'_>],
    timeout: Option<Duration>,
) -> io::Result<bool> {
    let sockets = sockets.iter().map(|it| it.as_socket().as_fd());
    let all = sockets.chain(others.iter().copied());
    let mut fds: Vec<PollFd<'_>> = all.map(|fd| PollFd::new(fd, PollFlags::POLLIN)).collect();
    let timeout = timeout.map_or(PollTimeout::NONE, |it| {
        // What is left of a millisecond must not become none: that would be a busy loop.
        let least = Duration::from_millis(u64::from(!it.is_zero()));
        PollTimeout::try_from(it.max(least)).unwrap_or(PollTimeout::MAX)
    });
    match poll(&mut fds, timeout) {
        Ok(count) => Ok(count > 0),
        Err(Errno::EINTR) => Ok(false),
        Err(error) => Err(error.into()),
    }
}
