//! How a verdict is shown and what it ends with: what `run` and `judge` have in common.

use std::{
    fs,
    path::{Path, PathBuf},
    process::ExitCode,
};

use serde::Serialize;

use super::stdout::say;
use crate::{
    evidence::{Down, Evidence},
    failure::{Class, Failure},
    judge::{Judgement, Verdict},
    report::{self, Detail, Run},
};

#[derive(clap::Args)]
pub(super) struct ShowArgs {
    /// Show each sidecar pod's nat table with its final counters
    #[arg(long)]
    counters: bool,
    /// Print everything as one JSON value on standard output
    #[arg(long, conflicts_with_all = ["counters", "verbose", "quiet"])]
    json: bool,
    /// Write the verdicts as JUnit XML
    #[arg(long, value_name = "FILE")]
    junit: Option<PathBuf>,
    /// Show every claim with its witnesses
    #[arg(short, long)]
    verbose: bool,
    /// Show the verdict, and what is wrong
    #[arg(short, long, conflicts_with = "verbose")]
    quiet: bool,
}

/// What `--json` prints.
#[derive(Serialize)]
struct Json<'a> {
    evidence: &'a Evidence,
    judgement: &'a Judgement,
    down: Option<&'a Down>,
    took_us: Option<u64>,
}

impl ShowArgs {
    /// Whether standard output is one JSON value.
    #[cfg_attr(not(all(feature = "kernel", target_os = "linux")), expect(dead_code))]
    pub fn is_json(&self) -> bool {
        self.json
    }

    /// Whether only what is wrong is to be shown.
    #[cfg_attr(not(all(feature = "kernel", target_os = "linux")), expect(dead_code))]
    pub fn is_quiet(&self) -> bool {
        self.quiet
    }

    /// Where the verdicts go as JUnit XML.
    #[cfg_attr(not(all(feature = "kernel", target_os = "linux")), expect(dead_code))]
    pub fn junit(&self) -> Option<&Path> {
        self.junit.as_deref()
    }

    /// Prints a run.
    pub fn print(&self, run: &Run) -> Result<(), Failure> {
        if self.json {
            return say(&json(run)?);
        }
        let detail = match (self.quiet, self.verbose) {
            (true, _) => Detail::Quiet,
            (_, true) => Detail::Verbose,
            _ => Detail::Normal,
        };
        if self.counters {
            say(&report::counters(run.evidence))?;
        }
        say(&report::summary(run, detail))
    }

    /// Writes the JUnit file, if there is to be one.
    pub fn write_junit(&self, run: &Run) -> Result<(), Failure> {
        let Some(path) = &self.junit else {
            return Ok(());
        };
        let failed = |e: String| not_written(path, e);
        let xml = junit(run).map_err(failed)?;
        fs::write(path, xml).map_err(|e| failed(e.to_string()))
    }
}

/// Everything as one JSON value.
pub(super) fn json(run: &Run) -> Result<String, Failure> {
    let json = Json {
        evidence: run.evidence,
        judgement: run.judgement,
        down: run.down,
        took_us: run.took_us,
    };
    let text = serde_json::to_string_pretty(&json)
        .map_err(|e| Failure::new(Class::State, format!("the result has no JSON form: {e}")))?;
    Ok(text + "\n")
}

/// The verdicts as JUnit XML.
pub(super) fn junit(run: &Run) -> Result<String, String> {
    report::junit(&run.evidence.lab, run.judgement).map_err(|e| e.to_string())
}

/// A file could not be written.
pub(super) fn not_written(path: &Path, why: impl ToString) -> Failure {
    let what = format!("could not write {}", path.display());
    Failure::new(Class::Input, what).cause(why.to_string())
}

/// What a verdict ends with.
pub(super) fn exit_code(verdict: Verdict) -> ExitCode {
    match verdict {
        Verdict::Refuted => ExitCode::from(1),
        Verdict::Unproven => ExitCode::from(Class::Incomplete.exit_code()),
        Verdict::Holds => ExitCode::SUCCESS,
    }
}
