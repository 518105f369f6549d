//! What the kernel knows of a socket: who owns it, and where its connection was going before a REDIRECT.

use std::io;
use std::net::{SocketAddr, SocketAddrV4, SocketAddrV6};
use std::os::fd::AsFd;

use nix::errno::Errno;
use nix::sys::socket::{SockaddrIn, SockaddrIn6, getsockopt, sockopt};
use nix::sys::stat::fstat;
use nix::unistd::{getegid, geteuid};

use crate::errno::errno_name;
use crate::record::{OriginalDst, Owner};

/// Owner of a socket.
///
/// fstat(2) of the socket, not geteuid(2): the kernel stores the credentials with the socket when it is created and
/// `-m owner` compares those, whatever the process has become since.
pub(crate) fn owner(socket: impl AsFd) -> io::Result<Owner> {
    let stat = fstat(socket)?;
    Ok(Owner {
        uid: stat.st_uid,
        gid: stat.st_gid,
    })
}

/// Identity a new socket of this process would get.
pub(crate) fn process_owner() -> Owner {
    Owner {
        uid: geteuid().as_raw(),
        gid: getegid().as_raw(),
    }
}

/// Destination of an accepted connection before translation; `local` is its local end and tells the family.
pub(crate) fn original_dst(socket: impl AsFd, local: SocketAddr) -> OriginalDst {
    let answer = match local {
        SocketAddr::V4(_) => getsockopt(&socket, sockopt::OriginalDst)
            .map(|raw| SocketAddr::V4(SocketAddrV4::from(SockaddrIn::from(raw)))),
        SocketAddr::V6(_) => getsockopt(&socket, sockopt::Ip6tOriginalDst)
            .map(|raw| SocketAddr::V6(SocketAddrV6::from(SockaddrIn6::from(raw)))),
    };
    match answer {
        Ok(address) => OriginalDst::Known(comparable(address)),
        // What getsockopt(2) says of a UDP socket.
        Err(Errno::ENOPROTOOPT) => {
            OriginalDst::None("the kernel tells it of TCP and SCTP only".to_owned())
        }
        Err(Errno::ENOENT) => OriginalDst::None("no conntrack in this namespace".to_owned()),
        Err(other) => OriginalDst::None(errno_name(&other.into())),
    }
}

/// The same address without flow label and, unless it is link-local, without scope.
///
/// The kernel fills both differently by source (accept, getsockname, conntrack), and `SocketAddr` compares them.
pub(crate) fn comparable(address: SocketAddr) -> SocketAddr {
    match address {
        SocketAddr::V4(_) => address,
        SocketAddr::V6(v6) => {
            let scope = if v6.ip().is_unicast_link_local() {
                v6.scope_id()
            } else {
                0
            };
            SocketAddrV6::new(*v6.ip(), v6.port(), 0, scope).into()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_new_socket_belongs_to_the_identity_of_the_process() {
        let socket = std::net::TcpListener::bind("127.0.0.1:0").expect("bind loopback");
        assert_eq!(owner(&socket).expect("fstat"), process_owner());
    }

    #[test]
    fn scope_and_flow_label_do_not_make_two_addresses_of_one() {
        let labelled = SocketAddr::V6(SocketAddrV6::new(
            "fd77:1::2".parse().expect("literal"),
            80,
            7,
            3,
        ));
        assert_eq!(
            comparable(labelled),
            "[fd77:1::2]:80".parse().expect("literal")
        );
    }
}
