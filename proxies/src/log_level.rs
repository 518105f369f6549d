//! Tracing to standard error, at a level that can change while the process runs.

use std::fmt;

use thiserror::Error;
use tracing_subscriber::filter::LevelFilter;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{Layer, Registry, reload};

/// Levels by name, from silent to everything.
const LEVELS: [(&str, LevelFilter); 6] = [
    ("off", LevelFilter::OFF),
    ("error", LevelFilter::ERROR),
    ("warn", LevelFilter::WARN),
    ("info", LevelFilter::INFO),
    ("debug", LevelFilter::DEBUG),
    ("trace", LevelFilter::TRACE),
];

/// The level of this process; clones change the same one.
#[derive(Clone)]
pub(crate) struct LogLevel {
    handle: reload::Handle<LevelFilter, Registry>,
}

/// A level could not be changed.
#[derive(Debug, Error, PartialEq, Eq)]
pub(crate) enum LevelError {
    #[error("unknown level {0:?}; levels: {names}", names = LevelNames)]
    Unknown(String),
    #[error("the log is gone")]
    Gone,
}

/// Displays the names of all levels.
pub(crate) struct LevelNames;

impl fmt::Display for LevelNames {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&LEVELS.map(|(name, _)| name).join(", "))
    }
}

impl LogLevel {
    /// Starts tracing for the whole process, at info.
    pub(crate) fn init() -> Self {
        let (level, filter) = Self::new();
        let stderr = tracing_subscriber::fmt::layer()
            .with_writer(std::io::stderr)
            .with_ansi(false);
        // Fails only where tracing runs already, and then that one keeps writing.
        let _ = tracing_subscriber::registry()
            .with(filter)
            .with(stderr)
            .try_init();
        level
    }

    /// A level at info and the layer that applies it.
    pub(crate) fn new() -> (Self, impl Layer<Registry>) {
        let (filter, handle) = reload::Layer::new(LevelFilter::INFO);
        (Self { handle }, filter)
    }

    /// Name of the present level.
    pub(crate) fn name(&self) -> Result<&'static str, LevelError> {
        let present = self.handle.clone_current().ok_or(LevelError::Gone)?;
        LEVELS
            .iter()
            .find(|(_, level)| *level == present)
            .map(|(name, _)| *name)
            .ok_or(LevelError::Gone)
    }

    /// Changes the level, from now on.
    pub(crate) fn set(&self, name: &str) -> Result<(), LevelError> {
        let (_, level) = LEVELS
            .iter()
            .find(|(known, _)| *known == name)
            .ok_or_else(|| LevelError::Unknown(name.to_owned()))?;
        self.handle.reload(*level).map_err(|_| LevelError::Gone)
    }
}
