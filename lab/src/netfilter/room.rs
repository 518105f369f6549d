//! The room a netlink socket has for what nobody has read yet, and what did not fit.

use std::{io, os::fd::AsRawFd};

use netlink_sys::Socket;
use nix::{
    libc,
    sys::socket::{setsockopt, sockopt},
};

/// No datagram takes less of a socket's room: the kernel counts its own data about it too.
const SMALLEST: usize = 512;

// Fields of SO_MEMINFO, from linux/sock_diag.h.
const WAITING: usize = 0;
const DROPS: usize = 8;
const FIELDS: usize = 9;

/// Gives a socket this many bytes, and returns how many it really has. What is above the machine's limit
/// (`net.core.rmem_max`) needs root of the machine: as root of a user namespace it is cut to that.
///
/// # Errors
/// Not even that much can be set.
pub fn give(socket: &mut Socket, bytes: usize) -> io::Result<usize> {
    if setsockopt(socket, sockopt::RcvBufForce, &bytes).is_err() {
        setsockopt(socket, sockopt::RcvBuf, &bytes)?;
    }
    socket.get_rx_buf_sz()
}

/// Messages the kernel could not give to this socket, since it was opened.
///
/// # Errors
/// The kernel does not tell.
pub fn dropped(socket: &Socket) -> io::Result<u64> {
    Ok(memory(socket)?[DROPS].into())
}

/// Datagrams that wait to be read, at most.
///
/// # Errors
/// The kernel does not tell.
pub fn waiting(socket: &Socket) -> io::Result<usize> {
    Ok(memory(socket)?[WAITING] as usize / SMALLEST + 1)
}

fn memory(socket: &Socket) -> io::Result<[u32; FIELDS]> {
    let mut numbers = [0u32; FIELDS];
    let mut length = size_of_val(&numbers) as libc::socklen_t;
    // SAFETY: the pointers are to values of the sizes given, alive during the call.
    let code = unsafe {
        libc::getsockopt(
            socket.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_MEMINFO,
            numbers.as_mut_ptr().cast(),
            &raw mut length,
        )
    };
    if code != 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(numbers)
}
