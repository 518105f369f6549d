//! What a suite writes: evidence of failures, JUnit, Markdown, annotations.

use std::{
    env,
    fs::{self, File, OpenOptions},
    io::Write as _,
    path::Path,
    sync::{Mutex, PoisonError},
    time::SystemTime,
};

use super::args::Annotations;
use crate::{
    cli::{recording, run::Args, show::not_written},
    evidence::file::{Header, Planned, write_whole},
    failure::{Class, Failure},
    outcome::{self, CaseOutcome, Difference, Figures},
    report::{self, Run},
    suite::Played,
};

/// The first thing that could not be written while cases were played.
#[derive(Default)]
pub(super) struct Written(Mutex<Option<Failure>>);

impl Written {
    pub fn note(&self, result: Result<(), Failure>) {
        if let Err(failure) = result {
            let mut first = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            first.get_or_insert(failure);
        }
    }

    /// # Errors
    /// Something could not be written.
    pub fn result(self) -> Result<(), Failure> {
        let first = self.0.into_inner().unwrap_or_else(PoisonError::into_inner);
        first.map_or(Ok(()), Err)
    }
}

/// Complains before anything is up about a directory that has something in it: evidence is never overwritten.
///
/// # Errors
/// It has, or can't be read.
pub(super) fn check(args: &Args) -> Result<(), Failure> {
    let Some(dir) = args.out.as_deref().filter(|it| it.exists()) else {
        return Ok(());
    };
    let mut entries = fs::read_dir(dir).map_err(|e| not_written(dir, e))?;
    match entries.next() {
        None => Ok(()),
        Some(_) => Err(
            Failure::new(Class::Input, format!("{} is not empty", dir.display()))
                .cause("evidence of a run is never overwritten")
                .hint("name another place, or remove it"),
        ),
    }
}

/// Evidence and report of a case that failed, in a directory of its own below `--out`.
///
/// # Errors
/// It can't be written.
pub(super) fn evidence(
    args: &Args,
    round: usize,
    outcome: &CaseOutcome,
    played: Option<&Played>,
) -> Result<(), Failure> {
    let (Some(dir), Some(played), false) = (&args.out, played, outcome.is_as_expected()) else {
        return Ok(());
    };
    let name = outcome.case.file_name();
    let dir = match args.suite.repeat {
        1 => dir.join(name),
        _ => dir.join(format!("round-{round}")).join(name),
    };
    let run = Run {
        topology: &played.file.topology,
        evidence: &played.evidence,
        judgement: &played.judgement,
        down: Some(&played.down),
        took_us: Some(played.took_us),
    };
    report::write_run(&dir, &run).map_err(|e| not_written(&dir, e))?;
    let path = dir.join(recording::FILE);
    let file = File::options().append(true).create_new(true).open(&path);
    let file = file.map_err(|e| not_written(&path, e))?;
    let windows = played.evidence.windows.iter();
    let planned = windows.map(|it| Planned {
        flow: it.flow.clone(),
        family: it.family,
    });
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    let header = Header::new(now.map_or(0, |it| it.as_secs()), planned.collect());
    let end = (&played.down, played.took_us);
    let written = write_whole(file, header, &played.file, &played.evidence, end);
    written.map_err(|e| not_written(&path, e))
}

/// Everything that is written at the end.
///
/// # Errors
/// A file that can't be written.
pub(super) fn write(
    args: &Args,
    cases: &[CaseOutcome],
    flaky: &[Difference],
    figures: &Figures,
) -> Result<(), Failure> {
    if let Some(path) = args.show.junit() {
        let xml = outcome::junit(cases).map_err(|e| not_written(path, e))?;
        fs::write(path, xml).map_err(|e| not_written(path, e))?;
    }
    let summary = env::var_os("GITHUB_STEP_SUMMARY").filter(|it| !it.is_empty());
    if args.suite.markdown.is_some() || summary.is_some() {
        let text = outcome::markdown(cases, flaky, figures);
        if let Some(path) = &args.suite.markdown {
            fs::write(path, &text).map_err(|e| not_written(path, e))?;
        }
        if let Some(path) = summary {
            append(Path::new(&path), &text)?;
        }
    }
    let in_workflow = || match env::var_os("GITHUB_ACTIONS").is_some_and(|it| it == "true") {
        true => Annotations::Github,
        false => Annotations::None,
    };
    if args.suite.annotations.unwrap_or_else(in_workflow) == Annotations::Github {
        // GitHub reads both streams, and standard output is the result.
        anstream::eprint!(
            "{}",
            crate::cli::harmless::harmless(&outcome::github(cases))
        );
    }
    Ok(())
}

fn append(path: &Path, text: &str) -> Result<(), Failure> {
    let file = OpenOptions::new().append(true).create(true).open(path);
    let written = file.and_then(|mut file| file.write_all(text.as_bytes()));
    written.map_err(|e| not_written(path, e))
}
