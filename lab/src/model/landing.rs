//! Where a redirected connection lands.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::rules::Family;
use crate::rules::Hook;

/// The address REDIRECT turns a connection to: from PREROUTING the primary address of the interface the packet came
/// in by, from OUTPUT loopback (`nf_nat_redirect_ipv4` and `_ipv6` in net/netfilter/nf_nat_redirect.c; measured in
/// KERNEL-FACTS: pod:15006 and 127.0.0.1:15001 or `::1`).
///
/// `None` when there is none: an interface without an address of the family (the kernel drops the packet), or a hook
/// where REDIRECT is not allowed.
pub fn redirect_landing(
    hook: Hook,
    family: Family,
    in_iface_addr: Option<IpAddr>,
) -> Option<IpAddr> {
    match (hook, family) {
        (Hook::Prerouting, _) => in_iface_addr.filter(|address| Family::of(*address) == family),
        (Hook::Output, Family::V4) => Some(Ipv4Addr::LOCALHOST.into()),
        (Hook::Output, Family::V6) => Some(Ipv6Addr::LOCALHOST.into()),
        (Hook::Input | Hook::Forward | Hook::Postrouting, _) => None,
    }
}

/// What reaches this machine by `lo` without being its interface's address: 127.0.0.0/8, and Istio's `::6`, which
/// istio-init puts on `lo` (ISTIO-RULES 1.4).
pub(super) fn is_loopback(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => address.is_loopback(),
        IpAddr::V6(address) => {
            address.is_loopback() || address.segments() == [0, 0, 0, 0, 0, 0, 0, 6]
        }
    }
}
