//! Rules no packet can match, and what takes the packets they are written for.

use std::collections::{BTreeMap, BTreeSet};

use super::capture::addresses;
use super::{Finding, Mistake};
use crate::model::{Hook, Packet, Traversal, TryResult, evaluate, interesting_packets};
use crate::rules::{
    Flow, Match, OwnerId, Protocol, Rule, RuleId, RuleSet, RuleSpec, Table, Target,
};

/// Rules that none of the interesting packets reaches and matches, table by table.
pub(super) fn check(set: &RuleSet) -> Vec<Finding> {
    let tables = set.tables.keys();
    tables.flat_map(|table| check_table(set, *table)).collect()
}

fn check_table(set: &RuleSet, table: Table) -> Vec<Finding> {
    // What is too much to try is not called dead; `super::not_searched` says so.
    let packets = interesting_packets(set, table, addresses(set.family)).unwrap_or_default();
    if packets.is_empty() {
        return Vec::new();
    }
    let walks: Vec<Traversal> = packets
        .iter()
        .map(|(hook, packet)| evaluate(set, table, *hook, packet))
        .collect();
    let moved: BTreeSet<RuleId> = walks.iter().flat_map(Traversal::moved).collect();
    let sure = sure_chains(set, table);
    let idle = set.rules(table).filter(|(id, rule)| {
        !moved.contains(id) && varied(&rule.spec) && sure.contains(&*id.chain)
    });
    let findings = idle.map(|(id, rule)| explain(set, &id, &rule.spec, &packets, &walks));
    findings.collect()
}

/// Whether every condition of the rule is one the packets tried vary.
fn varied(spec: &RuleSpec) -> bool {
    let interfaces = [&spec.matches.in_interface, &spec.matches.out_interface];
    let known = interfaces
        .into_iter()
        .flatten()
        .all(|it| it.value.matches("lo") || it.value.matches("eth0"));
    let conditions = spec.matches.extensions().iter().all(|it| {
        matches!(
            it,
            Match::DestinationPort(_) | Match::SocketExists(_) | Match::Comment(_)
        ) || match it {
            // Whom a name means, only the machine knows that loads the rule.
            Match::OwnerUid(it) | Match::OwnerGid(it) => matches!(it.value, OwnerId::Range { .. }),
            _ => false,
        }
    });
    let protocol = spec.matches.protocol.as_ref();
    let transport = protocol.is_none_or(|it| !it.negated && matches!(it.value.number(), 6 | 17));
    known && conditions && transport && spec.is_modelled()
}

/// The chains a packet tried could reach if it is reached at all: all rules on the ways to them are varied, and in
/// them and on the ways nothing stands that may take packets for reasons not tried.
fn sure_chains(set: &RuleSet, table: Table) -> BTreeSet<&str> {
    let Some(table) = set.tables.get(&table) else {
        return BTreeSet::new();
    };
    let mut callers: BTreeMap<&str, Vec<(&str, &RuleSpec)>> = BTreeMap::new();
    for chain in table.chains() {
        // A rule of nft for the other family leads no packet of this one anywhere.
        let own = chain
            .rules
            .iter()
            .filter(|it| !it.spec.matches.is_of_other_family());
        for rule in own {
            if let Some(entered) = rule.spec.target.chain() {
                let caller = (chain.name.as_str(), &rule.spec);
                callers.entry(entered).or_default().push(caller);
            }
        }
    }
    let mut sure: BTreeSet<&str> = Hook::ALL.into_iter().map(Hook::chain).collect();
    // A chain is at most as many jumps away from a built-in one as there are chains.
    for _ in table.chains() {
        for (entered, callers) in &callers {
            let ways = callers
                .iter()
                .all(|(chain, spec)| sure.contains(chain) && varied(spec));
            if ways {
                sure.insert(entered);
            }
        }
    }
    sure
}

fn explain(
    set: &RuleSet,
    id: &RuleId,
    spec: &RuleSpec,
    packets: &[(Hook, Packet)],
    walks: &[Traversal],
) -> Finding {
    let alone = alone(set, id, spec);
    let wanted = packets.iter().zip(walks).filter(|((hook, packet), walk)| {
        // Only packets that entered the chain tell what stands before the rule.
        let entered = walk.tried.iter().any(|it| it.rule.chain == id.chain);
        let fits = || evaluate(&alone, id.table, *hook, packet).moved().len() == 1;
        entered && fits()
    });
    let mut takers: BTreeSet<&RuleId> = BTreeSet::new();
    let mut shown = None;
    let mut inside = spec.matches.out_interface.is_none();
    for (packet, walk) in wanted {
        inside &= packet.1.out_iface.as_deref() == Some("lo");
        let matched = walk
            .tried
            .iter()
            .filter(|it| it.result == TryResult::Matched);
        let before = |rule: &RuleId| rule.chain == id.chain && rule.ordinal < id.ordinal;
        // The last rule of the chain it matched is the one it did not come back from.
        let mut latest_first = matched.map(|it| &it.rule).rev();
        takers.extend(latest_first.find(|it| before(it)));
        shown.get_or_insert(packet);
    }
    let numbers: Vec<String> = takers.iter().map(|it| it.ordinal.to_string()).collect();
    let because = match (numbers.as_slice(), shown) {
        ([], None) => "no packet that reaches its chain can have what it asks for".to_owned(),
        ([], Some(_)) => "every packet it asks for leaves its chain before it".to_owned(),
        ([one], _) => format!("{} {one} takes every packet it asks for", id.chain),
        (many, _) => {
            let many = many.join(", ");
            format!("{} {many} take every packet it asks for", id.chain)
        }
    };
    let because = match inside && shown.is_some() {
        true => because + ", and all of them leave by lo",
        false => because,
    };
    let general = |taker: &&&RuleId| {
        let rule = set.rule(taker);
        // A chain that is entered with TCP only often says so again.
        let all = |it: &Rule| {
            let matches = &it.spec.matches;
            matches.is_catch_all(None) || matches.is_catch_all(Some(Protocol::Tcp))
        };
        rule.is_some_and(all)
    };
    let lets_out = spec.target.flow() == Flow::Returns
        && spec
            .matches
            .extensions()
            .iter()
            .any(|it| matches!(it, Match::OwnerUid(it) | Match::OwnerGid(it) if !it.negated));
    let mistake = match lets_out && takers.iter().any(|it| general(&it)) {
        true => Mistake::Order,
        false => Mistake::NeverMatches,
    };
    let finding = Finding::new(mistake, set, id.clone(), because);
    match shown {
        Some((hook, packet)) => finding.shown_by(*hook, packet.clone()),
        None => finding,
    }
}

/// The conditions of a rule with nothing before them, at every hook of its table.
fn alone(set: &RuleSet, id: &RuleId, spec: &RuleSpec) -> RuleSet {
    let mut alone = RuleSet::empty(set.family);
    let table = alone
        .tables
        .entry(id.table)
        .or_insert_with(|| crate::rules::TableRules::empty(id.table));
    for name in id.table.builtin_chains() {
        let rule = crate::rules::Rule::new(RuleSpec {
            matches: spec.matches.clone(),
            target: Target::None,
        });
        table.chain_or_new(name).rules.push(rule);
    }
    alone
}
