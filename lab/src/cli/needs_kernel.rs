//! In place of a verb that brings up labs, in a build without them: it takes any arguments and says why it can't.

use super::Outcome;
use crate::failure::{Class, Failure};

#[derive(clap::Args)]
pub(super) struct Args {
    #[arg(trailing_var_arg = true, allow_hyphen_values = true, hide = true)]
    _ignored: Vec<String>,
}

/// The verbs for labs that stay up.
#[derive(clap::Subcommand)]
pub(super) enum Verb {
    /// Bring up a lab that stays up (not in this build: needs Linux)
    Up(Args),
    /// Take down a lab that stays up (not in this build: needs Linux)
    Down(Args),
    /// List the labs that stay up (not in this build: needs Linux)
    Ls(Args),
    /// Say what runs in a lab that stays up (not in this build: needs Linux)
    Status(Args),
    /// Run a command in a pod of a lab that stays up (not in this build: needs Linux)
    Exec(Args),
    /// Open a shell in a pod of a lab that stays up (not in this build: needs Linux)
    Shell(Args),
    /// Write the packets of pods to a file for Wireshark (not in this build: needs Linux)
    Capture(Args),
    /// Watch a pod on a terminal (not in this build: needs Linux)
    Watch(Args),
    /// Show what a process in a pod says (not in this build: needs Linux)
    Logs(Args),
    /// Show what the rules of a pod have counted (not in this build: needs Linux)
    Counters(Args),
    /// Show the connections that conntrack of a pod knows (not in this build: needs Linux)
    Conntrack(Args),
    /// Send one connection in a lab that stays up (not in this build: needs Linux)
    Send(Args),
    /// Ask or tell the proxy of a pod (not in this build: needs Linux)
    ProxyConfig(Args),
    /// Stop or start the proxy of a pod (not in this build: needs Linux)
    Proxy(Args),
    /// Stop or start the app of a pod (not in this build: needs Linux)
    App(Args),
    /// Remove what is left of labs that have ended (not in this build: needs Linux)
    Prune(Args),
}

pub(super) fn dispatch(verb: &Verb) -> Outcome {
    let (Verb::Up(args)
    | Verb::Down(args)
    | Verb::Ls(args)
    | Verb::Status(args)
    | Verb::Exec(args)
    | Verb::Shell(args)
    | Verb::Capture(args)
    | Verb::Watch(args)
    | Verb::Logs(args)
    | Verb::Counters(args)
    | Verb::Conntrack(args)
    | Verb::Send(args)
    | Verb::ProxyConfig(args)
    | Verb::Proxy(args)
    | Verb::App(args)
    | Verb::Prune(args)) = verb;
    run(args)
}

pub(super) fn run(_: &Args) -> Outcome {
    let cause = match cfg!(target_os = "linux") {
        true => "this hoplab was built without its feature `kernel`",
        false => "a lab is made of Linux namespaces, and this is not Linux",
    };
    Err(
        Failure::new(Class::Machine, "this hoplab can't bring up labs")
            .cause(cause)
            .hint("`hoplab predict` and `hoplab rules` work here; labs need hoplab on Linux, in a virtual machine if need be"),
    )
}
