//! conntrack over netlink, for the namespace the calling thread is in.

pub(super) mod wire;

use std::{
    collections::{BTreeMap, BTreeSet},
    io,
    net::SocketAddr,
    os::fd::{AsRawFd, BorrowedFd},
    time::Instant,
};

use hoplab_proxies::record::Transport;
use netlink_sys::{Socket, SocketAddr as NetlinkAddr, protocols::NETLINK_NETFILTER};
use nix::{
    errno::Errno,
    libc,
    poll::{PollFd, PollFlags, PollTimeout, poll},
};

use super::{NetfilterError, room};
use crate::evidence::{ConntrackEntry, Tracked};

/// Multicast groups of new and of changed entries (NFNLGRP_CONNTRACK_NEW and _UPDATE in linux/netfilter/nfnetlink.h).
const GROUPS: [u32; 2] = [1, 2];
/// Room for events between two reads; one event is about 200 bytes, so this holds tens of thousands.
const RECEIVE_BUFFER: usize = 16 << 20;

/// Every TCP and UDP entry that conntrack makes in one namespace, from the moment this is opened.
///
/// Events, not dumps: a dump walks the hash table of the whole machine (20 ms and more) and misses entries that came
/// and went, such as those of refused connections. The kernel queues an event before the packet goes on, so what a
/// flow made is there once the flow is over.
pub struct ConntrackWatch {
    events: Socket,
    queries: Socket,
    /// Made since the last [`Self::take`], as they began.
    fresh: Vec<ConntrackEntry>,
    /// Those of them whose TCP connection is not over: source of the opener, by the kernel's id.
    open: BTreeMap<u32, SocketAddr>,
    /// Entries of UDP stay when they are taken.
    keeps_udp: bool,
    /// Events the kernel had no room for, and how many of them were told already.
    lost: u64,
    told: u64,
}

impl ConntrackWatch {
    /// Opens a watch in the namespace the calling thread is in. It keeps that namespace, whoever reads it.
    ///
    /// # Errors
    /// A socket can't be opened or may not listen.
    pub fn open() -> Result<Self, NetfilterError> {
        Self::with_room(RECEIVE_BUFFER)
    }

    /// The same, with room for this many bytes of events that nobody has read yet.
    ///
    /// # Errors
    /// As [`Self::open`].
    pub fn with_room(bytes: usize) -> Result<Self, NetfilterError> {
        let open = || {
            let mut events = Socket::new(NETLINK_NETFILTER)?;
            events.bind_auto()?;
            // As root of a user namespace the limit of the machine holds; what is lost is noticed all the same.
            room::give(&mut events, bytes)?;
            for group in GROUPS {
                events.add_membership(group)?;
            }
            events.set_non_blocking(true)?;
            let mut queries = Socket::new(NETLINK_NETFILTER)?;
            queries.bind_auto()?;
            queries.connect(&NetlinkAddr::new(0, 0))?;
            Ok(Self {
                events,
                queries,
                fresh: Vec::new(),
                open: BTreeMap::new(),
                keeps_udp: false,
                lost: 0,
                told: 0,
            })
        };
        open().map_err(failed)
    }

    /// Waits until the TCP connections from these sources are over for conntrack (TIME_WAIT or CLOSE): no packet of
    /// theirs is due that a rule could count. Gives back those that are not by the deadline. A connection that was
    /// never made has no such end: do not name its source. Where events were lost, an end may be among them, and there is
    /// nothing to wait for.
    ///
    /// # Errors
    /// A socket fails.
    pub fn wait_for_end(
        &mut self,
        sources: &BTreeSet<SocketAddr>,
        deadline: Instant,
    ) -> Result<Vec<SocketAddr>, NetfilterError> {
        loop {
            self.hear().map_err(failed)?;
            let open = self.open.values().filter(|source| sources.contains(source));
            let open: Vec<SocketAddr> = open.copied().collect();
            let left = deadline.saturating_duration_since(Instant::now());
            if self.lost > self.told {
                return Ok(Vec::new());
            }
            if open.is_empty() || left.is_zero() {
                return Ok(open);
            }
            let timeout = PollTimeout::try_from(left).unwrap_or(PollTimeout::MAX);
            match poll(
                &mut [PollFd::new(self.socket(), PollFlags::POLLIN)],
                timeout,
            ) {
                Ok(_) | Err(Errno::EINTR) => {}
                Err(errno) => return Err(failed(errno.into())),
            }
        }
    }

    /// Entries made since the last call, as they stand now; one that is gone already, as it began.
    ///
    /// Those of UDP are forgotten then. They would live on for half a minute, and a later query from the same port
    /// would be part of an old connection, for which nat asks no rule. They stay after [`Self::keep_udp`]: for that very case.
    ///
    /// # Errors
    /// A socket fails. What was lost is no error but counted, see [`Self::newly_lost`].
    pub fn take(&mut self) -> Result<Vec<ConntrackEntry>, NetfilterError> {
        self.hear().map_err(failed)?;
        self.open.clear();
        let mut entries = std::mem::take(&mut self.fresh);
        for entry in &mut entries {
            if let Some(now) = self.query(entry).map_err(failed)? {
                *entry = now;
            }
            if entry.transport == Transport::Udp && !self.keeps_udp {
                self.forget(entry).map_err(failed)?;
            }
        }
        Ok(entries)
    }

    /// Entries made since the last call, as they began: nothing is asked, and nothing is forgotten. For a namespace
    /// whose connections are others'.
    ///
    /// # Errors
    /// As [`Self::take`].
    pub fn begun(&mut self) -> Result<Vec<ConntrackEntry>, NetfilterError> {
        self.hear().map_err(failed)?;
        self.open.clear();
        Ok(std::mem::take(&mut self.fresh))
    }

    /// Whether entries of UDP stay in the table when they are taken.
    pub fn keep_udp(&mut self, keep: bool) {
        self.keeps_udp = keep;
    }

    /// Has conntrack forget every connection of this namespace.
    ///
    /// # Errors
    /// A socket fails, or the kernel refuses.
    pub fn flush(&mut self) -> Result<(), NetfilterError> {
        let flush = || {
            self.queries.send(&wire::flush(), 0)?;
            let (datagram, _) = self.queries.recv_from_full()?;
            wire::removed(&datagram)
        };
        flush().map_err(failed)
    }

    /// Events the kernel had no room for (ENOBUFS) before the last reading, by its own count; each is told once.
    pub fn newly_lost(&mut self) -> u64 {
        let lost = self.lost - self.told;
        self.told = self.lost;
        lost
    }

    /// The socket that can be read when there are events.
    pub fn socket(&self) -> BorrowedFd<'_> {
        // SAFETY: the socket lives as long as the borrow.
        unsafe { BorrowedFd::borrow_raw(self.events.as_raw_fd()) }
    }

    /// Reads the events there are.
    fn hear(&mut self) -> io::Result<()> {
        loop {
            let datagram = match self.events.recv_from_full() {
                Ok((datagram, _)) => datagram,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                // What comes behind the gap is as good as before.
                Err(error) if error.raw_os_error() == Some(libc::ENOBUFS) => {
                    // The kernel counts what it drops; that it dropped something it says here.
                    self.lost = room::dropped(&self.events)?.max(self.lost + 1);
                    continue;
                }
                Err(error) => return Err(error),
            };
            for said in wire::said(&datagram)? {
                let id = said.entry.id;
                if said.over == Some(true) {
                    self.open.remove(&id);
                } else if said.new && said.entry.transport == Transport::Tcp {
                    self.open.insert(id, said.entry.original.src);
                }
                if said.new {
                    self.fresh.push(said.entry);
                }
            }
        }
    }

    /// The entry as it stands now, with its counters; none when it is gone.
    fn query(&mut self, known: &ConntrackEntry) -> io::Result<Option<ConntrackEntry>> {
        self.queries.send(&wire::request(known), 0)?;
        let (datagram, _) = self.queries.recv_from_full()?;
        Ok(wire::answer(&datagram)?.filter(|now| now.id == known.id))
    }

    fn forget(&mut self, known: &ConntrackEntry) -> io::Result<()> {
        self.queries.send(&wire::removal(known), 0)?;
        let (datagram, _) = self.queries.recv_from_full()?;
        wire::removed(&datagram)
    }
}

/// Entries of TCP and UDP in the namespace the calling thread is in, as they stand now. This walks the table of the whole
/// machine: it is for a person who looks, not for a window.
///
/// # Errors
/// A socket can't be opened or fails, or the kernel refuses.
pub fn conntrack_here() -> Result<Vec<Tracked>, NetfilterError> {
    let dump = || {
        let mut socket = Socket::new(NETLINK_NETFILTER)?;
        socket.bind_auto()?;
        socket.connect(&NetlinkAddr::new(0, 0))?;
        socket.send(&wire::dump(), 0)?;
        let mut entries = Vec::new();
        loop {
            let (datagram, _) = socket.recv_from_full()?;
            let (part, last) = wire::part(&datagram)?;
            entries.extend(part);
            if last {
                return Ok(entries);
            }
        }
    };
    dump().map_err(failed)
}

fn failed(source: io::Error) -> NetfilterError {
    NetfilterError::Conntrack { source }
}
