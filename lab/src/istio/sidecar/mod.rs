//! The sidecar's iptables rules, in the order Istio emits them.

mod dns;
mod dns_before_chains;
mod inbound;
mod outbound;
mod tproxy;

use super::{
    Config, Release,
    emit::{Emission, Emitted},
    owners::OwnerGroups,
};
use crate::rules::Table;

const PREROUTING: &str = "PREROUTING";
const OUTPUT: &str = "OUTPUT";
const ISTIO_INBOUND: &str = "ISTIO_INBOUND";
const ISTIO_OUTPUT: &str = "ISTIO_OUTPUT";
const ISTIO_OUTPUT_DNS: &str = "ISTIO_OUTPUT_DNS";
const ISTIO_REDIRECT: &str = "ISTIO_REDIRECT";
const ISTIO_IN_REDIRECT: &str = "ISTIO_IN_REDIRECT";
const ISTIO_DIVERT: &str = "ISTIO_DIVERT";
const ISTIO_TPROXY: &str = "ISTIO_TPROXY";
const ISTIO_DROP: &str = "ISTIO_DROP";

/// The rules `istio-iptables` of a release writes for a configuration, of every family it gives rules to.
pub fn iptables(config: &Config, release: Release) -> Vec<Emitted> {
    let mut sidecar = Sidecar {
        config,
        release,
        out: Emission::new(config.enable_ipv6),
    };
    sidecar.leave_interfaces_alone();
    sidecar.leave_virtual_interfaces_alone();
    sidecar.drop_invalid();
    sidecar.make_redirect_chains();
    sidecar.capture_inbound();
    sidecar.capture_outbound();
    sidecar.mark_for_tproxy();
    sidecar.out.into_rules()
}

struct Sidecar<'a> {
    config: &'a Config,
    release: Release,
    out: Emission,
}

impl Sidecar<'_> {
    fn leave_interfaces_alone(&mut self) {
        let mangle = self.config.is_tproxy().then_some(Table::Mangle);
        for table in [Table::Nat].into_iter().chain(mangle) {
            for nic in &self.config.exclude_interfaces {
                self.out
                    .append(table, PREROUTING, &format!("-i {nic} -j RETURN"));
                self.out
                    .append(table, OUTPUT, &format!("-o {nic} -j RETURN"));
            }
        }
    }

    fn leave_virtual_interfaces_alone(&mut self) {
        for nic in &self.config.reroute_virtual_interfaces {
            self.out
                .insert_each(Table::Nat, PREROUTING, 1, |_| format!("-i {nic} -j RETURN"));
        }
    }

    fn drop_invalid(&mut self) {
        const INVALID: &str = "-m conntrack --ctstate INVALID -j";
        if !self.config.drop_invalid {
            return;
        }
        if self.release.generation().drops_in_a_chain() {
            self.out.append(
                Table::Mangle,
                PREROUTING,
                &format!("{INVALID} {ISTIO_DROP}"),
            );
            self.out.append(Table::Mangle, ISTIO_DROP, "-j DROP");
        } else {
            self.out
                .append(Table::Mangle, PREROUTING, &format!("{INVALID} DROP"));
        }
    }

    fn make_redirect_chains(&mut self) {
        let config = self.config;
        let tunnel = format!("-p tcp --dport {} -j RETURN", config.inbound_tunnel_port);
        self.out.append(Table::Nat, ISTIO_INBOUND, &tunnel);
        for (chain, port) in [
            (ISTIO_REDIRECT, config.proxy_port),
            (ISTIO_IN_REDIRECT, config.inbound_capture_port),
        ] {
            self.out.append(
                Table::Nat,
                chain,
                &format!("-p tcp -j REDIRECT --to-ports {port}"),
            );
        }
    }

    /// Who owns the proxy's sockets: users first, then groups.
    fn proxy_owners(&self) -> Vec<String> {
        let users = self
            .config
            .proxy_uid
            .iter()
            .map(|uid| format!("--uid-owner {uid}"));
        let groups = self
            .config
            .proxy_gid
            .iter()
            .map(|gid| format!("--gid-owner {gid}"));
        users.chain(groups).collect()
    }

    /// Matches that tell who is not captured, one rule each.
    fn uncaptured_groups(&self) -> Vec<String> {
        if !self.release.has_owner_groups() {
            return Vec::new();
        }
        match &self.config.owner_groups {
            OwnerGroups::AllBut(groups) => groups
                .iter()
                .map(|group| format!("-m owner --gid-owner {group} "))
                .collect(),
            OwnerGroups::Only(groups) => {
                vec![
                    groups
                        .iter()
                        .map(|group| format!("-m owner ! --gid-owner {group} "))
                        .collect(),
                ]
            }
        }
    }
}
