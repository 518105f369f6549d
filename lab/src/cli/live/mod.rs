//! Labs that stay up: the verbs that bring them up, look at them, and take them down.

mod capture;
mod conntrack;
mod counters;
mod down;
mod exec;
mod import;
mod logs;
mod ls;
pub(in crate::cli) mod pod;
mod process;
mod proxy_config;
mod prune;
mod reconcile;
mod send;
mod shell;
mod status;
mod up;
mod watch;

use clap::Subcommand;

use super::Outcome;
use crate::{
    failure::{Class, Failure},
    live::{Claim, Registry, RunningLab, Standing, not_up},
    topology::{ProcessRole, is_name},
};

#[derive(Subcommand)]
pub(super) enum Verb {
    /// Bring up a lab that stays up, found by its name
    Up(up::Args),
    /// Bring up a lab with a copy of a container: its rules, addresses and listeners
    Import(import::Args),
    /// Take down a lab that stays up
    Down(down::Args),
    /// List the labs that stay up
    Ls(ls::Args),
    /// Say what runs in a lab that stays up, with process ids
    #[command(visible_alias = "ps")]
    Status(status::Args),
    /// Run a command in a pod of a lab that stays up
    Exec(exec::Args),
    /// Open a shell in a pod of a lab that stays up
    Shell(shell::Args),
    #[command(name = "__desk", hide = true)]
    Desk(shell::desk::Args),
    #[command(name = "__ask", hide = true)]
    Ask(shell::ask::Args),
    /// Write the packets of pods to a file for Wireshark, each with the rules it met
    Capture(capture::Args),
    /// Watch a pod on a terminal: rules with moving counters, connections with their paths
    Watch(watch::Args),
    /// Show what a process in a pod says, and what istio-init printed
    Logs(logs::Args),
    /// Show what the rules of a pod have counted, and what moved since the last look
    Counters(counters::Args),
    /// Show the connections that conntrack of a pod knows
    Conntrack(conntrack::Args),
    /// Send one connection in a lab that stays up, and show the way it took
    Send(send::Args),
    /// Ask or tell the proxy of a pod, in the manner of istioctl
    #[command(visible_alias = "pc")]
    ProxyConfig(proxy_config::Args),
    /// Stop or start the proxy of a pod
    Proxy(process::Args),
    /// Stop or start the app of a pod
    App(process::Args),
    /// Remove what is left of labs whose supervisor has ended
    Prune(prune::Args),
}

pub(super) fn dispatch(verb: &Verb) -> Outcome {
    match verb {
        Verb::Up(args) => up::run(args),
        Verb::Import(args) => import::run(args),
        Verb::Down(args) => down::run(args),
        Verb::Ls(args) => ls::run(args),
        Verb::Status(args) => status::run(args),
        Verb::Exec(args) => exec::run(args),
        Verb::Shell(args) => shell::run(args),
        Verb::Desk(args) => shell::desk::run(args),
        Verb::Ask(args) => shell::ask::run(args),
        Verb::Capture(args) => capture::run(args),
        Verb::Watch(args) => watch::run(args),
        Verb::Logs(args) => logs::run(args),
        Verb::Counters(args) => counters::run(args),
        Verb::Conntrack(args) => conntrack::run(args),
        Verb::Send(args) => send::run(args),
        Verb::ProxyConfig(args) => proxy_config::run(args),
        Verb::Proxy(args) => process::run(ProcessRole::Proxy, args),
        Verb::App(args) => process::run(ProcessRole::App, args),
        Verb::Prune(args) => prune::run(args),
    }
}

/// A name that a lab can be found by, as flags spell it.
pub(in crate::cli) fn name(text: &str) -> Result<String, String> {
    match is_name(text) {
        true => Ok(text.to_owned()),
        false => Err("1 to 63 lower-case letters, digits and inner hyphens".into()),
    }
}

/// The place of a lab that is to come up, unless one of that name is up.
pub(super) fn free_place(registry: &Registry, name: &str) -> Result<Claim, Failure> {
    let claim = registry.claim(name, || wait_for_another(name))?;
    match claim.standing() {
        Standing::Stale(_) => Ok(claim),
        Standing::Up(_) => Err(
            Failure::new(Class::State, format!("lab `{name}` is up already")).hint(format!(
                "give this one another name with --name, or take that one down: hoplab down {name}"
            )),
        ),
        other => Err(not_up(registry, name, Some(other))),
    }
}

fn wait_for_another(name: &str) {
    anstream::eprintln!("waiting: another hoplab brings up or takes down lab `{name}`");
}

/// Says that the turn of another command has to end first.
pub(in crate::cli) fn wait_for_turn(lab: &RunningLab) {
    anstream::eprintln!("another command uses lab `{}`; waiting for it", lab.name());
}

/// How long ago, in the largest unit that is not 0.
fn ago(since: u64) -> String {
    let now = std::time::SystemTime::now().duration_since(std::time::SystemTime::UNIX_EPOCH);
    let seconds = now.map_or(0, |it| it.as_secs()).saturating_sub(since);
    match seconds {
        0..60 => format!("{seconds} s"),
        60..3600 => format!("{} min", seconds / 60),
        3600..86_400 => format!("{} h", seconds / 3600),
        _ => format!("{} d", seconds / 86_400),
    }
}
