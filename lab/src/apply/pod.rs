//! A pod and the commands that change its rules, in the ways of the installers.

use std::collections::BTreeMap;

use super::{
    ApplyPlan, Manner, Round, State, Step,
    cleanup::{Args, cleanup, guardrails},
    installers,
    run::POD,
};
use crate::{
    failure::Failure,
    netfilter::{self, Backend, Ended},
    rules::{self, Difference, Family, RuleSet, Table, Written},
};

/// A pod, on whose thread this runs.
pub(super) struct Pod {
    pub backend: Backend,
    /// As last read.
    pub rules: BTreeMap<Family, RuleSet>,
}

impl Pod {
    pub fn round(&self, what: String, found: Option<State>, steps: Vec<Step>) -> Round {
        Round {
            what,
            detected: None,
            calls: None,
            found,
            steps,
            half_done: None,
            mark_rules: None,
            rules: self.rules.values().map(RuleSet::len).sum(),
        }
    }

    /// Applies once; with what was found first, where that is looked for.
    pub fn apply(
        &mut self,
        plan: &ApplyPlan,
        meant: &BTreeMap<Family, RuleSet>,
    ) -> Result<(Option<State>, Vec<Step>), Failure> {
        match plan.manner {
            Manner::Restore | Manner::Native { .. } => Ok((None, self.restore_all(&plan.meant)?)),
            Manner::OneByOne => Ok((None, self.one_by_one(meant)?)),
            Manner::CleanFirst => Ok((None, self.clean_first(plan, meant)?)),
            manner @ Manner::Checked { .. } => {
                self.look()?;
                let found = State::of(meant, &self.rules);
                let steps = self.checked(manner, &found, plan, meant)?;
                Ok((Some(found), steps))
            }
        }
    }

    /// What Linkerd does.
    fn one_by_one(&mut self, meant: &BTreeMap<Family, RuleSet>) -> Result<Vec<Step>, Failure> {
        self.look()?;
        let mut steps = Vec::new();
        for (family, set) in meant {
            let nothing = RuleSet::empty(*family);
            let there = self.rules.get(family).unwrap_or(&nothing);
            for args in installers::one_by_one(set, there) {
                let args: Vec<&str> = args.iter().map(String::as_str).collect();
                let ended = netfilter::edit(self.backend, *family, &args, POD)?;
                steps.push(self.step(ended, false)?);
                if steps.last().is_some_and(|step| !step.ok) {
                    return Ok(steps);
                }
            }
        }
        Ok(steps)
    }

    /// What Kuma does.
    fn clean_first(
        &mut self,
        plan: &ApplyPlan,
        meant: &BTreeMap<Family, RuleSet>,
    ) -> Result<Vec<Step>, Failure> {
        let mut steps = Vec::new();
        for (family, set) in meant {
            let dump = netfilter::dump(self.backend, *family, POD)?;
            let text = installers::without(set, &dump);
            let ended = netfilter::restore_step(self.backend, *family, &text, true, POD)?;
            steps.push(self.step(ended, false)?);
        }
        steps.extend(self.restore_all(&plan.meant)?);
        Ok(steps)
    }

    /// What Istio does since 1.24.
    fn checked(
        &mut self,
        manner: Manner,
        found: &State,
        plan: &ApplyPlan,
        meant: &BTreeMap<Family, RuleSet>,
    ) -> Result<Vec<Step>, Failure> {
        let Manner::Checked {
            reconcile,
            force,
            cleanup_only,
        } = manner
        else {
            return self.restore_all(&plan.meant);
        };
        let missing = !found.delta.is_empty();
        let exchange = found.residue && missing && reconcile && !cleanup_only;
        let mut steps = Vec::new();
        if exchange {
            self.all(&mut steps, meant, |_| guardrails("-A"))?;
        }
        if exchange || cleanup_only {
            self.all(&mut steps, meant, cleanup)?;
        }
        if (missing || force) && !cleanup_only {
            steps.extend(self.restore_all(&plan.meant)?);
        }
        if exchange {
            self.all(&mut steps, meant, |_| guardrails("-D"))?;
        }
        Ok(steps)
    }

    /// Tries commands in every family with rules.
    fn all(
        &mut self,
        steps: &mut Vec<Step>,
        meant: &BTreeMap<Family, RuleSet>,
        commands: impl Fn(&RuleSet) -> Vec<Args>,
    ) -> Result<(), Failure> {
        for (family, set) in meant {
            for args in commands(set) {
                let args: Vec<&str> = args.iter().map(String::as_str).collect();
                let ended = netfilter::edit(self.backend, *family, &args, POD)?;
                steps.push(self.step(ended, true)?);
            }
        }
        Ok(())
    }

    /// Restores one family after the other; the first failure ends it, as it ends istio-init.
    pub fn restore_all(&mut self, texts: &Written) -> Result<Vec<Step>, Failure> {
        let mut steps = Vec::new();
        for family in [Family::V4, Family::V6] {
            let Some(text) = texts.of(family) else {
                continue;
            };
            let ended = netfilter::restore(self.backend, family, text, POD)?;
            steps.push(self.step(ended, false)?);
            if steps.last().is_some_and(|step| !step.ok) {
                break;
            }
        }
        Ok(steps)
    }

    fn step(&mut self, ended: Ended, tried: bool) -> Result<Step, Failure> {
        let before = std::mem::take(&mut self.rules);
        self.look()?;
        Ok(Step {
            command: ended.command,
            status: ended.status,
            ok: ended.ok,
            tried,
            stderr: ended.stderr,
            changes: changes(&before, &self.rules),
        })
    }

    /// Reads the rules of both families.
    pub fn look(&mut self) -> Result<(), Failure> {
        for family in [Family::V4, Family::V6] {
            let set = netfilter::save(self.backend, family, POD)?;
            self.rules.insert(family, set);
        }
        Ok(())
    }
}

pub(super) fn changes(
    before: &BTreeMap<Family, RuleSet>,
    after: &BTreeMap<Family, RuleSet>,
) -> Vec<String> {
    const TABLES: [Table; 4] = [Table::Raw, Table::Mangle, Table::Nat, Table::Filter];
    let mut words = Vec::new();
    for (family, now) in after {
        let nothing = RuleSet::empty(*family);
        let then = before.get(family).unwrap_or(&nothing);
        let found = rules::diff(then, now, &TABLES);
        words.extend(found.iter().map(|it| format!("{family}: {}", change(it))));
    }
    words
}

/// Before is what was meant, now is what was found.
fn change(difference: &Difference) -> String {
    match difference {
        Difference::MissingChain { table, chain } => format!("- {table} chain {chain}"),
        Difference::ExtraChain { table, chain } => format!("+ {table} chain {chain}"),
        Difference::Missing { rule, text } => format!("- {} {text}", rule.table),
        Difference::Extra { rule, text } => format!("+ {} {text}", rule.table),
        Difference::Moved { found, text, .. } => {
            format!("~ {} {text} is rule {} now", found.table, found.ordinal)
        }
    }
}
