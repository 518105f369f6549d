//! conntrack's newest entries, so that a packet can be told its zone. Pure.

use std::collections::{HashMap, VecDeque};

use crate::evidence::ConntrackEntry;

/// How many of conntrack's entries are remembered.
const ENTRIES: usize = 65_536;

/// conntrack's newest entries.
#[derive(Default)]
pub(super) struct Entries {
    pub by_id: HashMap<u32, ConntrackEntry>,
    /// Oldest first.
    order: VecDeque<u32>,
}

impl Entries {
    pub fn add(&mut self, entries: Vec<ConntrackEntry>) {
        for entry in entries {
            if self.order.len() == ENTRIES
                && let Some(oldest) = self.order.pop_front()
            {
                self.by_id.remove(&oldest);
            }
            self.order.push_back(entry.id);
            self.by_id.insert(entry.id, entry);
        }
    }
}
