//! `hoplab up` for a lab that is up: makes it what the file says, and says what that changed.

use std::process::ExitCode;

use serde::Serialize;

use super::{Outcome, wait_for_turn};
use crate::{
    cli::{run::rules::Ruled, stdout::say},
    doctor,
    failure::{Class, Failure},
    live::RunningLab,
    reconcile::{self, Change},
};

/// What `--json` prints.
#[derive(Serialize)]
struct Json<'a> {
    lab: &'a str,
    dry_run: bool,
    /// Changes that were made.
    done: &'a [Change],
    /// Changes that were not.
    left: &'a [Change],
    /// Why not.
    #[serde(skip_serializing_if = "Option::is_none")]
    failure: &'a Option<Failure>,
}

pub(super) fn run(running: &RunningLab, ruled: Ruled, dry_run: bool, json: bool) -> Outcome {
    let name = running.name();
    let mut lab = running.attach_or_wait(|| wait_for_turn(running))?;
    let (options, backend, family) = (ruled.options(), ruled.backend, ruled.families.first());
    let made = running.reconcile(&mut lab, ruled.file, options, dry_run)?;
    if json {
        let shown = Json {
            lab: name,
            dry_run,
            done: &made.done,
            left: &made.left,
            failure: &made.failure,
        };
        let text = serde_json::to_string_pretty(&shown).map_err(|e| {
            Failure::new(Class::State, format!("the changes have no JSON form: {e}"))
        })?;
        say(&(text + "\n"))?;
    } else if made.done.is_empty() && made.left.is_empty() {
        say(&format!("{name} is as its file says\n"))?;
    } else {
        let shown = if dry_run { &made.left } else { &made.done };
        say(&reconcile::lines(shown))?;
    }
    let Some(failure) = made.failure else {
        return Ok(ExitCode::SUCCESS);
    };
    anstream::eprintln!("not changed:\n{}", reconcile::lines(&made.left));
    let explained = doctor::explain(failure, backend, family);
    Err(match explained.hint {
        Some(_) => explained,
        None => explained.hint(format!("when that is repaired, hoplab up goes on from here; hoplab status {name} shows what runs")),
    })
}
