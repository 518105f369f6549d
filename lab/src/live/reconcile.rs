//! Makes a running lab what a file says, and writes down what it is then: also when a change fails on the way, or the
//! command is cut off.

use super::{LiveError, RunningLab, State};
use crate::{
    Lab, LabFile, Options, SavedLab, failure::Failure, reconcile::Change,
    sandbox::protocol::Reconciled,
};

/// What the state says while changes are made.
const UNDER_WAY: &str = "`hoplab up` is changing it, or was cut off while it did";

impl RunningLab {
    /// Makes a lab that was joined the lab of another file; a dry run only says what that would change.
    ///
    /// # Errors
    /// Nothing was changed, or it can't be written down what was.
    pub(crate) fn reconcile(
        &self,
        lab: &mut Lab,
        file: LabFile,
        options: Options,
        dry_run: bool,
    ) -> Result<Reconciled, Failure> {
        let mut said = said_otherwise(&file.save(), &self.state.lab);
        if options.families != self.state.families {
            let families: Vec<String> = options.families.iter().map(|it| it.to_string()).collect();
            let what = format!("its flows go over {} now", families.join(" and "));
            said.push(Change::File { what });
        }
        if dry_run {
            let mut told = lab.reconcile(file, options, true)?;
            told.left.splice(0..0, said);
            return Ok(told);
        }
        let before = self.state.unfinished.clone();
        self.note(|state| state.unfinished = Some(UNDER_WAY.to_owned()))?;
        let made = lab.reconcile(file, options, false);
        let mut made = match made {
            Ok(made) => made,
            Err(failure) => {
                self.note(|state| state.unfinished = before)?;
                return Err(failure);
            }
        };
        self.note(|state| {
            // Rules that were replaced are the file's again.
            let anew = |pod: &str| made.done.iter().any(|it| is_of_rules(it, pod));
            state.follow(lab, anew);
            state.unfinished = made.failure.as_ref().map(ToString::to_string);
        })?;
        made.done.splice(0..0, said);
        Ok(made)
    }

    /// Changes what is written down, with the lock of the lab's place; what another command wrote since is in there too.
    fn note(&self, change: impl FnOnce(&mut State)) -> Result<(), LiveError> {
        let claim = self.registry.claim(self.name(), || ())?;
        let mut state = claim.state().unwrap_or_else(|| self.state.clone());
        change(&mut state);
        claim.rewrite(&state)
    }
}

fn said_otherwise(now: &SavedLab, before: &SavedLab) -> Vec<Change> {
    let words = now.differences(before).into_iter();
    words.map(|what| Change::File { what }).collect()
}

/// Whether the rules of a pod are the file's after it.
fn is_of_rules(change: &Change, name: &str) -> bool {
    match change {
        Change::AddPod { pod } | Change::ReplacePod { pod, .. } | Change::Rules { pod, .. } => {
            pod == name
        }
        _ => false,
    }
}
