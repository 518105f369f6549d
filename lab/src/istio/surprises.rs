//! Combinations of settings that mean something else than they seem to.

use super::{Config, Release, Settings, Warning, config::InboundPorts, ranges::Ranges};

pub(super) fn look_for(settings: &Settings, config: &Config, warnings: &mut Vec<Warning>) {
    let no_range =
        matches!(&config.outbound_ip_ranges_include, Ranges::Only(list) if list.is_empty());
    let no_outbound = no_range && config.outbound_ports_include.is_empty() && config.dns.is_none();
    let captures_inbound = config.inbound_ports != InboundPorts::Off;
    let found = [
        (!captures_inbound && no_outbound, Warning::NothingCaptured),
        (
            config.outbound_ip_ranges_include == Ranges::All
                && !config.outbound_ports_include.is_empty(),
            Warning::OutboundPortsPointless,
        ),
        (
            settings.dual_stack && !config.enable_ipv6,
            Warning::DualStackAlone,
        ),
        (
            settings.native_nftables && !config.enable_ipv6,
            Warning::NftCatchesIpv6,
        ),
        (
            config.is_tproxy() && matches!(config.inbound_ports, InboundPorts::AllBut(_)),
            Warning::TproxyTakesTunnelPort(config.inbound_tunnel_port),
        ),
        (config.proxy_uid.len() > 1, Warning::SeveralUsers),
        (
            settings.cleanup_only,
            Warning::NotInstalled("--cleanup-only"),
        ),
        (
            settings.skip_rule_apply,
            Warning::NotInstalled("--skip-rule-apply"),
        ),
    ];
    warnings.extend(
        found
            .into_iter()
            .filter(|(holds, _)| *holds)
            .map(|(_, warning)| warning),
    );
}

impl Config {
    /// Settings that a release does not know yet. Its rules go without them.
    pub fn unknown_to(&self, release: Release) -> Option<Warning> {
        let known = release.has_owner_groups() || self.owner_groups.is_everybody();
        (!known).then_some(Warning::NoOwnerGroups(release))
    }
}
