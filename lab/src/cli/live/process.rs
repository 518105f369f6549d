//! `hoplab proxy` and `hoplab app`: stops and starts a process of a running lab.

use std::process::ExitCode;

use super::{Outcome, pod::PodOfLab, wait_for_turn};
use crate::{
    cli::stdout::say,
    failure::{Class, Failure},
    live::RunningLab,
    sandbox::protocol::StepWhat,
    topology::{Process, ProcessRole},
};

#[derive(clap::Args)]
pub(in crate::cli) struct Args {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(clap::Subcommand)]
enum Verb {
    /// End it; what is sent to it is refused then
    #[command(
        after_help = "Examples:\n  hoplab proxy stop reviews-v1\n  hoplab app stop reviews-v1"
    )]
    Stop(PodOfLab),
    /// Start it, as it was started first
    #[command(
        after_help = "Examples:\n  hoplab proxy start reviews-v1\n  hoplab app start reviews-v1"
    )]
    Start(PodOfLab),
    /// End it and start it; one that has died is started
    #[command(
        after_help = "Examples:\n  hoplab proxy restart reviews-v1\n  hoplab app restart reviews-v1"
    )]
    Restart(PodOfLab),
}

pub(super) fn run(role: ProcessRole, args: &Args) -> Outcome {
    let (Verb::Stop(place) | Verb::Start(place) | Verb::Restart(place)) = &args.verb;
    let pod = &place.pod;
    let found = place.find()?;
    has(&found, pod, role)?;
    let mut lab = found.attach_or_wait(|| wait_for_turn(&found))?;
    // The command before may have changed what runs.
    let found = place.find()?;
    let now = found.processes_in(pod)?;
    let runs = now.iter().find(|it| it.came_up.role == role.logged());
    let runs = runs.and_then(|it| it.pid);
    let process = Process {
        pod: pod.clone(),
        role,
    };
    let refused = |what: &str, hint: String| {
        let what = format!("{role} of pod `{pod}` {what}");
        Err(Failure::new(Class::State, what).hint(hint))
    };
    let (what, done) = match (&args.verb, runs) {
        (Verb::Stop(_), None) => {
            return refused(
                "does not run",
                format!("start it: hoplab {role} start {pod}"),
            );
        }
        (Verb::Start(_), Some(pid)) => {
            return refused(
                &format!("runs already, as process {pid}"),
                format!("hoplab {role} restart {pod}"),
            );
        }
        (Verb::Stop(_), Some(_)) => (StepWhat::Stop(process), "stopped"),
        (Verb::Start(_), None) | (Verb::Restart(_), None) => (StepWhat::Start(process), "started"),
        (Verb::Restart(_), Some(_)) => (StepWhat::Restart(process), "restarted"),
    };
    found.change(&mut lab, done, what, None)?;
    let now = place.find()?;
    let all = now.processes_in(pod)?;
    let pid = all.iter().find(|it| it.came_up.role == role.logged());
    let pid = pid.and_then(|it| it.pid);
    let words = match (runs, pid) {
        (Some(was), None) => format!(", it was process {was}"),
        (Some(was), Some(is)) => format!(", process {was} is process {is} now"),
        (None, Some(is)) => format!(", as process {is}"),
        (None, None) => String::new(),
    };
    say(&format!("{role} of {pod} {done}{words}\n"))?;
    Ok(ExitCode::SUCCESS)
}

/// Whether the lab file gives the pod such a process.
fn has(lab: &RunningLab, pod: &str, role: ProcessRole) -> Result<(), Failure> {
    // Names the pod that was meant.
    lab.processes_in(pod)?;
    let file = lab.lab_file()?;
    let there = file.topology.pod(pod).is_some_and(|it| match role {
        ProcessRole::App => it.app.is_some(),
        ProcessRole::Proxy => it.proxy.is_some(),
        ProcessRole::Dns => false,
    });
    match there {
        true => Ok(()),
        false => {
            let what = format!("pod `{pod}` of lab `{}` has no {role}", lab.name());
            Err(Failure::new(Class::Input, what).hint("hoplab status shows what each pod has"))
        }
    }
}
