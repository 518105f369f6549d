//! How labs that run side by side are told to stop: their control sockets are closed, at which each goes down.

use std::{
    collections::BTreeMap,
    net::Shutdown,
    os::unix::net::UnixStream,
    sync::{Mutex, MutexGuard, PoisonError},
};

use crate::{
    failure::{Class, Failure},
    sandbox::Supervisor,
};

/// The labs that run, and whether they are to stop.
#[derive(Debug, Default)]
pub struct Stop(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    stopped: Option<Stopped>,
    next: u64,
    sockets: BTreeMap<u64, UnixStream>,
}

/// Who stopped a suite.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stopped {
    /// A signal: nobody wants the rest.
    Interrupted,
    /// Its time is over.
    TimeIsOver,
}

impl Stop {
    /// Ends every lab that runs, and lets no other begin. The first reason counts.
    pub fn now(&self, why: Stopped) {
        let mut state = self.state();
        state.stopped.get_or_insert(why);
        for socket in state.sockets.values() {
            // It may be down already.
            let _ = socket.shutdown(Shutdown::Both);
        }
    }

    /// Why it stopped, if it did.
    pub fn stopped(&self) -> Option<Stopped> {
        self.state().stopped
    }

    /// Ends a lab when it is told to stop, as long as the value returned lives.
    pub(super) fn watch(&self, supervisor: &Supervisor) -> Result<Watched<'_>, Failure> {
        let socket = supervisor.interrupter().map_err(|error| {
            let what = "could not duplicate the control socket";
            Failure::new(Class::Machine, what).cause(error.to_string())
        })?;
        let mut state = self.state();
        if state.stopped.is_some() {
            let _ = socket.shutdown(Shutdown::Both);
        }
        let number = state.next;
        state.next += 1;
        state.sockets.insert(number, socket);
        Ok(Watched { stop: self, number })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A lab that is watched.
pub(super) struct Watched<'a> {
    stop: &'a Stop,
    number: u64,
}

impl Drop for Watched<'_> {
    fn drop(&mut self) {
        self.stop.state().sockets.remove(&self.number);
    }
}
