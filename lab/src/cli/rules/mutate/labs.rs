//! Lab files as the suite of `rules mutate`: those that hold under the whole rules, and which mutants they notice.

use std::{
    path::Path,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
};

use super::super::tried::Tried;
use crate::{
    Expect, LabFile,
    behaviour::{Fate, Judged, Mutant, NoticedByLab},
    cli::lab_files,
    failure::{Class, Failure},
    lab_file::GivenRules,
    netfilter::BackendChoice,
    rules::{Family, RuleSet, Written},
    suite::{Stop, first_noticed},
    topology::Action,
};

/// Labs that are up at once, for each processor: most of its time a lab waits.
const PER_PROCESSOR: usize = 2;

/// A lab file under the rules, over one family.
struct Played {
    path: String,
    file: LabFile,
    family: Family,
}

/// Lab files that hold under the whole rules.
pub(super) struct LabSuite {
    played: Vec<Played>,
    /// The others, with the reason.
    pub left_out: Vec<(String, String)>,
    backend: BackendChoice,
}

impl LabSuite {
    /// Plays every lab file of a directory, or one, under the whole rules. What flows end in and who sees what is as the
    /// file says; which rules they meet, the model reads from these.
    ///
    /// # Errors
    /// A file that can't be read, or none that holds.
    pub fn open(
        path: &Path,
        one: &Tried,
        backend: BackendChoice,
        stop: &Stop,
    ) -> Result<Self, Failure> {
        let (mut candidates, mut left_out) = (Vec::new(), Vec::new());
        for path in lab_files::of(path)? {
            let path = path.to_string_lossy().into_owned();
            let file = LabFile::open(&path)?;
            if let Some(step) = changes_rules(&file) {
                left_out.push((path, format!("step {step} changes the rules")));
                continue;
            }
            match under(file, one) {
                Err(failure) => left_out.push((path, failure.what)),
                Ok(file) => {
                    let families = file.families().into_iter();
                    let families = families.filter(|it| one.subject.rules(*it).is_some());
                    candidates.extend(families.map(|family| Played {
                        path: path.clone(),
                        file: file.clone(),
                        family,
                    }));
                }
            }
        }
        let looked = side_by_side(
            candidates.len(),
            stop,
            || true,
            |at| {
                let Played { path, file, family } = &candidates[at];
                first_noticed(path, file, (backend, *family), stop)
            },
        );
        let mut played = Vec::new();
        for (lab, looked) in candidates.into_iter().zip(looked) {
            let name = format!("{} ({})", lab.path, lab.family);
            match looked {
                None => return Err(Failure::new(Class::State, "interrupted")),
                Some(Ok(None)) => played.push(lab),
                Some(Ok(Some(it))) => left_out.push((name, expects_others(&it))),
                Some(Err(failure)) => left_out.push((name, failure.what)),
            }
        }
        if played.is_empty() {
            let what = format!(
                "no lab file of {} holds under {}",
                path.display(),
                one.subject.name
            );
            let why = left_out.iter().map(|(lab, why)| format!("{lab}: {why}"));
            return Err(why.fold(Failure::new(Class::Input, what), Failure::cause));
        }
        Ok(Self {
            played,
            left_out,
            backend,
        })
    }

    /// Path and family of each.
    pub fn names(&self) -> Vec<String> {
        let names = self.played.iter();
        names
            .map(|it| format!("{} ({})", it.path, it.family))
            .collect()
    }

    /// What became of each mutant: killed by a lab, refused, or nothing where none noticed it; no value where time was
    /// over before.
    ///
    /// # Errors
    /// A lab broke under a mutant in another way than that its rules are refused.
    pub fn judge(
        &self,
        one: &Tried,
        mutants: &[Mutant],
        stop: &Stop,
        on: impl Fn() -> bool + Sync,
        done: impl Fn() + Sync,
    ) -> Result<Vec<Option<Option<Judged>>>, Failure> {
        let judged = side_by_side(mutants.len(), stop, on, |at| {
            let judged = self.one(one, &mutants[at], stop);
            done();
            judged
        });
        judged.into_iter().map(Option::transpose).collect()
    }

    fn one(&self, one: &Tried, mutant: &Mutant, stop: &Stop) -> Result<Option<Judged>, Failure> {
        let rules = given(one, mutant)?;
        let families = mutant.families();
        for lab in self
            .played
            .iter()
            .filter(|it| families.contains(&it.family))
        {
            let file = lab.file.clone().applying(rules.clone());
            let fate = match first_noticed(&lab.path, &file, (self.backend, lab.family), stop) {
                Ok(None) => continue,
                Ok(Some(it)) => Fate::KilledByLab(it),
                Err(failure) if failure.class == Class::Input => Fate::Refused {
                    words: failure.what,
                },
                Err(failure) => return Err(failure.cause(format!("this is {mutant}"))),
            };
            return Ok(Some(Judged {
                mutant: mutant.to_string(),
                fate,
                probe_noticed: None,
                disagreements: Vec::new(),
            }));
        }
        Ok(None)
    }
}

fn expects_others(it: &NoticedByLab) -> String {
    let flow = it.flow.as_deref().unwrap_or("the run");
    format!("{flow} is {} under these rules: {}", it.verdict, it.why)
}

/// The lab with the whole rules in its pods, and the proxy that goes with them.
fn under(file: LabFile, one: &Tried) -> Result<LabFile, Failure> {
    if let Some(profile) = &one.profile {
        return file.with_profile(profile, Expect::Outcome);
    }
    let rules = match &one.rules {
        Written::Nft { nft } => GivenRules::read(nft, &one.subject.name, Family::V4)?,
        Written::Iptables(_) => {
            let sets = one.subject.sets().cloned();
            GivenRules::of_all(sets.collect(), &one.subject.name)
        }
    };
    Ok(file.with_rules(rules, Expect::Outcome))
}

fn given(one: &Tried, mutant: &Mutant) -> Result<GivenRules, Failure> {
    let name = "a mutant";
    if let Some(text) = &mutant.nft {
        return GivenRules::read(text, name, Family::V4);
    }
    let broken = one.subject.with_rules(name, mutant.sets.clone());
    let sets: Vec<RuleSet> = broken.sets().cloned().collect();
    Ok(GivenRules::of_all(sets, name))
}

/// The first step that puts other rules into pods: what it does to a mutant is no question for a lab file.
fn changes_rules(file: &LabFile) -> Option<&str> {
    let changes = |it: &Action| {
        matches!(
            it,
            Action::Edit(_) | Action::Apply { .. } | Action::Init { .. }
        )
    };
    let found = file.topology.steps.iter().find(|it| changes(&it.action))?;
    Some(&found.name)
}

/// Does all, a few at once; none is begun once `on` says no or all are to stop, and those have no result.
fn side_by_side<T: Send>(
    many: usize,
    stop: &Stop,
    on: impl Fn() -> bool + Sync,
    work: impl Fn(usize) -> T + Sync,
) -> Vec<Option<T>> {
    let processors = std::thread::available_parallelism().map_or(1, usize::from);
    let next = AtomicUsize::new(0);
    let results: Vec<Mutex<Option<T>>> = (0..many).map(|_| Mutex::default()).collect();
    std::thread::scope(|scope| {
        for _ in 0..(PER_PROCESSOR * processors).min(many) {
            scope.spawn(|| {
                while stop.stopped().is_none() && on() {
                    let at = next.fetch_add(1, Ordering::Relaxed);
                    let Some(slot) = results.get(at) else { return };
                    let result = work(at);
                    // What was cut short says nothing.
                    if stop.stopped().is_none() {
                        *slot.lock().unwrap_or_else(PoisonError::into_inner) = Some(result);
                    }
                }
            });
        }
    });
    let slots = results.into_iter();
    slots
        .map(|it| it.into_inner().unwrap_or_else(PoisonError::into_inner))
        .collect()
}
