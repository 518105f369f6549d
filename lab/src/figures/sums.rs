//! Sums that must hold between the counts of a table.

use super::exit::{Effect, exits};
use super::{count, packets};
use crate::rules::Hook;
use crate::rules::{Chain, CountRange, Fate, RuleId, RuleSet, Shape, Table, TableRules};

/// How two counts stand to each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Relation {
    /// They are the same.
    Equal,
    /// The sum is no more than the count.
    AtMost,
}

/// A sum of counts, and the count it belongs to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sum {
    /// What is summed: `ISTIO_INBOUND 3 + 4 + 5`.
    pub what: String,
    /// The terms that are not nothing.
    pub terms: Vec<CountRange>,
    /// The sum.
    pub sum: CountRange,
    /// How it stands to the count.
    pub relation: Relation,
    /// What the count is of: `PREROUTING 1`.
    pub of: String,
    /// The count.
    pub count: CountRange,
}

impl Sum {
    /// Whether there are counts in the ranges for which it holds.
    pub fn holds(&self) -> bool {
        match self.relation {
            Relation::Equal => self.sum.meets(self.count),
            Relation::AtMost => self.sum.least <= self.count.most,
        }
    }
}

/// Every sum the rules promise: of each user chain, and in nat between the policies of the built-in chains.
pub(super) fn sums(set: &RuleSet, table: Table) -> Vec<Sum> {
    let Some(chains) = set.tables.get(&table) else {
        return Vec::new();
    };
    let shape = Shape::new(chains);
    let user = chains
        .chains()
        .iter()
        .filter(|it| it.policy.is_none() && !it.rules.is_empty());
    let mut sums: Vec<Sum> = user
        .filter_map(|it| chain(set, table, chains, &shape, it))
        .collect();
    if table == Table::Nat {
        sums.extend(hooks(set, chains));
    }
    sums
}

/// What leaves a chain is what entered it.
fn chain(
    set: &RuleSet,
    table: Table,
    chains: &TableRules,
    shape: &Shape<'_>,
    chain: &Chain,
) -> Option<Sum> {
    let id = |name: &str, ordinal| RuleId::new(set.family, table, name, ordinal);
    let protocol = shape.protocol(&chain.name);
    let (mut ordinals, mut terms, mut relation) = (Vec::new(), Vec::new(), Relation::AtMost);
    for (ordinal, rule) in (1..).zip(&chain.rules) {
        if shape.fate(&rule.spec) != Fate::Decided {
            continue;
        }
        let counted = packets(set, &id(&chain.name, ordinal));
        if counted.most > 0 {
            ordinals.push(ordinal.to_string());
            terms.push(counted);
        }
        if rule.spec.matches.is_catch_all(protocol) {
            relation = Relation::Equal;
            break;
        }
    }
    let mut callers: Vec<String> = Vec::new();
    let mut entered = CountRange::exactly(0);
    for caller in chains.chains() {
        for (ordinal, rule) in (1..).zip(&caller.rules) {
            if rule.spec.target.chain() == Some(&chain.name) {
                let counted = packets(set, &id(&caller.name, ordinal));
                entered = entered.plus(counted);
                callers.push(format!("{} {ordinal}", caller.name));
            }
        }
    }
    // A chain nobody enters, or that decides nothing, has no sum.
    if callers.is_empty() || (ordinals.is_empty() && relation == Relation::AtMost) {
        return None;
    }
    let what = match ordinals.is_empty() {
        true => chain.name.clone(),
        false => format!("{} {}", chain.name, ordinals.join(" + ")),
    };
    Some(Sum {
        what,
        sum: terms
            .iter()
            .fold(CountRange::exactly(0), |sum, it| sum.plus(*it)),
        terms,
        relation,
        of: callers.join(" + "),
        count: entered,
    })
}

/// nat asks each connection once about its destination (PREROUTING or OUTPUT) and once about its source (INPUT or
/// POSTROUTING), so the policies of the chains are tied together: what is delivered came in or was sent, and what was
/// sent goes out. A connection that is forwarded is asked about in PREROUTING and POSTROUTING, so neither is an
/// equality; one that comes in through lo was asked about when it was sent.
fn hooks(set: &RuleSet, chains: &TableRules) -> Vec<Sum> {
    let exits = exits(set);
    let policy = |hook: Hook| {
        let chain = chains.chain(hook.chain())?;
        Some(count(chain.policy_counters, chain.policy_rounded)?.packets)
    };
    let rules_in = |hook: Hook| {
        chains
            .chain(hook.chain())
            .is_some_and(|it| !it.rules.is_empty())
    };
    let of = |hook: Hook, passes: bool| {
        let here = exits
            .iter()
            .filter(move |it| it.hook == hook && it.rule.is_some());
        let wanted = here.filter(move |it| (it.effect == Effect::Passes) == passes);
        wanted.fold(CountRange::exactly(0), |sum, it| sum.plus(it.packets))
    };
    // A text without policy counters reads as nothing counted.
    let counted = |hook| policy(hook).filter(|it: &CountRange| it.most > 0);
    let mut sums = Vec::new();
    for hook in [Hook::Prerouting, Hook::Output] {
        if let Some(policy) = counted(hook).filter(|_| rules_in(hook)) {
            let passed = of(hook, true);
            sums.push(Sum {
                what: format!("rules that let pass at {hook}"),
                terms: vec![passed],
                sum: passed,
                relation: Relation::AtMost,
                of: format!("the policy of {hook}"),
                count: policy,
            });
        }
    }
    let total = |hook: Hook| {
        let (policy, turned) = (counted(hook)?, of(hook, false));
        Some((
            format!("the policy of {hook} + what rules turned or ended there"),
            policy,
            turned,
        ))
    };
    let ends = |hook: Hook| counted(hook).filter(|_| !rules_in(hook));
    if let (Some((of, policy, turned)), Some(ended)) = (total(Hook::Prerouting), ends(Hook::Input))
    {
        sums.push(Sum {
            what: "the policy of INPUT".to_owned(),
            terms: vec![ended],
            sum: ended,
            relation: Relation::AtMost,
            of,
            count: policy.plus(turned),
        });
    }
    if let (Some((what, policy, turned)), Some(ended)) =
        (total(Hook::Output), ends(Hook::Postrouting))
    {
        sums.push(Sum {
            what,
            terms: vec![policy, turned],
            sum: policy.plus(turned),
            relation: Relation::AtMost,
            of: "the policy of POSTROUTING".to_owned(),
            count: ended,
        });
    }
    sums
}
