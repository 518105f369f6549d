//! The supervisor: PID 1 of the lab. It builds the lab, sends flows, and takes the lab down.
//!
//! One thread owns all state and reacts to events: requests from the control socket, reports from processes,
//! signals. Threads beside it only wait for one source each.

mod attach;
mod build;
mod clients;
mod counters;
mod down;
mod drive;
mod held;
mod invalid;
mod lasting;
mod live;
mod logs;
mod node_rules;
mod observers;
mod plug;
mod pod;
mod quiet;
mod reconcile;
mod replace;
mod step;
mod up;

use std::{
    fs::File,
    io::{BufRead, BufReader, IsTerminal},
    os::fd::{FromRawFd, OwnedFd, RawFd},
    os::unix::net::{UnixListener, UnixStream},
    process::ExitCode,
    sync::{
        atomic::{AtomicBool, Ordering},
        mpsc::{self, Receiver, Sender},
    },
    thread,
    time::Duration,
};

use nix::sys::stat::{Mode, umask};
use signal_hook::consts::{SIGINT, SIGTERM};
use tracing_subscriber::EnvFilter;

use crate::{
    apply, doctor,
    evidence::{Machine, Up},
    failure::{Class, Failure},
    probe,
    process::Report,
    sandbox::{
        CONTROL_FD, LISTEN_ARG, LISTENER_FD, prepare_mounts,
        protocol::{Message, Request},
        say,
    },
};
use clients::Asked;
use live::Live;

/// Time to take the lab down in order after the caller has died; then PID 1 ends, and the kernel removes the rest.
const ORPHAN_GRACE: Duration = Duration::from_secs(3);

/// What the supervisor reacts to.
pub(crate) enum Event {
    /// From the control socket, or from a later command.
    Request(Box<Asked>),
    /// A later command is gone; what it asked for last may still be under way.
    Left,
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
    // Users of pods read what the lab keeps in /run, whatever the mask of the one who brings it up.
    umask(Mode::from_bits_truncate(0o022));
    let control = UnixStream::from(given(CONTROL_FD));
    let listens = std::env::args().nth(2).is_some_and(|arg| arg == LISTEN_ARG);
    let listener = listens.then(|| UnixListener::from(given(LISTENER_FD)));
    // RUST_LOG=hoplab=debug shows what the supervisor does and when.
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("warn"));
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_thread_names(true)
        .with_ansi(std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none())
        .with_writer(std::io::stderr)
        .init();
    let (events, queue) = mpsc::channel();
    match listen(control, listener, &events) {
        Ok(()) => serve(events, &queue),
        Err(error) => {
            eprintln!("the lab's supervisor could not start: {error}");
            ExitCode::FAILURE
        }
    }
}

/// A descriptor that the caller of this binary put in its place.
fn given(number: RawFd) -> OwnedFd {
    // SAFETY: it is there as the arguments say, and nobody else in this process owns it.
    let fd = unsafe { OwnedFd::from_raw_fd(number) };
    // Inherited by nobody: a child that kept it would keep the caller waiting.
    let _ = nix::fcntl::fcntl(
        &fd,
        nix::fcntl::FcntlArg::F_SETFD(nix::fcntl::FdFlag::FD_CLOEXEC),
    );
    fd
}

fn listen(
    control: UnixStream,
    listener: Option<UnixListener>,
    events: &Sender<Event>,
) -> std::io::Result<()> {
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
                        if let Ok((asked, _)) = Asked::new(request, &control) {
                            let _ = requests.send(Event::Request(Box::new(asked)));
                        }
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
            if let Some(listener) = listener {
                clients::attend(&listener, &requests);
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

fn serve(events: Sender<Event>, queue: &Receiver<Event>) -> ExitCode {
    let mut lab = Lab::default();
    // Set once a lab was let go: it outlives whoever asks.
    let mut kept = false;
    // No command has its turn: what the lab does meanwhile is nobody's to hear of.
    let mut idle = false;
    while let Ok(event) = queue.recv() {
        match event {
            Event::Report(report) => {
                if let Some(live) = &mut lab.live {
                    live.take_report(*report);
                    if idle {
                        live.forget();
                    }
                }
            }
            Event::Left => idle = true,
            Event::Orphaned | Event::Stop => {
                if let Some(live) = lab.live.take() {
                    down::down(live, queue);
                }
                return ExitCode::SUCCESS;
            }
            Event::Request(asked) => {
                let Asked {
                    request,
                    mut client,
                    dealt_with,
                } = *asked;
                let last = matches!(request, Request::Down);
                idle = matches!(request, Request::LetGo);
                kept |= idle;
                let message = answer(request, &mut lab, &events, queue);
                let heard = say(&mut client, &message).is_ok();
                drop(dealt_with);
                if last {
                    return ExitCode::SUCCESS;
                }
                if STOPPING.load(Ordering::SeqCst) || !(heard || kept) {
                    if let Some(live) = lab.live.take() {
                        down::down(live, queue);
                    }
                    return ExitCode::SUCCESS;
                }
                idle |= !heard;
            }
        }
    }
    ExitCode::SUCCESS
}

/// The lab, and what was said when it came up.
#[derive(Default)]
struct Lab {
    live: Option<Live>,
    came_up: Option<(Machine, Up)>,
}

fn answer(
    request: Request,
    lab: &mut Lab,
    events: &Sender<Event>,
    queue: &Receiver<Event>,
) -> Message {
    let not_up = || Failure::new(Class::State, "the lab is not up");
    let Lab { live, came_up } = lab;
    let result = match request {
        Request::LetGo => {
            leave_the_terminal();
            if let Some(live) = live {
                live.keep();
            }
            Ok(Message::Kept)
        }
        Request::Up(plan) if live.is_none() => prepare_mounts(&plan.files)
            .map_err(Failure::from)
            .and_then(|()| up::up(*plan, events, queue))
            .map(|(lab, machine, up)| {
                *live = Some(lab);
                *came_up = Some((machine.clone(), up.clone()));
                Message::Up(Box::new((machine, up)))
            }),
        Request::Up(_) => Err(Failure::new(Class::State, "the lab is up already")),
        Request::Attach => match (live, came_up) {
            (Some(live), Some((machine, up))) => live
                .start_from_now(queue)
                .and_then(|()| live.as_it_stands(up))
                .map(|now| Message::Up(Box::new((machine.clone(), now)))),
            _ => Err(not_up()),
        },
        Request::Drive(order) => match live {
            Some(live) => live
                .is_whole()
                .and_then(|()| drive::drive(live, *order, queue))
                .map(|window| Message::Window(Box::new(window))),
            None => Err(not_up()),
        },
        Request::Step(order) => match (live, came_up) {
            (Some(live), Some((_, up))) => match order.what.repairs() {
                true => Ok(()),
                false => live.is_whole(),
            }
            .and_then(|()| step::step(live, *order, up, queue))
            .map(|stepped| Message::Stepped(Box::new(stepped))),
            _ => Err(not_up()),
        },
        Request::Reconcile(order) => match (live, came_up) {
            (Some(live), Some(came_up)) => reconcile::reconcile(live, *order, came_up, queue)
                .map(|reconciled| Message::Reconciled(Box::new(reconciled))),
            _ => Err(not_up()),
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
        Request::Probe(_) if live.is_some() => {
            Err(Failure::new(Class::State, "the lab is up already"))
        }
        Request::Probe(plan) => {
            probe::run_inside(&plan).map(|report| Message::Probed(Box::new(report)))
        }
        Request::Doctor => Ok(Message::Checks(doctor::examine_inside())),
    };
    result.unwrap_or_else(Message::Failed)
}

/// A kept lab must not hold its caller's output open: `hoplab run --keep | tail` would wait for its end.
fn leave_the_terminal() {
    let nowhere = File::options().write(true).open("/dev/null");
    let Ok(nowhere) = nowhere else { return };
    // Nothing depends on it: what can't be redirected stays as it is.
    let _ = nix::unistd::dup2_stdout(&nowhere);
    let _ = nix::unistd::dup2_stderr(&nowhere);
}

/// The node's namespace, to hand links to.
fn own_namespace() -> std::io::Result<File> {
    File::open("/proc/thread-self/ns/net")
}
