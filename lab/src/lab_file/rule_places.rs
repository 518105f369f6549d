//! Rules that flows and steps of a lab file name by their places, and whether they are there.

use super::complaint;
use crate::{
    diagnostic::{Diagnostic, did_you_mean},
    failure::Failure,
    rules::{RuleSet, Table},
    topology::{Expected, Flow, RulePlace, Topology},
};

/// Every rule that an expectation names must be there.
pub(super) fn known(
    rule: &RulePlace,
    rules: &RuleSet,
    text: &str,
    origin: &str,
) -> Result<(), Failure> {
    let Some(table) = rules.tables.get(&rule.table) else {
        return Ok(());
    };
    let (name, place) = (&rule.chain, rule.place);
    let complain = |message: String| Diagnostic::at(origin, text, rule.at.clone(), message);
    let Some(chain) = table.chain(name) else {
        let known = table.chains().iter().map(|c| c.name.as_str());
        let diagnostic = complain(format!("the lab's rules have no chain `{name}`"));
        let other = || format!("name a chain of {}", rule.table);
        let help = did_you_mean(name, known).unwrap_or_else(other);
        return Err(complaint(diagnostic.help(help)));
    };
    let rules = chain.rules.len();
    if usize::try_from(place).is_ok_and(|place| place > rules) {
        let diagnostic = complain(format!(
            "`{name} {place}` is no rule: the chain has {rules}"
        ));
        return Err(complaint(
            diagnostic.help("places count from 1, in the order of the rules file"),
        ));
    }
    Ok(())
}

/// Rules that flows and the step behind some of the steps name, by pod.
pub(super) fn named(
    topology: &Topology,
    flows: &[&Flow],
    steps: usize,
) -> Vec<(String, RulePlace)> {
    let of_traversal = |it: &Expected| {
        let at = it.at.clone();
        let rules = it.rules.clone().into_iter();
        rules.map(move |(chain, place)| RulePlace {
            table: Table::Nat,
            chain,
            place,
            at: at.clone(),
        })
    };
    let of_flows = flows.iter().flat_map(|flow| &flow.nat);
    let of_flows = of_flows.flat_map(|(pod, paths)| {
        let rules = paths.iter().flat_map(of_traversal);
        rules.map(|it| (pod.clone(), it))
    });
    let step = topology.steps.get(steps);
    let of_step = step
        .into_iter()
        .filter_map(|it| it.moves.as_ref())
        .flatten();
    let of_step = of_step.flat_map(|(pod, rules)| rules.iter().map(|it| (pod.clone(), it.clone())));
    of_flows.chain(of_step).collect()
}
