//! What ends a trace: a signal, the time, the end of the process, a reader that has seen enough.

use std::{
    io::{ErrorKind, Read as _},
    os::{
        fd::{AsFd, BorrowedFd},
        unix::net::UnixStream,
    },
    time::{Duration, Instant},
};

use nix::{
    poll::{PollFd, PollFlags, PollTimeout, poll},
    sys::stat::{SFlag, fstat},
};
use serde::{Serialize, Serializer};
use signal_hook::{
    consts::{SIGINT, SIGTERM},
    low_level::pipe,
};

use crate::failure::{Class, Failure};

/// Why a trace ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::cli) enum End {
    /// As many connections as were asked for.
    Count,
    /// The time is over.
    Time,
    /// The number of the signal.
    Signal(u8),
    /// The process that was named has ended.
    Process,
    /// Nobody reads standard output any more.
    ReaderGone,
}

impl Serialize for End {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(match self {
            Self::Count => "count",
            Self::Time => "time",
            Self::Signal(_) => "signal",
            Self::Process => "process-ended",
            Self::ReaderGone => "reader-gone",
        })
    }
}

/// What a trace waits for beside packets.
pub(in crate::cli) struct Ends {
    deadline: Option<Instant>,
    signals: [(u8, UnixStream); 2],
    /// Standard output is a pipe, which tells when its reader is gone.
    pipe: bool,
}

impl Ends {
    /// Takes over SIGINT and SIGTERM; the time begins now.
    ///
    /// # Errors
    /// The signals can't be watched.
    pub fn watch(time: Option<Duration>) -> Result<Self, Failure> {
        let signal = |number: i32| {
            let (reader, writer) = UnixStream::pair()?;
            reader.set_nonblocking(true)?;
            pipe::register(number, writer)?;
            Ok::<_, std::io::Error>((number as u8, reader))
        };
        let signals = || Ok::<_, std::io::Error>([signal(SIGINT)?, signal(SIGTERM)?]);
        let signals = signals().map_err(|error| {
            Failure::new(Class::Machine, "could not watch for signals").cause(error.to_string())
        })?;
        let stdout = fstat(std::io::stdout().as_fd());
        let is_pipe = |mode| SFlag::from_bits_truncate(mode) & SFlag::S_IFMT == SFlag::S_IFIFO;
        Ok(Self {
            deadline: time.map(|time| Instant::now() + time),
            signals,
            pipe: stdout.is_ok_and(|it| is_pipe(it.st_mode)),
        })
    }

    /// When the time is over.
    pub fn deadline(&self) -> Option<Instant> {
        self.deadline
    }

    /// What can be read, or fails, when the end has come.
    pub fn to_wait_for<'a>(&'a self, process: Option<BorrowedFd<'a>>) -> Vec<BorrowedFd<'a>> {
        let signals = self.signals.iter().map(|(_, it)| it.as_fd());
        let reader = self.pipe.then(stdout);
        signals.chain(process).chain(reader).collect()
    }

    /// The end, if it has come.
    pub fn come(&mut self, process: Option<BorrowedFd<'_>>) -> Option<End> {
        for (number, stream) in &mut self.signals {
            match stream.read(&mut [0; 8]) {
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                _ => return Some(End::Signal(*number)),
            }
        }
        if process.is_some_and(|it| is(it, PollFlags::POLLIN)) {
            return Some(End::Process);
        }
        if self.pipe && is(stdout(), PollFlags::POLLERR) {
            return Some(End::ReaderGone);
        }
        let over = self.deadline.is_some_and(|it| Instant::now() >= it);
        over.then_some(End::Time)
    }
}

fn stdout() -> BorrowedFd<'static> {
    // SAFETY: nobody closes standard output.
    unsafe { BorrowedFd::borrow_raw(nix::libc::STDOUT_FILENO) }
}

fn is(fd: BorrowedFd<'_>, wanted: PollFlags) -> bool {
    let mut polled = [PollFd::new(fd, wanted)];
    let answered = poll(&mut polled, PollTimeout::ZERO);
    let seen = polled[0].revents().unwrap_or(PollFlags::empty());
    answered.is_ok() && seen.intersects(wanted)
}

/// A time as a person writes it: `500ms`, `10s`, `2m`, `1h`.
pub(in crate::cli) fn duration(text: &str) -> Result<Duration, String> {
    let digits = text.find(|c: char| !c.is_ascii_digit());
    let (number, unit) = text.split_at(digits.unwrap_or(text.len()));
    let milliseconds = match unit {
        "ms" => 1,
        "s" => 1_000,
        "m" => 60_000,
        "h" => 3_600_000,
        _ => return Err("a number and a unit, ms, s, m or h: 10s".into()),
    };
    let number: u64 = number
        .parse()
        .map_err(|_| "a whole number and a unit: 10s")?;
    let all = number.checked_mul(milliseconds).filter(|it| *it > 0);
    all.map(Duration::from_millis)
        .ok_or_else(|| "more than nothing, and less than for ever".into())
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case("500ms", 500)]
    #[case("10s", 10_000)]
    #[case("2m", 120_000)]
    #[case("1h", 3_600_000)]
    fn a_time_has_a_unit(#[case] text: &str, #[case] milliseconds: u64) {
        assert_eq!(duration(text), Ok(Duration::from_millis(milliseconds)));
    }

    #[rstest]
    fn what_is_no_time_is_refused(
        #[values(
            "",
            "10",
            "s",
            "1.5s",
            "0s",
            "-1s",
            "10 s",
            "99999999999999999999s",
            "18446744073709551615h"
        )]
        text: &str,
    ) {
        assert!(duration(text).is_err());
    }
}
