//! Life of a stub process: configuration, runtime, commands from standard input, end.

use std::collections::HashMap;
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::panic;
use std::process;
use std::thread;
use std::time::Duration;

use thiserror::Error;
use tokio::runtime;
use tokio::sync::mpsc;
use tokio::task::AbortHandle;

use crate::app;
use crate::call::{self, Call};
use crate::dns::cluster::{self, DnsError};
use crate::dns::lookup::{Lookup, lookup};
use crate::errno::errno_name;
use crate::held::HeldConnections;
use crate::listen::BindError;
use crate::log::Log;
use crate::log_level::LogLevel;
use crate::open_files;
use crate::output::{Writer, exit_without_reader};
use crate::proxy::{self, ProxyError};
use crate::record::Role;
use crate::socket_facts::process_owner;
use crate::wire::{CallOutcome, Command, Line, Part, StubConfig};

/// Why a stub ended other than by the end of its input.
#[derive(Debug, Error)]
pub(crate) enum StubError {
    #[error("cannot read standard input: {}", errno_name(.0))]
    Input(io::Error),
    #[error("cannot write to standard output: {}", errno_name(.0))]
    Output(io::Error),
    #[error("cannot read the configuration: {0}")]
    Config(serde_json::Error),
    #[error("cannot read command {line:?}: {source}")]
    Command {
        line: String,
        source: serde_json::Error,
    },
    #[error("cannot start the runtime: {}", errno_name(.0))]
    Runtime(io::Error),
    #[error(transparent)]
    Bind(#[from] BindError),
    #[error(transparent)]
    Proxy(#[from] ProxyError),
    #[error(transparent)]
    Dns(#[from] DnsError),
}

/// A command, or why there are no more.
type Next = Result<Command, StubError>;

/// Makes a panic on any thread or task end the process, after its usual message.
pub(crate) fn exit_on_panic() {
    let print = panic::take_hook();
    panic::set_hook(Box::new(move |info| {
        print(info);
        process::exit(101);
    }));
}

/// Plays the stub until standard input ends.
pub(crate) fn run() -> Result<(), StubError> {
    let mut first = String::new();
    io::stdin()
        .read_line(&mut first)
        .map_err(StubError::Input)?;
    let config: StubConfig = serde_json::from_str(&first).map_err(StubError::Config)?;
    let level = LogLevel::init();
    if let Err(errno) = open_files::raise_limit() {
        tracing::warn!(?errno, "the limit of open files stays low");
    }
    // One thread serves thousands of connections that mostly wait, and keeps the order of events simple.
    let runtime = runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(StubError::Runtime)?;
    let (writer, output) = Writer::start(io::stdout(), exit_without_reader);
    let log = Log::new(config.pod.clone(), role(&config.part), output);
    let result = runtime.block_on(play(config, log, level, read_commands()));
    // Not a plain drop: that would wait for a name lookup which hangs.
    runtime.shutdown_background();
    writer.finish().map_err(StubError::Output)?;
    result
}

fn role(part: &Part) -> Role {
    match part {
        Part::App(_) => Role::App,
        Part::Proxy(_) => Role::Proxy,
        Part::Probe => Role::Probe,
        Part::Dns(_) => Role::Dns,
    }
}

/// Binds, reports ready, serves, and obeys commands until they end.
pub(crate) async fn play(
    config: StubConfig,
    log: Log,
    level: LogLevel,
    mut commands: mpsc::Receiver<Next>,
) -> Result<(), StubError> {
    let pod = config.pod;
    let mark = match &config.part {
        Part::Proxy(proxy) => proxy.upstream_mark,
        Part::App(_) | Part::Probe | Part::Dns(_) => None,
    };
    let mut routes = None;
    // Ready goes out after the last bind and before the first accept, so no record can precede it.
    match config.part {
        Part::App(app) => {
            let listeners = app::bind(&app)?;
            ready(&log, &pod, listeners.iter().map(|it| it.address)).await;
            app::serve(app, &log, listeners);
        }
        Part::Proxy(proxy) => {
            let proxy = proxy::bind(proxy)?;
            ready(&log, &pod, proxy.addresses()).await;
            routes = Some(proxy.serve(&log, &level));
        }
        Part::Dns(dns) => {
            let server = cluster::bind(&dns)?;
            ready(&log, &pod, server.sockets.addresses()).await;
            server.serve(&log);
        }
        Part::Probe => ready(&log, &pod, [].into_iter()).await,
    }
    let mut calls = Calls::default();
    let held = HeldConnections::default();
    while let Some(command) = commands.recv().await {
        match (command?, &routes) {
            (Command::Routes { services }, Some(routes)) => {
                routes.renew(services).map_err(ProxyError::from)?;
            }
            (command, _) => obey(command, mark, &log, &mut calls, &held).await,
        }
    }
    Ok(())
}

/// What was asked for and takes time, by id, so that it can be called off.
#[derive(Default)]
struct Calls(HashMap<u64, AbortHandle>);

impl Calls {
    fn start(&mut self, id: u64, work: impl Future<Output = ()> + Send + 'static) {
        self.0.retain(|_, call| !call.is_finished());
        self.0.insert(id, tokio::spawn(work).abort_handle());
    }

    /// Drops it where it waits, and its connection with it.
    fn cancel(&mut self, id: u64) {
        if let Some(call) = self.0.remove(&id) {
            call.abort();
        }
    }
}

/// Starts what takes time in the background. `mark` is that of the process's own connections.
async fn obey(
    command: Command,
    mark: Option<u32>,
    log: &Log,
    calls: &mut Calls,
    held: &HeldConnections,
) {
    match command {
        Command::Call {
            id,
            to,
            host,
            path,
            request_id,
            timeout_ms,
            source_port,
            source,
            hold,
        } => {
            let call = Call {
                source_port,
                client: source,
                parent: None,
                to,
                mark,
                host,
                path,
                request_id: Some(request_id),
                limit: Duration::from_millis(timeout_ms),
            };
            let log = log.clone();
            let held = held.clone();
            calls.start(id, async move {
                let outcome = match hold {
                    None => call::get(&log, call).await,
                    Some(name) => held.open(&log, name, call).await,
                };
                reply(&log, id, outcome).await;
            });
        }
        Command::Lookup {
            id,
            to,
            transport,
            name,
            request_id,
            timeout_ms,
            source_port,
        } => {
            let wanted = Lookup {
                source_port,
                to,
                mark,
                transport,
                name,
                request_id,
                limit: Duration::from_millis(timeout_ms),
            };
            let log = log.clone();
            calls.start(id, async move {
                reply(&log, id, lookup(&log, wanted).await).await;
            });
        }
        Command::Resume {
            id,
            held: name,
            host,
            path,
            request_id,
            timeout_ms,
        } => {
            let (log, held) = (log.clone(), held.clone());
            calls.start(id, async move {
                let request = call::Request {
                    host: &host,
                    path: &path,
                    request_id: Some(&request_id),
                    last: false,
                };
                let limit = Duration::from_millis(timeout_ms);
                reply(&log, id, held.resume(&log, name, &request, limit).await).await;
            });
        }
        Command::Release { id, held: name } => {
            let (log, held) = (log.clone(), held.clone());
            calls.start(id, async move {
                reply(&log, id, held.release(&log, &name).await).await;
            });
        }
        Command::Cancel { id } => calls.cancel(id),
        // Who has no routes keeps none.
        Command::Routes { .. } => {}
        Command::Sync { id } => log.output().send(Line::Synced { id }).await,
    }
}

async fn reply(log: &Log, id: u64, outcome: CallOutcome) {
    log.output().send(Line::Reply { id, outcome }).await;
}

async fn ready(log: &Log, pod: &str, addresses: impl Iterator<Item = SocketAddr>) {
    let mut listeners: Vec<SocketAddr> = Vec::new();
    for address in addresses {
        // One that TCP and UDP are bound to is named once.
        if !listeners.contains(&address) {
            listeners.push(address);
        }
    }
    let owner = process_owner();
    tracing::info!(pod, ?listeners, uid = owner.uid, gid = owner.gid, "ready");
    log.output()
        .send(Line::Ready {
            listeners,
            pid: process::id(),
            owner,
        })
        .await;
}

/// Reads commands on a thread of its own: standard input has no non-blocking form that works for every kind of file.
fn read_commands() -> mpsc::Receiver<Next> {
    let (sender, receiver) = mpsc::channel(64);
    thread::spawn(move || {
        for line in io::stdin().lines() {
            let next = match line {
                Ok(line) => serde_json::from_str(&line)
                    .map_err(|source| StubError::Command { line, source }),
                Err(error) => Err(StubError::Input(error)),
            };
            if sender.blocking_send(next).is_err() {
                return;
            }
        }
    });
    receiver
}

#[cfg(test)]
mod tests;
