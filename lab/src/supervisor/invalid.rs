//! Sends a segment that conntrack calls INVALID: with the ends and the acknowledgement of a held connection, and a
//! sequence number far outside its window. nat leaves it alone, so it reaches the port that was asked for.
//!
//! The sequence numbers are read from the holder's own socket (TCP_REPAIR in tcp(7)'s sources, `tcp_repair` of CRIU).

use std::{
    fs, io,
    net::{IpAddr, SocketAddr, UdpSocket},
    os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd},
    time::Duration,
};

use nix::{
    libc,
    sys::socket::{
        AddressFamily, MsgFlags, SockFlag, SockProtocol, SockType, SockaddrStorage, getpeername,
        getsockname, sendto, socket,
    },
};

/// How far from the next byte the segment claims to be: more than any window.
const OUTSIDE: u32 = 100_000_000;
/// Port of the question that follows the segment; nobody listens there (discard).
const NOBODY: u16 = 9;
/// Time for the answer to that question.
const LIMIT: Duration = Duration::from_secs(2);

// linux/tcp.h
const TCP_REPAIR: libc::c_int = 19;
const TCP_REPAIR_QUEUE: libc::c_int = 20;
const TCP_QUEUE_SEQ: libc::c_int = 21;
const TCP_REPAIR_ON: libc::c_int = 1;
const TCP_REPAIR_OFF_NO_WP: libc::c_int = -1;
const TCP_RECV_QUEUE: libc::c_int = 1;
const TCP_SEND_QUEUE: libc::c_int = 2;

/// The next bytes of both directions.
#[derive(Debug, Clone, Copy)]
pub(super) struct Numbers {
    /// Sequence number of the next byte to send.
    send: u32,
    /// Sequence number of the next byte to receive.
    receive: u32,
}

/// The numbers of a connection that another process holds, by its ends.
///
/// # Errors
/// The process has no such socket, or the kernel refuses to show its numbers.
pub(super) fn numbers_of(pid: u32, local: SocketAddr, remote: SocketAddr) -> io::Result<Numbers> {
    // SAFETY: two integers in, a descriptor of our own or -1 out.
    let process = owned(unsafe { libc::syscall(libc::SYS_pidfd_open, pid, 0) })?;
    for entry in fs::read_dir(format!("/proc/{pid}/fd"))? {
        let name = entry?.file_name();
        let Some(fd) = name.to_str().and_then(|it| it.parse::<RawFd>().ok()) else {
            continue;
        };
        // SAFETY: three integers in, a descriptor of our own or -1 out.
        let got = unsafe { libc::syscall(libc::SYS_pidfd_getfd, process.as_raw_fd(), fd, 0) };
        let Ok(copy) = owned(got) else { continue };
        if ends(&copy) == Some((local, remote)) {
            return numbers(&copy);
        }
    }
    let what = format!("process {pid} holds no connection from {local} to {remote}");
    Err(io::Error::new(io::ErrorKind::NotFound, what))
}

fn owned(result: libc::c_long) -> io::Result<OwnedFd> {
    match RawFd::try_from(result) {
        // SAFETY: just given by the kernel, and nobody else in this process owns it.
        Ok(fd) if fd >= 0 => Ok(unsafe { OwnedFd::from_raw_fd(fd) }),
        _ => Err(io::Error::last_os_error()),
    }
}

fn ends(fd: &OwnedFd) -> Option<(SocketAddr, SocketAddr)> {
    let local: SockaddrStorage = getsockname(fd.as_raw_fd()).ok()?;
    let remote: SockaddrStorage = getpeername(fd.as_raw_fd()).ok()?;
    Some((address(&local)?, address(&remote)?))
}

/// An IPv4 address of an IPv6 socket is the IPv4 one.
fn address(of: &SockaddrStorage) -> Option<SocketAddr> {
    let v4 = of
        .as_sockaddr_in()
        .map(|it| SocketAddr::new(it.ip().into(), it.port()));
    let v6 = of
        .as_sockaddr_in6()
        .map(|it| SocketAddr::new(IpAddr::from(it.ip()).to_canonical(), it.port()));
    v4.or(v6)
}

fn numbers(fd: &OwnedFd) -> io::Result<Numbers> {
    set(fd, TCP_REPAIR, TCP_REPAIR_ON)?;
    let read = |queue| {
        set(fd, TCP_REPAIR_QUEUE, queue)?;
        get(fd, TCP_QUEUE_SEQ)
    };
    let both = read(TCP_SEND_QUEUE).and_then(|send| Ok((send, read(TCP_RECV_QUEUE)?)));
    // Whatever came of it: a socket in repair mode is no good to its owner. Without a window probe nothing is sent.
    set(fd, TCP_REPAIR, TCP_REPAIR_OFF_NO_WP)?;
    let (send, receive) = both?;
    Ok(Numbers { send, receive })
}

fn set(fd: &OwnedFd, option: libc::c_int, value: libc::c_int) -> io::Result<()> {
    let size = libc::socklen_t::try_from(size_of_val(&value)).unwrap_or(4);
    // SAFETY: the pointer is to an integer of that size, which lives through the call.
    let result = unsafe {
        let value = std::ptr::from_ref(&value).cast();
        libc::setsockopt(fd.as_raw_fd(), libc::IPPROTO_TCP, option, value, size)
    };
    match result {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

fn get(fd: &OwnedFd, option: libc::c_int) -> io::Result<u32> {
    let mut value = 0_u32;
    let mut size = libc::socklen_t::try_from(size_of_val(&value)).unwrap_or(4);
    // SAFETY: both pointers are to values that live through the call, and the size is that of the first.
    let result = unsafe {
        let value = std::ptr::from_mut(&mut value).cast();
        libc::getsockopt(fd.as_raw_fd(), libc::IPPROTO_TCP, option, value, &mut size)
    };
    match result {
        0 => Ok(value),
        _ => Err(io::Error::last_os_error()),
    }
}

/// Sends the segment from the namespace of the calling thread, and waits until whoever gets it has dealt with it: until a
/// datagram that was sent behind it is answered, which goes the same way.
///
/// # Errors
/// A socket fails, or the datagram stays without an answer.
pub(super) fn send(numbers: Numbers, local: SocketAddr, remote: SocketAddr) -> io::Result<()> {
    let segment = segment(numbers, local, remote);
    let family = match remote {
        SocketAddr::V4(_) => AddressFamily::Inet,
        SocketAddr::V6(_) => AddressFamily::Inet6,
    };
    let flags = SockFlag::SOCK_CLOEXEC;
    let raw = socket(family, SockType::Raw, flags, SockProtocol::Tcp)?;
    // A raw socket of IPv6 takes no port.
    let to = SockaddrStorage::from(SocketAddr::new(remote.ip(), 0));
    sendto(raw.as_raw_fd(), &segment, &to, MsgFlags::empty())?;
    let behind = UdpSocket::bind(SocketAddr::new(local.ip(), 0))?;
    behind.connect(SocketAddr::new(remote.ip(), NOBODY))?;
    behind.set_read_timeout(Some(LIMIT))?;
    behind.send(b"?")?;
    match behind.recv(&mut [0; 8]) {
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => Ok(()),
        Err(error) => Err(error),
        Ok(_) => Ok(()),
    }
}

/// A TCP segment with one byte.
fn segment(numbers: Numbers, local: SocketAddr, remote: SocketAddr) -> Vec<u8> {
    const ACK_AND_PUSH: u8 = 0x18;
    const WORDS_OF_HEADER: u8 = 5 << 4;
    let mut bytes = Vec::new();
    bytes.extend(local.port().to_be_bytes());
    bytes.extend(remote.port().to_be_bytes());
    bytes.extend(numbers.send.wrapping_add(OUTSIDE).to_be_bytes());
    bytes.extend(numbers.receive.to_be_bytes());
    bytes.extend([WORDS_OF_HEADER, ACK_AND_PUSH]);
    bytes.extend(1024_u16.to_be_bytes());
    bytes.extend([0; 4]);
    bytes.push(b'!');
    let sum = checksum(&bytes, local.ip(), remote.ip());
    bytes[16..18].copy_from_slice(&sum.to_be_bytes());
    bytes
}

/// Over the pseudo-header and the segment (RFC 9293, 3.1).
fn checksum(segment: &[u8], from: IpAddr, to: IpAddr) -> u16 {
    let octets = |ip: IpAddr| match ip {
        IpAddr::V4(ip) => ip.octets().to_vec(),
        IpAddr::V6(ip) => ip.octets().to_vec(),
    };
    let mut all = [octets(from), octets(to)].concat();
    let length = u32::try_from(segment.len()).unwrap_or(u32::MAX);
    all.extend(length.to_be_bytes());
    all.extend([0, 0, 0, 6]);
    all.extend(segment);
    let mut sum: u32 = all
        .chunks(2)
        .map(|pair| u32::from(pair[0]) << 8 | u32::from(pair.get(1).copied().unwrap_or(0)))
        .sum();
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !u16::try_from(sum).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::checksum;

    #[test]
    fn a_segment_with_its_checksum_in_it_sums_up_to_nothing() {
        let (from, to) = ("10.0.0.1".parse().unwrap(), "10.0.0.2".parse().unwrap());
        let mut bytes: Vec<u8> = (0..21).collect();
        bytes[16..18].copy_from_slice(&[0, 0]);
        let sum = checksum(&bytes, from, to);
        bytes[16..18].copy_from_slice(&sum.to_be_bytes());
        assert_eq!(checksum(&bytes, from, to), 0);
    }
}
