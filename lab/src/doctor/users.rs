//! Processes as the users of a lab: started as labs start theirs, and told to connect.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        mpsc::{self, Receiver},
    },
    time::{Duration, Instant},
};

use hoplab_proxies::{
    record::Owner,
    wire::{CallOutcome, Command, Line, Part, StubConfig},
};

use super::{
    check::NeededBy,
    links::PATIENCE,
    sheet::{Sheet, Step, Trial},
};
use crate::{
    failure::{Class, Failure},
    net::Namespace,
    plan::ProcessPlan,
    process::{self, Input, Report, Sink, Spawned},
};

/// Istio's proxy, which the rules spare.
pub(super) const PROXY: Owner = Owner {
    uid: 1337,
    gid: 1337,
};
/// Anybody else.
pub(super) const APP: Owner = Owner {
    uid: 1000,
    gid: 1000,
};

/// For a process to start on a busy machine.
const START: Duration = Duration::from_secs(5);

const FIX: &str = "users 0 to 65535 must exist in this container's or user namespace's map (cat /proc/self/uid_map), and \
     CAP_SETUID and CAP_SETGID must not be dropped: run it privileged, without --userns or with a map of 65536 ids";

/// A process that connects when told to. Dropping it ends it.
pub(super) struct Probe {
    input: Input,
    reports: Receiver<Report>,
    name: String,
}

/// Starts a process as the proxy's user and one as an app's.
pub(super) fn examine(sheet: &mut Sheet, mounts: &Step<()>) -> Step<()> {
    let mut all = mounts.clone();
    for (id, user) in [("proxy-user", PROXY), ("app-user", APP)] {
        let tried = format!("setgid({0}), setuid({1}) and a process", user.gid, user.uid);
        let trial = Trial::new(id, tried, NeededBy::EveryLab, FIX);
        let works = sheet.try_after(mounts.clone(), trial, |()| {
            let namespace = Namespace::node()?;
            Probe::start(&namespace, user)?;
            let Owner { uid, gid } = user;
            Ok(((), format!("a process of ours runs as {uid}:{gid}")))
        });
        all = all.and(works).bare();
    }
    all
}

impl Probe {
    /// Starts one in a namespace, and waits until it says as whom it runs.
    pub fn start(namespace: &Namespace, user: Owner) -> Result<Self, Failure> {
        let Owner { uid, gid } = user;
        let plan = ProcessPlan {
            uid,
            gid,
            groups: Vec::new(),
            net_admin: false,
            config: StubConfig {
                pod: namespace.name().into(),
                part: Part::Probe,
            },
        };
        let (sender, reports) = mpsc::channel();
        let sink: Sink = Arc::new(move |report| {
            // Nobody listens any more once the probe is dropped.
            let _ = sender.send(report);
        });
        let input = namespace
            .job(move |_| process::spawn(&plan, 0, &sink))
            .wait()??;
        let probe = Self {
            input,
            reports,
            name: format!("a process as {uid}:{gid}"),
        };
        let owner = probe.wait(START, "did not start", |line| match line {
            Line::Ready { owner, .. } => Some(owner),
            _ => None,
        })?;
        if owner == user {
            return Ok(probe);
        }
        let (is, name) = (format!("{}:{}", owner.uid, owner.gid), &probe.name);
        let what = format!("{name} runs as {is} instead");
        Err(Failure::new(Class::Machine, what).hint(FIX))
    }

    /// Has it connect; what the other end answers does not matter.
    pub fn connect(&mut self, to: SocketAddr) {
        let call = Command::Call {
            source_port: None,
            source: None,
            hold: None,
            id: 0,
            to,
            host: "doctor".into(),
            path: "/".into(),
            request_id: "doctor".into(),
            timeout_ms: 1_000,
        };
        // A broken pipe is told by the exit report, with the process's last words.
        let _ = self.input.send(&call);
    }

    /// Waits for the end of the connection.
    pub fn connected(&self) -> Result<(), Failure> {
        let outcome = self.wait(PATIENCE, "gave no answer", |line| match line {
            Line::Reply { outcome, .. } => Some(outcome),
            _ => None,
        })?;
        match outcome {
            CallOutcome::Answer { .. } | CallOutcome::Closed(_) => Ok(()),
            CallOutcome::ConnectFailed(errno) => Err(self.failure("could not connect", errno)),
            CallOutcome::Resolved(_) | CallOutcome::Unresolved(_) => {
                Err(self.failure("could not connect", "a DNS answer".into()))
            }
            CallOutcome::Timeout => Err(self.failure("could not connect", "no answer".into())),
        }
    }

    fn wait<T>(
        &self,
        patience: Duration,
        failed: &str,
        wanted: impl Fn(Line) -> Option<T>,
    ) -> Result<T, Failure> {
        let deadline = Instant::now() + patience;
        let mut words = Vec::new();
        loop {
            let rest = deadline.saturating_duration_since(Instant::now());
            match self.reports.recv_timeout(rest).map(|r| r.what) {
                Ok(Spawned::Line(line)) => {
                    if let Some(found) = wanted(line) {
                        return Ok(found);
                    }
                }
                Ok(Spawned::Stderr(line)) => words.push(line),
                Ok(Spawned::Garbled(line)) => {
                    return Err(self.failure(failed, format!("it wrote `{line}`")));
                }
                Ok(Spawned::Exit(exit)) => {
                    words.push(format!("it ended with {}", exit.0));
                    return Err(self.failure(failed, words.join("\n")));
                }
                Err(_) => {
                    words.push("there was no word from it in time".into());
                    return Err(self.failure(failed, words.join("\n")));
                }
            }
        }
    }

    fn failure(&self, failed: &str, cause: String) -> Failure {
        Failure::new(Class::Machine, format!("{} {failed}", self.name)).cause(cause)
    }
}
