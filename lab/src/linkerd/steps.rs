//! The commands of proxy-init.

use super::{
    Config, Mode,
    rules::{Change, OUTPUT_CHAIN, REDIRECT_CHAIN, changes},
};
use crate::rules::{Family, RuleSet, Table};

/// The commands of one family, in order, as proxy-init prints them. `existing` is what the nat table holds: a chain
/// that is there is flushed instead of made, a jump that is there is not added again. `--simulate` takes it as empty.
pub fn commands(config: &Config, family: Family, existing: &RuleSet) -> Vec<String> {
    let mut commands = Vec::new();
    for change in changes(config) {
        let words = match change {
            Change::New(chain) if has_chain(existing, chain) => format!("-F {chain}"),
            Change::New(chain) => format!("-N {chain}"),
            Change::Rule(chain, words) => format!("-A {chain} {words}"),
            Change::Jump { from, to } if has_jump(existing, from, to) => continue,
            Change::Jump { from, to } => format!("-A {from} -j {to}"),
        };
        commands.push(command(config, family, &words));
    }
    commands
}

/// The commands that take the rules of one family away again.
pub fn cleanup(config: &Config, family: Family) -> Vec<String> {
    let words = [
        format!("-D PREROUTING -j {REDIRECT_CHAIN}"),
        format!("-D OUTPUT -j {OUTPUT_CHAIN}"),
        format!("-F {OUTPUT_CHAIN}"),
        format!("-F {REDIRECT_CHAIN}"),
        format!("-X {OUTPUT_CHAIN}"),
        format!("-X {REDIRECT_CHAIN}"),
    ];
    words
        .iter()
        .map(|words| command(config, family, words))
        .collect()
}

/// The setting of conntrack that proxy-init changes, when it is asked to.
pub fn sysctl(config: &Config) -> Option<String> {
    let seconds = config.timeout_close_wait_secs?;
    let words = format!("sysctl -w net.netfilter.nf_conntrack_tcp_timeout_close_wait={seconds}");
    Some(in_namespace(config, &words))
}

fn command(config: &Config, family: Family, words: &str) -> String {
    let tables = match family {
        Family::V4 => "iptables",
        Family::V6 => "ip6tables",
    };
    let program = match config.mode {
        Mode::Plain => tables.to_owned(),
        mode => format!("{tables}-{mode}"),
    };
    let wait = if config.use_wait_flag { " -w" } else { "" };
    in_namespace(config, &format!("{program} -t nat {words}{wait}"))
}

fn in_namespace(config: &Config, words: &str) -> String {
    match &config.netns {
        Some(path) => format!("nsenter --net={path} -- {words}"),
        None => words.to_owned(),
    }
}

fn has_chain(existing: &RuleSet, chain: &str) -> bool {
    let nat = existing.tables.get(&Table::Nat);
    nat.is_some_and(|nat| nat.chain(chain).is_some())
}

fn has_jump(existing: &RuleSet, from: &str, to: &str) -> bool {
    let mut rules = existing.rules(Table::Nat);
    rules.any(|(id, rule)| id.chain == from && rule.spec.target.chain() == Some(to))
}
