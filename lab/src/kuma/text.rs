//! Restore text as Kuma's builder writes it, and what the installer does beside.

use std::fmt::Write as _;

use ipnet::IpNet;

use super::{Config, nat};
use crate::{
    interception::INBOUND_SOURCE,
    istio::{Emitted, routes::Step},
    rules::{Family, Table},
};

/// The restore text of one family, for `iptables-restore --noflush`: tables raw, nat, mangle, each with a commit of
/// its own; in nat Kuma's four chains first. Empty when the family has no rule.
pub fn restore(rules: &[Emitted], family: Family) -> String {
    let mut text = String::new();
    for table in [Table::Raw, Table::Nat, Table::Mangle] {
        let in_table = |rule: &&Emitted| rule.family == family && rule.table == table;
        let mut rules = rules.iter().filter(in_table).peekable();
        if rules.peek().is_none() {
            continue;
        }
        let _ = writeln!(text, "* {}", table.name());
        if table == Table::Nat {
            for chain in [
                nat::INBOUND,
                nat::OUTBOUND,
                nat::INBOUND_REDIRECT,
                nat::OUTBOUND_REDIRECT,
            ] {
                let _ = writeln!(text, "-N {chain}");
            }
        }
        for rule in rules {
            let _ = writeln!(text, "{}", rule.line());
        }
        text.push_str("COMMIT\n");
    }
    text
}

/// The command the installer gives the text to. Only legacy iptables has a lock to wait for.
pub fn restore_command(config: &Config, family: Family, legacy: bool) -> String {
    let tables = match family {
        Family::V4 => "iptables",
        Family::V6 => "ip6tables",
    };
    let waiting = config.waiting;
    match legacy {
        false => format!("{tables}-nft-restore --noflush"),
        true if waiting.wait == 0 => format!("{tables}-legacy-restore --noflush"),
        true => {
            let interval = match waiting.wait_interval {
                0 => String::new(),
                n => format!(" --wait-interval={n}"),
            };
            format!(
                "{tables}-legacy-restore --wait={}{interval} --noflush",
                waiting.wait
            )
        }
    }
}

/// How often the installer tries, in words.
pub fn tries(config: &Config) -> String {
    let waiting = config.waiting;
    match waiting.max_retries {
        0 => "once".to_owned(),
        more => format!(
            "up to {} times, {} s apart",
            u64::from(more) + 1,
            waiting.sleep_between_retries
        ),
    }
}

/// Addresses the installer puts on `lo`: the source of calls to the own pod for somebody outside.
pub fn loopback_addresses(config: &Config) -> Vec<Step> {
    let of_family = |family: &Family| {
        Step::LoopbackAddress(IpNet::from(
            INBOUND_SOURCE[usize::from(*family == Family::V6)],
        ))
    };
    config.families().iter().map(of_family).collect()
}
