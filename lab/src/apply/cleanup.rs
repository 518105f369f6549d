//! The commands with which Istio takes its rules away, and those of its guardrails.

use super::state::OWN;
use crate::rules::{Flow, RuleSet, Table, spec_text};

/// Arguments of `iptables`.
pub(super) type Args = Vec<String>;

/// Takes planned rules away: each by itself, last first, but for rules of Istio's own chains that jump nowhere, which
/// go with their chain; then each chain is flushed and deleted. A rule of another release is not planned, so it stays,
/// and so does the chain it jumps to: Istio's second pass, which would take these, is ambient mode's.
pub(super) fn cleanup(meant: &RuleSet) -> Vec<Args> {
    let mut commands = Vec::new();
    for (table, rules) in &meant.tables {
        let chains = rules.chains().iter();
        for chain in chains.clone().rev() {
            for rule in chain.rules.iter().rev() {
                let jumps = matches!(rule.spec.target.flow(), Flow::Calls(_));
                if !chain.name.starts_with(OWN) || jumps {
                    let text = spec_text(&chain.name, &rule.spec);
                    let mut args = in_table(*table);
                    args.push("-D".into());
                    args.extend(text.split_whitespace().skip(1).map(str::to_owned));
                    commands.push(args);
                }
            }
        }
        for chain in chains.filter(|chain| chain.policy.is_none()) {
            for option in ["-F", "-X"] {
                let mut args = in_table(*table);
                args.extend([option.to_owned(), chain.name.clone()]);
                commands.push(args);
            }
        }
    }
    commands
}

/// While rules are exchanged nothing passes: no TCP and no UDP, in, through or out. `option` is `-A` or `-D`.
pub(super) fn guardrails(option: &str) -> Vec<Args> {
    let mut commands = Vec::new();
    for chain in ["INPUT", "FORWARD", "OUTPUT"] {
        for protocol in ["udp", "tcp"] {
            let mut args = in_table(Table::Filter);
            let rule = [option, chain, "-p", protocol, "-j", "DROP"];
            args.extend(rule.map(str::to_owned));
            commands.push(args);
        }
    }
    commands
}

fn in_table(table: Table) -> Args {
    vec!["-t".to_owned(), table.to_string()]
}
