//! DNS capture since 1.25: chains of its own in nat and raw, and conntrack zones that keep the agent's queries apart
//! from those it answers.

use super::{ISTIO_INBOUND, ISTIO_OUTPUT, ISTIO_OUTPUT_DNS, OUTPUT, PREROUTING, Sidecar};
use crate::{
    istio::dns::{AGENT_DNS_PORT, DnsTarget},
    rules::{Family, Table},
};

impl Sidecar<'_> {
    pub(super) fn capture_dns(&mut self) {
        if self.config.dns.is_none() {
            return;
        }
        self.out.append(Table::Raw, OUTPUT, "-j ISTIO_OUTPUT_DNS");
        for &family in self.out.families() {
            if !self.dns_targets(family).is_empty() {
                self.out
                    .append_in(family, Table::Nat, ISTIO_OUTPUT, "-j ISTIO_OUTPUT_DNS");
            }
        }
        self.redirect_dns(ISTIO_OUTPUT_DNS, "tcp", "--to-ports");
        self.redirect_dns(ISTIO_OUTPUT_DNS, "udp", "--to-port");
        self.zones_of_the_agent(ISTIO_OUTPUT_DNS);
        for &family in self.out.families() {
            if !self.dns_targets(family).is_empty() {
                self.out
                    .append_in(family, Table::Raw, PREROUTING, "-j ISTIO_INBOUND");
            }
        }
        self.zones_of_clients(ISTIO_OUTPUT_DNS, ISTIO_INBOUND, "-s");
    }

    pub(super) fn dns_targets(&self, family: Family) -> Vec<DnsTarget> {
        self.config
            .dns
            .as_ref()
            .map(|dns| dns.targets(family))
            .unwrap_or_default()
    }

    /// Istio spells the port option differently for TCP and UDP.
    pub(super) fn redirect_dns(&mut self, chain: &'static str, protocol: &str, option: &str) {
        for &family in self.out.families() {
            for target in self.dns_targets(family) {
                let server = target.option("-d");
                let words = format!(
                    "-p {protocol} --dport 53{server} -j REDIRECT {option} {AGENT_DNS_PORT}"
                );
                self.out.append_in(family, Table::Nat, chain, &words);
            }
        }
    }

    /// The agent's own queries are in zone 1, its answers to clients in zone 2.
    pub(super) fn zones_of_the_agent(&mut self, chain: &'static str) {
        for owner in self.proxy_owners() {
            let query = format!("-p udp --dport 53 -m owner {owner} -j CT --zone 1");
            let answer = format!("-p udp --sport {AGENT_DNS_PORT} -m owner {owner} -j CT --zone 2");
            self.out.append(Table::Raw, chain, &query);
            self.out.append(Table::Raw, chain, &answer);
        }
    }

    /// Queries of clients are in zone 2, answers of servers in zone 1.
    pub(super) fn zones_of_clients(
        &mut self,
        output: &'static str,
        input: &'static str,
        reply_option: &str,
    ) {
        for &family in self.out.families() {
            for target in self.dns_targets(family) {
                let query = format!("-p udp --dport 53{} -j CT --zone 2", target.option("-d"));
                let reply = format!(
                    "-p udp --sport 53{} -j CT --zone 1",
                    target.option(reply_option)
                );
                self.out.append_in(family, Table::Raw, output, &query);
                self.out.append_in(family, Table::Raw, input, &reply);
            }
        }
    }
}
