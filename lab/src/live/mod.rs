//! Labs that outlive the command that brought them up: written down in a directory each, found by name, joined by later
//! commands.

mod change;
mod down;
mod enter;
mod error;
mod lifeline;
mod places;
mod process;
mod readings;
mod reconcile;
mod registry;
mod state;

use std::{io, time::Duration};

use hoplab_proxies::record::Role;

pub use down::{Gone, down};
pub use enter::run_in;
pub use error::LiveError;
pub use process::{Process, ProcessId};
pub use readings::Reading;
pub use registry::{Claim, RUNTIME_DIR, Registry, Standing};
pub use state::{PodState, SCHEMA, State};

use crate::{
    Lab, LabFile, Options,
    diagnostic::did_you_mean,
    evidence::ProcessUp,
    failure::{Class, Failure},
    netfilter::BackendChoice,
    sandbox::{self, Visitor, protocol::Greeting},
};

/// Time for a lab to say that it has heard of a command: it does so whatever it is doing.
const GREETING: Duration = Duration::from_secs(5);

/// A lab that another command brought up, and that is up.
#[derive(Debug)]
pub struct RunningLab {
    registry: Registry,
    state: State,
}

/// Finds a running lab by its name; without one, the only lab that runs.
///
/// # Errors
/// There is none, it is stale, or there are several and none was named.
pub fn find(name: Option<&str>) -> Result<RunningLab, Failure> {
    find_in(&Registry::of_user()?, name)
}

/// The same, in a registry that is not the user's.
///
/// # Errors
/// As [`find`].
pub fn find_in(registry: &Registry, name: Option<&str>) -> Result<RunningLab, Failure> {
    let named = match name {
        Some(name) => name.to_owned(),
        None => the_only_one(registry)?,
    };
    match registry.standing(&named)? {
        Some(Standing::Up(state)) => Ok(RunningLab {
            registry: registry.clone(),
            state: *state,
        }),
        other => Err(not_up(registry, &named, other)),
    }
}

/// Name of the only lab that runs.
///
/// # Errors
/// There is none, or there are several.
pub fn the_only_one(registry: &Registry) -> Result<String, Failure> {
    let mut names = running(registry)?;
    match names.len() {
        1 => Ok(names.remove(0)),
        0 => {
            Err(Failure::new(Class::State, "no lab is up").hint("bring one up: hoplab up bookinfo"))
        }
        _ => Err(Failure::new(Class::Input, "more than one lab is up")
            .hint(format!("name one of them: {}", names.join(", ")))),
    }
}

/// Names of the labs that are up.
fn running(registry: &Registry) -> Result<Vec<String>, Failure> {
    let mut names = registry.names()?;
    names.retain(|name| {
        let standing = registry.standing(name);
        matches!(standing, Ok(Some(Standing::Up(_) | Standing::Other(..))))
    });
    Ok(names)
}

/// Why there is no running lab of a name.
pub fn not_up(registry: &Registry, name: &str, standing: Option<Standing>) -> Failure {
    let state = |what: String| Failure::new(Class::State, what);
    match standing {
        Some(Standing::Stale(_)) => {
            state(format!("lab `{name}` is stale: its supervisor has ended")).hint(format!(
                "bring it up again, or remove what is left of it: hoplab prune {name}"
            ))
        }
        Some(Standing::Unsettled) => state(format!("another hoplab is at work on lab `{name}`"))
            .hint("try again when it is done"),
        Some(Standing::Other(_, why)) => state(format!(
            "lab `{name}` was started by another version of hoplab"
        ))
        .cause(why)
        .hint(format!("take it down, and up again: hoplab down {name}")),
        Some(Standing::Foreign(_) | Standing::Up(_)) | None => {
            let names = running(registry).unwrap_or_default();
            let near = did_you_mean(name, names.iter().map(String::as_str));
            let hint = match names.is_empty() {
                true => "none is up; bring one up: hoplab up bookinfo".to_owned(),
                false => near.unwrap_or_else(|| format!("labs that are up: {}", names.join(", "))),
            };
            state(format!("no lab `{name}` is up")).hint(hint)
        }
    }
}

/// A process of a running lab, as the machine sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProcessNow<'a> {
    /// What it said when it came up.
    pub came_up: &'a ProcessUp,
    /// Its id on the machine; none when it has ended.
    pub pid: Option<i32>,
}

impl RunningLab {
    /// Name it is found by.
    pub fn name(&self) -> &str {
        &self.state.name
    }

    /// What was written down of it.
    pub fn state(&self) -> &State {
        &self.state
    }

    /// Process id of its supervisor.
    pub fn pid(&self) -> i32 {
        self.state.supervisor.pid
    }

    /// The lab file with its rules.
    ///
    /// # Errors
    /// This version of hoplab reads it in another way than the one that wrote it.
    pub fn lab_file(&self) -> Result<LabFile, Failure> {
        LabFile::restore(self.state.lab.clone())
    }

    /// Processes of a pod.
    ///
    /// # Errors
    /// The lab has no such pod.
    pub fn processes_in(&self, pod: &str) -> Result<Vec<ProcessNow<'_>>, Failure> {
        let pods = &self.state.pods;
        let found = pods.iter().find(|it| it.name == pod).ok_or_else(|| {
            let names: Vec<&str> = pods.iter().map(|it| it.name.as_str()).collect();
            let near = did_you_mean(pod, names.iter().copied());
            let what = format!("lab `{}` has no pod `{pod}`", self.name());
            Failure::new(Class::Input, what)
                .hint(near.unwrap_or_else(|| format!("its pods: {}", names.join(", "))))
        })?;
        Ok(self.now(&found.processes))
    }

    /// Processes that came up, as they are now.
    pub fn now<'a>(&self, processes: &'a [ProcessUp]) -> Vec<ProcessNow<'a>> {
        let there = sandbox::processes(self.pid());
        let outside = |inner: u32| {
            there
                .iter()
                .find(|(_, it)| *it == inner)
                .map(|(pid, _)| *pid)
        };
        let now = processes.iter().map(|came_up| ProcessNow {
            came_up,
            pid: outside(came_up.pid),
        });
        now.collect()
    }

    /// Id, on the machine, of a process that lives in a pod: its network and mount namespaces are the pod's.
    ///
    /// # Errors
    /// The lab has no such pod, or every process of it has ended.
    pub fn pid_in(&self, pod: &str) -> Result<u32, Failure> {
        let processes = self.processes_in(pod)?;
        let living = processes.iter().find_map(|process| process.pid);
        living
            .and_then(|pid| u32::try_from(pid).ok())
            .ok_or_else(|| {
                let what = format!("no process of pod `{pod}` is left in lab `{}`", self.name());
                Failure::new(Class::State, what).hint(format!(
                    "start one: hoplab app start {pod}, or hoplab proxy start {pod}"
                ))
            })
    }

    /// User and group of a role in a pod: `app`, `proxy`; the app's, or else root's, when none is named.
    ///
    /// # Errors
    /// The pod has no such process, or there is no such pod.
    pub fn owner_in(&self, pod: &str, role: Option<Role>) -> Result<(u32, u32), Failure> {
        if pod == "node" && role.is_none() {
            return Ok((0, 0));
        }
        let processes = self.processes_in(pod)?;
        let owner = |role| {
            let found = processes
                .iter()
                .find(|process| process.came_up.role == role);
            found.map(|process| (process.came_up.owner.uid, process.came_up.owner.gid))
        };
        match role {
            None => Ok(owner(Role::App).unwrap_or((0, 0))),
            Some(role) => owner(role).ok_or_else(|| {
                let what = format!("pod `{pod}` of lab `{}` has no {role}", self.name());
                Failure::new(Class::Input, what).hint("name a user with --as root or --as UID:GID")
            }),
        }
    }

    /// True while a command has its turn with the lab; none when it does not answer.
    pub fn is_in_use(&self) -> Option<bool> {
        let (_, greeting) = self.visit().ok()?;
        Some(greeting == Greeting::Waiting)
    }

    /// Joins the lab. One command at a time can: this waits for its turn.
    ///
    /// # Errors
    /// The lab goes down, does not answer, or its rules can't be read.
    pub fn attach(&self) -> Result<Lab, Failure> {
        self.attach_or_wait(|| ())
    }

    /// The same; calls `wait` once before it waits for another command that uses the lab.
    ///
    /// # Errors
    /// As [`Self::attach`].
    pub fn attach_or_wait(&self, wait: impl FnOnce()) -> Result<Lab, Failure> {
        let file = self.lab_file()?;
        let (mut visitor, greeting) = self.visit()?;
        if greeting == Greeting::Waiting {
            wait();
            visitor.greeting()?;
        }
        let options = Options {
            backend: match self.state.machine.backend.backend.iptables() {
                Some(backend) => BackendChoice::Fixed(backend),
                None => BackendChoice::Auto,
            },
            families: self.state.families,
            // How much is traced was settled when the lab came up.
            ..Options::default()
        };
        Lab::join(visitor, file, options)
    }

    /// Comes to the lab's socket, and hears whether it is its turn.
    pub(crate) fn visit(&self) -> Result<(Visitor, Greeting), Failure> {
        let stream = self.registry.connect(self.name())?;
        let deaf = |source: io::Error| LiveError::Deaf {
            name: self.name().to_owned(),
            source,
        };
        let mut visitor = Visitor::new(stream, self.pid()).map_err(deaf)?;
        visitor.wait_no_longer_than(GREETING).map_err(deaf)?;
        let greeting = visitor.greeting().map_err(|error| {
            match self.state.supervisor.open() {
                // Its end closes the socket, too.
                None => Failure::from(error),
                Some(_) => deaf(io::Error::other("its supervisor does not greet")).into(),
            }
        })?;
        visitor.wait_as_long_as_it_takes().map_err(deaf)?;
        Ok((visitor, greeting))
    }
}
