//! What the rule language promises, against the 18 rules of Istio 1.13.

use super::*;
use crate::diagnostic::Diagnostic;

mod compare;
mod counting;
pub(crate) mod documents;
mod errors;
mod listing;
mod nft;
mod reading;
mod roundtrip;
mod seed;

/// The rules file of the istio-init log, and its IPv6 twin.
pub(crate) const ISTIO_V4: &str = include_str!(concat!(
    env!("CARGO_MANIFEST_DIR"),
    "/../scenarios/rules/istio-1.13.rules"
));
pub(crate) const ISTIO_V6: &str = include_str!(concat!(
    env!("CARGO_MANIFEST_DIR"),
    "/../scenarios/rules/istio-1.13.v6.rules"
));

/// The 18 rules of a family.
pub(crate) fn istio(family: Family) -> RuleSet {
    let text = match family {
        Family::V4 => ISTIO_V4,
        Family::V6 => ISTIO_V6,
    };
    parse(text, family, "istio-1.13").expect("the scenario's rules are readable")
}

/// One IPv4 rule in nat OUTPUT.
fn one(options: &str) -> RuleSpec {
    let set = nat(&format!("-A OUTPUT {options}\n")).unwrap_or_else(|error| panic!("{error}"));
    let (_, rule) = set.rules(Table::Nat).next().expect("one rule was written");
    rule.spec.clone()
}

/// An IPv4 nat table with a user chain `SUB`.
fn nat(lines: &str) -> Result<RuleSet, Diagnostic> {
    parse(
        &format!("*nat\n-N SUB\n{lines}COMMIT\n"),
        Family::V4,
        "x.rules",
    )
}

fn v4(chain: &str, ordinal: u32) -> RuleId {
    RuleId::new(Family::V4, Table::Nat, chain, ordinal)
}
