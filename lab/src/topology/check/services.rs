//! Services: names and addresses of their own, and pods behind them that serve their port.

use toml::Spanned;

use super::{Taken, known_pod, named, outside, place};
use crate::{
    diagnostic::Diagnostic,
    topology::{Topology, schema, source::Source},
};

/// All of them.
pub(super) fn services(
    source: &Source,
    file: &schema::LabFile,
    topology: &Topology,
    taken: &mut Taken,
) -> Result<(), Diagnostic> {
    headless(source, file, topology, taken)?;
    let with_address = file.service.iter().filter(|it| !it.is_headless());
    for (raw, service) in with_address.zip(&topology.services) {
        let owner = format!("service `{}`", service.name);
        named(source, &raw.name, "service")?;
        taken.name(source, &raw.name, &owner)?;
        let v4 = place(raw.ipv4.as_ref().map(Spanned::span), &raw.name);
        let v6 = place(raw.ipv6.as_ref().map(Spanned::span), &raw.name);
        taken.address(source, &v4, service.vip.v4.into(), &owner)?;
        taken.address(source, &v6, service.vip.v6.into(), &owner)?;
        outside(source, topology, &v4, service.vip.v4.into())?;
        outside(source, topology, &v6, service.vip.v6.into())?;
        endpoints(source, topology, raw)?;
    }
    Ok(())
}

/// The pods behind a service serve its port.
fn endpoints(
    source: &Source,
    topology: &Topology,
    raw: &schema::Service,
) -> Result<(), Diagnostic> {
    for endpoint in &raw.endpoints {
        let pod = known_pod(source, topology, endpoint, endpoint.get_ref())?;
        if pod
            .app
            .as_ref()
            .is_none_or(|a| !a.ports.contains(&raw.port))
        {
            return Err(source
                .complain(
                    endpoint,
                    format!("pod `{}` does not serve port {}", pod.name, raw.port),
                )
                .help("a service's port is one that the apps behind it serve"));
        }
    }
    Ok(())
}

/// Services without an address of their own.
fn headless(
    source: &Source,
    file: &schema::LabFile,
    topology: &Topology,
    taken: &mut Taken,
) -> Result<(), Diagnostic> {
    for raw in &file.service {
        let Some(place) = &raw.cluster_ip else {
            continue;
        };
        if place.get_ref() != "None" {
            let message = format!("`{}` is not \"None\"", place.get_ref());
            return Err(source.complain(place, message).help(
                "write cluster_ip = \"None\" for a headless service; an address is ipv4 and ipv6",
            ));
        }
        let v4 = raw.ipv4.as_ref().map(Spanned::span);
        if let Some(span) = v4.or(raw.ipv6.as_ref().map(Spanned::span)) {
            return Err(source
                .complain(
                    &Spanned::new(span, ()),
                    "a headless service has no address of its own",
                )
                .help("drop the address, or `cluster_ip`"));
        }
        named(source, &raw.name, "service")?;
        taken.name(
            source,
            &raw.name,
            &format!("service `{}`", raw.name.get_ref()),
        )?;
        endpoints(source, topology, raw)?;
    }
    Ok(())
}
