//! Why an evidence file can't be read.

use thiserror::Error;

use crate::{
    evidence::SCHEMA,
    failure::{Class, Explain, Failure},
};

/// Why an evidence file can't be read. `origin` is its name.
#[derive(Debug, Error)]
pub enum ReadError {
    /// The system could not read it.
    #[error("could not read {origin}")]
    Io {
        /// File name.
        origin: String,
        /// Why.
        source: std::io::Error,
    },
    /// It is something else.
    #[error("{origin} is not an evidence file: {why}")]
    NotEvidence {
        /// File name.
        origin: String,
        /// By what that is known.
        why: String,
    },
    /// It is one JSON value, as hoplab wrote it before there were evidence files that can be read.
    #[error(
        "{origin} is one JSON value over many lines, not an evidence file with one value per line"
    )]
    OneValue {
        /// File name.
        origin: String,
    },
    /// It has another shape.
    #[error("{origin} has evidence of schema {schema}, written by hoplab {hoplab}; this is hoplab {} and reads schema {SCHEMA}", env!("CARGO_PKG_VERSION"))]
    OtherSchema {
        /// File name.
        origin: String,
        /// Its schema.
        schema: u64,
        /// Version of the hoplab that wrote it, as far as it says.
        hoplab: String,
    },
    /// A line is not what it should be.
    #[error("{origin} line {line}: {why}")]
    Line {
        /// File name.
        origin: String,
        /// Counted from 1.
        line: usize,
        /// What is wrong.
        why: String,
    },
    /// The lab in the file can't be read.
    #[error("{origin} line {line}: the lab it holds can't be used")]
    Lab {
        /// File name.
        origin: String,
        /// Counted from 1.
        line: usize,
        /// The complaint.
        source: LabError,
    },
    /// It ends before anything was observed.
    #[error("{origin} ends before the lab was up: {lines} of its lines could be read")]
    NothingYet {
        /// File name.
        origin: String,
        /// Lines that could be read.
        lines: usize,
    },
}

/// A [`Failure`] as a cause.
#[derive(Debug, Error)]
#[error("{0}")]
pub struct LabError(pub(super) Failure);

impl Explain for ReadError {
    fn class(&self) -> Class {
        match self {
            Self::NothingYet { .. } => Class::Incomplete,
            _ => Class::Input,
        }
    }

    fn hint(&self) -> Option<String> {
        let words = match self {
            Self::Io { .. } | Self::Lab { .. } => return None,
            Self::NotEvidence { .. } | Self::OneValue { .. } => {
                "`hoplab run LAB --out DIR` writes one: DIR/evidence.ndjson".to_owned()
            }
            Self::OtherSchema { hoplab, .. } => format!(
                "judge it with hoplab {hoplab}, or run the lab again with this one"
            ),
            Self::Line { .. } => {
                "the file was changed or damaged after hoplab wrote it; take the original, or run the lab again"
                    .to_owned()
            }
            Self::NothingYet { .. } => {
                "the run was cut off, or is still at its beginning; run the lab again".to_owned()
            }
        };
        Some(words)
    }
}
