//! Rule sets with one mistake each, of the kinds that people make.

mod changed;
mod native;

use std::fmt;

use self::changed::changed;
use super::subject::Subject;
use crate::rules::{
    Family, Rule, RuleId, RuleSet, RuleSpec, nft_text, parse, spec_text, to_restore,
};

/// A rule set with one mistake.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mutant {
    /// The rule, by its place in the whole set.
    pub rule: RuleId,
    /// What was done to it, in words.
    pub what: String,
    /// The rules with the mistake, of each family that it is in: one of iptables, mostly both of nft.
    pub sets: Vec<RuleSet>,
    /// What nft is given, where the rules are nft's own: the rules of both families.
    pub nft: Option<String>,
}

impl Mutant {
    /// The families that the mistake is in.
    pub fn families(&self) -> Vec<Family> {
        self.sets.iter().map(|it| it.family).collect()
    }
}

impl fmt::Display for Mutant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let families: Vec<String> = self.families().iter().map(ToString::to_string).collect();
        write!(f, "{} {}: {}", families.join(" and "), self.rule, self.what)
    }
}

/// Every mutant of the rules, rule by rule: deleted, moved, doubled, swapped with the next one, and with one condition
/// or its target changed. A mutant that says the same as the rules, or as one before, is none.
///
/// # Errors
/// The rules are nft's own, and something of them, said in words, can't be written for it.
pub fn mutants(subject: &Subject) -> Result<Vec<Mutant>, String> {
    let whole: Vec<&RuleSet> = subject.sets().filter(|it| !it.is_empty()).collect();
    let native = whole.iter().any(|it| native::is_native(it));
    if native {
        native::writable(&whole)?;
    }
    let mut mutants: Vec<Mutant> = Vec::new();
    for set in &whole {
        for mutant in mistakes(set, native) {
            let mutant = match native {
                true => native::of_both(&whole, &mutant),
                false => Some(mutant),
            };
            mutants.extend(mutant.filter(|it| mutants.iter().all(|known| known.sets != it.sets)));
        }
    }
    Ok(mutants)
}

/// The mistakes that can be made in one family's rules.
fn mistakes(set: &RuleSet, native: bool) -> Vec<Mutant> {
    let ids = set.tables.keys().flat_map(|table| set.rules(*table));
    let of = |(id, _): (RuleId, &Rule)| {
        let said = Said { id: &id, native };
        let (rules, at) = chain_of(set, &id);
        let made = places(rules, at, &said)
            .into_iter()
            .chain(changed(rules, at, &said));
        let made = made.filter_map(|(what, rules)| {
            let other = with_chain(set, &id, rules)?;
            let new = other != *set && (native || is_readable(&other));
            new.then(|| Mutant {
                rule: id.clone(),
                what,
                sets: vec![other],
                nft: None,
            })
        });
        made.collect::<Vec<_>>()
    };
    ids.flat_map(of).collect()
}

/// How the rules of a chain are said: as those who write them do.
struct Said<'a> {
    id: &'a RuleId,
    native: bool,
}

impl Said<'_> {
    fn rule(&self, spec: &RuleSpec) -> String {
        let native = self.native.then(|| nft_text(spec, self.id.family).ok());
        let native = native.flatten();
        native.unwrap_or_else(|| spec_text(&self.id.chain, spec))
    }
}

/// Whether the rules can be written down and read again: what iptables would not say can't be a mistake.
fn is_readable(set: &RuleSet) -> bool {
    let text = to_restore(&set.without_counters());
    parse(&text, set.family, "a mutant").is_ok_and(|read| read.len() == set.len())
}

fn with_chain(set: &RuleSet, id: &RuleId, rules: Vec<Rule>) -> Option<RuleSet> {
    let mut other = set.clone();
    other.tables.get_mut(&id.table)?.chain_mut(&id.chain)?.rules = rules;
    Some(other)
}

fn chain_of<'a>(set: &'a RuleSet, id: &RuleId) -> (&'a [Rule], usize) {
    let chain = set.tables.get(&id.table).and_then(|it| it.chain(&id.chain));
    let at = usize::try_from(id.ordinal).unwrap_or(1) - 1;
    (chain.map_or(&[], |it| &it.rules), at)
}

/// The chain with the rule elsewhere, twice, or not at all.
fn places(rules: &[Rule], at: usize, said: &Said<'_>) -> Vec<(String, Vec<Rule>)> {
    let last = rules.len() - 1;
    let text = said.rule(&rules[at].spec);
    let with = |change: &dyn Fn(&mut Vec<Rule>)| {
        let mut rules = rules.to_vec();
        change(&mut rules);
        rules
    };
    let moved = |to: usize| {
        with(&move |rules: &mut Vec<Rule>| {
            let rule = rules.remove(at);
            rules.insert(to, rule);
        })
    };
    let doubled = |to: usize| with(&move |all: &mut Vec<Rule>| all.insert(to, all[at].clone()));
    let mut made = vec![(
        format!("deleted `{text}`"),
        with(&move |rules: &mut Vec<Rule>| {
            rules.remove(at);
        }),
    )];
    made.push((format!("moved to the top `{text}`"), moved(0)));
    made.push((format!("moved to the end `{text}`"), moved(last)));
    made.push((format!("doubled at the top `{text}`"), doubled(0)));
    made.push((format!("doubled at the end `{text}`"), doubled(last + 1)));
    if at < last {
        let swapped = with(&move |rules: &mut Vec<Rule>| rules.swap(at, at + 1));
        made.push((format!("swapped with the next one `{text}`"), swapped));
    }
    made
}
