//! Addresses: those of the file, and those that a small lab is given.
//!
//! A file without `[network]` has the node at 10.77.0.1 and fd77::1, and its Nth pod at 10.77.N.2 and fd77:N::2.

use std::net::{Ipv4Addr, Ipv6Addr};

use ipnet::{Ipv4Net, Ipv6Net};

use super::{
    super::{Addresses, Headless, Service, schema, source::Source},
    Network, interface,
};
use crate::{diagnostic::Diagnostic, topology::InterfaceName};

/// Pods that have addresses of their own in a file without `[network]`.
const MOST_PODS: usize = 250;

pub(super) fn network(
    source: &Source,
    raw: Option<&schema::Network>,
) -> Result<Network, Diagnostic> {
    let Some(raw) = raw else { return Ok(usual()) };
    Ok(Network {
        bridge: interface(source, &raw.bridge)?,
        ipv4: raw.ipv4.trunc(),
        ipv6: raw.ipv6.trunc(),
        node: Addresses {
            v4: *raw.node_ipv4.get_ref(),
            v6: *raw.node_ipv6.get_ref(),
        },
    })
}

fn usual() -> Network {
    Network {
        bridge: InterfaceName::new("br0").expect("short enough"),
        ipv4: Ipv4Net::new(Ipv4Addr::new(10, 77, 0, 0), 16).expect("a prefix length"),
        ipv6: Ipv6Net::new(Ipv6Addr::new(0xfd77, 0, 0, 0, 0, 0, 0, 0), 16)
            .expect("a prefix length"),
        node: Addresses {
            v4: Ipv4Addr::new(10, 77, 0, 1),
            v6: Ipv6Addr::new(0xfd77, 0, 0, 0, 0, 0, 0, 1),
        },
    }
}

/// Addresses of a pod: those it names, else those of its place in the file.
pub(super) fn pod(
    source: &Source,
    file: &schema::LabFile,
    index: usize,
    raw: &schema::Pod,
) -> Result<Addresses, Diagnostic> {
    let given = |it: bool, which: &str| match (it, &file.network) {
        (false, Some(_)) => Err(source
            .complain(&raw.name, format!("missing field `{which}`"))
            .help("a lab with a [network] of its own names the addresses of its pods")),
        (false, None) if index >= MOST_PODS => Err(source
            .complain(
                &raw.name,
                format!("there is no address for pod {}", index + 1),
            )
            .help("give the lab a [network] and each pod its addresses")),
        _ => Ok(()),
    };
    given(raw.ipv4.is_some(), "ipv4")?;
    given(raw.ipv6.is_some(), "ipv6")?;
    let number = u8::try_from(index + 1).unwrap_or(u8::MAX);
    let v4 = Ipv4Addr::new(10, 77, number, 2);
    let v6 = Ipv6Addr::new(0xfd77, number.into(), 0, 0, 0, 0, 0, 2);
    Ok(Addresses {
        v4: raw.ipv4.as_ref().map_or(v4, |it| *it.get_ref()),
        v6: raw.ipv6.as_ref().map_or(v6, |it| *it.get_ref()),
    })
}

/// Services that have no virtual address.
pub(super) fn headless(file: &schema::LabFile) -> Vec<Headless> {
    let headless = file.service.iter().filter(|it| it.is_headless());
    let headless = headless.map(|raw| Headless {
        name: raw.name.get_ref().clone(),
        endpoints: raw.endpoints.iter().map(|e| e.get_ref().clone()).collect(),
    });
    headless.collect()
}

/// Services; one without addresses is given 10.96.0.N and fd96::N.
pub(super) fn services(file: &schema::LabFile) -> Vec<Service> {
    let numbered = (1..=u8::MAX)
        .chain(std::iter::repeat(u8::MAX))
        .zip(file.service.iter().filter(|it| !it.is_headless()));
    let service = |(number, raw): (u8, &schema::Service)| {
        let v4 = Ipv4Addr::new(10, 96, 0, number);
        let v6 = Ipv6Addr::new(0xfd96, 0, 0, 0, 0, 0, 0, number.into());
        Service {
            name: raw.name.get_ref().clone(),
            vip: Addresses {
                v4: raw.ipv4.as_ref().map_or(v4, |it| *it.get_ref()),
                v6: raw.ipv6.as_ref().map_or(v6, |it| *it.get_ref()),
            },
            port: raw.port,
            endpoints: raw.endpoints.iter().map(|e| e.get_ref().clone()).collect(),
        }
    };
    numbered.map(service).collect()
}
