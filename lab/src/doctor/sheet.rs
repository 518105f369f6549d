//! The sheet a doctor fills in: each trial runs only when what it builds on worked, and is on the sheet in any case.

use super::check::{Check, NeededBy, Outcome, Problem};
use crate::failure::Failure;

/// What a trial found: something for later trials to build on, and what was seen, in words.
pub(super) type Found<T> = Result<(T, String), Failure>;

/// What a trial left for later ones: a value, or the id of the check that has to work first.
#[derive(Debug, Clone)]
pub(super) struct Step<T>(Result<T, String>);

/// Something to try.
pub(super) struct Trial {
    pub id: String,
    pub tried: String,
    pub needed_by: NeededBy,
    /// The repair, for errors that know none.
    pub fix: String,
}

/// Checks in the order they were made.
pub(super) struct Sheet {
    group: String,
    pub checks: Vec<Check>,
}

impl<T> Step<T> {
    pub fn done(value: T) -> Self {
        Self(Ok(value))
    }

    /// Nothing that builds on this is tried.
    pub fn failed(id: impl Into<String>) -> Self {
        Self(Err(id.into()))
    }

    pub fn by_ref(&self) -> Step<&T> {
        Step(self.0.as_ref().map_err(Clone::clone))
    }

    /// This without its value.
    pub fn bare(&self) -> Step<()> {
        self.by_ref().map(|_| ())
    }

    pub fn map<U>(self, change: impl FnOnce(T) -> U) -> Step<U> {
        Step(self.0.map(change))
    }

    /// Both, or the first that failed.
    pub fn and<U>(self, other: Step<U>) -> Step<(T, U)> {
        Step(self.0.and_then(|a| other.0.map(|b| (a, b))))
    }

    pub fn value(self) -> Option<T> {
        self.0.ok()
    }
}

impl Trial {
    pub fn new(
        id: impl Into<String>,
        tried: impl Into<String>,
        needed_by: NeededBy,
        fix: impl Into<String>,
    ) -> Self {
        Self {
            id: id.into(),
            tried: tried.into(),
            needed_by,
            fix: fix.into(),
        }
    }
}

impl Sheet {
    pub fn new(group: impl Into<String>) -> Self {
        Self {
            group: group.into(),
            checks: Vec::new(),
        }
    }

    /// Tries something that builds on `before`.
    pub fn try_after<D, T>(
        &mut self,
        before: Step<D>,
        trial: Trial,
        work: impl FnOnce(D) -> Found<T>,
    ) -> Step<T> {
        let Trial {
            id,
            tried,
            needed_by,
            fix,
        } = trial;
        let (outcome, step) = match before.0 {
            Err(because) => (
                Outcome::Skipped {
                    because: because.clone(),
                },
                Step::failed(because),
            ),
            Ok(value) => match work(value) {
                Ok((value, detail)) => (Outcome::Works { detail }, Step::done(value)),
                Err(failure) => (
                    Outcome::Problem(Problem::new(failure, needed_by, &fix)),
                    Step::failed(&id),
                ),
            },
        };
        self.checks.push(Check {
            id,
            group: self.group.clone(),
            tried,
            needed_by,
            outcome,
        });
        step
    }

    /// Tries something that builds on nothing.
    pub fn try_first<T>(&mut self, trial: Trial, work: impl FnOnce() -> Found<T>) -> Step<T> {
        self.try_after(Step::done(()), trial, |()| work())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::failure::Class;

    fn trial(id: &str) -> Trial {
        Trial::new(id, "something", NeededBy::EveryLab, "do this")
    }

    #[test]
    fn what_builds_on_a_failed_check_is_skipped_and_names_the_first_cause() {
        let mut sheet = Sheet::new("test");
        let a = sheet.try_first::<()>(trial("a"), || Err(Failure::new(Class::Machine, "no a")));
        let b = sheet.try_after(a, trial("b"), |()| Ok(((), String::new())));
        let c = sheet.try_after(b, trial("c"), |()| Ok(((), String::new())));
        assert!(c.value().is_none());
        let skipped = Outcome::Skipped {
            because: "a".into(),
        };
        assert_eq!(sheet.checks[1].outcome, skipped);
        assert_eq!(sheet.checks[2].outcome, skipped);
    }

    #[test]
    fn the_repair_an_error_knows_wins_over_the_general_one() {
        let mut sheet = Sheet::new("test");
        let plain = Failure::new(Class::State, "no\nlong story");
        sheet.try_first::<()>(trial("a"), || Err(plain.clone()));
        sheet.try_first::<()>(trial("b"), || Err(plain.clone().hint("do that")));
        let fixes: Vec<&str> = sheet
            .checks
            .iter()
            .filter_map(Check::problem)
            .map(|p| p.fix.as_str())
            .collect();
        assert_eq!(fixes, ["do this", "do that"]);
        assert_eq!(
            sheet.checks[0].problem().map(ToString::to_string),
            Some("no, so no lab can run here\n  because long story\n  help: do this".into())
        );
    }
}
