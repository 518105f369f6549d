//! Standard output: a reader that has seen enough is no error, a full disk is one.

use std::io::{ErrorKind, Write};

use super::harmless::harmless;
use crate::failure::{Class, Failure};

/// Writes a result.
pub(super) fn say(text: &str) -> Result<(), Failure> {
    say_more(text).map(|_| ())
}

/// Writes a part of a result. False when the reader has seen enough, and more is in vain.
pub(super) fn say_more(text: &str) -> Result<bool, Failure> {
    let mut stdout = anstream::stdout().lock();
    let written = stdout
        .write_all(harmless(text).as_bytes())
        .and_then(|()| stdout.flush());
    match written {
        Err(error) if error.kind() != ErrorKind::BrokenPipe => Err(Failure::new(
            Class::State,
            "could not write the result to standard output",
        )
        .cause(error.to_string())),
        written => Ok(written.is_ok()),
    }
}
