//! A socket that sees what one interface carries, see packet(7).

use std::{
    io::{self, IoSliceMut},
    mem,
    os::fd::{AsFd, AsRawFd, BorrowedFd},
    time::{Duration, SystemTime},
};

use nix::{
    cmsg_space,
    errno::Errno,
    ifaddrs::getifaddrs,
    libc,
    net::if_::{InterfaceFlags, if_nametoindex},
    sys::{
        socket::{
            AddressFamily, ControlMessageOwned, LinkAddr, MsgFlags, SockaddrLike as _, recvmsg,
            setsockopt, sockopt,
        },
        time::TimeSpec,
    },
};
use socket2::{Domain, Protocol, Socket, Type};

use super::{Direction, Frame};

/// Bytes kept of a packet: as long as the kernel makes them, with segments not yet cut (GSO), as libpcap does.
pub const SNAP_LENGTH: usize = 262_144;
/// Bytes the kernel keeps of packets that have not been read.
const ROOM: usize = 8 << 20;
/// Of the kernel's interface types (linux/if_arp.h), those whose packets have an Ethernet header.
const ETHERNET: [u16; 2] = [libc::ARPHRD_ETHER, libc::ARPHRD_LOOPBACK];

/// Names of the interfaces in the namespace the calling thread is in that are up and have an address.
///
/// # Errors
/// The kernel does not list them.
pub(super) fn interfaces() -> io::Result<Vec<String>> {
    let all: Vec<_> = getifaddrs()?.collect();
    let up = all.iter().filter(|it| {
        let link = it.address.as_ref().and_then(|it| it.as_link_addr());
        it.flags.contains(InterfaceFlags::IFF_UP)
            && link.is_some_and(|link| ETHERNET.contains(&link.hatype()))
    });
    let has_address = |name: &str| {
        all.iter().any(|it| {
            let family = it.address.as_ref().and_then(|it| it.family());
            let is_ip = matches!(family, Some(AddressFamily::Inet | AddressFamily::Inet6));
            it.interface_name == name && is_ip
        })
    };
    let names = up.map(|it| it.interface_name.clone());
    Ok(names.filter(|name| has_address(name)).collect())
}

/// A socket on one interface.
pub(super) struct Tap {
    socket: Socket,
    is_loopback: bool,
    /// Packets it saw, and packets that found no room.
    counted: Counted,
    buffer: Vec<u8>,
}

/// What the kernel counts of a socket.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counted {
    /// Packets it was for, those dropped included.
    pub seen: u64,
    /// Packets that found no room.
    pub dropped: u64,
}

impl Tap {
    /// On an interface of the namespace the calling thread is in; it stays there whoever reads it.
    pub fn open(name: &str) -> io::Result<Self> {
        let index = if_nametoindex(name)?;
        // Protocol 0 takes no packets, so none of another interface comes before it is bound.
        let socket = Socket::new(Domain::PACKET, Type::RAW, Some(Protocol::from(0)))?;
        socket.set_nonblocking(true)?;
        // An ordinary user gets no more than net.core.rmem_max.
        if setsockopt(&socket, sockopt::RcvBufForce, &ROOM).is_err() {
            setsockopt(&socket, sockopt::RcvBuf, &ROOM)?;
        }
        setsockopt(&socket, sockopt::ReceiveTimestampns, &true)?;
        bind(&socket, index)?;
        Ok(Self {
            socket,
            is_loopback: name == "lo",
            counted: Counted::default(),
            buffer: vec![0; SNAP_LENGTH],
        })
    }

    pub fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }

    /// The next packet; none when nothing waits. `interface` is the number it gets.
    pub fn next(&mut self, interface: usize) -> io::Result<Option<Frame>> {
        loop {
            let mut control = cmsg_space!(TimeSpec);
            let mut slices = [IoSliceMut::new(&mut self.buffer)];
            // With MSG_TRUNC the length is that of the packet, however much of it there is room for.
            let got = recvmsg::<LinkAddr>(
                self.socket.as_raw_fd(),
                &mut slices,
                Some(&mut control),
                MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_TRUNC,
            );
            let got = match got {
                Err(Errno::EAGAIN) => return Ok(None),
                Err(Errno::EINTR) => continue,
                // The interface went down, and may come up again.
                Err(Errno::ENETDOWN) => return Ok(None),
                got => got?,
            };
            let kind = got.address.map(|it| it.pkttype());
            let leaves = kind == Some(libc::PACKET_OUTGOING);
            if leaves && self.is_loopback {
                continue;
            }
            let stamp = got.cmsgs()?.find_map(|it| match it {
                ControlMessageOwned::ScmTimestampns(time) => Some(Duration::from(time)),
                _ => None,
            });
            let length = got.bytes;
            return Ok(Some(Frame {
                interface,
                time: stamp.unwrap_or_else(now),
                direction: match (self.is_loopback, leaves) {
                    (true, _) => Direction::Loopback,
                    (_, true) => Direction::Out,
                    (_, false) => Direction::In,
                },
                length: u32::try_from(length).unwrap_or(u32::MAX),
                bytes: self.buffer[..length.min(SNAP_LENGTH)].to_vec(),
            }));
        }
    }

    /// What the kernel counted since it was opened.
    pub fn counted(&mut self) -> io::Result<Counted> {
        let newly = statistics(&self.socket)?;
        self.counted.seen += u64::from(newly.tp_packets);
        self.counted.dropped += u64::from(newly.tp_drops);
        Ok(self.counted)
    }
}

fn now() -> Duration {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    now.unwrap_or_default()
}

fn bind(socket: &Socket, index: u32) -> io::Result<()> {
    // SAFETY: all zero is a value of it.
    let mut address: libc::sockaddr_ll = unsafe { mem::zeroed() };
    address.sll_family = libc::AF_PACKET as u16;
    address.sll_protocol = (libc::ETH_P_ALL as u16).to_be();
    address.sll_ifindex = index.cast_signed();
    let length = mem::size_of_val(&address) as libc::socklen_t;
    // SAFETY: a socket address of this length, that the kernel only reads.
    let bound = unsafe { libc::bind(socket.as_raw_fd(), (&raw const address).cast(), length) };
    Errno::result(bound)?;
    Ok(())
}

/// Counts since they were last asked for: the kernel starts anew then.
fn statistics(socket: &Socket) -> io::Result<libc::tpacket_stats> {
    // SAFETY: all zero is a value of it.
    let mut counts: libc::tpacket_stats = unsafe { mem::zeroed() };
    let mut length = mem::size_of_val(&counts) as libc::socklen_t;
    // SAFETY: the kernel writes at most this many bytes.
    let asked = unsafe {
        libc::getsockopt(
            socket.as_raw_fd(),
            libc::SOL_PACKET,
            libc::PACKET_STATISTICS,
            (&raw mut counts).cast(),
            &raw mut length,
        )
    };
    Errno::result(asked)?;
    Ok(counts)
}
