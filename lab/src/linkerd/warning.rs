//! What proxy-init drops, what it fails on, and what a person may not expect.

use thiserror::Error;

use super::Config;
use crate::{mesh::Subnet, rules::Family};

/// One surprise in a configuration.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum Warning {
    /// No port and no range.
    #[error(
        "proxy-init drops `{item}` of --{flag}, with a line in its log: it is neither a port nor a range like 80-90"
    )]
    PortDropped {
        /// The flag.
        flag: &'static str,
        /// The item.
        item: String,
    },
    /// One list serves both families.
    #[error("{tables} refuses -s {subnet}, and proxy-init fails{when}: it gives both families the same list", tables = tables(*family), when = when(*family))]
    OtherFamily {
        /// The family that can't take it.
        family: Family,
        /// The range.
        subnet: Subnet,
    },
    /// The flag's name does not say so.
    #[error("--subnets-to-ignore counts for inbound traffic only, by its source")]
    SubnetsAreSources,
    /// The historic rule names one address.
    #[error(
        "the rule that turns the proxy to itself names 127.0.0.1/32, which ip6tables refuses: proxy-init of that time knew IPv4 only"
    )]
    SelfRedirectIsV4,
}

fn tables(family: Family) -> &'static str {
    match family {
        Family::V4 => "iptables",
        Family::V6 => "ip6tables",
    }
}

fn when(family: Family) -> &'static str {
    match family {
        Family::V4 => "",
        Family::V6 => " when the IPv4 rules are in place already",
    }
}

/// What is worth a warning in a configuration.
pub fn warnings(config: &Config) -> Vec<Warning> {
    let dropped = config
        .dropped
        .iter()
        .map(|(flag, item)| Warning::PortDropped {
            flag,
            item: item.clone(),
        });
    let mut warnings: Vec<Warning> = dropped.collect();
    if !config.subnets_to_ignore.is_empty() {
        warnings.push(Warning::SubnetsAreSources);
    }
    for family in config.families() {
        let other = config
            .subnets_to_ignore
            .iter()
            .filter(|it| it.family() != *family);
        warnings.extend(other.cloned().map(|subnet| Warning::OtherFamily {
            family: *family,
            subnet,
        }));
    }
    if config.self_redirect && config.ipv6 {
        warnings.push(Warning::SelfRedirectIsV4);
    }
    warnings
}
