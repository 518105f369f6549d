//! Where evidence stops short of the end of its run.

use std::fmt;

use serde::{Deserialize, Serialize};

/// Where evidence stops short of the end of its run: the lab was killed, or its disk was full.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cut {
    /// The last flow that is there as a whole.
    pub after: Option<String>,
    /// The flow that was under way; what is known of it is left out.
    pub during: Option<String>,
    /// Flows that are there.
    pub flows: usize,
    /// Flows that were to be sent.
    pub planned: usize,
    /// Whether counters were read once more after the last flow.
    pub totals: bool,
    /// The line that ends in the middle, counted from 1.
    pub torn_line: Option<usize>,
}

/// `the evidence ends after flow app-to-own-ip (10 of 19), in the middle of flow proxy-to-own-ip; line 88 is torn`
impl fmt::Display for Cut {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { flows, planned, .. } = self;
        f.write_str("the evidence ends ")?;
        match &self.after {
            Some(flow) => write!(f, "after flow {flow} ({flows} of {planned})")?,
            None => write!(f, "before the first of {planned} flows")?,
        }
        match (&self.during, flows == planned, self.totals) {
            (Some(flow), ..) => write!(f, ", in the middle of flow {flow}")?,
            (None, true, false) => f.write_str(", before the counters were read once more")?,
            (None, true, true) => f.write_str(", before the lab was taken down")?,
            (None, false, _) => {}
        }
        match self.torn_line {
            Some(line) => write!(f, "; line {line} is torn"),
            None => Ok(()),
        }
    }
}
