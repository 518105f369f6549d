//! Takes down a lab that another command brought up, whatever state it is in.

use std::time::Duration;

use nix::sys::signal::Signal;

use super::{Process, Registry, RunningLab, Standing, State, not_up};
use crate::{
    evidence::Down,
    failure::{Class, Failure},
    sandbox::protocol::{Greeting, Message, Request},
};

/// Time for a lab to go down in order: processes get 2 s to end by themselves, and 2 s after they were killed.
const IN_ORDER: Duration = Duration::from_secs(10);

/// Time for the kernel to end what was killed.
const KILLED: Duration = Duration::from_secs(10);

/// How a lab went down.
#[derive(Debug)]
pub enum Gone {
    /// It was asked, and said what was there.
    InOrder(Down),
    /// Another command was using it, or it did not listen: its supervisor was told to end, and did.
    Told,
    /// Its supervisor did not end by itself, and was killed: the kernel removed everything.
    Killed,
    /// It was not up any more; what was left of it in the registry is removed.
    WasStale,
}

/// Takes a lab down and gives up its place. Calls `wait` once before it waits for another command that brings it up or
/// takes it down.
///
/// # Errors
/// There is no such lab, or its supervisor can't be ended.
pub fn down(registry: &Registry, name: &str, wait: impl Fn()) -> Result<Gone, Failure> {
    match registry.standing(name)? {
        None | Some(Standing::Foreign(_)) => return Err(not_up(registry, name, None)),
        Some(_) => {}
    }
    let claim = registry.claim(name, wait)?;
    let gone = match claim.standing() {
        Standing::Up(state) => up(registry, *state)?,
        Standing::Other(process, _) => match process.open() {
            Some(process) => told(&process, name)?,
            None => Gone::WasStale,
        },
        Standing::Stale(_) => Gone::WasStale,
        other => return Err(not_up(registry, name, Some(other))),
    };
    claim.remove()?;
    Ok(gone)
}

fn up(registry: &Registry, state: State) -> Result<Gone, Failure> {
    let lab = RunningLab {
        registry: registry.clone(),
        state,
    };
    let Some(process) = lab.state.supervisor.open() else {
        return Ok(Gone::WasStale);
    };
    // Whatever is wrong with the conversation, the lab is to end.
    let asked = ask(&lab).filter(|_| process.has_ended(IN_ORDER));
    match asked {
        Some(down) => Ok(Gone::InOrder(down)),
        None => told(&process, lab.name()),
    }
}

/// None when another command has its turn, or when the lab does not answer.
fn ask(lab: &RunningLab) -> Option<Down> {
    let (mut visitor, greeting) = lab.visit().ok()?;
    if greeting == Greeting::Waiting {
        return None;
    }
    visitor.wait_no_longer_than(IN_ORDER).ok()?;
    visitor.send(&Request::Down).ok()?;
    match visitor.receive() {
        Ok(Message::Down(down)) => Some(down),
        _ => None,
    }
}

fn told(process: &Process, name: &str) -> Result<Gone, Failure> {
    let refused = |errno| {
        Failure::new(
            Class::State,
            format!("could not end the supervisor of lab `{name}`"),
        )
        .cause(format!("{errno}"))
    };
    process.signal(Signal::SIGTERM).map_err(refused)?;
    if process.has_ended(IN_ORDER) {
        return Ok(Gone::Told);
    }
    // PID 1 of the lab: its death is the death of everything in it.
    process.signal(Signal::SIGKILL).map_err(refused)?;
    match process.has_ended(KILLED) {
        true => Ok(Gone::Killed),
        false => {
            let what = format!("the supervisor of lab `{name}` is still there after SIGKILL");
            Err(Failure::new(Class::State, what)
                .hint("a process that the kernel can't end waits for a device: see `ps`"))
        }
    }
}
