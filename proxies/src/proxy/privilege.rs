//! Whether this process may do what its configuration wants, tried before anything else: an ordinary user can't mark
//! packets or borrow addresses, and later each connection would fail on its own.

use std::io;

use socket2::{Domain, Protocol, Socket, Type};
use thiserror::Error;

use crate::errno::errno_name;
use crate::wire::ProxyConfig;

/// The kernel refuses a socket option.
#[derive(Debug, Error)]
#[error(
    "cannot set {option} for {purpose}: {}; start the proxy with CAP_NET_ADMIN over its network namespace, as Istio \
     does in TPROXY mode (user 0, group 1337)",
    errno_name(.source)
)]
pub(crate) struct NoPrivilege {
    option: &'static str,
    purpose: &'static str,
    source: io::Error,
}

/// Tries on a socket that is thrown away.
pub(super) fn check(config: &ProxyConfig) -> Result<(), NoPrivilege> {
    let tproxy_mark = config
        .sidecar
        .as_ref()
        .and_then(|sidecar| sidecar.tproxy_mark);
    if tproxy_mark.is_some() {
        attempt("IP_TRANSPARENT", "the inbound listener", |socket| {
            socket.set_ip_transparent_v4(true)
        })?;
    }
    if let Some(mark) = tproxy_mark.or(config.upstream_mark) {
        attempt("SO_MARK", "upstream connections", |socket| {
            socket.set_mark(mark)
        })?;
    }
    Ok(())
}

fn attempt(
    option: &'static str,
    purpose: &'static str,
    set: impl Fn(&Socket) -> io::Result<()>,
) -> Result<(), NoPrivilege> {
    Socket::new(Domain::IPV4, Type::STREAM, Some(Protocol::TCP))
        .and_then(|socket| set(&socket))
        .map_err(|source| NoPrivilege {
            option,
            purpose,
            source,
        })
}
