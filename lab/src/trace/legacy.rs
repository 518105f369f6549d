//! What the TRACE lines of legacy iptables mean: they name a place, the rule set says what is there. Pure.

use super::{
    ChainName, Hook, Ordinal, RulePlace, Step, TableFamily, Told, Verdict,
    wire::{LineKind, TraceLine},
};
use crate::rules::{Chain, Family, Policy, RuleSet, Table, Target};

/// The rule sets of the namespace, one per family at most.
#[derive(Debug, Clone, Default)]
pub(crate) struct LegacyRules(pub Vec<RuleSet>);

impl LegacyRules {
    fn chain(&self, family: Family, table: Table, name: &str) -> Option<&Chain> {
        let set = self.0.iter().find(|set| set.family == family)?;
        set.tables.get(&table)?.chain(name)
    }

    /// What a line reports, and what makes it uncertain.
    pub fn step(&self, family: Family, line: &TraceLine, mark: u32) -> (Step, Option<String>) {
        let chain = ChainName {
            family: TableFamily::of(family),
            table: line.table.clone(),
            chain: line.chain.clone(),
        };
        let known = chain
            .iptables()
            .and_then(|(family, table)| self.chain(family, table, &line.chain));
        let rule = |verdict, told| Step::Rule {
            place: RulePlace {
                chain: chain.clone(),
                ordinal: Ordinal::Known(line.number),
                handle: None,
            },
            verdict,
            told,
            mark,
        };
        let Some(known) = known else {
            let doubt = format!("{chain} is not in the rule set that was given");
            let step = match line.kind {
                LineKind::Rule => rule(Verdict::NotTold, Told::Kernel),
                LineKind::Return => Step::End { chain, rules: None },
                LineKind::Policy => Step::Policy {
                    chain,
                    verdict: Verdict::NotTold,
                },
            };
            return (step, Some(doubt));
        };
        let count = u32::try_from(known.rules.len()).unwrap_or(u32::MAX);
        if (1..=count).contains(&line.number) {
            let target = &known.rules[line.number as usize - 1].spec.target;
            let verdict = verdict(target);
            let told = if verdict == Verdict::NotTold {
                Told::Kernel
            } else {
                Told::Target
            };
            return (rule(verdict, told), None);
        }
        let step = match (line.kind, known.policy) {
            (LineKind::Policy, Some(policy)) => Step::Policy {
                chain: chain.clone(),
                verdict: match policy {
                    Policy::Accept => Verdict::Accept,
                    Policy::Drop => Verdict::Drop,
                },
            },
            (LineKind::Return, None) => Step::End {
                chain: chain.clone(),
                rules: Some(count),
            },
            _ => {
                let doubt = format!(
                    "the kernel met place {} of {chain}, which has {count} rules in the rule set that was given",
                    line.number
                );
                return (rule(Verdict::NotTold, Told::Kernel), Some(doubt));
            }
        };
        if line.number == count + 1 {
            (step, None)
        } else {
            let doubt = format!(
                "{chain} has {} rules in the kernel and {count} in the rule set that was given",
                line.number - 1
            );
            (step, Some(doubt))
        }
    }
}

/// The verdict of a target, where it is always the same.
fn verdict(target: &Target) -> Verdict {
    match target {
        Target::Jump(chain) => Verdict::Jump(chain.clone()),
        Target::Goto(chain) => Verdict::Goto(chain.clone()),
        Target::Return => Verdict::Return,
        Target::Drop | Target::Reject { .. } => Verdict::Drop,
        Target::Accept => Verdict::Accept,
        Target::None
        | Target::Mark(_)
        | Target::Connmark(_)
        | Target::Zone { .. }
        | Target::Notrack
        | Target::Log(_)
        | Target::Nflog(_)
        | Target::Trace => Verdict::Continue,
        // nat may drop when no port is free, TPROXY when nobody listens.
        Target::Redirect { .. }
        | Target::Dnat(_)
        | Target::Snat(_)
        | Target::Masquerade(_)
        | Target::Tproxy { .. }
        | Target::Verbatim(_) => Verdict::NotTold,
    }
}

/// Where ip_tables puts a table at a hook, from linux/netfilter_ipv4.h.
pub(crate) fn priority(table: &str, hook: Hook) -> Option<i32> {
    match table {
        "raw" => Some(-300),
        "mangle" => Some(-150),
        "nat" if matches!(hook, Hook::Prerouting | Hook::Output) => Some(-100),
        "nat" => Some(100),
        "filter" => Some(0),
        "security" => Some(50),
        _ => None,
    }
}
