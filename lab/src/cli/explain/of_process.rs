//! A connection in the network namespace of any process: as its rules and counters say, or as it is traced.

mod place;
mod predicted;
mod traced;

use std::{
    net::{IpAddr, SocketAddr},
    time::Duration,
};

use hoplab_proxies::record::Transport;

use self::{predicted::predicted, traced::traced};
use super::{Sent, Wanted};
use crate::{
    cli::trace::ends,
    failure::{Class, Failure},
    net::ProcessNamespace,
};

// A doc comment would be the verb's help.
#[derive(clap::Args)]
pub(super) struct ProcessArgs {
    /// In the network namespace of this process: FROM is UID:GID of a process there or the address of a caller, TO is
    /// ADDRESS:port. Reads rules and counters, and changes nothing
    #[arg(long, value_name = "PID", conflicts_with_all = ["from", "lab", "sender", "path", "tcp", "deadline"])]
    pub pid: Option<u32>,
    /// Wait for the next such connection and trace it; the kernel needs a table of observers there while it lasts
    #[arg(long, requires = "pid")]
    trace: bool,
    /// Wait no longer than this for one, such as 500ms, 10s or 2m
    #[arg(long = "for", value_name = "TIME", value_parser = ends::duration, requires = "trace")]
    time: Option<Duration>,
    /// Wait for one from or to this port; may be repeated
    #[arg(long, value_name = "PORT", requires = "trace")]
    port: Vec<u16>,
    /// Wait for one from or to this address; may be repeated
    #[arg(long, value_name = "ADDRESS", requires = "trace")]
    peer: Vec<IpAddr>,
    /// Also in the machine's own network namespace
    #[arg(long, requires = "pid")]
    host: bool,
}

/// The path of a connection in the namespace.
///
/// # Errors
/// The namespace can't be entered or its rules not be read; words that are no connection; nothing came in time.
pub(super) fn path(
    args: &ProcessArgs,
    pid: u32,
    wanted: Option<&Wanted>,
    over: Transport,
) -> Result<Sent, Failure> {
    let namespace = ProcessNamespace::open(pid)?;
    if namespace.is_machines_own() && !args.host {
        let what = format!("process {pid} is in the machine's own network namespace");
        return Err(Failure::new(Class::Input, what)
            .hint("name a process of a container; if you mean the machine, add --host"));
    }
    // While there is one thread.
    namespace.enter_user_namespace()?;
    let route = match wanted {
        None => None,
        Some(Wanted::Route { from, to }) => Some((from.as_str(), to.as_str())),
        Some(Wanted::Named(name)) => {
            return Err(Failure::new(
                Class::Input,
                format!("`{name}` is no connection of a process"),
            )
            .hint("write FROM TO: UID:GID or the caller's address, then ADDRESS:port"));
        }
    };
    match (args.trace, route) {
        (true, route) => traced(args, namespace, route, over),
        (false, Some(route)) => predicted(&namespace, route, over).map(Sent::Whole),
        (false, None) => Err(Failure::new(Class::Input, "which connection?").hint(
            "write FROM TO, such as 1000:1000 10.96.0.13:9080; or add --trace to wait for the next one",
        )),
    }
}

fn name_of(namespace: &ProcessNamespace) -> String {
    format!("process {}", namespace.pid())
}

fn target(text: &str) -> Result<SocketAddr, Failure> {
    let local = text
        .strip_prefix("localhost:")
        .map(|port| format!("127.0.0.1:{port}"));
    local.as_deref().unwrap_or(text).parse().map_err(|_| {
        Failure::new(Class::Input, format!("`{text}` is no address with a port"))
            .hint("write ADDRESS:port, [ADDRESS]:port or localhost:port: names of a cluster are not known here")
    })
}
