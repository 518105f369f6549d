//! What no single value of a lab file can show: references, duplicates, addresses outside their network.

use std::{
    collections::{HashMap, HashSet},
    net::IpAddr,
};

use toml::Spanned;

mod behind;
mod services;

use super::{Ask, Pod, Topology, schema, source::Source};
use crate::{
    diagnostic::{Diagnostic, did_you_mean},
    ports,
};

/// True of a name that labs and pods can have: it can be part of a path, a host name and a network namespace name.
pub fn is_name(text: &str) -> bool {
    !text.is_empty()
        && text.len() <= 63
        && text
            .bytes()
            .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
        && !text.starts_with('-')
        && !text.ends_with('-')
}

pub(super) fn lab_name(source: &Source, name: &Spanned<String>) -> Result<(), Diagnostic> {
    named(source, name, "lab")
}

pub(super) fn pod_name(source: &Source, name: &Spanned<String>) -> Result<(), Diagnostic> {
    if matches!(name.get_ref().as_str(), "node" | "localhost" | "dns") {
        return Err(source
            .complain(
                name,
                format!("`{}` is taken: the lab uses it itself", name.get_ref()),
            )
            .help("choose another name"));
    }
    named(source, name, "pod")
}

pub(super) fn named(source: &Source, name: &Spanned<String>, what: &str) -> Result<(), Diagnostic> {
    if is_name(name.get_ref()) {
        return Ok(());
    }
    Err(source
        .complain(name, format!("`{}` can't be a {what} name", name.get_ref()))
        .help("use 1 to 63 lower-case letters, digits and inner hyphens, as Kubernetes does"))
}

pub(super) fn path(source: &Source, path: &Spanned<String>) -> Result<String, Diagnostic> {
    let text = path.get_ref();
    if text.starts_with('/') && text.bytes().all(|b| b.is_ascii_graphic()) {
        return Ok(text.clone());
    }
    Err(source
        .complain(path, format!("`{text}` is not a request path"))
        .help("start it with `/` and percent-encode what is not printable ASCII"))
}

/// A name as DNS has it, without the final dot.
pub(super) fn host_name(source: &Source, name: &Spanned<String>) -> Result<String, Diagnostic> {
    let text = name.get_ref();
    if text.len() <= 253 && text.split('.').all(is_name) {
        return Ok(text.clone());
    }
    Err(source
        .complain(name, format!("`{text}` is not a host name"))
        .help("write lower-case labels with dots between them, without a final dot"))
}

/// A lookup goes to the lab's DNS server, a request never does.
pub(super) fn asks_its_target(
    source: &Source,
    topology: &Topology,
    flow: &schema::Flow,
    ask: &Ask,
) -> Result<(), Diagnostic> {
    let to_dns = flow.to.get_ref() == "dns";
    match ask {
        Ask::Get { .. } if to_dns => Err(source
            .complain(&flow.to, "the DNS server answers no requests")
            .help("say what to look up: lookup = \"reviews\"")),
        Ask::Lookup { .. } if !to_dns => Err(source
            .complain(&flow.to, "a lookup goes to the lab's DNS server")
            .help("write to = \"dns\"")),
        Ask::Lookup { .. } if topology.dns.is_none() => Err(source
            .complain(&flow.to, "this lab has no DNS server")
            .help("give it one: [dns] with ipv4 and ipv6")),
        _ => Ok(()),
    }
}

/// The last id that a rootless lab maps; the same for all labs, so that a file runs anywhere.
pub(super) const LAST_ID: u32 = 65_535;

pub(super) fn id<T>(source: &Source, place: &Spanned<T>, id: u32) -> Result<u32, Diagnostic> {
    if id <= LAST_ID {
        return Ok(id);
    }
    Err(source
        .complain(place, format!("{id} is not a user or group of a lab"))
        .help(format!("a lab has the ids 0 to {LAST_ID}")))
}

pub(super) fn known_pod<'t, T>(
    source: &Source,
    topology: &'t Topology,
    place: &Spanned<T>,
    name: &str,
) -> Result<&'t Pod, Diagnostic> {
    topology.pod(name).ok_or_else(|| {
        let names: Vec<&str> = topology.pods.iter().map(|p| p.name.as_str()).collect();
        let help = did_you_mean(name, names.iter().copied());
        let help = help.unwrap_or_else(|| format!("pods of this lab: {}", names.join(", ")));
        source
            .complain(place, format!("there is no pod `{name}`"))
            .help(help)
    })
}

pub(super) fn flow_names(source: &Source, file: &schema::LabFile) -> Result<(), Diagnostic> {
    let mut seen = HashSet::new();
    for flow in &file.flow {
        named(source, &flow.name, "flow")?;
        if !seen.insert(flow.name.get_ref()) {
            return Err(source
                .complain(
                    &flow.name,
                    format!("flow `{}` stands here twice", flow.name.get_ref()),
                )
                .help("flow names must differ: results are found by them"));
        }
    }
    Ok(())
}

/// What goes through the node's rules must come to the node as it left its pod.
fn through_the_node(
    source: &Source,
    file: &schema::LabFile,
    topology: &Topology,
) -> Result<(), Diagnostic> {
    let behind = file.pod.iter().find_map(|it| it.behind.as_ref());
    match behind.filter(|_| topology.kube_proxy) {
        None => Ok(()),
        Some(place) => Err(source
            .complain(place, "a lab with kube_proxy has no pods behind others")
            .help("drop `behind`, or `kube_proxy`")),
    }
}

/// References between entries, one owner per name and address, addresses inside their network.
pub(super) fn addresses_and_names(
    source: &Source,
    file: &schema::LabFile,
    topology: &Topology,
) -> Result<(), Diagnostic> {
    through_the_node(source, file, topology)?;
    let mut taken = Taken::default();
    let node = topology.network.node;
    let network = file.network.as_ref();
    let places = [
        (node.v4.into(), network.map(|it| it.node_ipv4.span())),
        (node.v6.into(), network.map(|it| it.node_ipv6.span())),
    ];
    for (addr, span) in places {
        let place = place(span, &file.name);
        taken.address(source, &place, addr, "the node")?;
        inside(source, topology, &place, addr)?;
    }
    for (raw, pod) in file.pod.iter().zip(&topology.pods) {
        let owner = format!("pod `{}`", pod.name);
        taken.name(source, &raw.name, &owner)?;
        let v4 = place(raw.ipv4.as_ref().map(Spanned::span), &raw.name);
        let v6 = place(raw.ipv6.as_ref().map(Spanned::span), &raw.name);
        taken.address(source, &v4, pod.addr.v4.into(), &owner)?;
        taken.address(source, &v6, pod.addr.v6.into(), &owner)?;
        inside(source, topology, &v4, pod.addr.v4.into())?;
        inside(source, topology, &v6, pod.addr.v6.into())?;
        if pod.host_interface == topology.network.bridge {
            let place = raw.host_interface.as_ref().unwrap_or(&raw.name);
            return Err(source
                .complain(
                    place,
                    format!("`{}` is the bridge's own name", pod.host_interface),
                )
                .help("give the pod another `host_interface`"));
        }
        if let Some(place) = &raw.host_interface {
            let twice = topology
                .pods
                .iter()
                .filter(|p| p.host_interface == pod.host_interface);
            if twice.count() > 1 {
                return Err(source
                    .complain(
                        place,
                        format!("`{}` stands for two pods", pod.host_interface),
                    )
                    .help("host interfaces share the node's namespace: give each its own name"));
            }
        }
        behind::behind(source, topology, raw, pod)?;
        pod_calls(source, topology, raw)?;
        pod_ports(source, raw, pod)?;
    }
    if let (Some(raw), Some(dns)) = (&file.dns, &topology.dns) {
        let v4 = place(raw.ipv4.as_ref().map(Spanned::span), &file.name);
        let v6 = place(raw.ipv6.as_ref().map(Spanned::span), &file.name);
        taken.address(source, &v4, dns.addr.v4.into(), "the DNS server")?;
        taken.address(source, &v6, dns.addr.v6.into(), "the DNS server")?;
        outside(source, topology, &v4, dns.addr.v4.into())?;
        outside(source, topology, &v6, dns.addr.v6.into())?;
        for name in raw.hosts.keys() {
            host_name(source, name)?;
        }
    }
    services::services(source, file, topology, &mut taken)
}

/// Where an address stands; one that the file does not name, where its owner does.
fn place(span: Option<std::ops::Range<usize>>, or: &Spanned<String>) -> Spanned<()> {
    Spanned::new(span.unwrap_or_else(|| or.span()), ())
}

/// Ports that a pod's processes would fight over, or that nobody can serve.
fn pod_ports(source: &Source, raw: &schema::Pod, pod: &Pod) -> Result<(), Diagnostic> {
    let app = raw.app.iter().flat_map(|it| it.get_ref().ports());
    let gateway = raw.gateway.iter().map(|g| &g.get_ref().port);
    for port in app.chain(gateway) {
        let number = *port.get_ref();
        if number == 0 {
            return Err(source
                .complain(
                    port,
                    "port 0 can't be served: the kernel would choose another",
                )
                .help("choose a port from 1 to 65535"));
        }
        if pod.proxy.is_some() && ports::PROXY.contains(&number) {
            return Err(source
                .complain(port, format!("port {number} is the proxy's own"))
                .help("Istio's proxy takes 15000, 15001, 15006, 15020, 15021, 15053 and 15090"));
        }
    }
    Ok(())
}

fn pod_calls(source: &Source, topology: &Topology, raw: &schema::Pod) -> Result<(), Diagnostic> {
    let calls = raw.app.iter().flat_map(|it| &it.get_ref().calls);
    let called = calls.map(|c| (c.span(), c.get_ref().split('/').next().unwrap_or("")));
    let routed = raw.gateway.iter().map(|g| {
        (
            g.get_ref().service.span(),
            g.get_ref().service.get_ref().as_str(),
        )
    });
    for (span, service) in called.chain(routed) {
        if topology.service(service).is_none() {
            let place = Spanned::new(span, ());
            let names = topology.services.iter().map(|s| s.name.as_str());
            let complaint = source.complain(&place, format!("there is no service `{service}`"));
            let help = did_you_mean(service, names);
            return Err(
                complaint.help(help.unwrap_or_else(|| "add a [[service]] of that name".into()))
            );
        }
    }
    Ok(())
}

/// A virtual address in the pod network would be looked for on the bridge, and found nowhere.
fn outside<T>(
    source: &Source,
    topology: &Topology,
    place: &Spanned<T>,
    addr: IpAddr,
) -> Result<(), Diagnostic> {
    let network = &topology.network;
    let inside = match addr {
        IpAddr::V4(a) => network.ipv4.contains(&a),
        IpAddr::V6(a) => network.ipv6.contains(&a),
    };
    if !inside {
        return Ok(());
    }
    Err(source
        .complain(place, format!("{addr} is an address of the pod network"))
        .help("a service's virtual address belongs to nobody: choose one outside the pod network"))
}

fn inside<T>(
    source: &Source,
    topology: &Topology,
    place: &Spanned<T>,
    addr: IpAddr,
) -> Result<(), Diagnostic> {
    let (ok, net) = match addr {
        IpAddr::V4(a) => {
            let net = topology.network.ipv4;
            let usable = a != net.network() && a != net.broadcast();
            (net.contains(&a) && usable, net.to_string())
        }
        IpAddr::V6(a) => (
            topology.network.ipv6.contains(&a),
            topology.network.ipv6.to_string(),
        ),
    };
    if ok {
        return Ok(());
    }
    Err(source
        .complain(place, format!("{addr} is not a host address of {net}"))
        .help("pods and the node share one network: choose an address inside it"))
}

/// Who holds which address and which name.
#[derive(Default)]
struct Taken {
    addresses: HashMap<IpAddr, String>,
    names: HashMap<String, String>,
}

impl Taken {
    fn address<T>(
        &mut self,
        source: &Source,
        place: &Spanned<T>,
        addr: IpAddr,
        owner: &str,
    ) -> Result<(), Diagnostic> {
        match self.addresses.insert(addr, owner.to_string()) {
            None => Ok(()),
            Some(first) => Err(source
                .complain(place, format!("{addr} belongs to {first} already"))
                .help("every pod, service and the node needs an address of its own")),
        }
    }

    fn name(
        &mut self,
        source: &Source,
        place: &Spanned<String>,
        owner: &str,
    ) -> Result<(), Diagnostic> {
        match self
            .names
            .insert(place.get_ref().clone(), owner.to_string())
        {
            None => Ok(()),
            Some(first) => Err(source
                .complain(place, format!("{first} has this name already"))
                .help("pods and services share one space of names: flows name both")),
        }
    }
}
