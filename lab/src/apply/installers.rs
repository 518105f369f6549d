//! How installers of other meshes put rules over rules that are there.

use super::cleanup::Args;
use crate::rules::{Chain, RuleSet, Table, TableRules, spec_text};

/// One `iptables` for each chain and rule: chains first, then what is in them, then what leads to them.
pub(super) fn one_by_one(meant: &RuleSet, there: &RuleSet) -> Vec<Args> {
    let mut commands = Vec::new();
    for (table, rules) in &meant.tables {
        let known = there.tables.get(table);
        let (built_in, own): (Vec<&Chain>, Vec<&Chain>) =
            rules.chains().iter().partition(|it| it.policy.is_some());
        let is_there = |chain: &Chain| known.is_some_and(|it| it.chain(&chain.name).is_some());
        for chain in own.iter().filter(|it| !is_there(it)) {
            commands.push(args(*table, &["-N", &chain.name]));
        }
        for chain in own {
            if is_there(chain) {
                commands.push(args(*table, &["-F", &chain.name]));
            }
            commands.extend(appended(*table, chain, None));
        }
        for chain in built_in {
            commands.extend(appended(*table, chain, known));
        }
    }
    commands
}

/// Adds the rules of a chain that are not there.
fn appended(table: Table, chain: &Chain, known: Option<&TableRules>) -> Vec<Args> {
    let known = known.and_then(|it| it.chain(&chain.name));
    let is_new = |it: &&crate::rules::Rule| {
        known.is_none_or(|known| known.rules.iter().all(|old| old.spec != it.spec))
    };
    let texts = chain.rules.iter().filter(is_new);
    let texts = texts.map(|rule| spec_text(&chain.name, &rule.spec));
    texts
        .map(|text| args(table, &text.split_whitespace().collect::<Vec<_>>()))
        .collect()
}

fn args(table: Table, words: &[&str]) -> Args {
    let table = table.to_string();
    let all = ["-t", &table].into_iter().chain(words.iter().copied());
    all.map(str::to_owned).collect()
}

/// A dump without the lines that name a chain of the set.
pub(super) fn without(meant: &RuleSet, dump: &str) -> String {
    let tables = meant.tables.values();
    let chains = tables.flat_map(TableRules::chains);
    let own: Vec<&str> = chains
        .filter(|it| it.policy.is_none())
        .map(|it| it.name.as_str())
        .collect();
    let names = |line: &&str| {
        let mut words = line.split_whitespace();
        words.any(|word| own.contains(&word.trim_start_matches(':')))
    };
    let kept = dump.lines().filter(|line| !names(line));
    kept.map(|line| format!("{line}\n")).collect()
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;
    use crate::rules::{Family, parse, to_save};

    const SET: &str =
        "*nat\n-N A\n-A A -p tcp -j REDIRECT --to-ports 4143\n-A PREROUTING -j A\nCOMMIT\n";

    fn set(text: &str) -> RuleSet {
        parse(text, Family::V4, "test").expect("it parses")
    }

    #[rstest]
    #[case::in_an_empty_pod("", &["-N A", "-A A", "-A PREROUTING"])]
    #[case::over_itself(SET, &["-F A", "-A A"])]
    #[case::without_the_jump("*nat\n-N A\nCOMMIT\n", &["-F A", "-A A", "-A PREROUTING"])]
    fn a_chain_that_is_there_is_flushed_and_a_jump_stays(
        #[case] there: &str,
        #[case] expected: &[&str],
    ) {
        let commands = one_by_one(&set(SET), &set(there));
        let words = commands.iter().map(|args| args[2..4].join(" "));
        assert_eq!(words.collect::<Vec<_>>(), expected);
    }

    #[test]
    fn what_names_a_chain_of_the_set_goes_and_the_rest_stays() {
        let other = "*nat\n:B - [0:0]\n-A PREROUTING -j B\nCOMMIT\n";
        let both = format!("{}{other}", to_save(&set(SET)));
        let left = set(&without(&set(SET), &both));
        let chains = left.tables[&Table::Nat].chains().iter();
        let own: Vec<&str> = chains
            .filter(|it| it.policy.is_none())
            .map(|it| it.name.as_str())
            .collect();
        assert_eq!(own, ["B"]);
        let text = to_save(&left);
        assert!(text.contains("-A PREROUTING -j B"), "{text}");
        assert!(!text.contains("-j A"), "{text}");
    }
}
