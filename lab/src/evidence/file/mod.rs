//! The evidence file: one typed value per line (NDJSON), written while the lab runs, read back on any machine. Pure.
//!
//! ```text
//! hoplab-evidence   schema, who wrote it, the flows that are to be sent
//! lab               the lab file's text, the rules that were meant, what flows are judged by
//! machine           kernel, iptables, backend
//! pod …             per pod: processes in their own words; rules and first counters as iptables-save tells them
//! up                what runs in the node
//! flow              a flow begins: what is observed until `flow-over` belongs to it
//! │ log …           a record of one process's connection log
//! │ counters …      a reading of one pod's rules after the flow
//! │ conntrack …     entries made in one pod
//! │ trace …         packets traced in one pod, rule by rule; none with tracing off
//! │ lost …          observations that went lost
//! │ answer          what the sender got
//! │ log-of-held …   as log, of a connection that an earlier flow held open
//! flow-over         whether it ended in order
//! step              between two flows: what came of a step, counters before it, every pod as it stands then
//! …
//! totals            counters of every pod, read once more
//! down              what went down; absent when the lab was kept
//! end               without it, the file is cut off
//! ```
//!
//! The kind of a line says who observed it, its fields say where. A value that is known already is not said again: the
//! counters before a flow are those of the reading before. Another shape is another [`SCHEMA`](super::SCHEMA).

mod error;
mod line;
mod read;
mod readings;
mod story;
mod under_way;
mod write;

#[cfg(test)]
mod tests;

use super::{Down, Evidence};
use crate::lab_file::LabFile;

pub use error::ReadError;
pub use line::{Header, Planned};
pub use read::{MAX_FILE, MAX_LINE, read};
pub use write::{Writer, write_whole};

/// Everything an evidence file says.
#[derive(Debug, Clone)]
pub struct Recorded {
    /// Who wrote it, and what it set out to do.
    pub header: Header,
    /// The lab, with the rules that were meant: what evidence is judged by.
    pub file: LabFile,
    /// What was observed.
    pub evidence: Evidence,
    /// What went down; none when the lab was kept, or when the file is cut off.
    pub down: Option<Down>,
    /// Microseconds from start to end; none when the file is cut off.
    pub took_us: Option<u64>,
}
