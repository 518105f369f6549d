//! How values cross a control socket: one JSON value per line.

use std::io::{BufRead, Write};

use serde::{Serialize, de::DeserializeOwned};

/// Why nothing was said or heard.
#[derive(Debug)]
pub(crate) enum Error {
    /// The other end is gone.
    Closed,
    /// It said, or was to be told, what has no such form; in words.
    Unreadable(String),
}

/// Writes a value.
///
/// # Errors
/// The other end is gone, or the value has no JSON form.
pub(crate) fn say(writer: &mut impl Write, value: &impl Serialize) -> Result<(), Error> {
    let mut line = serde_json::to_vec(value)
        .map_err(|e| Error::Unreadable(format!("a request has no JSON form: {e}")))?;
    line.push(b'\n');
    writer.write_all(&line).map_err(|_| Error::Closed)
}

/// Waits for a value.
///
/// # Errors
/// The other end is gone, or said something else.
pub(crate) fn hear<T: DeserializeOwned>(reader: &mut impl BufRead) -> Result<T, Error> {
    let mut line = String::new();
    match reader.read_line(&mut line) {
        Ok(n) if n > 0 => serde_json::from_str(&line)
            .map_err(|e| Error::Unreadable(format!("{e}: {}", line.trim_end()))),
        _ => Err(Error::Closed),
    }
}
