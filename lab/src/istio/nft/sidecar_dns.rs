//! The sidecar's nftables rules for DNS.

use super::{
    ip,
    sidecar::{NAT, RAW, Sidecar},
};
use crate::istio::dns::{AGENT_DNS_PORT, DnsCapture};

const OUTPUT_DNS: &str = "istio-output-dns";

impl Sidecar<'_> {
    /// The jumps are there once for both families, if either has servers.
    pub(super) fn capture_dns(&mut self) {
        if self.config.dns.is_none() {
            return;
        }
        self.out
            .append(RAW, "output", "counter jump istio-output-dns");
        self.out
            .append(NAT, "istio-output", "counter jump istio-output-dns");
        for protocol in ["tcp", "udp"] {
            for server in self.dns_addresses("daddr") {
                let words =
                    format!("{server}{protocol} dport 53 counter redirect to :{AGENT_DNS_PORT}");
                self.out.append(NAT, OUTPUT_DNS, words);
            }
        }
        for (key, owner) in self.proxy_owners() {
            let query = format!("udp dport 53 meta {key} {owner} counter ct zone set 1");
            let answer =
                format!("udp sport {AGENT_DNS_PORT} meta {key} {owner} counter ct zone set 2");
            self.out.append(RAW, OUTPUT_DNS, query);
            self.out.append(RAW, OUTPUT_DNS, answer);
        }
        self.out
            .append(RAW, "prerouting", "counter jump istio-inbound");
        for (to, from) in self
            .dns_addresses("daddr")
            .iter()
            .zip(self.dns_addresses("saddr"))
        {
            let query = format!("udp dport 53 {to}counter ct zone set 2");
            let reply = format!("udp sport 53 {from}counter ct zone set 1");
            self.out.append(RAW, OUTPUT_DNS, query);
            self.out.append(RAW, "istio-inbound", reply);
        }
    }

    /// `ip daddr SERVER ` for each server of a family that is on, or one empty text for all servers.
    fn dns_addresses(&self, side: &str) -> Vec<String> {
        let servers = match &self.config.dns {
            None => return Vec::new(),
            Some(DnsCapture::All) => return vec![String::new()],
            Some(servers) => servers,
        };
        let of_family = |family| {
            let targets = servers.targets(family).into_iter();
            targets.map(move |target| format!("{}{} ", ip(family), target.option(side)))
        };
        self.families
            .iter()
            .flat_map(|family| of_family(*family))
            .collect()
    }
}
