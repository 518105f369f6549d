//! The flags that go with `--all` only.

use std::{path::PathBuf, thread};

use clap::ValueEnum;

use crate::outcome::Partition;

/// Labs that are up at once, for each processor: a lab waits for the kernel and for deadlines most of its time.
const JOBS_PER_PROCESSOR: usize = 3;

// (A doc comment would be the verb's help.)
#[derive(clap::Args)]
#[command(next_help_heading = "With --all")]
pub(in crate::cli::run) struct SuiteArgs {
    /// Run Bookinfo under every configuration of this list, too (repeatable): `NAME: flags of istio-iptables`, one a line
    #[arg(long, value_name = "FILE", requires = "all")]
    pub configurations: Vec<PathBuf>,
    /// Run Bookinfo under every profile whose proxy the lab can play, too
    #[arg(long, requires = "all")]
    pub profiles: bool,
    /// Run a share of the cases: count:1/4 takes every fourth, hash:1/4 goes by their names
    #[arg(long, value_name = "SHARE", requires = "all")]
    pub partition: Option<Partition>,
    /// Labs that are up at once [default: three for each processor]
    #[arg(long, value_name = "NUMBER", requires = "all", value_parser = clap::value_parser!(u16).range(1..))]
    pub jobs: Option<u16>,
    /// Run everything as often as this, and say what differs between the rounds
    #[arg(long, value_name = "TIMES", requires = "all", default_value = "1", value_parser = times)]
    pub repeat: usize,
    /// Stop after so many seconds: exit code 5 where something was not played by then
    #[arg(long, value_name = "SECONDS", requires = "all")]
    pub time_limit: Option<u64>,
    /// Write a summary as Markdown; in a workflow of GitHub it is added to the step's summary, too
    #[arg(long, value_name = "FILE", requires = "all")]
    pub markdown: Option<PathBuf>,
    /// Write failures as annotations to standard error [default: github in its workflows, else none]
    #[arg(long, value_name = "WHERE", requires = "all")]
    pub annotations: Option<Annotations>,
}

/// Who shows annotations.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(in crate::cli::run) enum Annotations {
    /// GitHub, beside the lines of a pull request
    Github,
    /// Nobody
    None,
}

impl SuiteArgs {
    /// Labs that are up at once.
    pub fn jobs(&self) -> usize {
        let processors = || thread::available_parallelism().map_or(1, usize::from);
        let usual = || JOBS_PER_PROCESSOR * processors();
        self.jobs.map_or_else(usual, usize::from)
    }
}

fn times(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(0) | Err(_) => Err("a number from 1".to_owned()),
        Ok(times) => Ok(times),
    }
}
