//! What went down with the lab.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// What went down.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Down {
    /// Processes that ended when asked.
    pub stopped: usize,
    /// Processes that had to be killed.
    pub killed: Vec<String>,
    /// Namespaces removed.
    pub namespaces: usize,
    /// What processes wrote for people, by name.
    pub stderr: BTreeMap<String, Vec<String>>,
    /// What was still there afterwards, or failed, in words; empty is the good case.
    pub leftovers: Vec<String>,
    /// Microseconds.
    pub took_us: u64,
}
