//! SIGINT and SIGTERM: the lab goes down in order, then the conventional exit code.

use std::{
    net::Shutdown,
    os::unix::net::UnixStream,
    process::ExitCode,
    sync::{
        Arc,
        atomic::{AtomicI32, Ordering},
    },
    thread,
};

use signal_hook::{
    consts::{SIGINT, SIGTERM},
    iterator::Signals,
};

use crate::{
    failure::{Class, Failure},
    probe::Pool,
    sandbox::Supervisor,
    suite::{Stop, Stopped},
};

/// Remembers the signal that came.
#[derive(Clone, Default)]
pub(super) struct Interrupt {
    signal: Arc<AtomicI32>,
}

impl Interrupt {
    /// Watches for signals; the first one closes the control socket, at which the supervisor takes the lab down.
    pub fn watch(supervisor: &Supervisor) -> Result<Self, Failure> {
        Self::watch_sockets(supervisor.interrupter().map(|it| vec![it]))
    }

    /// Watches for signals; the first one closes the control sockets of all sandboxes, which end with them.
    pub fn watch_pool(pool: &Pool) -> Result<Self, Failure> {
        Self::watch_sockets(pool.interrupters())
    }

    /// Watches for signals; the first one stops every lab of a suite.
    pub fn watch_suite(stop: &Arc<Stop>) -> Result<Self, Failure> {
        let stop = Arc::clone(stop);
        Self::watch_with(move || stop.now(Stopped::Interrupted))
    }

    fn watch_sockets(sockets: std::io::Result<Vec<UnixStream>>) -> Result<Self, Failure> {
        let failed = |what: &str, e: std::io::Error| {
            Failure::new(Class::Machine, format!("could not {what}: {e}"))
        };
        let sockets = sockets.map_err(|e| failed("duplicate the control socket", e))?;
        Self::watch_with(move || {
            for socket in &sockets {
                let _ = socket.shutdown(Shutdown::Both);
            }
        })
    }

    fn watch_with(stop: impl Fn() + Send + 'static) -> Result<Self, Failure> {
        let failed = |e| Failure::new(Class::Machine, format!("could not watch for signals: {e}"));
        let mut signals = Signals::new([SIGINT, SIGTERM]).map_err(failed)?;
        let interrupt = Self::default();
        let seen = Arc::clone(&interrupt.signal);
        thread::spawn(move || {
            for signal in signals.forever() {
                seen.store(signal, Ordering::SeqCst);
                stop();
            }
        });
        Ok(interrupt)
    }

    /// The exit code of the signal that came, if one did.
    pub fn exit_code(&self) -> Option<ExitCode> {
        let signal = self.signal.load(Ordering::SeqCst);
        let code = u8::try_from(128 + signal).ok().filter(|_| signal != 0)?;
        anstream::eprintln!("interrupted: the lab is down");
        Some(ExitCode::from(code))
    }
}
