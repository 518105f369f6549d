//! What is written down of a running lab, so that later commands need neither its file nor its flags.

use std::{
    fs::{self, File},
    io::{self, Write},
    os::unix::fs::OpenOptionsExt,
    path::Path,
    time::SystemTime,
};

use hoplab_proxies::record::Role;
use nix::unistd::Uid;
use serde::{Deserialize, Serialize};

use super::ProcessId;
use crate::{
    Families, Lab, SavedLab,
    evidence::{Machine, PodUp, ProcessUp},
    topology::NODE,
};

/// Version of the state file; a change of shape is a new version.
pub const SCHEMA: u32 = 4;

/// Name of the state file in a lab's directory.
pub(super) const FILE: &str = "state.json";
/// What it is called while it is being written.
pub(super) const UNFINISHED: &str = "state.json.new";

/// A lab that was brought up and let go.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct State {
    /// [`SCHEMA`].
    pub schema: u32,
    /// Version of hoplab that started it.
    pub hoplab: String,
    /// Name it is found by.
    pub name: String,
    /// Its supervisor.
    pub supervisor: ProcessId,
    /// Who started it.
    pub uid: u32,
    /// Since when, in seconds since 1970.
    pub since: u64,
    /// The machine, and the backend taken.
    pub machine: Machine,
    /// Families its flows go over.
    pub families: Families,
    /// The lab file with its rules.
    pub lab: SavedLab,
    /// Pods, in the order of the lab file.
    pub pods: Vec<PodState>,
    /// Processes in the node.
    pub node: Vec<ProcessUp>,
    /// Why the lab is not what its file says: changes that were begun and not ended, in words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unfinished: Option<String>,
}

/// A pod of a running lab.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PodState {
    /// Name.
    pub name: String,
    /// Processes, with their ids in the lab's PID namespace.
    pub processes: Vec<ProcessUp>,
    /// What a person has stopped.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub stopped: Vec<Role>,
    /// Where its rules come from, when they were replaced since the lab came up.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rules_from: Option<String>,
}

impl PodState {
    /// One that came up.
    fn of(pod: &PodUp) -> Self {
        Self {
            name: pod.name.clone(),
            processes: pod.processes.clone(),
            stopped: Vec::new(),
            rules_from: None,
        }
    }

    /// Takes over the processes it has now; of those it had, the others were stopped.
    pub(super) fn follow(&mut self, now: &PodUp) {
        let had = self.processes.iter().map(|it| it.role);
        let had: Vec<Role> = had.chain(self.stopped.iter().copied()).collect();
        let runs = |role: &Role| now.processes.iter().any(|it| it.role == *role);
        self.stopped = had.into_iter().filter(|role| !runs(role)).collect();
        self.processes.clone_from(&now.processes);
    }
}

/// What every version of the file says.
#[derive(Debug, Deserialize)]
struct Head {
    schema: u32,
    hoplab: String,
    supervisor: ProcessId,
}

/// What a directory says of its lab.
#[derive(Debug)]
pub(super) enum Read {
    /// Nothing yet.
    Nothing,
    /// All.
    State(Box<State>),
    /// Which process it is, and no more: in words, why.
    Other(ProcessId, String),
    /// What can't be read.
    Broken,
}

impl State {
    /// Of a lab that this process brought up.
    ///
    /// # Errors
    /// Its supervisor is gone.
    pub fn of(name: &str, lab: &Lab) -> io::Result<Self> {
        let pods = lab.came_up().pods.iter();
        let pods = pods.filter(|it| it.name != NODE).map(PodState::of);
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
        Ok(Self {
            schema: SCHEMA,
            hoplab: env!("CARGO_PKG_VERSION").to_owned(),
            name: name.to_owned(),
            supervisor: ProcessId::of(lab.pid())?,
            uid: Uid::effective().as_raw(),
            since: now.map_or(0, |it| it.as_secs()),
            machine: lab.machine().clone(),
            families: lab.families(),
            lab: lab.file().save(),
            pods: pods.collect(),
            node: lab.came_up().node.clone(),
            unfinished: None,
        })
    }

    /// Takes over what a lab is after changes. Of a pod in `fresh` nothing that was known before counts.
    pub(super) fn follow(&mut self, lab: &Lab, fresh: impl Fn(&str) -> bool) {
        let known = std::mem::take(&mut self.pods);
        let pods = lab.came_up().pods.iter().map(|up| {
            let known = known.iter().find(|it| it.name == up.name);
            match known.filter(|_| !fresh(&up.name)) {
                None => PodState::of(up),
                Some(known) => {
                    let mut pod = known.clone();
                    pod.follow(up);
                    pod
                }
            }
        });
        self.pods = pods.collect();
        self.node = lab.came_up().node.clone();
        self.machine = lab.machine().clone();
        self.families = lab.families();
        self.lab = lab.file().save();
    }

    /// Writes the file at once or not at all.
    pub(super) fn write(&self, dir: &Path) -> io::Result<()> {
        let new = dir.join(UNFINISHED);
        let mut file = File::options()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .open(&new)?;
        file.write_all(&serde_json::to_vec_pretty(self)?)?;
        fs::rename(new, dir.join(FILE))
    }

    /// Reads what a directory says.
    pub(super) fn read(dir: &Path) -> Read {
        let text = match fs::read_to_string(dir.join(FILE)) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Read::Nothing,
            Err(_) => return Read::Broken,
        };
        let head: Head = match serde_json::from_str(&text) {
            Ok(head) => head,
            Err(_) => return Read::Broken,
        };
        match serde_json::from_str::<Self>(&text) {
            Ok(state) if head.schema == SCHEMA => Read::State(Box::new(state)),
            Ok(_) => Read::Other(
                head.supervisor,
                format!("hoplab {} wrote it, as schema {}", head.hoplab, head.schema),
            ),
            Err(error) => Read::Other(head.supervisor, format!("hoplab {}: {error}", head.hoplab)),
        }
    }
}
