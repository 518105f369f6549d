//! The same for rules of nft's own: what Istio's native nft mode does to a pod that may have some.
//!
//! A transaction adds, flushes and fills every table it names, and names only tables that hold rules. So applying twice
//! is applying once, and a table of a feature that is now off stays as it was. Cleaning up takes all three tables away.

use std::collections::BTreeMap;

use super::{
    ApplyPlan, Round, Step,
    pod::changes,
    tally::{Tally, watched},
};
use crate::{
    failure::Failure,
    istio::nft::SIDECAR_TABLES,
    netfilter,
    rules::{Family, RuleSet, Written},
};

/// Runs on the thread of the pod.
pub(super) fn rounds(
    plan: &ApplyPlan,
    cleanup_only: bool,
    place: &str,
    tally: Option<&Tally>,
) -> Result<Vec<Round>, Failure> {
    let mut pod = Pod {
        place,
        rules: BTreeMap::new(),
    };
    let mut rounds = Vec::new();
    if let Written::Nft { nft } = &plan.before {
        let what = "the rules that are there before".to_owned();
        let (round, calls) = watched(tally, || pod.round(what, nft))?;
        rounds.push(Round { calls, ..round });
    }
    let text = match &plan.meant {
        _ if cleanup_only => cleanup(),
        Written::Nft { nft } => nft.clone(),
        Written::Iptables(_) => String::new(),
    };
    for time in 1..=plan.times {
        let what = format!("apply {time} of {}", plan.times);
        let (round, calls) = watched(tally, || pod.round(what, &text))?;
        rounds.push(Round { calls, ..round });
    }
    Ok(rounds)
}

/// A table has to be there to be deleted.
fn cleanup() -> String {
    let commands = SIDECAR_TABLES
        .iter()
        .map(|table| format!("add table inet {table}\ndelete table inet {table}\n"));
    commands.collect()
}

struct Pod<'a> {
    place: &'a str,
    /// As last read.
    rules: BTreeMap<Family, RuleSet>,
}

impl Pod<'_> {
    fn round(&mut self, what: String, text: &str) -> Result<Round, Failure> {
        let ended = netfilter::transaction(text, self.place)?;
        let before = std::mem::take(&mut self.rules);
        let sets = netfilter::native_rules(self.place)?;
        // What both families meet is told once.
        let told = |set: &RuleSet| set.family == Family::V4 || !set.is_shared();
        let told = sets.into_iter().filter(told);
        self.rules = told.map(|set| (set.family, set)).collect();
        // A family that is gone has no rules left, which `changes` is to tell.
        for family in before.keys() {
            let gone = || RuleSet::empty(*family);
            self.rules.entry(*family).or_insert_with(gone);
        }
        let step = Step {
            command: ended.command,
            status: ended.status,
            ok: ended.ok,
            tried: false,
            stderr: ended.stderr,
            changes: changes(&before, &self.rules),
        };
        Ok(Round {
            what,
            detected: None,
            calls: None,
            found: None,
            steps: vec![step],
            half_done: None,
            mark_rules: None,
            rules: self.rules.values().map(RuleSet::len).sum(),
        })
    }
}
