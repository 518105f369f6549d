//! A journey for programs.

use serde_json::{Value, json};

use super::by_key;
use crate::model::{Journey, JourneyEnd, Outcome, Packet, Question, Traversal, Try, TryResult};
use crate::rules::{RuleSet, Table, spec_text};

/// One packet: what was asked, what was assumed, each hook with its tables and rules, and the end.
///
/// `end.kind` is `delivered`, `sent`, `dropped`, `rejected` or `unknown`; `result` of a rule is `matched`, `failed`
/// (with `field`, `wanted` and `had`) or `unknown` (with `why`).
pub fn journey_json(rules: &RuleSet, asked: &str, question: &Question, journey: &Journey) -> Value {
    let marks = question.host.local_marks.iter().flatten();
    let hooks = journey.passages.iter().map(|passage| {
        let tables = passage.tables.iter();
        json!({
            "hook": passage.hook.chain(),
            "without_nat": passage.without_nat,
            "tables": tables.map(|(table, it)| table_json(rules, *table, it)).collect::<Vec<_>>(),
        })
    });
    json!({
        "asked": asked,
        "packet": packet(&question.packet),
        "address": question.host.address,
        "assumed": question.assumed,
        "routed_here_by_mark": marks.map(ToString::to_string).collect::<Vec<_>>(),
        "family_has_rules": !rules.is_empty(),
        "hooks": hooks.collect::<Vec<_>>(),
        "end": end(&journey.end),
    })
}

fn packet(packet: &Packet) -> Value {
    json!({
        "protocol": packet.protocol.to_string(),
        "src": packet.src,
        "dst": packet.dst,
        "in": packet.in_iface,
        "out": packet.out_iface,
        "uid": packet.owner.map(|(uid, _)| uid),
        "gid": packet.owner.map(|(_, gid)| gid),
        "mark": packet.mark,
        "connmark": packet.connmark,
        "state": packet.state,
        "zone": packet.zone,
        "flags": packet.tcp_flags.to_string(),
    })
}

fn table_json(rules: &RuleSet, table: Table, traversal: &Traversal) -> Value {
    let left = &traversal.left;
    json!({
        "table": table,
        "tried": traversal.tried.iter().map(|it| tried(rules, it)).collect::<Vec<_>>(),
        "decided": decided(&traversal.decided),
        "left": { "mark": left.mark, "connmark": left.connmark, "zone": left.zone },
    })
}

fn tried(rules: &RuleSet, one: &Try) -> Value {
    let text = rules
        .rule(&one.rule)
        .map(|it| spec_text(&one.rule.chain, &it.spec));
    let mut value = json!({ "rule": one.rule, "text": text });
    let more = match &one.result {
        TryResult::Matched => json!({ "result": "matched" }),
        TryResult::Failed(it) => {
            json!({ "result": "failed", "field": it.field, "wanted": it.wanted, "had": it.had })
        }
        TryResult::Unknown(why) => json!({ "result": "unknown", "why": why }),
    };
    if let (Value::Object(value), Value::Object(more)) = (&mut value, more) {
        value.extend(more);
    }
    value
}

fn decided(outcome: &Outcome) -> Value {
    let (kind, by) = match outcome {
        Outcome::Accepted { by } => ("accepted", by_key(by)),
        Outcome::Dropped { by } => ("dropped", by_key(by)),
        Outcome::Redirected { by, .. } => ("redirected", Some(by.key())),
        Outcome::DestinationNat { by, .. } => ("destination-nat", Some(by.key())),
        Outcome::SourceNat { by, .. } => ("source-nat", Some(by.key())),
        Outcome::Masqueraded { by, .. } => ("masqueraded", Some(by.key())),
        Outcome::Intercepted { by, .. } => ("intercepted", Some(by.key())),
        Outcome::Rejected { by, .. } => ("rejected", Some(by.key())),
        Outcome::Unknown { rule, .. } => ("unknown", Some(rule.key())),
    };
    json!({ "kind": kind, "by": by, "words": outcome.to_string() })
}

fn end(end: &JourneyEnd) -> Value {
    match end {
        JourneyEnd::Delivered { at, original } => {
            json!({ "kind": "delivered", "at": at, "original": original })
        }
        JourneyEnd::Sent { to } => json!({ "kind": "sent", "to": to }),
        JourneyEnd::Gone(outcome) => decided(outcome),
        JourneyEnd::Unknown(why) => json!({ "kind": "unknown", "why": why }),
    }
}
