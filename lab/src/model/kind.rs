//! The kind of an address that needs no routing table to tell.

use std::net::IpAddr;

use crate::rules::AddressKind;

/// The kind every machine gives the address; `None` where the routes decide.
pub(super) fn of(address: IpAddr) -> Option<AddressKind> {
    let everywhere = match address {
        IpAddr::V4(address) => address.is_broadcast(),
        IpAddr::V6(_) => false,
    };
    if everywhere {
        Some(AddressKind::Broadcast)
    } else if address.is_multicast() {
        Some(AddressKind::Multicast)
    } else if address.is_loopback() {
        Some(AddressKind::Local)
    } else {
        None
    }
}
