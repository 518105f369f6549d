//! Capture of inbound traffic: by REDIRECT in nat, or by TPROXY in mangle.

use super::{ISTIO_DIVERT, ISTIO_IN_REDIRECT, ISTIO_INBOUND, ISTIO_TPROXY, PREROUTING, Sidecar};
use crate::{istio::config::InboundPorts, rules::Table};

impl Sidecar<'_> {
    pub(super) fn capture_inbound(&mut self) {
        let config = self.config;
        if config.inbound_ports == InboundPorts::Off {
            return;
        }
        let table = if config.is_tproxy() {
            self.make_tproxy_chains();
            Table::Mangle
        } else {
            Table::Nat
        };
        self.out
            .append(table, PREROUTING, "-p tcp -j ISTIO_INBOUND");
        match &config.inbound_ports {
            InboundPorts::Off => {}
            InboundPorts::AllBut(excluded) => {
                if self.release.generation().exempts_ssh() {
                    self.out
                        .append(table, ISTIO_INBOUND, "-p tcp --dport 22 -j RETURN");
                }
                for port in excluded {
                    let words = format!("-p tcp --dport {port} -j RETURN");
                    self.out.append(table, ISTIO_INBOUND, &words);
                }
                self.hand_to_proxy("-p tcp");
            }
            InboundPorts::Only(ports) => {
                for port in ports {
                    self.hand_to_proxy(&format!("-p tcp --dport {port}"));
                }
            }
        }
    }

    fn hand_to_proxy(&mut self, matches: &str) {
        if !self.config.is_tproxy() {
            let words = format!("{matches} -j {ISTIO_IN_REDIRECT}");
            self.out.append(Table::Nat, ISTIO_INBOUND, &words);
            return;
        }
        // What belongs to a connection goes to its socket; a new one goes to the proxy's listener.
        let known =
            format!("{matches} -m conntrack --ctstate RELATED,ESTABLISHED -j {ISTIO_DIVERT}");
        self.out.append(Table::Mangle, ISTIO_INBOUND, &known);
        self.out.append(
            Table::Mangle,
            ISTIO_INBOUND,
            &format!("{matches} -j {ISTIO_TPROXY}"),
        );
    }

    fn make_tproxy_chains(&mut self) {
        let config = self.config;
        let (mark, port) = (config.inbound_tproxy_mark, config.inbound_capture_port);
        self.out.append(
            Table::Mangle,
            ISTIO_DIVERT,
            &format!("-j MARK --set-mark {mark}"),
        );
        self.out.append(Table::Mangle, ISTIO_DIVERT, "-j ACCEPT");
        self.out.append_each(Table::Mangle, ISTIO_TPROXY, |family| {
            let loopback = config.loopback(family);
            format!(
                "! -d {loopback} -p tcp -j TPROXY --tproxy-mark {mark}/0xffffffff --on-port {port}"
            )
        });
    }
}
