//! The rules of a pod of a running lab, replaced.

use std::{collections::BTreeMap, fmt::Write as _};

use serde::Serialize;

use crate::{
    cli::live::wait_for_turn,
    failure::{Class, Failure},
    interception::Interception,
    live::RunningLab,
    rules::{self, Family, OwnerNames, RuleSet, Written},
    sandbox::protocol::StepWhat,
};

/// What was replaced.
#[derive(Debug, Serialize)]
pub(super) struct Replaced {
    lab: String,
    pod: String,
    /// Where the rules come from.
    rules: String,
    before: usize,
    after: usize,
    /// How the rules differ, a line each: `- nat ISTIO_INBOUND 3: -A …`.
    changes: Vec<String>,
}

/// Replaces the rules of a pod. Names of users and groups in them are numbers of the lab's.
///
/// # Errors
/// No such pod, one that has no rules, rules that the kernel refuses; then nothing is changed.
pub(super) fn replace(
    running: &RunningLab,
    pod: &str,
    new: &Written,
    names: &OwnerNames,
    from: String,
) -> Result<Replaced, Failure> {
    // Names the pod that was meant.
    running.processes_in(pod)?;
    let mut lab = running.attach_or_wait(|| wait_for_turn(running))?;
    let families: Vec<Family> = lab.families().iter().collect();
    let with_rules: Vec<Family> = [Family::V4, Family::V6]
        .into_iter()
        .filter(|it| *it == Family::V4 || families.contains(it))
        .collect();
    let (rules, meant) = numbered(new, names, &with_rules)?;
    let held = |lab: &crate::Lab| {
        let up = lab.came_up().pods.iter().find(|it| it.name == pod);
        sets(&up.map(|it| it.rules.clone()).unwrap_or_default())
    };
    let before = held(&lab)?;
    let what = StepWhat::Replace {
        pod: pod.to_owned(),
        rules,
    };
    running.change(&mut lab, "rules apply", what, Some((pod, from.clone())))?;
    let after = held(&lab)?;
    let left_out = meant.iter().map(|it| it.family);
    for family in left_out.filter(|it| !new.is_nft() && !with_rules.contains(it)) {
        anstream::eprintln!(
            "note: the pods of lab `{}` have no {family} rules; those of {from} are left out",
            running.name()
        );
    }
    tell_other_ports(&lab.file().interception, &meant, pod);
    let count = |sets: &[RuleSet]| sets.iter().map(RuleSet::len).sum();
    Ok(Replaced {
        lab: running.name().to_owned(),
        pod: pod.to_owned(),
        rules: from,
        before: count(&before),
        after: count(&after),
        changes: rules::changes(&before, &after),
    })
}

/// A proxy stays as it came up: what rules that were made for another one turn to its ports reaches nobody.
fn tell_other_ports(proxy: &Interception, rules: &[RuleSet], pod: &str) {
    let wanted = Interception::of_rules(rules);
    let (has, wants) = (
        (proxy.inbound, proxy.outbound),
        (wanted.inbound, wanted.outbound),
    );
    if has != wants || proxy.tproxy.is_some() != wanted.tproxy.is_some() {
        anstream::eprintln!(
            "note: these rules are for a proxy on {} and {}{}; that of `{pod}` stays on {} and {}: hoplab up --rules brings \
             up one that fits",
            wants.0,
            wants.1,
            if wanted.tproxy.is_some() {
                " with TPROXY"
            } else {
                ""
            },
            has.0,
            has.1
        );
    }
}

/// Rules as they are given to iptables-restore, for some families; rules of nft as they are. And all of them as values.
fn numbered(
    new: &Written,
    names: &OwnerNames,
    families: &[Family],
) -> Result<(Written, Vec<RuleSet>), Failure> {
    let all = sets(new)?;
    if new.is_nft() {
        return match new {
            Written::Nft { nft } if nft.trim_start().starts_with('{') => Err(Failure::new(
                Class::Input,
                "rules of nft as JSON can't replace others in one transaction",
            )
            .hint("give them as text: nft list ruleset")),
            _ => Ok((new.clone(), all)),
        };
    }
    let wanted = all.iter().filter(|it| families.contains(&it.family));
    let texts: BTreeMap<Family, String> = wanted
        .map(|set| {
            let numbers = names.resolve(&set.without_counters());
            (set.family, rules::to_restore(&numbers))
        })
        .collect();
    Ok((Written::Iptables(texts), all))
}

fn sets(written: &Written) -> Result<Vec<RuleSet>, Failure> {
    let mut sets = Vec::new();
    for family in [Family::V4, Family::V6] {
        let set = written.rules(family, "the rules");
        sets.extend(set.map_err(|it| Failure::new(Class::Input, it.to_string()))?);
    }
    Ok(sets)
}

impl Replaced {
    /// As text, or as one JSON value.
    pub(super) fn shown(&self, json: bool) -> Result<String, Failure> {
        if json {
            let text = serde_json::to_string_pretty(self);
            return text.map(|it| it + "\n").map_err(|e| {
                Failure::new(Class::State, format!("the change has no JSON form: {e}"))
            });
        }
        let mut out = format!(
            "{} of lab {}: {} rules in place of {}, from {}; their counters begin anew\n",
            self.pod, self.lab, self.after, self.before, self.rules
        );
        for change in &self.changes {
            let _ = writeln!(out, "  {change}");
        }
        if self.changes.is_empty() {
            out.push_str("  they say the same as before\n");
        }
        Ok(out)
    }
}
