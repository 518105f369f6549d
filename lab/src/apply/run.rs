//! Does it: one pod namespace in a sandbox, the real iptables, and what changed after each command.

use std::collections::BTreeMap;

use super::{
    ApplyPlan, Calls, HeldBy, Manner, Report, Round, State, Step,
    calls::{Callers, Tally},
    cleanup::{Args, cleanup, guardrails},
    detect::detect,
    installers, native,
};
use crate::{
    failure::{Class, Failure},
    net::Namespace,
    netfilter::{self, Backend, Chosen, Ended, Holder},
    plan::Files,
    rules::{self, Difference, Family, OwnerNames, RuleSet, Table, Written},
    sandbox::prepare_mounts,
};

/// Name of the pod.
const POD: &str = "pod";

/// Runs in the supervisor of a sandbox that has no lab.
pub(crate) fn run_inside(plan: ApplyPlan) -> Result<Report, Failure> {
    prepare_mounts(&Files::naming(&plan.names))?;
    let namespace = Namespace::create(POD)?;
    let callers = match &plan.calls {
        Some(it) => Some(Callers::start(&namespace, &it.stage, it.app, it.proxy)?),
        None => None,
    };
    let tally = callers.as_ref().map(Callers::tally);
    let (backend, rounds) = if let Manner::Native { cleanup_only } = plan.manner {
        netfilter::find_program("nft")?;
        let backend = Chosen {
            backend: Holder::Nft,
            why: "the rules are nft's own".into(),
        };
        let job = namespace.job(move |_| {
            let rounds = native::rounds(&plan, cleanup_only, POD, tally.as_ref());
            rounds.map(|rounds| (rounds, Vec::new()))
        });
        (backend, job.wait()?)
    } else {
        let backend = plan.backend.settle()?;
        let tool = backend.backend;
        let job = namespace.job(move |_| {
            let rounds = rounds(tool, &plan, tally.as_ref())?;
            let held = match plan.detect {
                true => held()?,
                false => Vec::new(),
            };
            Ok((rounds, held))
        });
        (backend.into(), job.wait()?)
    };
    let ended = callers.map_or(Ok(()), Callers::end);
    namespace.remove()?;
    let (rounds, held) = rounds?;
    ended?;
    Ok(Report {
        backend,
        rounds,
        held,
    })
}

/// What each backend holds. Each tool shows its own only, and both have their tables by now.
fn held() -> Result<Vec<HeldBy>, Failure> {
    let of = |backend| {
        let set = netfilter::save(backend, Family::V4, POD)?;
        let first = |id: &rules::RuleId| id.chain == "PREROUTING";
        let mut came_in = set.rules(Table::Nat).filter(|(id, _)| first(id));
        let came_in = came_in.try_fold(0, |sum: u64, (_, rule)| {
            Some(sum.saturating_add(rule.counters?.packets))
        });
        Ok(HeldBy {
            backend,
            rules: set.len(),
            came_in: came_in.unwrap_or(0),
        })
    };
    Backend::ALL.into_iter().map(of).collect()
}

/// Does something while the pod is called, where it is.
pub(super) fn watched<T>(
    tally: Option<&Tally>,
    work: impl FnOnce() -> Result<T, Failure>,
) -> Result<(T, Option<Calls>), Failure> {
    match tally {
        None => Ok((work()?, None)),
        Some(tally) => tally.during(work).map(|(done, calls)| (done, Some(calls))),
    }
}

/// Runs on the thread of the pod.
fn rounds(
    backend: Backend,
    plan: &ApplyPlan,
    tally: Option<&Tally>,
) -> Result<Vec<Round>, Failure> {
    let mut pod = Pod {
        backend,
        rules: BTreeMap::new(),
    };
    let mut rounds = Vec::new();
    if !plan.before.is_empty() {
        let (steps, calls) = watched(tally, || pod.restore_all(&plan.before))?;
        let what = "the rules that are there before".to_owned();
        rounds.push(Round {
            calls,
            ..pod.round(what, None, steps)
        });
    }
    let meant = parsed(&plan.meant, &plan.names)?;
    for time in 1..=plan.times {
        let detected = match plan.detect {
            true => Some(detect(POD)?),
            false => None,
        };
        if let Some(chosen) = &detected {
            pod.backend = chosen.backend;
            pod.look()?;
        }
        let ((found, steps), calls) = watched(tally, || pod.apply(plan, &meant))?;
        let what = format!("apply {time} of {}", plan.times);
        rounds.push(Round {
            detected,
            calls,
            ..pod.round(what, found, steps)
        });
    }
    Ok(rounds)
}

fn parsed(texts: &Written, names: &OwnerNames) -> Result<BTreeMap<Family, RuleSet>, Failure> {
    let mut sets = BTreeMap::new();
    for family in [Family::V4, Family::V6] {
        let set = texts.rules(family, "the rules");
        let set = set.map_err(|e| Failure::new(Class::Input, e.to_string()))?;
        sets.extend(set.map(|set| (family, names.resolve(&set))));
    }
    Ok(sets)
}

struct Pod {
    backend: Backend,
    /// As last read.
    rules: BTreeMap<Family, RuleSet>,
}

impl Pod {
    fn round(&self, what: String, found: Option<State>, steps: Vec<Step>) -> Round {
        Round {
            what,
            detected: None,
            calls: None,
            found,
            steps,
            rules: self.rules.values().map(RuleSet::len).sum(),
        }
    }

    /// Applies once; with what was found first, where that is looked for.
    fn apply(
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
    fn restore_all(&mut self, texts: &Written) -> Result<Vec<Step>, Failure> {
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
    fn look(&mut self) -> Result<(), Failure> {
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
