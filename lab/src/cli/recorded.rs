//! An evidence file, read and judged.

use std::{
    fs::File,
    io::{self, BufRead, BufReader},
    path::Path,
};

use crate::{
    evidence::file::{self, ReadError, Recorded},
    failure::Failure,
    judge::{self, Judgement},
    report::Run,
};

/// A run from a file, with its verdict.
pub(super) struct Judged {
    pub recorded: Recorded,
    pub judgement: Judgement,
}

/// Reads a file; `-` is standard input.
///
/// # Errors
/// As [`file::read`].
pub(super) fn read(path: &Path) -> Result<Recorded, Failure> {
    let origin = match path.as_os_str() == "-" {
        true => "standard input".to_owned(),
        false => path.display().to_string(),
    };
    let input: Box<dyn BufRead> = match path.as_os_str() == "-" {
        true => Box::new(io::stdin().lock()),
        false => {
            let opened = File::open(path).map_err(|source| ReadError::Io {
                origin: origin.clone(),
                source,
            })?;
            Box::new(BufReader::new(opened))
        }
    };
    Ok(file::read(input, &origin)?)
}

/// Reads and judges a file; `-` is standard input.
///
/// # Errors
/// As [`file::read`] and [`judge::judge`].
pub(super) fn judged(path: &Path) -> Result<Judged, Failure> {
    let recorded = read(path)?;
    let judgement = judge::judge(&recorded.file, &recorded.evidence)?;
    Ok(Judged {
        recorded,
        judgement,
    })
}

impl Recorded {
    /// What a report shows.
    pub(super) fn run<'a>(&'a self, judgement: &'a Judgement) -> Run<'a> {
        Run {
            topology: &self.file.topology,
            evidence: &self.evidence,
            judgement,
            down: self.down.as_ref(),
            took_us: self.took_us,
        }
    }
}
