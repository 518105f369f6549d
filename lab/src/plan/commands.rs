//! The plan of a lab as lines of a shell script, for a person to read or to run: what the supervisor does over netlink,
//! said with `ip`, `sysctl` and the tools that apply rules. Pure.

use std::{fmt::Write as _, net::IpAddr};

use super::{LinkPlan, Mac, Plan, PodPlan};
use crate::rules::{Family, Holder, Written};

/// The lines. Namespaces are called `LAB-node` and `LAB-POD`; nothing outside of them is touched. `holder` is whose
/// tools apply the rules. What has no command of its own (the processes, names in /etc/hosts) is told in comments.
pub fn commands(plan: &Plan, holder: Holder) -> String {
    let mut script = Script {
        node: format!("{}-node", plan.lab),
        out: format!("# lab {}: to be run as root, by sh -e\n", plan.lab),
    };
    script.node(plan, holder);
    // One that is behind another needs that one first.
    let (first, behind): (Vec<_>, Vec<_>) =
        plan.pods.iter().partition(|it| it.link.behind.is_none());
    for pod in first.into_iter().chain(behind) {
        script.pod(plan, pod, holder);
    }
    script.names(plan);
    script.out
}

struct Script {
    /// Name of the node's namespace.
    node: String,
    out: String,
}

impl Script {
    fn line(&mut self, line: &str) {
        self.out += line;
        self.out.push('\n');
    }

    fn node(&mut self, plan: &Plan, holder: Holder) {
        let (ns, node) = (self.node.clone(), &plan.node);
        let bridge = &node.bridge;
        self.line("\n# the node");
        self.line(&format!("ip netns add {ns}"));
        self.sysctls(&ns, &node.sysctls);
        for (name, value) in &node.bridge_sysctls {
            // Only where the machine has loaded br_netfilter: -e passes over what is not there.
            self.line(&format!("ip netns exec {ns} sysctl -eqw {name}={value}"));
        }
        self.set_up(&ns, "lo", &node.loopback);
        let address = mac(node.mac);
        self.line(&format!(
            "ip -n {ns} link add {bridge} address {address} type bridge mcast_snooping 0"
        ));
        self.line(&format!(
            "ip -n {ns} link set {bridge} arp off multicast off"
        ));
        // A bridge that forwards when it appears joins the group of all routers.
        self.sysctls(&ns, &node.forwarding);
        self.set_up(&ns, bridge, &node.addresses);
        self.neighbours(&ns, bridge, &plan.neighbours);
        if let Some(rules) = &node.rules {
            self.rules(&ns, &rules.written, holder);
            self.sysctls(&ns, &node.conntrack_sysctls);
        }
        for process in &node.processes {
            self.process(
                &process.config.pod,
                process.uid,
                process.gid,
                "the DNS server",
            );
        }
        if plan.rules.host.is_some() {
            self.line("# the rules of ambient mode for the node are not shown: hoplab rules render shows them");
        }
    }

    fn pod(&mut self, plan: &Plan, pod: &PodPlan, holder: Holder) {
        let (ns, link) = (format!("{}-{}", plan.lab, pod.name), &pod.link);
        self.line(&format!("\n# {}", pod.name));
        self.line(&format!("ip netns add {ns}"));
        self.sysctls(&ns, &pod.sysctls);
        self.set_up(&ns, "lo", &pod.loopback);
        match pod.plugged {
            true => self.link(plan, &ns, link),
            false => self.line("# its link comes in a step"),
        }
        if pod.intercepted {
            let rules = pod.rules.as_ref().unwrap_or(&plan.rules);
            self.rules(&ns, &rules.written, holder);
            self.sysctls(&ns, &pod.conntrack_sysctls);
            for step in &pod.routes {
                // Displays as `ip -4 rule add ...`.
                let step = step.to_string();
                let rest = step.strip_prefix("ip ").unwrap_or(&step);
                self.line(&format!("ip -n {ns} {rest}"));
            }
        }
        for process in &pod.processes {
            let role = match &process.config.part {
                hoplab_proxies::wire::Part::App(_) => "the stub app",
                _ => "the stub proxy",
            };
            self.process(&pod.name, process.uid, process.gid, role);
        }
    }

    /// A pod's veth pair, with its other end at the bridge, or in the pod that it is behind.
    fn link(&mut self, plan: &Plan, ns: &str, link: &LinkPlan) {
        let LinkPlan {
            interface,
            host_interface: host,
            ..
        } = link;
        let relay = link.behind.as_ref();
        let there = relay.map_or(self.node.clone(), |it| format!("{}-{}", plan.lab, it.pod));
        let peer = relay.map_or(String::new(), |it| format!(" address {}", mac(it.mac)));
        let address = mac(link.mac);
        self.line(&format!(
            "ip -n {ns} link add {interface} address {address} type veth peer name {host}{peer} netns {there}"
        ));
        self.line(&format!(
            "ip -n {ns} link set {interface} arp off multicast off"
        ));
        match relay {
            None => {
                // A port of the bridge has no IPv6 of its own: what it would say of itself goes to the pod.
                let silent = (format!("net/ipv6/conf/{host}/disable_ipv6"), "1".to_owned());
                self.sysctls(&there, &[silent]);
                let bridge = &plan.node.bridge;
                self.line(&format!("ip -n {there} link set {host} master {bridge} up"));
            }
            Some(relay) => {
                self.line(&format!(
                    "ip -n {there} link set {host} arp off multicast off"
                ));
                self.sysctls(&there, &relay.sysctls);
                self.set_up(&there, host, &relay.addresses);
                self.neighbours(&there, host, &relay.neighbours);
                for address in &relay.routes {
                    let option = option(*address);
                    self.line(&format!(
                        "ip -n {there} {option} route add {address} dev {host}"
                    ));
                }
            }
        }
        self.set_up(ns, interface, &link.addresses);
        self.neighbours(ns, interface, &link.neighbours);
        for gateway in &link.gateways {
            self.line(&format!(
                "ip -n {ns} {} route add default via {gateway}",
                option(*gateway)
            ));
        }
    }

    fn rules(&mut self, ns: &str, rules: &Written, holder: Holder) {
        let texts: Vec<(String, &str)> = match rules {
            Written::Nft { nft } => vec![("nft -f -".to_owned(), nft)],
            Written::Iptables(texts) => {
                let variant = if holder == Holder::IptablesLegacy {
                    "legacy"
                } else {
                    "nft"
                };
                let all = texts.iter().map(|(family, text)| {
                    let tool = match family {
                        Family::V4 => "iptables",
                        Family::V6 => "ip6tables",
                    };
                    (format!("{tool}-{variant}-restore --noflush"), text.as_str())
                });
                all.collect()
            }
        };
        for (tool, text) in texts {
            self.line(&format!("ip netns exec {ns} {tool} <<'RULES'"));
            self.line(text.trim_end());
            self.line("RULES");
        }
    }

    fn set_up(&mut self, ns: &str, link: &str, addresses: &[(IpAddr, u8)]) {
        for (address, prefix) in addresses {
            // Usable at once: nobody else has it.
            let nodad = if address.is_ipv6() { " nodad" } else { "" };
            self.line(&format!(
                "ip -n {ns} addr add {address}/{prefix} dev {link}{nodad}"
            ));
        }
        self.line(&format!("ip -n {ns} link set {link} up"));
    }

    fn neighbours(&mut self, ns: &str, link: &str, known: &[(IpAddr, Mac)]) {
        for (address, at) in known {
            let at = mac(*at);
            self.line(&format!(
                "ip -n {ns} neigh replace {address} lladdr {at} dev {link} nud permanent"
            ));
        }
    }

    fn sysctls(&mut self, ns: &str, all: &[(String, String)]) {
        for (name, value) in all {
            self.line(&format!("ip netns exec {ns} sysctl -qw {name}={value}"));
        }
    }

    fn process(&mut self, pod: &str, uid: u32, gid: u32, what: &str) {
        self.line(&format!(
            "# in {pod}, as {uid}:{gid}: {what}, which hoplab starts itself"
        ));
    }

    fn names(&mut self, plan: &Plan) {
        self.line("\n# /etc/hosts of every pod:");
        for line in plan.files.hosts.lines() {
            let _ = writeln!(self.out, "#   {line}");
        }
        for (name, id) in plan
            .rules
            .names
            .users
            .iter()
            .chain(&plan.rules.names.groups)
        {
            self.line(&format!("# `{name}` in the rules is {id} there"));
        }
    }
}

fn option(address: IpAddr) -> &'static str {
    match Family::of(address) {
        Family::V4 => "-4",
        Family::V6 => "-6",
    }
}

fn mac(Mac(bytes): Mac) -> String {
    bytes.map(|it| format!("{it:02x}")).join(":")
}
