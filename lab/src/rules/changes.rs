//! What became of rules, a line per change: `- IPv4 nat ISTIO_INBOUND 3: -A …` is gone, `+` is new, `~` is otherwise.

use super::{
    diff::{Difference, diff},
    id::{Family, Table},
    set::{Policy, RuleSet},
};

const FAMILIES: [Family; 2] = [Family::V4, Family::V6];

/// The changes that lead from rules to others, of both families, policies of built-in chains included; a family that one
/// side lacks is empty there.
pub fn changes(before: &[RuleSet], after: &[RuleSet]) -> Vec<String> {
    in_families(before, after, |_, _, _| true)
}

/// The same between what the kernel holds and a text that a person or a program wrote: where both have a rule that is not
/// modelled at one place, their words can't be compared, since the kernel spells some options in its own way
/// (`--probability 0.5` comes back as `0.50000000000`).
pub fn changes_to_written(held: &[RuleSet], written: &[RuleSet]) -> Vec<String> {
    in_families(held, written, |it, held, written| {
        !it.is_only_spelling(held, written)
    })
}

fn in_families(
    before: &[RuleSet],
    after: &[RuleSet],
    counts: impl Fn(&Difference, &RuleSet, &RuleSet) -> bool,
) -> Vec<String> {
    let mut lines = Vec::new();
    for family in FAMILIES {
        let of = |sets: &[RuleSet]| {
            let found = sets.iter().find(|it| it.family == family);
            found.cloned().unwrap_or_else(|| RuleSet::empty(family))
        };
        let (before, after) = (of(before), of(after));
        let mut differences = diff(&before, &after, &Table::ALL);
        differences.retain(|it| counts(it, &before, &after));
        lines.extend(differences.iter().map(|it| line(family, it)));
        lines.extend(policies(family, &before, &after));
    }
    lines
}

/// A difference as a change: what is missing afterwards was taken away.
fn line(family: Family, difference: &Difference) -> String {
    match difference {
        Difference::MissingChain { table, chain } => {
            format!("- {family} {table} {chain}, the chain")
        }
        Difference::ExtraChain { table, chain } => format!("+ {family} {table} {chain}, a chain"),
        Difference::Missing { rule, text } => format!("- {family} {rule}: {text}"),
        Difference::Extra { rule, text } => format!("+ {family} {rule}: {text}"),
        Difference::Moved { meant, found, text } => {
            format!("~ {family} {meant} is {}: {text}", found.ordinal)
        }
    }
}

/// A built-in chain that is not there accepts.
fn policies(family: Family, before: &RuleSet, after: &RuleSet) -> Vec<String> {
    let policy = |set: &RuleSet, table: &Table, chain: &str| {
        let chain = set.tables.get(table).and_then(|it| it.chain(chain));
        chain.and_then(|it| it.policy).unwrap_or(Policy::Accept)
    };
    let chains = Table::ALL.iter().flat_map(|table| {
        let chains = table.builtin_chains().iter();
        chains.map(move |chain| (table, *chain))
    });
    let changed = chains.filter_map(|(table, chain)| {
        let (was, is) = (policy(before, table, chain), policy(after, table, chain));
        (was != is).then(|| format!("~ {family} {table} {chain}: policy {is}, it was {was}"))
    });
    changed.collect()
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;
    use crate::rules::parse;

    fn set(text: &str) -> Vec<RuleSet> {
        vec![parse(text, Family::V4, "test").expect("rules")]
    }

    #[rstest]
    #[case::a_rule_less("*nat\n-A OUTPUT -p tcp -j ACCEPT\nCOMMIT\n", "*nat\nCOMMIT\n", &["- IPv4 nat OUTPUT 1: -A OUTPUT -p tcp -j ACCEPT"])]
    #[case::a_rule_more("*nat\nCOMMIT\n", "*nat\n-A OUTPUT -p tcp -j ACCEPT\nCOMMIT\n", &["+ IPv4 nat OUTPUT 1: -A OUTPUT -p tcp -j ACCEPT"])]
    #[case::a_policy("*filter\n:OUTPUT DROP [0:0]\nCOMMIT\n", "*filter\nCOMMIT\n", &["~ IPv4 filter OUTPUT: policy ACCEPT, it was DROP"])]
    #[case::counters_do_not_count("*nat\n[7:420] -A OUTPUT -p tcp -j ACCEPT\nCOMMIT\n", "*nat\n-A OUTPUT -p tcp -j ACCEPT\nCOMMIT\n", &[])]
    fn each_change_is_a_line(#[case] before: &str, #[case] after: &str, #[case] expected: &[&str]) {
        assert_eq!(changes(&set(before), &set(after)), expected);
    }

    #[rstest]
    #[case::as_the_kernel_spells_it("0.50000000000", "0.5", 0)]
    fn what_is_not_modelled_is_compared_in_place(
        #[case] held: &str,
        #[case] written: &str,
        #[case] expected: usize,
    ) {
        let rules = |it: &str| {
            set(&format!(
                "*nat\n-A OUTPUT -m statistic --mode random --probability {it} -j ACCEPT\nCOMMIT\n"
            ))
        };
        assert_eq!(
            changes_to_written(&rules(held), &rules(written)).len(),
            expected
        );
        assert_ne!(changes(&rules(held), &rules(written)), [""; 0]);
    }
}
