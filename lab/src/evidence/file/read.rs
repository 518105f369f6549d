//! Reads an evidence file: lines into values, values into a run. Whatever a file holds, the outcome is a run, a run
//! that is cut off, or an error with its line; and no more is read than the limits allow.

use std::io::{BufRead, Read as _};

use serde::Deserialize;

use super::{
    ReadError, Recorded,
    error::LabError,
    line::{KIND, Line},
    story::{Story, Wrong},
};
use crate::evidence::SCHEMA;

/// Bytes of a line, its end included.
pub const MAX_LINE: usize = 8 << 20;
/// Bytes of a file.
pub const MAX_FILE: usize = 1 << 30;

/// What every version of the first line has.
#[derive(Deserialize)]
struct Head {
    kind: String,
    schema: u64,
    hoplab: Option<String>,
}

/// Reads an evidence file; `origin` is its name.
///
/// # Errors
/// It can't be read, is something else, has another schema, a line is not what it should be, or it ends before the lab
/// was up. A file that is cut off later is no error: [`Evidence::cut`](crate::evidence::Evidence::cut) says so.
pub fn read(input: impl BufRead, origin: &str) -> Result<Recorded, ReadError> {
    let mut lines = Lines {
        input,
        origin,
        number: 0,
        bytes: 0,
    };
    let Some(first) = lines.next()? else {
        return Err(not_evidence(origin, "it is empty"));
    };
    head(&first, origin)?;
    let mut story = Story::default();
    let mut torn_line = None;
    let mut next = Some(first);
    while let Some(bytes) = next {
        match serde_json::from_slice::<Line>(&bytes) {
            Ok(line) => story.take(line).map_err(|it| lines.misfit(it))?,
            // The last line: what was being written when the run ended.
            Err(_) if !bytes.ends_with(b"\n") => torn_line = Some(lines.number),
            Err(error) => return Err(lines.wrong(&error)),
        }
        next = lines.next()?;
    }
    let whole = lines.number - usize::from(torn_line.is_some());
    story.end(torn_line).ok_or_else(|| ReadError::NothingYet {
        origin: origin.to_owned(),
        lines: whole,
    })
}

/// Lines of a file, each within the limit.
struct Lines<'a, R> {
    input: R,
    origin: &'a str,
    /// Of the line that was read last, counted from 1.
    number: usize,
    bytes: usize,
}

impl<R: BufRead> Lines<'_, R> {
    fn next(&mut self) -> Result<Option<Vec<u8>>, ReadError> {
        let mut line = Vec::new();
        let limit = u64::try_from(MAX_LINE).unwrap_or(u64::MAX);
        let mut input = self.input.by_ref().take(limit + 1);
        input
            .read_until(b'\n', &mut line)
            .map_err(|source| ReadError::Io {
                origin: self.origin.to_owned(),
                source,
            })?;
        if line.is_empty() {
            return Ok(None);
        }
        self.number += 1;
        self.bytes += line.len();
        for (had, limit, what) in [
            (line.len(), MAX_LINE, "a line"),
            (self.bytes, MAX_FILE, "the file"),
        ] {
            if had > limit {
                let why = format!("{what} is longer than {limit} bytes, the most that is read");
                return Err(match self.number {
                    1 => not_evidence(self.origin, &why),
                    line => ReadError::Line {
                        origin: self.origin.to_owned(),
                        line,
                        why,
                    },
                });
            }
        }
        Ok(Some(line))
    }

    fn misfit(&self, wrong: Wrong) -> ReadError {
        let (origin, line) = (self.origin.to_owned(), self.number);
        match wrong {
            Wrong::Line(why) => ReadError::Line { origin, line, why },
            Wrong::Lab(failure) => ReadError::Lab {
                origin,
                line,
                source: LabError(failure),
            },
        }
    }

    fn wrong(&self, error: &serde_json::Error) -> ReadError {
        // serde_json counts lines within the line.
        let words = error.to_string();
        let what = words.rsplit_once(" at line ").map_or(&*words, |(it, _)| it);
        ReadError::Line {
            origin: self.origin.to_owned(),
            line: self.number,
            why: format!("{what}, at column {}", error.column()),
        }
    }
}

/// The schema before anything else: lines of another one may mean something else.
fn head(first: &[u8], origin: &str) -> Result<(), ReadError> {
    let other = |schema, hoplab: Option<String>| ReadError::OtherSchema {
        origin: origin.to_owned(),
        schema,
        hoplab: hoplab.unwrap_or_else(|| "of a version it does not say".to_owned()),
    };
    match serde_json::from_slice::<Head>(first) {
        Ok(head) if head.kind != KIND => {
            let why = format!("its first line is of kind `{}`", head.kind);
            Err(not_evidence(origin, &why))
        }
        Ok(head) if head.schema != u64::from(SCHEMA) => Err(other(head.schema, head.hoplab)),
        Ok(_) => Ok(()),
        Err(_) if matches!(first, b"{\n" | b"{\r\n") => Err(ReadError::OneValue {
            origin: origin.to_owned(),
        }),
        Err(_) if is_torn_head(first) => Err(ReadError::NothingYet {
            origin: origin.to_owned(),
            lines: 0,
        }),
        Err(_) => Err(not_evidence(
            origin,
            &format!("its first line is not a value of kind `{KIND}`"),
        )),
    }
}

/// True for the beginning of a header that was cut off.
fn is_torn_head(first: &[u8]) -> bool {
    let begin = format!("{{\"kind\":\"{KIND}\"");
    let common = begin.len().min(first.len());
    !first.ends_with(b"\n") && first[..common] == begin.as_bytes()[..common]
}

fn not_evidence(origin: &str, why: &str) -> ReadError {
    ReadError::NotEvidence {
        origin: origin.to_owned(),
        why: why.to_owned(),
    }
}
