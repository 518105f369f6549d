//! The head of a report: the machine, the rules, and what came up.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write as _,
};

use super::{
    Style,
    text::{Run, ms},
};
use crate::{
    evidence::PodUp,
    rules::{Family, RuleId, Table},
    topology::NODE,
};

pub(super) fn heading(out: &mut String, run: &Run) {
    let machine = &run.evidence.machine;
    let families: BTreeSet<Family> = run.evidence.windows.iter().map(|w| w.family).collect();
    let families: Vec<String> = families.iter().map(Family::to_string).collect();
    let families = match families.is_empty() {
        true => "no flow".to_owned(),
        false => families.join(" and "),
    };
    let who = if machine.root { "root" } else { "rootless" };
    let _ = writeln!(
        out,
        "{}  {families} · {who} · kernel {} · {}\n{:8}  backend {} ({})\n{:8}  rules   {}\n",
        Style::bold(&run.evidence.lab),
        machine.kernel,
        machine.iptables,
        "",
        machine.backend.backend.as_backend(),
        machine.backend.why,
        "",
        run.evidence.rules_from,
    );
}

pub(super) fn up(out: &mut String, run: &Run) {
    let up = &run.evidence.up;
    let in_pods: usize = up.pods.iter().map(|p| p.processes.len()).sum();
    let processes = in_pods + up.node.len();
    let pods: Vec<_> = up.pods.iter().filter(|it| it.name != NODE).collect();
    let ruled: Vec<_> = pods.iter().filter(|p| !p.rules.is_empty()).collect();
    let rules: BTreeMap<RuleId, bool> = ruled.first().map_or_else(BTreeMap::new, |p| counting(p));
    let _ = writeln!(
        out,
        "up {:>8}   a node, {} pods, {} of them with a sidecar and {} rules, {processes} processes",
        ms(up.took_us),
        pods.len(),
        ruled.len(),
        rules.len(),
    );
    if let Some(node) = up.pods.iter().find(|it| it.name == NODE) {
        let rules = counting(node).len();
        let _ = writeln!(out, "{:11}   the node has {rules} rules of kube-proxy", "");
    }
    let silent = rules.iter().filter(|(_, counts)| !**counts);
    let silent: Vec<String> = silent.map(|(rule, _)| rule.to_string()).collect();
    if !silent.is_empty() {
        let names = silent.join(", ");
        let _ = writeln!(
            out,
            "{:11}   {} of the rules have no counter, so none is a witness for them: {names}",
            "",
            silent.len(),
        );
    }
    out.push('\n');
}

/// The rules of a pod, and whether each has a counter. One that counts packets of both families is one rule.
fn counting(pod: &PodUp) -> BTreeMap<RuleId, bool> {
    let mut all = BTreeMap::new();
    for read in &pod.counters {
        let held = pod.rules.rules(read.family, "the rules in the evidence");
        let Ok(Some(set)) = held else { continue };
        for (id, _) in Table::ALL.iter().flat_map(|table| set.rules(*table)) {
            let counts = read.rules.contains_key(&id);
            let once = RuleId {
                family: Family::V4,
                ..id.clone()
            };
            let name = match set.counts_both_families(&id) {
                true => once,
                false => id,
            };
            all.insert(name, counts);
        }
    }
    all
}
