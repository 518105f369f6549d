//! Counters of a pod's rules as they stand, and what moved since an earlier reading. Pure.

use serde::Serialize;

use super::{Style, columns::columns};
use crate::rules::{
    CounterDelta, CounterError, CounterSnapshot, Family, Holder, Rule, RuleId, RuleSet, Table,
    spec_text,
};

/// Rules of one family with their counters, and those of an earlier reading.
#[derive(Debug, Clone)]
pub struct Counted {
    /// Who holds them.
    pub by: Holder,
    /// The rules, with the counters of now.
    pub rules: RuleSet,
    /// The counters of now.
    pub now: CounterSnapshot,
    /// What moved since the earlier reading; none where there was none.
    moved: Option<Result<CounterDelta, CounterError>>,
}

impl Counted {
    /// Rules as they are now, against an earlier reading of them.
    pub fn new(by: Holder, rules: RuleSet, earlier: Option<&CounterSnapshot>) -> Self {
        // With nft only the rules count that say so.
        let now = CounterSnapshot::of_nft(&rules);
        Self {
            moved: earlier.map(|it| now.since(it)),
            by,
            rules,
            now,
        }
    }

    /// Why it can't be told what moved: other rules, or counters that went back.
    pub fn incomparable(&self) -> Option<&CounterError> {
        self.moved.as_ref()?.as_ref().err()
    }

    /// Packets and bytes that a rule counted since the earlier reading.
    fn moved(&self, rule: &RuleId) -> Option<crate::rules::Counter> {
        self.moved.as_ref()?.as_ref().ok()?.get(rule)
    }

    fn has_moved(&self, rule: &RuleId) -> bool {
        self.moved(rule).is_some_and(|it| it.packets > 0)
    }

    fn family(&self) -> &'static str {
        match (self.rules.is_shared(), self.rules.family) {
            (true, _) => "IPv4 and IPv6",
            (_, Family::V4) => "IPv4",
            (_, Family::V6) => "IPv6",
        }
    }
}

/// Every table with rules, chain by chain: packets, bytes, what moved since the earlier reading, the rule. `only_moved`
/// leaves out rules that did not move.
pub fn counted_text(all: &[Counted], only_moved: bool) -> String {
    let mut out = String::new();
    for it in all {
        for table in it.rules.tables.keys() {
            let rows = rows(it, *table, only_moved);
            if rows.is_empty() {
                continue;
            }
            let title = format!("{} {} {table}", it.by, it.family());
            out += &Style::bold(&title);
            out.push('\n');
            out += &columns(&rows);
        }
    }
    out
}

fn rows(it: &Counted, table: Table, only_moved: bool) -> Vec<Vec<String>> {
    let mut rows = Vec::new();
    let mut last = String::new();
    for (id, rule) in it.rules.rules(table) {
        if only_moved && !it.has_moved(&id) {
            continue;
        }
        let chain = match last == id.chain {
            true => String::new(),
            false => id.chain.clone(),
        };
        last.clone_from(&id.chain);
        let number = |of: fn(crate::rules::Counter) -> u64| {
            let count = rule.counters.map(of);
            count.map_or("-".to_owned(), |it| it.to_string())
        };
        let moved = it.moved(&id).filter(|it| it.packets > 0);
        rows.push(vec![
            format!("  {chain}"),
            id.ordinal.to_string(),
            format!("{:>8}", number(|it| it.packets)),
            format!("{:>9}", number(|it| it.bytes)),
            moved.map_or(String::new(), |it| Style::bold(&format!("+{}", it.packets))),
            text(&id, rule),
        ]);
    }
    rows
}

/// The rule without the name of its chain.
fn text(id: &RuleId, rule: &Rule) -> String {
    let text = spec_text(&id.chain, &rule.spec);
    let start = format!("-A {} ", id.chain);
    text.strip_prefix(&start)
        .map_or(text.clone(), str::to_owned)
}

/// One line for each rule that moved since the earlier reading.
pub fn moved_lines(all: &[Counted]) -> Vec<String> {
    let mut lines = Vec::new();
    for it in all {
        for table in it.rules.tables.keys() {
            for (id, rule) in it.rules.rules(*table).filter(|(id, _)| it.has_moved(id)) {
                let moved = it.moved(&id).unwrap_or_default();
                let place = format!("{} {id}", it.family());
                let moved = format!("+{}", moved.packets);
                lines.push(format!("{place:30} {moved:>5}  {}", text(&id, rule)));
            }
        }
    }
    lines
}

/// A rule as `--json` prints it.
#[derive(Serialize)]
struct Json {
    holder: String,
    family: Family,
    /// One counter for both families.
    both_families: bool,
    table: Table,
    chain: String,
    /// From 1.
    place: u32,
    rule: String,
    /// None of a rule of nft that does not say `counter`.
    packets: Option<u64>,
    bytes: Option<u64>,
    /// Since the earlier reading; none where there was none, or of other rules.
    moved_packets: Option<u64>,
    moved_bytes: Option<u64>,
}

/// Every rule as a JSON value, in the order packets meet them in a chain.
pub fn counted_json(all: &[Counted], only_moved: bool) -> serde_json::Result<serde_json::Value> {
    let mut rules = Vec::new();
    for it in all {
        for table in it.rules.tables.keys() {
            for (id, rule) in it.rules.rules(*table) {
                if only_moved && !it.has_moved(&id) {
                    continue;
                }
                let moved = it.moved(&id);
                rules.push(Json {
                    holder: it.by.to_string(),
                    family: id.family,
                    both_families: it.rules.counts_both_families(&id),
                    table: *table,
                    rule: text(&id, rule),
                    place: id.ordinal,
                    packets: rule.counters.map(|it| it.packets),
                    bytes: rule.counters.map(|it| it.bytes),
                    moved_packets: moved.map(|it| it.packets),
                    moved_bytes: moved.map(|it| it.bytes),
                    chain: id.chain,
                });
            }
        }
    }
    serde_json::to_value(rules)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rules::parse;

    const RULES: &str = "*nat\n:PREROUTING ACCEPT [0:0]\n:ISTIO_INBOUND - [0:0]\n\
        [P:B] -A PREROUTING -p tcp -j ISTIO_INBOUND\n\
        [0:0] -A ISTIO_INBOUND -p tcp -m tcp --dport 15008 -j RETURN\n\
        [P:B] -A ISTIO_INBOUND -p tcp -j REDIRECT --to-ports 15006\nCOMMIT\n";

    fn rules(packets: u64) -> RuleSet {
        let bytes = (packets * 60).to_string();
        let text = RULES
            .replace("P:", &format!("{packets}:"))
            .replace(":B", &format!(":{bytes}"));
        parse(&text, Family::V4, "a save").expect("rules")
    }

    fn counted(now: u64, earlier: Option<u64>) -> Counted {
        let earlier = earlier.map(|it| CounterSnapshot::of_nft(&rules(it)));
        Counted::new(Holder::IptablesNft, rules(now), earlier.as_ref())
    }

    #[test]
    fn rules_that_moved_are_marked() {
        let text = counted_text(&[counted(5, Some(3))], false);
        let text = anstream::adapter::strip_str(&text).to_string();
        let words = |line: &str| line.split_whitespace().collect::<Vec<_>>().join(" ");
        let lines: Vec<String> = text.lines().map(words).collect();
        let wanted = [
            "iptables-nft IPv4 nat",
            "PREROUTING 1 5 300 +2 -p tcp -j ISTIO_INBOUND",
            "ISTIO_INBOUND 1 0 0 -p tcp -m tcp --dport 15008 -j RETURN",
            "2 5 300 +2 -p tcp -j REDIRECT --to-ports 15006",
        ];
        assert_eq!(lines, wanted);
    }

    #[test]
    fn what_did_not_move_can_be_left_out() {
        let lines = moved_lines(&[counted(5, Some(3))]);
        assert_eq!(lines.len(), 2, "{lines:?}");
        assert!(lines[1].contains("nat ISTIO_INBOUND 2") && lines[1].contains("+2"));
        assert_eq!(counted_text(&[counted(3, Some(3))], true), "");
    }

    #[test]
    fn without_an_earlier_reading_nothing_is_said_to_have_moved() {
        let value = counted_json(&[counted(5, None)], false).expect("a value");
        assert_eq!(value[0]["packets"], 5);
        assert!(value[0]["moved_packets"].is_null());
    }

    #[test]
    fn counters_that_went_back_are_told() {
        assert!(counted(1, Some(3)).incomparable().is_some());
        assert!(counted(3, Some(1)).incomparable().is_none());
    }
}
