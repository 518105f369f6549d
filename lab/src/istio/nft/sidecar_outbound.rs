//! The sidecar's nftables rules for outbound traffic.

use super::{
    ip,
    sidecar::{NAT, Sidecar},
};
use crate::{
    istio::{
        Cidr,
        config::passthrough_source,
        owners::OwnerGroups,
        ranges::{Ranges, of_family},
    },
    rules::Family,
};

const OUTPUT: &str = "istio-output";

impl Sidecar<'_> {
    pub(super) fn capture_outbound(&mut self) {
        self.out.append(NAT, "output", "counter jump istio-output");
        for port in &self.config.outbound_ports_exclude {
            self.out
                .append(NAT, OUTPUT, format!("tcp dport {port} counter return"));
            self.out
                .append(NAT, OUTPUT, format!("udp dport {port} counter return"));
        }
        for &family in self.families {
            let (ip, source) = (ip(family), passthrough_source(family));
            self.out.append(
                NAT,
                OUTPUT,
                format!("oifname lo {ip} saddr {source} counter return"),
            );
        }
        for (key, owner) in self.proxy_owners() {
            self.let_proxy_through(key, &owner);
        }
        self.leave_groups_alone();
        self.capture_dns();
        for &family in self.families {
            let (ip, loopback) = (ip(family), self.config.loopback(family));
            self.out
                .append(NAT, OUTPUT, format!("{ip} daddr {loopback} counter return"));
        }
        self.exclude_and_include();
    }

    fn let_proxy_through(&mut self, key: &str, owner: &str) {
        let config = self.config;
        let tunnel = config.inbound_tunnel_port;
        let guarded = if config.dns.is_some() && key == "skuid" {
            format!("{{ 53, {tunnel} }}")
        } else {
            tunnel.to_string()
        };
        for &family in self.families {
            let (ip, loopback) = (ip(family), config.loopback(family));
            let words = format!(
                "oifname lo meta l4proto tcp {ip} daddr != {loopback} tcp dport != {guarded} {key} {owner} counter jump istio-in-redirect"
            );
            self.out.append(NAT, OUTPUT, words);
        }
        if !config.outbound_ip_ranges_include.has_loopback() {
            let not_dns = if config.dns.is_some() {
                " meta l4proto tcp tcp dport != 53"
            } else {
                ""
            };
            let words = format!("oifname lo{not_dns} {key} != {owner} counter return");
            self.out.append(NAT, OUTPUT, words);
        }
        self.out
            .append(NAT, OUTPUT, format!("{key} {owner} counter return"));
    }

    fn leave_groups_alone(&mut self) {
        match &self.config.owner_groups {
            OwnerGroups::AllBut(groups) => {
                for group in groups {
                    self.out
                        .append(NAT, OUTPUT, format!("skgid {group} counter return"));
                }
            }
            OwnerGroups::Only(groups) => {
                let others: String = groups
                    .iter()
                    .map(|group| format!("skgid != {group} "))
                    .collect();
                self.out
                    .append(NAT, OUTPUT, format!("{others}counter return"));
            }
        }
    }

    fn exclude_and_include(&mut self) {
        let config = self.config;
        for (family, cidr) in self.by_family(&config.outbound_ip_ranges_exclude) {
            self.out.append(
                NAT,
                OUTPUT,
                format!("{} daddr {cidr} counter return", ip(family)),
            );
        }
        for port in &config.outbound_ports_include {
            self.out.append(
                NAT,
                OUTPUT,
                format!("tcp dport {port} counter jump istio-redirect"),
            );
        }
        match &config.outbound_ip_ranges_include {
            Ranges::All => {
                self.out.append(NAT, OUTPUT, "counter jump istio-redirect");
                self.reroute("");
            }
            Ranges::Only(cidrs) => {
                for (family, cidr) in self.by_family(cidrs) {
                    let to = format!("{} daddr {cidr} ", ip(family));
                    self.reroute(&to);
                    self.out
                        .append(NAT, OUTPUT, format!("{to}counter jump istio-redirect"));
                }
            }
        }
    }

    fn reroute(&mut self, to: &str) {
        for nic in &self.config.reroute_virtual_interfaces {
            let words = format!("iifname {nic} {to}counter jump istio-redirect");
            self.out.insert(NAT, "prerouting", 0, words);
        }
    }

    /// Ranges of the families that are on, IPv4 first.
    fn by_family(&self, cidrs: &[Cidr]) -> Vec<(Family, Cidr)> {
        let of = |family| of_family(cidrs, family).map(move |cidr| (family, *cidr));
        self.families
            .iter()
            .flat_map(|family| of(*family))
            .collect()
    }
}
