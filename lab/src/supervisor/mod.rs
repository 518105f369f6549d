//! The supervisor: PID 1 of the lab. It builds the lab, sends flows, and takes the lab down.
//!
//! One thread owns all state and reacts to events: requests from the control socket, reports from processes,
//! signals. Threads beside it only wait for one source each.

mod down;
mod drive;
mod live;
mod observers;
mod quiet;
mod up;

use std::{
    fs::File,
    io::{BufRead, BufReader, IsTerminal, Write},
    os::fd::{FromRawFd, OwnedFd},
    os::unix::net::UnixStream,
    process::ExitCode,
    sync::{
        atomic::{AtomicBool, Ordering},
        mpsc::{self, Receiver, Sender},
    },
    thread,
    time::Duration,
};

use signal_hook::consts::{SIGINT, SIGTERM};
use tracing_subscriber::EnvFilter;

use crate::{
    apply, doctor,
    failure::{Class, Failure},
    process::Report,
    sandbox::{
        CONTROL_FD, prepare_mounts,
        protocol::{Message, Request},
    },
};
use live::Live;

/// Time to take the lab down in order after the caller has died; then PID 1 ends, and the kernel removes the rest.
const ORPHAN_GRACE: Duration = Duration::from_secs(3);

/// What the supervisor reacts to.
pub(crate) enum Event {
    /// From the control socket.
    Request(Box<Request>),
    /// The caller closed the control socket.
    Orphaned,
    /// SIGTERM or SIGINT.
    Stop,
    /// From a process.
    Report(Box<Report>),
}

/// Set before the event is sent, so that whoever waits inside a request can be followed by an orderly end.
static STOPPING: AtomicBool = AtomicBool::new(false);

/// For the kill tests, which would wait long for a lab that stands still: `HOPLAB_ORPHAN_GRACE_MS` is another time.
fn orphan_grace() -> Duration {
    let millis = std::env::var("HOPLAB_ORPHAN_GRACE_MS").ok();
    let given = millis.and_then(|ms| ms.parse().ok());
    given.map_or(ORPHAN_GRACE, Duration::from_millis)
}

/// For the kill tests: with `HOPLAB_FREEZE_AT=phase` the supervisor says so and stands still there.
pub(crate) fn phase(name: &str) {
    tracing::debug!(phase = name);
    if std::env::var("HOPLAB_FREEZE_AT").is_ok_and(|at| at == name) {
        eprintln!("frozen at {name}");
        loop {
            thread::park();
        }
    }
}

/// Runs until the lab is down.
pub(crate) fn main() -> ExitCode {
    // SAFETY: the caller of this binary put the control socket there; nobody else in this process owns it.
    let control = unsafe { OwnedFd::from_raw_fd(CONTROL_FD) };
    // Inherited by nobody: a child that kept it would keep the caller waiting.
    let _ = nix::fcntl::fcntl(
        &control,
        nix::fcntl::FcntlArg::F_SETFD(nix::fcntl::FdFlag::FD_CLOEXEC),
    );
    let control = UnixStream::from(control);
    // RUST_LOG=hoplab=debug shows what the supervisor does and when.
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("warn"));
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_thread_names(true)
        .with_ansi(std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none())
        .with_writer(std::io::stderr)
        .init();
    let (events, queue) = mpsc::channel();
    match listen(&control, &events) {
        Ok(()) => serve(control, events, &queue),
        Err(error) => {
            eprintln!("the lab's supervisor could not start: {error}");
            ExitCode::FAILURE
        }
    }
}

fn listen(control: &UnixStream, events: &Sender<Event>) -> std::io::Result<()> {
    let reader = BufReader::new(control.try_clone()?);
    let requests = events.clone();
    thread::Builder::new()
        .name("control".into())
        .spawn(move || {
            let mut let_go = false;
            for line in reader.lines().map_while(Result::ok) {
                match serde_json::from_str::<Request>(&line) {
                    Ok(request) => {
                        let_go |= matches!(request, Request::LetGo);
                        let _ = requests.send(Event::Request(Box::new(request)));
                    }
                    Err(error) => eprintln!("the lab's supervisor can't read a request: {error}"),
                }
            }
            if !let_go {
                STOPPING.store(true, Ordering::SeqCst);
                let _ = requests.send(Event::Orphaned);
                // A lab never outlives its caller by accident, even when the main thread hangs.
                thread::park_timeout(orphan_grace());
                // SAFETY: _exit has no preconditions; destructors would only delay the kernel's own clean-up.
                unsafe { nix::libc::_exit(1) };
            }
        })?;
    let signals = events.clone();
    let mut caught = signal_hook::iterator::Signals::new([SIGTERM, SIGINT])?;
    thread::Builder::new()
        .name("signals".into())
        .spawn(move || {
            for _ in caught.forever() {
                STOPPING.store(true, Ordering::SeqCst);
                let _ = signals.send(Event::Stop);
            }
        })?;
    Ok(())
}

fn serve(mut control: UnixStream, events: Sender<Event>, queue: &Receiver<Event>) -> ExitCode {
    let mut live: Option<Live> = None;
    while let Ok(event) = queue.recv() {
        match event {
            Event::Report(report) => {
                if let Some(live) = &mut live {
                    live.take_report(*report);
                }
            }
            Event::Orphaned | Event::Stop => {
                if let Some(live) = live.take() {
                    down::down(live, queue);
                }
                return ExitCode::SUCCESS;
            }
            Event::Request(request) => {
                let last = matches!(*request, Request::Down);
                let Some(message) = answer(*request, &mut live, &events, queue) else {
                    continue;
                };
                let heard = say(&mut control, &message).is_ok();
                if last {
                    return ExitCode::SUCCESS;
                }
                if !heard || STOPPING.load(Ordering::SeqCst) {
                    if let Some(live) = live.take() {
                        down::down(live, queue);
                    }
                    return ExitCode::SUCCESS;
                }
            }
        }
    }
    ExitCode::SUCCESS
}

fn answer(
    request: Request,
    live: &mut Option<Live>,
    events: &Sender<Event>,
    queue: &Receiver<Event>,
) -> Option<Message> {
    let not_up = || Failure::new(Class::State, "the lab is not up");
    let result = match request {
        Request::LetGo => {
            leave_the_terminal();
            return None;
        }
        Request::Up(plan) if live.is_none() => prepare_mounts(&plan.files)
            .map_err(Failure::from)
            .and_then(|()| up::up(*plan, events, queue))
            .map(|(lab, machine, up)| {
                *live = Some(lab);
                Message::Up(Box::new((machine, up)))
            }),
        Request::Up(_) => Err(Failure::new(Class::State, "the lab is up already")),
        Request::Drive(order) => match live {
            Some(live) => drive::drive(live, order, queue).map(|w| Message::Window(Box::new(w))),
            None => Err(not_up()),
        },
        Request::Totals => match live {
            Some(live) => live.all_counters().map(Message::Totals),
            None => Err(not_up()),
        },
        Request::Down => match live.take() {
            Some(lab) => Ok(Message::Down(down::down(lab, queue))),
            None => Err(not_up()),
        },
        Request::Apply(_) if live.is_some() => {
            Err(Failure::new(Class::State, "the lab is up already"))
        }
        Request::Apply(plan) => {
            apply::run_inside(*plan).map(|report| Message::Applied(Box::new(report)))
        }
        Request::Doctor => Ok(Message::Checks(doctor::examine_inside())),
    };
    Some(result.unwrap_or_else(Message::Failed))
}

/// A kept lab must not hold its caller's output open: `hoplab run --keep | tail` would wait for its end.
fn leave_the_terminal() {
    let nowhere = File::options().write(true).open("/dev/null");
    let Ok(nowhere) = nowhere else { return };
    // Nothing depends on it: what can't be redirected stays as it is.
    let _ = nix::unistd::dup2_stdout(&nowhere);
    let _ = nix::unistd::dup2_stderr(&nowhere);
}

fn say(control: &mut UnixStream, message: &Message) -> std::io::Result<()> {
    let mut line = serde_json::to_vec(message).map_err(std::io::Error::other)?;
    line.push(b'\n');
    control.write_all(&line)
}

/// The node's namespace, to hand links to.
fn own_namespace() -> std::io::Result<File> {
    File::open("/proc/thread-self/ns/net")
}
