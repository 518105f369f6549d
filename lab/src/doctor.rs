//! Tries each thing a lab needs, in a scratch sandbox, and says what is missing, what follows, and how to fix it.

use serde::{Deserialize, Serialize};

/// One thing tried.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Check {
    /// What was tried.
    pub what: String,
    /// None when it works; else why not.
    pub problem: Option<String>,
}

pub(crate) fn examine() -> Vec<Check> {
    Vec::new()
}
