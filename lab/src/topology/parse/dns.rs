//! The cluster's DNS server.

use std::net::{Ipv4Addr, Ipv6Addr};

use super::super::{Addresses, Dns, schema};

/// Where it is when the lab file does not say.
const USUAL: Addresses = Addresses {
    v4: Ipv4Addr::new(10, 96, 255, 53),
    v6: Ipv6Addr::new(0xfd96, 0, 0, 0, 0, 0, 0xff, 0x53),
};

pub(super) fn dns(raw: &schema::Dns) -> Dns {
    Dns {
        addr: Addresses {
            v4: raw.ipv4.as_ref().map_or(USUAL.v4, |it| *it.get_ref()),
            v6: raw.ipv6.as_ref().map_or(USUAL.v6, |it| *it.get_ref()),
        },
        hosts: raw
            .hosts
            .iter()
            .map(|(name, at)| {
                let (v4, v6) = (at.ipv4, at.ipv6);
                (name.get_ref().clone(), Addresses { v4, v6 })
            })
            .collect(),
    }
}
