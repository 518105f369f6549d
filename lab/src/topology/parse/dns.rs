//! The cluster's DNS server.

use super::super::{Addresses, Dns, schema};

pub(super) fn dns(raw: &schema::Dns) -> Dns {
    Dns {
        addr: Addresses {
            v4: *raw.ipv4.get_ref(),
            v6: *raw.ipv6.get_ref(),
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
