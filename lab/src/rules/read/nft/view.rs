//! Takes tables of nft for tables of iptables, as one family sees them.

use std::collections::{BTreeMap, BTreeSet};

use super::condition::Conditions;
use super::effect;
use super::ruleset::{Base, NftChain, NftRule, NftRuleset, NftTable};
use super::statement::{Statement, Step, TableFamily};
use crate::diagnostic::{Diagnostic, did_you_mean};
use crate::rules::id::{Family, Table};
use crate::rules::matches::{Match, Matches, RuleSpec};
use crate::rules::render::quoted;
use crate::rules::set::{Chain, NftBase, Rule, RuleSet, TableRules};
use crate::rules::target::Target;

/// The module and option that keep words of nft in the text of a rule.
const VERBATIM: [&str; 2] = ["nft", "--expr"];

/// What packets of a family meet; `None` when no table is for them.
///
/// # Errors
/// A jump to a chain that is not there, or two chains for one place.
pub(super) fn view(set: &NftRuleset<'_>, family: Family) -> Option<Result<RuleSet, Diagnostic>> {
    let seen = |it: &&NftTable<'_>| it.family.sees(family) && !it.dormant;
    let mut tables = set.tables.iter().filter(seen).peekable();
    tables.peek()?;
    let mut rules = RuleSet::empty(family);
    // Which table of nft each chain is from.
    let mut owners = BTreeMap::new();
    for table in tables {
        for (kind, chains) in kinds(table) {
            let made = rules
                .tables
                .entry(kind)
                .or_insert_with(|| TableRules::empty(kind));
            for chain in chains {
                if let Err(error) = add(made, (table, chain), kind, family, &mut owners) {
                    return Some(Err(error));
                }
            }
        }
    }
    Some(Ok(rules))
}

/// What of the tables has no place among those of iptables.
pub(super) fn remarks(set: &NftRuleset<'_>) -> Vec<Diagnostic> {
    let mut remarks = set.remarks.clone();
    for table in &set.tables {
        let name = table.full_name();
        let sees = |family| table.family.sees(family);
        if !sees(Family::V4) && !sees(Family::V6) {
            let message = format!("table `{name}` is set aside: it is not of IPv4 or IPv6");
            remarks.push(table.at.complaint(message));
        } else if table.dormant {
            let message = format!("table `{name}` is set aside: it is dormant, no packet meets it");
            remarks.push(table.at.complaint(message));
        } else {
            if is_of_iptables(table) {
                let message = format!("table `{name}` looks like one of iptables");
                let mut remark = table.at.complaint(message);
                let help = "nft shows matches and targets of iptables only in part: read them with `iptables-save`";
                remark.help = Some(help.to_owned());
                remarks.push(remark);
            }
            for chain in &table.chains {
                let without = chain.base.as_ref().filter(|base| place(base).is_none());
                if let Some(Base {
                    kind,
                    hook,
                    priority,
                    ..
                }) = without
                {
                    let message = format!(
                        "chain `{}` is set aside: raw, mangle, nat and filter have no chain of type {kind} at \
                         {hook} with priority {priority}",
                        chain.name
                    );
                    remarks.push(chain.at.complaint(message));
                }
            }
        }
    }
    remarks
}

/// The table of iptables that is asked when this chain is, and the built-in chain at its hook.
///
/// The borders are the hooks of the kernel itself: conntrack at -200, nat of destinations at -100.
fn place(base: &Base) -> Option<(Table, &'static str)> {
    let hook = base.hook.to_ascii_uppercase();
    let early = matches!(hook.as_str(), "PREROUTING" | "OUTPUT");
    let table = match (base.kind.as_str(), base.priority) {
        ("nat", _) => Table::Nat,
        ("filter", ..-200) if early => Table::Raw,
        ("filter" | "route", ..-100) => Table::Mangle,
        ("filter", _) => Table::Filter,
        _ => return None,
    };
    let mut chains = table.builtin_chains().iter();
    chains.find(|it| **it == hook).map(|chain| (table, *chain))
}

/// The chains of a table by what they are: base chains by their place, the others by who enters them.
fn kinds<'t, 'a>(table: &'t NftTable<'a>) -> BTreeMap<Table, Vec<&'t NftChain<'a>>> {
    let mut kinds: BTreeMap<Table, Vec<&NftChain<'_>>> = BTreeMap::new();
    for chain in &table.chains {
        if let Some((kind, _)) = chain.base.as_ref().and_then(place) {
            kinds.entry(kind).or_default().push(chain);
        }
    }
    let mut placed: BTreeSet<&str> = BTreeSet::new();
    for chains in kinds.values_mut() {
        let mut names: BTreeSet<&str> = chains.iter().map(|it| it.name.as_str()).collect();
        let mut at = 0;
        while let Some(chain) = chains.get(at) {
            at += 1;
            for target in chain.rules.iter().flat_map(targets) {
                let entered = table.chains.iter().find(|it| it.name == target);
                if let Some(entered) = entered.filter(|it| names.insert(&it.name)) {
                    chains.push(entered);
                }
            }
        }
        placed.extend(names);
    }
    // What nothing leads to, or only words that are not modelled.
    let orphans = table
        .chains
        .iter()
        .filter(|it| it.base.is_none() && !placed.contains(it.name.as_str()));
    let named = || {
        let fits = |kind: &Table| table.name.rsplit('-').next() == Some(kind.name());
        Table::ALL.into_iter().find(fits)
    };
    let kind = kinds.keys().next().copied().or_else(named);
    for chain in orphans {
        kinds
            .entry(kind.unwrap_or(Table::Filter))
            .or_default()
            .push(chain);
    }
    kinds
}

fn targets<'t>(rule: &'t NftRule<'_>) -> impl Iterator<Item = &'t str> {
    rule.steps.iter().filter_map(|step| match &step.statement {
        Statement::Jump(chain) | Statement::Goto(chain) => Some(chain.as_str()),
        _ => None,
    })
}

fn add<'t>(
    made: &mut TableRules,
    (table, chain): (&'t NftTable<'_>, &NftChain<'_>),
    kind: Table,
    family: Family,
    owners: &mut BTreeMap<(Table, String), &'t NftTable<'t>>,
) -> Result<(), Diagnostic>
where
{
    let place = chain.base.as_ref().and_then(place);
    let name = place.map_or(chain.name.as_str(), |(_, builtin)| builtin);
    if let Some(other) = owners.insert((kind, name.to_owned()), table) {
        let message = match place {
            Some(_) => format!(
                "a second chain for {kind} {name}, after that of table `{}`",
                other.full_name()
            ),
            None => format!("a second chain `{name}` for {kind}"),
        };
        let mut error = chain.at.complaint(message);
        error.help = Some(format!(
            "only one is read: give what `nft list table {}` prints",
            other.full_name()
        ));
        return Err(error);
    }
    for rule in &chain.rules {
        for target in targets(rule) {
            if !table.chains.iter().any(|it| it.name == target) {
                let message = format!("jump to chain `{target}`, which does not exist");
                let mut error = rule.at.complaint(message);
                let known = table.chains.iter().map(|it| it.name.as_str());
                error.help = did_you_mean(target, known);
                return Err(error);
            }
        }
    }
    let into: &mut Chain = made.chain_or_new(name);
    into.both_families = table.family == TableFamily::Inet;
    if let Some(base) = chain.base.as_ref().filter(|_| place.is_some()) {
        into.policy = Some(base.policy);
        into.nft = Some(NftBase {
            table: table.full_name(),
            chain: chain.name.clone(),
            kind: base.kind.clone(),
            priority: base.priority,
        });
    }
    let rules = chain.rules.iter();
    into.rules = rules
        .map(|it| rule(it, family, is_of_iptables(table)))
        .collect();
    Ok(())
}

/// Whether a table has the name and a chain of one that iptables-nft makes.
fn is_of_iptables(table: &NftTable<'_>) -> bool {
    let xt = |it: &Step| it.words.starts_with("xt ");
    let mut steps = table
        .chains
        .iter()
        .flat_map(|it| it.rules.iter().flat_map(|it| &it.steps));
    let named = matches!(
        table.name.as_str(),
        "raw" | "mangle" | "nat" | "filter" | "security"
    );
    let single = table.family.sees(Family::V4) != table.family.sees(Family::V6);
    let builtin = |it: &NftChain<'_>| {
        let hook = it.base.as_ref().map(|base| base.hook.to_ascii_uppercase());
        hook.as_ref() == Some(&it.name)
    };
    steps.any(xt) || (named && single && table.chains.iter().any(builtin))
}

/// A rule as a family sees it: conditions up to the first thing it does, then one target.
fn rule(rule: &NftRule<'_>, family: Family, of_iptables: bool) -> Rule {
    let asks = |it: &Step| {
        matches!(
            it.statement,
            Statement::Condition { .. } | Statement::Unknown { asks: true }
        )
    };
    let counts = |it: &Step| matches!(it.statement, Statement::Counter(_));
    let last_question = rule.steps.iter().rposition(asks).map_or(0, |at| at + 1);
    let first_effect = rule
        .steps
        .iter()
        .position(|it| !asks(it) && !counts(it))
        .unwrap_or(rule.steps.len());
    let mut conditions = Conditions {
        family,
        of_iptables,
        matches: Matches::default(),
    };
    let mut counters = None;
    let questions = &rule.steps[..first_effect.min(last_question)];
    for step in questions {
        question(step, &mut conditions);
    }
    let rest = &rule.steps[questions.len()..];
    let effects: Vec<&Step> = rest.iter().filter(|it| !counts(it)).collect();
    for step in rest {
        if let Statement::Counter(figures) = step.statement {
            counters = figures;
        }
    }
    // A question after an effect can keep the rest of the rule from being done: no one target does that.
    let mixed = first_effect < last_question;
    let target = match mixed {
        true => None,
        false => effect::target(&effects, &mut conditions),
    };
    let target = target.unwrap_or_else(|| {
        let kept: Vec<&str> = match mixed {
            true => rest.iter().map(|it| it.words.as_str()).collect(),
            false => effects.iter().map(|it| it.words.as_str()).collect(),
        };
        let [name, option] = VERBATIM;
        Target::Verbatim(vec![
            name.to_owned(),
            option.to_owned(),
            quoted(&kept.join(" ")),
        ])
    });
    if let Some(comment) = &rule.comment {
        conditions.matches.add(Match::Comment(comment.clone()));
    }
    Rule {
        counters,
        ..Rule::new(RuleSpec {
            matches: conditions.matches,
            target,
        })
    }
}

fn question(step: &Step, conditions: &mut Conditions) {
    let known = match &step.statement {
        Statement::Condition {
            left,
            operator,
            right,
        } => conditions.add((left, *operator, right), &step.words),
        _ => None,
    };
    if known.is_none() {
        let [module, option] = VERBATIM;
        conditions.matches.add(Match::Verbatim {
            module: Some(module.to_owned()),
            words: vec![option.to_owned(), quoted(&step.words)],
        });
    }
}
