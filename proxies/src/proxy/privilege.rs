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

#[cfg(test)]
mod tests {
    use std::thread;

    use nix::errno::Errno;
    use nix::libc;
    use rstest::rstest;

    use super::*;
    use crate::wire::SidecarPorts;

    fn config(tproxy_mark: Option<u32>, upstream_mark: Option<u32>) -> ProxyConfig {
        ProxyConfig {
            sidecar: Some(SidecarPorts {
                outbound: 15001,
                inbound: 15006,
                inbound_source: ["127.0.0.6", "::6"].map(|ip| ip.parse().expect("literal")),
                tproxy_mark,
                app_at_loopback: false,
            }),
            gateway: None,
            health_ports: Vec::new(),
            metrics_port: Some(15090),
            admin_port: Some(15000),
            tunnel_port: None,
            services: Vec::new(),
            dns: None,
            upstream_mark,
            max_connections: 1,
        }
    }

    /// Capabilities are a thread's: this one's go, and it with them.
    fn without_capabilities<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
        let thread = thread::spawn(|| {
            const VERSION_3: u32 = 0x2008_0522;
            let header = [VERSION_3, 0];
            let none = [0u32; 6];
            // SAFETY: header and two triples of masks have the layout of linux/capability.h, version 3.
            let set = unsafe { libc::syscall(libc::SYS_capset, header.as_ptr(), none.as_ptr()) };
            Errno::result(set).expect("anybody may have less");
            work()
        });
        thread.join().expect("no panic")
    }

    #[rstest]
    #[case::tproxy(Some(1337), None, "IP_TRANSPARENT for the inbound listener")]
    #[case::mark(None, Some(0x539), "SO_MARK for upstream connections")]
    fn what_the_kernel_refuses_is_named_with_the_way_out(
        #[case] tproxy_mark: Option<u32>,
        #[case] upstream_mark: Option<u32>,
        #[case] what: &str,
    ) {
        let config = config(tproxy_mark, upstream_mark);
        let error = without_capabilities(move || check(&config)).expect_err("refused");
        assert_eq!(
            error.to_string(),
            format!(
                "cannot set {what}: EPERM; start the proxy with CAP_NET_ADMIN over its network namespace, \
                 as Istio does in TPROXY mode (user 0, group 1337)"
            )
        );
    }

    #[test]
    fn a_proxy_that_marks_nothing_needs_no_privilege() {
        let config = config(None, None);
        without_capabilities(move || check(&config)).expect("nothing is asked for");
    }
}
