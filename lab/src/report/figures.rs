//! What counters say, as text and as JSON.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use serde_json::{Value, json};

use super::Style;
use crate::figures::{BytesPerPacket, Effect, Exit, Figures, Kind, Relation, Sum};
use crate::rules::{CountRange, RuleId, Table};

/// One table for people. `dead` are rules that can match no packet: a count of nothing is what they must have.
pub fn figures_text(figures: &Figures, dead: &BTreeSet<RuleId>) -> String {
    let mut out = String::new();
    let (family, table) = (figures.family, figures.table);
    let what = match table {
        Table::Nat => "a packet is a connection: nat is asked for the first one only",
        _ => "every packet counts, so connections can't be told from it",
    };
    let _ = writeln!(out, "{}  {what}", Style::bold(&format!("{family} {table}")));
    for kind in Kind::ALL {
        let exits: Vec<&Exit> = figures.exits.iter().filter(|it| it.kind == kind).collect();
        if !exits.is_empty() {
            let _ = writeln!(
                out,
                "  {:>20}  {}",
                figures.of(kind).to_string(),
                kind.words()
            );
            exits.iter().for_each(|it| exit(&mut out, it));
        }
    }
    if !figures.sums.is_empty() || !figures.imbalances.is_empty() {
        let _ = writeln!(out, "{}", Style::bold("sums"));
    }
    for sum in &figures.sums {
        let (mark, word) = match sum.holds() {
            true => ("✔", ""),
            false => ("✗", "  does not add up"),
        };
        let _ = writeln!(out, "  {mark} {}{word}", sum_words(sum));
    }
    for imbalance in &figures.imbalances {
        let _ = writeln!(out, "  ✗ does not add up: {imbalance}");
    }
    never_hit(&mut out, figures, dead);
    bytes(&mut out, figures);
    out
}

fn exit(out: &mut String, exit: &Exit) {
    let rule = exit
        .rule
        .as_ref()
        .map_or_else(|| format!("{} policy", exit.hook), RuleId::short);
    let to = match exit.effect {
        Effect::Turned(Some(ports)) => format!(" -> port {}", ports.dashed()),
        _ => String::new(),
    };
    let _ = writeln!(
        out,
        "  {:>20}    {rule}: {}{to}",
        exit.packets.to_string(),
        exit.which
    );
}

fn sum_words(sum: &Sum) -> String {
    let terms: Vec<String> = sum.terms.iter().map(ToString::to_string).collect();
    let terms = match terms.len() {
        0 | 1 => sum.sum.to_string(),
        _ => format!("{} = {}", terms.join(" + "), sum.sum),
    };
    let sign = match sum.relation {
        Relation::Equal => "is",
        Relation::AtMost => "is at most",
    };
    format!("{}: {terms} {sign} {} ({})", sum.what, sum.count, sum.of)
}

fn never_hit(out: &mut String, figures: &Figures, dead: &BTreeSet<RuleId>) {
    if figures.never_hit.is_empty() {
        return;
    }
    let _ = writeln!(
        out,
        "{}  {}",
        Style::bold("never hit"),
        grouped(figures.never_hit.iter())
    );
    let dead: Vec<&RuleId> = figures
        .never_hit
        .iter()
        .filter(|it| dead.contains(it))
        .collect();
    if !dead.is_empty() {
        let which = grouped(dead.into_iter());
        let _ = writeln!(
            out,
            "           {which} can match no packet; `hoplab rules lint` says why"
        );
    }
}

/// `ISTIO_INBOUND 1, 2; ISTIO_OUTPUT 5`
fn grouped<'a>(rules: impl Iterator<Item = &'a RuleId>) -> String {
    let mut chains: BTreeMap<&str, Vec<String>> = BTreeMap::new();
    for rule in rules {
        chains
            .entry(&rule.chain)
            .or_default()
            .push(rule.ordinal.to_string());
    }
    let chains = chains
        .into_iter()
        .map(|(chain, ordinals)| format!("{chain} {}", ordinals.join(", ")));
    chains.collect::<Vec<_>>().join("; ")
}

fn bytes(out: &mut String, figures: &Figures) {
    if figures.bytes.is_empty() {
        return;
    }
    let _ = writeln!(out, "{}", Style::bold("bytes per packet"));
    let mut sizes: BTreeMap<u64, Vec<&RuleId>> = BTreeMap::new();
    for it in &figures.bytes {
        if let Some(size) = it.syns {
            sizes.entry(size).or_default().push(&it.rule);
        }
    }
    for (size, rules) in sizes.into_iter().rev() {
        let _ = writeln!(
            out,
            "  {size:>11}  each, as TCP SYNs have: {}",
            grouped(rules.into_iter())
        );
    }
    for it in figures.bytes.iter().filter(|it| it.syns.is_none()) {
        let _ = writeln!(
            out,
            "  {:>11}  on average, so not all are TCP SYNs: {}",
            mean(it),
            it.rule.short()
        );
    }
}

fn mean(it: &BytesPerPacket) -> String {
    let words = |hundredths: u64| format!("{}.{:02}", hundredths / 100, hundredths % 100);
    let (least, most) = it.mean;
    match least == most {
        true => words(least),
        false => format!("{} to {}", words(least), words(most)),
    }
}

/// One table for programs. A count is a number, or `{least, most}` where a listing rounded it.
pub fn figures_json(figures: &Figures) -> Value {
    let exits = figures.exits.iter().map(|it| {
        json!({
            "kind": it.kind.name(),
            "hook": it.hook.chain(),
            "rule": it.rule,
            "which": it.which,
            "packets": number(it.packets),
        })
    });
    let kinds = Kind::ALL
        .into_iter()
        .filter(|kind| figures.exits.iter().any(|it| it.kind == *kind));
    let kinds = kinds.map(|kind| (kind.name().to_owned(), number(figures.of(kind))));
    let sums = figures.sums.iter().map(|it| {
        json!({
            "what": it.what,
            "sum": number(it.sum),
            "relation": match it.relation { Relation::Equal => "equal", Relation::AtMost => "at-most" },
            "of": it.of,
            "count": number(it.count),
            "holds": it.holds(),
        })
    });
    let bytes = figures.bytes.iter().map(|it| {
        json!({ "rule": it.rule, "mean_hundredths": [it.mean.0, it.mean.1], "syn_size": it.syns })
    });
    json!({
        "family": figures.family,
        "table": figures.table,
        "kinds": kinds.collect::<serde_json::Map<_, _>>(),
        "exits": exits.collect::<Vec<_>>(),
        "sums": sums.collect::<Vec<_>>(),
        "imbalances": figures.imbalances.iter().map(ToString::to_string).collect::<Vec<_>>(),
        "never_hit": figures.never_hit,
        "bytes_per_packet": bytes.collect::<Vec<_>>(),
        "adds_up": figures.add_up(),
    })
}

fn number(range: CountRange) -> Value {
    match range.exact() {
        Some(count) => json!(count),
        None => json!(range),
    }
}
