//! Capture of outbound traffic: ISTIO_OUTPUT, from exclusions that always win to the ranges that are captured.

use super::{ISTIO_OUTPUT, ISTIO_REDIRECT, OUTPUT, PREROUTING, Sidecar};
use crate::{
    istio::{
        config::passthrough_source,
        ranges::{Ranges, of_family},
    },
    rules::{Family, Table},
};

impl Sidecar<'_> {
    pub(super) fn capture_outbound(&mut self) {
        let generation = self.release.generation();
        if generation.has_dns_chains() {
            self.nat(OUTPUT, "-j ISTIO_OUTPUT");
        } else {
            self.nat(OUTPUT, "-p tcp -j ISTIO_OUTPUT");
        }
        for port in &self.config.outbound_ports_exclude {
            self.nat(ISTIO_OUTPUT, &format!("-p tcp --dport {port} -j RETURN"));
            self.nat(ISTIO_OUTPUT, &format!("-p udp --dport {port} -j RETURN"));
        }
        self.out.append_each(Table::Nat, ISTIO_OUTPUT, |family| {
            format!("-o lo -s {} -j RETURN", passthrough_source(family))
        });
        for owner in self.proxy_owners() {
            self.let_proxy_through(&owner);
        }
        for group in self.uncaptured_groups() {
            self.nat(ISTIO_OUTPUT, &format!("{group}-j RETURN"));
        }
        if generation.has_dns_chains() {
            self.capture_dns();
        } else {
            self.capture_dns_over_tcp();
        }
        let config = self.config;
        self.out.append_each(Table::Nat, ISTIO_OUTPUT, |family| {
            format!("-d {} -j RETURN", config.loopback(family))
        });
        self.exclude_and_include();
        if !generation.has_dns_chains() {
            self.capture_dns_over_udp();
        }
    }

    fn nat(&mut self, chain: &'static str, words: &str) {
        self.out.append(Table::Nat, chain, words);
    }

    /// The proxy reaches its own pod through its inbound side, the app reaches itself directly, and what the proxy
    /// sends out is never captured again.
    fn let_proxy_through(&mut self, owner: &str) {
        let config = self.config;
        let guard = self.self_call_guard(owner);
        self.out.append_each(Table::Nat, ISTIO_OUTPUT, |family| {
            let loopback = config.loopback(family);
            format!("-o lo ! -d {loopback}{guard} -m owner {owner} -j ISTIO_IN_REDIRECT")
        });
        if !config.outbound_ip_ranges_include.has_loopback() {
            let not_dns = if config.dns.is_some() {
                " -p tcp ! --dport 53"
            } else {
                ""
            };
            self.nat(
                ISTIO_OUTPUT,
                &format!("-o lo{not_dns} -m owner ! {owner} -j RETURN"),
            );
        }
        self.nat(ISTIO_OUTPUT, &format!("-m owner {owner} -j RETURN"));
    }

    /// Which of the proxy's calls to its own pod are not sent to its inbound side. Only the rules for users know DNS.
    fn self_call_guard(&self, owner: &str) -> String {
        let tunnel = self.config.inbound_tunnel_port;
        let knows_dns = self.config.dns.is_some() && owner.starts_with("--uid-owner");
        match (self.release.generation().guards_self_calls(), knows_dns) {
            (true, true) => format!(" -p tcp -m multiport ! --dports 53,{tunnel}"),
            (true, false) => format!(" -p tcp ! --dport {tunnel}"),
            (false, true) => " -p tcp ! --dport 53".to_owned(),
            (false, false) => String::new(),
        }
    }

    fn exclude_and_include(&mut self) {
        let config = self.config;
        for cidr in &config.outbound_ip_ranges_exclude {
            let words = format!("-d {cidr} -j RETURN");
            self.out
                .append_in(cidr.family(), Table::Nat, ISTIO_OUTPUT, &words);
        }
        for port in &config.outbound_ports_include {
            self.nat(
                ISTIO_OUTPUT,
                &format!("-p tcp --dport {port} -j {ISTIO_REDIRECT}"),
            );
        }
        match &config.outbound_ip_ranges_include {
            Ranges::All => {
                self.nat(ISTIO_OUTPUT, &format!("-j {ISTIO_REDIRECT}"));
                for nic in &config.reroute_virtual_interfaces {
                    self.out.insert_each(Table::Nat, PREROUTING, 1, |_| {
                        format!("-i {nic} -j {ISTIO_REDIRECT}")
                    });
                }
            }
            Ranges::Only(cidrs) => {
                for &family in self.out.families() {
                    self.include(
                        of_family(cidrs, family).map(ToString::to_string).collect(),
                        family,
                    );
                }
            }
        }
    }

    fn include(&mut self, cidrs: Vec<String>, family: Family) {
        for cidr in &cidrs {
            for nic in &self.config.reroute_virtual_interfaces {
                let words = format!("-i {nic} -d {cidr} -j {ISTIO_REDIRECT}");
                self.out
                    .insert_in(family, Table::Nat, PREROUTING, 1, &words);
            }
            let words = format!("-d {cidr} -j {ISTIO_REDIRECT}");
            self.out.append_in(family, Table::Nat, ISTIO_OUTPUT, &words);
        }
        if !cidrs.is_empty() && self.release.generation().ends_cidr_lists_with_return() {
            self.out
                .append_in(family, Table::Nat, ISTIO_OUTPUT, "-j RETURN");
        }
    }
}
