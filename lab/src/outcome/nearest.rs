//! The rule that explains best why a way is not the one that was meant.

use super::trouble::{NearestRule, Parting, Ways};
use crate::{
    path::{Event, Hop, Leg, Tried, Why},
    rules::{RuleSet, Table, spec_text},
};

/// The rule that was meant and is missing or did not match; else the one that matched in its place; else the last one
/// before. None where no rule was met.
pub(super) fn nearest(ways: &Ways<'_>, parting: Option<&Parting<'_>>) -> Option<NearestRule> {
    let parting = parting?;
    if let Some((_, pod, hop)) = parting.meant
        && let Event::Rule {
            table,
            chain,
            text: Some(text),
            ordinal,
            ..
        } = &hop.event
    {
        let place = ordinal.map_or_else(String::new, |it| format!(" {it}"));
        let of = |why: String| NearestRule {
            rule: format!("{table} {chain}{place}"),
            text: text.clone(),
            why,
        };
        let held = ways.held.get(pod);
        if !held.is_some_and(|it| is_held(it, table, chain, text)) {
            return Some(of("the pod does not hold it".to_owned()));
        }
        let asked = parting.leg.and_then(|leg| asked(leg, table, chain, text));
        if let Some(tried) = asked {
            return Some(of(why(tried)));
        }
        if let Some(other) = parting
            .seen
            .and_then(|(_, hop)| of_hop(hop, "it matched first"))
        {
            return Some(other);
        }
        return Some(of("it was not asked".to_owned()));
    }
    let seen = parting
        .seen
        .and_then(|(_, hop)| of_hop(hop, "it matched, and no rule was to"));
    let last = || {
        let hops = parting.leg?.there.iter().flat_map(|it| &it.hops);
        let before = hops.take_while(|hop| {
            parting
                .seen
                .is_none_or(|(_, seen)| !std::ptr::eq(*hop, seen))
        });
        before
            .filter_map(|hop| of_hop(hop, "the last rule that matched before"))
            .last()
    };
    seen.or_else(last)
}

/// The rule that decided a way which is as the rules mean it: the last one that matched on the first connection that met
/// any.
pub(super) fn decided(seen: &[Leg]) -> Option<NearestRule> {
    let last = |leg: &Leg| {
        let hops = leg.there.iter().flat_map(|it| &it.hops);
        let why = "the last rule that matched; the rules do what was seen";
        hops.rev().find_map(|hop| of_hop(hop, why))
    };
    seen.iter().find_map(last)
}

fn of_hop(hop: &Hop, why: &str) -> Option<NearestRule> {
    let Event::Rule {
        table,
        chain,
        ordinal,
        text,
        ..
    } = &hop.event
    else {
        return None;
    };
    let place = ordinal.map_or_else(String::new, |it| format!(" {it}"));
    Some(NearestRule {
        rule: format!("{table} {chain}{place}"),
        text: text.clone().unwrap_or_else(|| "?".to_owned()),
        why: why.to_owned(),
    })
}

/// A rule that was asked on a leg's way and did not match.
fn asked<'a>(leg: &'a Leg, in_table: &str, in_chain: &str, said: &str) -> Option<&'a Tried> {
    let hops = leg.there.iter().flat_map(|it| &it.hops);
    let mut tried = hops.flat_map(|it| &it.tried);
    tried
        .find(|it| it.table == in_table && it.chain == in_chain && it.text.as_deref() == Some(said))
}

fn why(tried: &Tried) -> String {
    match &tried.why {
        Why::Mismatch(mismatch) => format!("it did not match: {mismatch}"),
        Why::Unknown { what } => format!("it did not match, and the model can't tell why: {what}"),
        Why::Contradicted => "it did not match, and by the model it does".to_owned(),
    }
}

fn is_held(held: &RuleSet, table: &str, chain: &str, text: &str) -> bool {
    let table = Table::ALL.into_iter().find(|it| it.name() == table);
    let rules = table.map(|it| held.rules(it)).into_iter().flatten();
    let line = format!("-A {chain} {text}");
    rules
        .filter(|(id, _)| id.chain == chain)
        .any(|(id, rule)| spec_text(&id.chain, &rule.spec).trim_end() == line.trim_end())
}
