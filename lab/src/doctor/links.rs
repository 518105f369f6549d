//! The sandbox's own view of the file system, and its network: namespaces, bridge, veth, addresses, sysctls.

use std::{
    fs::File,
    net::{IpAddr, SocketAddr, TcpListener, TcpStream},
    os::fd::AsFd,
    time::Duration,
};

use super::{
    check::NeededBy,
    machine_failure,
    sheet::{Found, Sheet, Step, Trial},
};
use crate::{
    failure::Failure,
    net::{self, Inside, Namespace, write_sysctls},
    plan::Plan,
    rules::Family,
    sandbox::prepare_mounts,
};

/// Anything inside the sandbox is a matter of milliseconds; this is for what never comes.
pub(super) const PATIENCE: Duration = Duration::from_secs(2);

const UPGRADE: &str = "run on a kernel that has it (a distribution's kernel does), as root or in a container that runs \
     privileged: podman run --privileged …";

/// Puts the sandbox's mounts in place.
pub(super) fn mounts(sheet: &mut Sheet, start: &Step<()>, plan: &Plan) -> Step<()> {
    let trial = Trial::new(
        "mounts",
        "private mounts, /proc, a tmpfs on /run, /etc/hosts",
        NeededBy::EveryLab,
        UPGRADE,
    );
    sheet.try_after(start.by_ref(), trial, |()| {
        prepare_mounts(&plan.files)?;
        Ok((
            (),
            "private mounts, /proc, a tmpfs on /run, /etc/hosts".into(),
        ))
    })
}

/// Builds a node and a pod as a lab does, and connects from one to the other.
pub(super) fn examine(sheet: &mut Sheet, mounts: &Step<()>, plan: &Plan) {
    let every = |id: &str, tried: &str, fix: &str| Trial::new(id, tried, NeededBy::EveryLab, fix);
    let trial = every(
        "network-namespace",
        "network namespaces with names",
        UPGRADE,
    );
    let both = sheet.try_after(mounts.by_ref(), trial, |()| {
        let (node, pod) = (Namespace::node()?, Namespace::create("doctor-pod")?);
        Ok(((node, pod), "one for the node, one for a pod".into()))
    });
    let trial = every("sysctls", "the sysctls that labs set", UPGRADE);
    let ready = sheet.try_after(both.by_ref(), trial, |(node, pod)| {
        sysctls(node, pod, plan)?;
        let count = plan.node.sysctls.len() + plan.pods[0].sysctls.len();
        Ok(((node, pod), format!("{count} written")))
    });
    let trial = every("bridge", "a bridge", "modprobe bridge (CONFIG_BRIDGE)");
    let bridged = sheet.try_after(ready.clone(), trial, |(node, pod)| {
        let (planned, neighbours) = (plan.node.clone(), plan.neighbours.clone());
        node.job(move |inside| {
            let netlink = &inside.netlink;
            netlink.add_bridge(&planned.bridge, planned.mac)?;
            write_sysctls(&planned.forwarding)?;
            netlink.set_up(&planned.bridge, &[])?;
            netlink.add_neighbours(&planned.bridge, &neighbours)
        })
        .wait()??;
        Ok(((node, pod), "a bridge in the node".into()))
    });
    let trial = every("veth", "a veth pair", "modprobe veth (CONFIG_VETH)");
    let linked = sheet.try_after(bridged, trial, |(node, pod)| {
        veth(node, pod, plan)?;
        Ok(((node, pod), "from the pod to the node's bridge".into()))
    });
    for (family, id, fix) in [
        (Family::V4, "ipv4-link", UPGRADE),
        (
            Family::V6,
            "ipv6-link",
            "turn IPv6 on: sysctl -w net.ipv6.conf.default.disable_ipv6=0, and no ipv6.disable=1 on the kernel's command line",
        ),
    ] {
        let tried = format!("{family} addresses, a route, a connection");
        let trial = every(id, &tried, fix);
        sheet.try_after(linked.clone(), trial, |(node, pod)| {
            connect(node, pod, plan, family)
        });
    }
}

fn sysctls(node: &Namespace, pod: &Namespace, plan: &Plan) -> Result<(), Failure> {
    for (namespace, sysctls) in [
        (node, plan.node.sysctls.clone()),
        (pod, plan.pods[0].sysctls.clone()),
    ] {
        namespace
            .job(move |inside| {
                write_sysctls(&sysctls)?;
                inside.netlink.set_up("lo", &[])
            })
            .wait()??;
    }
    Ok(())
}

fn veth(node: &Namespace, pod: &Namespace, plan: &Plan) -> Result<(), Failure> {
    let own = node
        .job(|_| File::open("/proc/thread-self/ns/net"))
        .wait()?
        .map_err(|e| machine_failure("could not open /proc/thread-self/ns/net", e))?;
    let (link, neighbours) = (plan.pods[0].link.clone(), plan.neighbours.clone());
    let (host, bridge) = (link.host_interface.clone(), plan.node.bridge.clone());
    pod.job(move |inside| {
        inside
            .netlink
            .add_veth(&link.interface, link.mac, &link.host_interface, own.as_fd())?;
        inside.netlink.set_up(&link.interface, &[])?;
        inside.netlink.add_neighbours(&link.interface, &neighbours)
    })
    .wait()??;
    let port = host.clone();
    node.job(move |inside| inside.netlink.attach(&host, &bridge))
        .wait()??;
    await_carrier(pod, &plan.pods[0].link.interface)?;
    await_carrier(node, &port)?;
    await_carrier(node, &plan.node.bridge)
}

fn await_carrier(namespace: &Namespace, name: &str) -> Result<(), Failure> {
    let wanted = name.to_string();
    let waited = namespace.job(move |inside| net::await_carrier(inside, &wanted));
    Ok(waited.wait()??)
}

/// Adds an address, and waits until packets to it arrive.
fn give_address(inside: &Inside, link: &str, address: (IpAddr, u8)) -> Result<(), Failure> {
    inside.netlink.set_up(link, &[address])?;
    Ok(net::await_address(address.0)?)
}

/// Gives both ends their addresses of one family, and connects from the pod to the node.
fn connect(node: &Namespace, pod: &Namespace, plan: &Plan, family: Family) -> Found<()> {
    let of = |addresses: &[(IpAddr, u8)]| {
        let mut own = addresses.iter().filter(|(a, _)| Family::of(*a) == family);
        own.next().copied().expect("a lab has both families")
    };
    let link = plan.pods[0].link.clone();
    let (bridge, at_node, at_pod) = (
        plan.node.bridge.clone(),
        of(&plan.node.addresses),
        of(&link.addresses),
    );
    let (to, from) = (at_node.0, at_pod.0);
    let listener = node
        .job(move |inside| {
            give_address(inside, &bridge, at_node)?;
            listen(SocketAddr::new(to, 0))
        })
        .wait()??;
    let port = listener
        .local_addr()
        .map_err(|e| machine_failure("a listener has no address", e))?
        .port();
    pod.job(move |inside| {
        give_address(inside, &link.interface, at_pod)?;
        inside.netlink.add_default_route(to)?;
        let target = SocketAddr::new(to, port);
        TcpStream::connect_timeout(&target, PATIENCE)
            .map_err(|e| machine_failure(format!("the pod can't connect to the node at {to}"), e))
    })
    .wait()??;
    Ok(((), format!("{from} connects to {to}")))
}

/// A listener in the namespace of the calling thread.
pub(super) fn listen(at: SocketAddr) -> Result<TcpListener, Failure> {
    TcpListener::bind(at).map_err(|e| machine_failure(format!("can't listen on {at}"), e))
}
