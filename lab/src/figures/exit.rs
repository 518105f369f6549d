//! The rules at which connections leave the nat table, each with the way there.

use super::kind::{self, Kind};
use super::{count, packets};
use crate::rules::Hook;
use crate::rules::{
    Chain, CountRange, Fate, Flow, PortRange, RuleId, RuleSet, RuleSpec, Shape, Table, TableRules,
    Target,
};

/// What happens to the connections that leave at a rule.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Effect {
    /// Turned to this machine.
    Turned(Option<PortRange>),
    /// They go on as they are.
    Passes,
    /// Sent to another destination.
    Elsewhere,
    /// Gone.
    Gone,
    /// What the rule does is not known.
    Untold,
}

/// A place where connections leave the table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Exit {
    /// The hook they came by.
    pub hook: Hook,
    /// The rule; of the policy of the hook's chain, `None`.
    pub rule: Option<RuleId>,
    /// What happens to them.
    pub effect: Effect,
    /// What kind of flow they are.
    pub kind: Kind,
    /// What tells them apart, in the words of rules: `--dport 15021`, `-o lo`.
    pub which: String,
    /// How many.
    pub packets: CountRange,
}

/// A rule, and the rules that lead to its chain.
pub(super) struct Leaf<'a> {
    pub hook: Hook,
    pub id: RuleId,
    /// From the built-in chain; the last is the rule's own.
    pub way: Vec<&'a RuleSpec>,
    pub effect: Effect,
    pub packets: CountRange,
}

/// Every exit of PREROUTING and OUTPUT, the policy of each last.
pub(super) fn exits(set: &RuleSet) -> Vec<Exit> {
    let Some(table) = set.tables.get(&Table::Nat) else {
        return Vec::new();
    };
    let tree = Tree {
        set,
        table,
        shape: Shape::new(table),
    };
    let mut leaves = Vec::new();
    for hook in [Hook::Prerouting, Hook::Output] {
        if let Some(chain) = table.chain(hook.chain()) {
            tree.walk(hook, chain, &[], true, 0, &mut leaves);
        }
    }
    let mut exits = Vec::new();
    for hook in [Hook::Prerouting, Hook::Output] {
        let here = leaves.iter().filter(|it| it.hook == hook);
        let known: Vec<Exit> = here.map(|leaf| kind::exit(leaf, &leaves)).collect();
        let rest = rest(table, hook, &known);
        exits.extend(known);
        exits.extend(rest);
    }
    exits
}

/// What the policy of a hook's chain counted that no rule let pass.
fn rest(table: &TableRules, hook: Hook, exits: &[Exit]) -> Option<Exit> {
    let chain = table
        .chain(hook.chain())
        .filter(|it| !it.rules.is_empty())?;
    let policy = count(chain.policy_counters, chain.policy_rounded)?.packets;
    let passed = exits.iter().filter(|it| it.effect == Effect::Passes);
    let passed = passed.fold(CountRange::exactly(0), |sum, it| sum.plus(it.packets));
    Some(Exit {
        hook,
        rule: None,
        effect: Effect::Passes,
        kind: Kind::PastTheRules,
        which: format!("met no rule of {hook} that decides"),
        packets: policy.minus(passed),
    })
}

struct Tree<'a> {
    set: &'a RuleSet,
    table: &'a TableRules,
    shape: Shape<'a>,
}

impl<'a> Tree<'a> {
    /// `ends` says whether a packet that returns from the chain meets no other rule that decides.
    fn walk(
        &self,
        hook: Hook,
        chain: &'a Chain,
        way: &[&'a RuleSpec],
        ends: bool,
        depth: usize,
        leaves: &mut Vec<Leaf<'a>>,
    ) {
        // A chain is at most as many jumps away from a built-in one as there are chains; the kernel accepts no loops.
        if depth > self.table.chains().len() {
            return;
        }
        for (ordinal, rule) in (1..).zip(&chain.rules) {
            let id = RuleId::new(self.set.family, Table::Nat, &chain.name, ordinal);
            let way: Vec<&RuleSpec> = way.iter().copied().chain([&rule.spec]).collect();
            let counted = packets(self.set, &id);
            let leaf = |effect, packets| Leaf {
                hook,
                id: id.clone(),
                way: way.clone(),
                effect,
                packets,
            };
            match rule.spec.target.flow() {
                Flow::Continues => {}
                Flow::Unknown => leaves.push(leaf(Effect::Untold, counted)),
                Flow::Decides => leaves.push(leaf(effect(&rule.spec.target), counted)),
                Flow::Returns if ends => leaves.push(leaf(Effect::Passes, counted)),
                Flow::Returns => {}
                Flow::Calls(name) | Flow::Leaves(name) => {
                    let Some(entered) = self.table.chain(name) else {
                        continue;
                    };
                    let rest = chain.rules.iter().skip(ordinal as usize);
                    let goes = matches!(rule.spec.target.flow(), Flow::Leaves(_));
                    let last = goes || rest.clone().all(|it| self.is_idle(&it.spec));
                    match self.table.references(name) {
                        1 => self.walk(hook, entered, &way, ends && last, depth + 1, leaves),
                        _ => leaves.extend(
                            self.shared(entered, &rule.spec, counted)
                                .map(|(effect, packets)| leaf(effect, packets)),
                        ),
                    }
                }
            }
        }
    }

    fn is_idle(&self, spec: &RuleSpec) -> bool {
        self.shape.fate(spec) == Fate::ComesBack
    }

    /// What becomes of the packets a rule sends into a chain that other rules enter too: its counters are a sum.
    fn shared(
        &self,
        chain: &Chain,
        caller: &RuleSpec,
        counted: CountRange,
    ) -> Option<(Effect, CountRange)> {
        let mut deciding = chain.rules.iter().filter(|it| !self.is_idle(&it.spec));
        let only = deciding.next()?;
        let effect = match deciding.next() {
            None if only.spec.target.flow() == Flow::Decides => effect(&only.spec.target),
            _ => Effect::Untold,
        };
        let packets = match self.shape.fate(caller) {
            Fate::Decided => counted,
            Fate::ComesBack | Fate::Either => CountRange {
                least: 0,
                most: counted.most,
            },
        };
        Some((effect, packets))
    }
}

fn effect(target: &Target) -> Effect {
    match target {
        Target::Redirect { ports } => Effect::Turned(*ports),
        Target::Accept => Effect::Passes,
        Target::Drop | Target::Reject { .. } => Effect::Gone,
        Target::Dnat(_) => Effect::Elsewhere,
        _ => Effect::Untold,
    }
}
