//! Counters as a person last read them, by pod: what `--since-last` begins from. Kept beside the state of the lab.

use std::{
    collections::BTreeMap,
    fs::{self, File},
    io::{self, Write},
    os::unix::fs::OpenOptionsExt,
    path::Path,
    time::SystemTime,
};

use serde::{Deserialize, Serialize};

use super::{LiveError, RunningLab};
use crate::rules::{CounterSnapshot, Holder};

/// Name of the file in a lab's directory.
pub(super) const FILE: &str = "counters.json";
/// What it is called while it is being written.
pub(super) const UNFINISHED: &str = "counters.json.new";

/// The counters of a pod at one time.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Reading {
    /// When, in seconds since 1970.
    pub at: u64,
    /// Who holds the rules, and what they had counted: one for each family.
    pub counters: Vec<(Holder, CounterSnapshot)>,
}

impl Reading {
    /// One that was taken now.
    pub fn now(counters: Vec<(Holder, CounterSnapshot)>) -> Self {
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
        Self {
            at: now.map_or(0, |it| it.as_secs()),
            counters,
        }
    }

    /// What a holder's rules of a family had counted.
    pub fn of(&self, by: Holder, like: &CounterSnapshot) -> Option<&CounterSnapshot> {
        let mut all = self.counters.iter();
        let found = all.find(|(holder, it)| *holder == by && it.family == like.family);
        found.map(|(_, it)| it)
    }
}

impl RunningLab {
    /// The last reading of a pod. One that can't be read any more counts as none.
    pub fn last_reading(&self, pod: &str) -> Option<Reading> {
        read(&self.registry.path().join(self.name())).remove(pod)
    }

    /// Keeps a reading of a pod in place of the last one.
    ///
    /// # Errors
    /// The file can't be written.
    pub fn keep_reading(&self, pod: &str, reading: Reading) -> Result<(), LiveError> {
        let dir = self.registry.path().join(self.name());
        let mut all = read(&dir);
        all.insert(pod.to_owned(), reading);
        write(&dir, &all).map_err(|source| LiveError::File {
            what: "write the counters to",
            path: dir.join(FILE),
            source,
        })
    }
}

fn read(dir: &Path) -> BTreeMap<String, Reading> {
    let text = fs::read_to_string(dir.join(FILE)).unwrap_or_default();
    serde_json::from_str(&text).unwrap_or_default()
}

/// At once or not at all.
fn write(dir: &Path, all: &BTreeMap<String, Reading>) -> io::Result<()> {
    let new = dir.join(UNFINISHED);
    let mut options = File::options();
    options.write(true).create(true).truncate(true).mode(0o600);
    let mut file = options.open(&new)?;
    file.write_all(&serde_json::to_vec(all)?)?;
    fs::rename(new, dir.join(FILE))
}
