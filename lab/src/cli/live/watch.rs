//! `hoplab watch`: pods, rules with moving counters and connections with their paths, on a terminal.

mod draw;
mod pod;
#[cfg(test)]
mod tests;
mod view;

use std::{
    io::{self, IsTerminal as _, Read as _},
    os::{fd::AsFd as _, unix::net::UnixStream},
    process::ExitCode,
    time::{Duration, Instant},
};

use nix::{
    errno::Errno,
    poll::{PollFd, PollFlags, PollTimeout, poll},
};
use ratatui::{
    DefaultTerminal,
    crossterm::event::{self, KeyCode, KeyEvent, KeyModifiers},
};
use signal_hook::{consts::SIGWINCH, low_level::pipe};

use self::{
    pod::Watched,
    view::{Happening, Key, Pod, View, Wish},
};
use super::{Outcome, name};
use crate::{
    cli::trace::ends::{self, End, Ends},
    failure::{Class, Failure},
    live::{self, RunningLab},
    net::ProcessNamespace,
};

#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  hoplab watch                    the first pod with rules; ← and → change the pod
  hoplab watch reviews-v1 --every 250ms

While a pod is looked at, the observers of a trace are in it (see hoplab trace --help); counters are read every second. \
Keys are at the bottom of the screen. Needs a terminal, 60 columns by 15 lines or more.")]
pub(in crate::cli) struct Args {
    /// Name of the pod to begin with
    #[arg(value_name = "POD")]
    pod: Option<String>,
    /// How often counters are read, such as 250ms or 2s
    #[arg(long, value_name = "TIME", default_value = "1s", value_parser = ends::duration)]
    every: Duration,
    /// Name of the lab, not needed when only one is up
    #[arg(long, value_parser = name)]
    lab: Option<String>,
}

pub(super) fn run(args: &Args) -> Outcome {
    if !(io::stdin().is_terminal() && io::stdout().is_terminal()) {
        return Err(Failure::new(Class::Input, "this needs a terminal")
            .cause("standard input or standard output is something else")
            .hint("for programs: hoplab trace POD --json, hoplab status --json"));
    }
    let lab = live::find(args.lab.as_deref())?;
    let pods = pods(&lab);
    let first = match &args.pod {
        Some(pod) => {
            lab.processes_in(pod)?;
            pods.iter().position(|it| it.name == *pod)
        }
        None => pods
            .iter()
            .position(|it| it.processes.iter().any(|(role, _)| role == "proxy")),
    };
    let supervisor = ProcessNamespace::open(lab.pid().unsigned_abs())?;
    // While there is one thread.
    supervisor.enter_user_namespace()?;
    let mut ends = Ends::watch(None)?;
    let view = View::new(lab.name(), pods, first.unwrap_or(0));
    let watched = Watched::open(&lab, view.pod())?;
    let resized = resized().map_err(terminal_fails)?;
    // Sets a panic hook that restores the terminal, too.
    let terminal = ratatui::try_init().map_err(terminal_fails)?;
    let mut screen = Screen {
        lab: &lab,
        supervisor,
        view,
        watched: Some(watched),
        terminal,
        resized,
        every: args.every,
    };
    let end = screen.until_end(&mut ends);
    drop(screen);
    ratatui::restore();
    match end? {
        Some(End::Process) => {
            let what = format!("lab `{}` went down", lab.name());
            Err(Failure::new(Class::State, what))
        }
        Some(End::Signal(signal)) => Ok(ExitCode::from(128 + signal)),
        _ => Ok(ExitCode::SUCCESS),
    }
}

fn terminal_fails(error: io::Error) -> Failure {
    Failure::new(Class::Machine, "could not use the terminal").cause(error.to_string())
}

/// Can be read when the terminal got another size.
fn resized() -> io::Result<UnixStream> {
    let (reader, writer) = UnixStream::pair()?;
    reader.set_nonblocking(true)?;
    pipe::register(SIGWINCH, writer)?;
    Ok(reader)
}

fn pods(lab: &RunningLab) -> Vec<Pod> {
    let pods = lab.state().pods.iter().map(|pod| {
        let processes = lab.now(&pod.processes).into_iter();
        let processes = processes.map(|it| (it.came_up.role.to_string(), it.pid.is_some()));
        Pod {
            name: pod.name.clone(),
            processes: processes.collect(),
        }
    });
    pods.collect()
}

struct Screen<'a> {
    lab: &'a RunningLab,
    supervisor: ProcessNamespace,
    view: View,
    /// None when the pod can't be looked at; the view says why.
    watched: Option<Watched>,
    terminal: DefaultTerminal,
    resized: UnixStream,
    every: Duration,
}

impl Screen<'_> {
    /// None when the person has seen enough.
    fn until_end(&mut self, ends: &mut Ends) -> Result<Option<End>, Failure> {
        let mut due = Instant::now();
        loop {
            if Instant::now() >= due {
                self.read_counters();
                due = Instant::now() + self.every;
            }
            self.read_connections();
            let view = &self.view;
            let drawn = self.terminal.draw(|frame| draw::draw(view, frame));
            drawn.map_err(terminal_fails)?;
            if let Some(end) = ends.come(self.supervisor.process()) {
                return Ok(Some(end));
            }
            self.wait(ends, due)?;
            // A terminal that asks its size: drawing does.
            let _ = self.resized.read(&mut [0; 64]);
            while event::poll(Duration::ZERO).map_err(terminal_fails)? {
                let event = event::read().map_err(terminal_fails)?;
                let Some(key) = event.as_key_press_event().and_then(key) else {
                    continue;
                };
                match self.view.update(Happening::Key(key)) {
                    Wish::Quit => return Ok(None),
                    Wish::Nothing => {}
                    Wish::Look => {
                        // The observers of one pod go before those of the next come.
                        self.watched = None;
                        self.look();
                        due = Instant::now();
                    }
                }
            }
        }
    }

    fn look(&mut self) {
        match Watched::open(self.lab, self.view.pod()) {
            Ok(watched) => self.watched = Some(watched),
            Err(failure) => self.complain(&failure),
        }
    }

    fn complain(&mut self, failure: &Failure) {
        self.view
            .update(Happening::Note(Some(failure.what.clone())));
    }

    fn read_counters(&mut self) {
        self.view.update(Happening::Pods(pods(self.lab)));
        match self.watched.as_ref().map(Watched::rules) {
            Some(Ok(rules)) => {
                self.view.update(Happening::Rules(rules));
            }
            Some(Err(failure)) => self.complain(&failure),
            None => {}
        }
    }

    fn read_connections(&mut self) {
        match self.watched.as_mut().map(Watched::connections) {
            Some(Ok(connections)) => {
                for connection in connections {
                    self.view.update(Happening::Connection(connection));
                }
            }
            Some(Err(failure)) => self.complain(&failure),
            None => {}
        }
    }

    fn wait(&self, ends: &Ends, due: Instant) -> Result<(), Failure> {
        let next = self.watched.as_ref().and_then(Watched::next);
        let due = next.map_or(due, |next| next.min(due));
        let left = due.saturating_duration_since(Instant::now()) + Duration::from_millis(1);
        let timeout = PollTimeout::try_from(left).unwrap_or(PollTimeout::MAX);
        let stdin = io::stdin();
        let mut fds = ends.to_wait_for(self.supervisor.process());
        fds.extend([stdin.as_fd(), self.resized.as_fd()]);
        fds.extend(self.watched.iter().flat_map(Watched::as_fds));
        let mut polled: Vec<_> = fds
            .into_iter()
            .map(|fd| PollFd::new(fd, PollFlags::POLLIN))
            .collect();
        match poll(&mut polled, timeout) {
            Ok(_) | Err(Errno::EINTR) => Ok(()),
            Err(errno) => Err(terminal_fails(errno.into())),
        }
    }
}

/// What a key means.
fn key(event: KeyEvent) -> Option<Key> {
    let control = event.modifiers.contains(KeyModifiers::CONTROL);
    Some(match event.code {
        KeyCode::Char('c') if control => Key::Quit,
        KeyCode::Char('q') | KeyCode::Esc => Key::Quit,
        KeyCode::Right | KeyCode::Char('l') => Key::NextPod,
        KeyCode::Left | KeyCode::Char('h') => Key::PreviousPod,
        KeyCode::Tab => Key::OtherPane,
        KeyCode::Up | KeyCode::Char('k') => Key::Up,
        KeyCode::Down | KeyCode::Char('j') => Key::Down,
        KeyCode::Char('m') => Key::MovedOnly,
        KeyCode::Char('p') => Key::Pause,
        KeyCode::Char('z') => Key::Zero,
        _ => return None,
    })
}
