//! DNS capture up to 1.24: TCP before the loopback rule of ISTIO_OUTPUT, UDP after everything else.

use super::{ISTIO_OUTPUT, OUTPUT, PREROUTING, Sidecar};
use crate::rules::Table;

impl Sidecar<'_> {
    pub(super) fn capture_dns_over_tcp(&mut self) {
        self.redirect_dns(ISTIO_OUTPUT, "tcp", "--to-ports");
    }

    pub(super) fn capture_dns_over_udp(&mut self) {
        const DNS: &str = "-p udp --dport 53";
        if self.config.dns.is_none() {
            return;
        }
        let generation = self.release.generation();
        let chain = if generation.takes_dns_udp_into_its_chain() {
            for table in [Table::Nat, Table::Raw] {
                self.out.append(table, OUTPUT, "-p udp -j ISTIO_OUTPUT");
            }
            ISTIO_OUTPUT
        } else {
            OUTPUT
        };
        for owner in self.proxy_owners() {
            self.out.append(
                Table::Nat,
                chain,
                &format!("{DNS} -m owner {owner} -j RETURN"),
            );
        }
        for group in self.uncaptured_groups() {
            self.out
                .append(Table::Nat, chain, &format!("{DNS} {group}-j RETURN"));
        }
        self.redirect_dns(chain, "udp", "--to-port");
        self.zones_of_the_agent(chain);
        // Up to 1.19 replies were looked for by destination, which no reply of a server has.
        let option = if generation.knows_dns_replies_by_source() {
            "-s"
        } else {
            "-d"
        };
        self.zones_of_clients(chain, PREROUTING, option);
    }
}
