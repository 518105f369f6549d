//! Connections that a flow holds open for later ones: who holds them, and which records are theirs.

use std::{collections::BTreeSet, net::SocketAddr};

use hoplab_proxies::record::{ConnectResult, Event, Record, Role};

use super::live::Live;
use crate::process::Stub;

/// One end of a connection: pod, role, process, number in its log.
pub(super) type EndKey = (String, Role, u32, u64);

/// A connection that stays open, with those that proxies opened for it.
pub(super) struct HeldConnection {
    /// Who holds it.
    pub stub: Stub,
    /// Every end that was open when the flow was over.
    pub ends: BTreeSet<EndKey>,
    /// Its own addresses: local, remote. None where it was never made.
    pub addresses: Option<(SocketAddr, SocketAddr)>,
}

impl HeldConnection {
    /// The connection that a flow left open, by the records of the flow.
    pub fn left_by(stub: Stub, records: &[Record]) -> Self {
        let mut made = records.iter().filter_map(|it| match &it.event {
            Event::Connect {
                parent: None,
                result: ConnectResult::Connected { local, remote },
                ..
            } => Some((*local, *remote)),
            _ => None,
        });
        Self {
            stub,
            ends: open_ends(records),
            addresses: made.next(),
        }
    }
}

fn key(record: &Record) -> EndKey {
    (record.pod.clone(), record.role, record.pid, record.conn)
}

/// The ends that records leave open.
fn open_ends(records: &[Record]) -> BTreeSet<EndKey> {
    let mut open = BTreeSet::new();
    for record in records {
        match &record.event {
            Event::Accept { .. }
            | Event::Connect {
                result: ConnectResult::Connected { .. },
                ..
            } => {
                open.insert(key(record));
            }
            Event::Connect { .. } => {}
            Event::Close { .. } => {
                open.remove(&key(record));
            }
        }
    }
    open
}

impl Live {
    /// Whether a record is about a connection that was held.
    pub fn is_of_held(&self, record: &Record) -> bool {
        let key = key(record);
        let mut held = self.held.values();
        held.any(|it| it.ends.contains(&key)) || self.released.contains(&key)
    }

    /// An end whose close is on record is not waited for any more.
    pub fn has_closed(&mut self, record: &Record) {
        if let Event::Close { .. } = record.event {
            let key = key(record);
            self.released.remove(&key);
            for held in self.held.values_mut() {
                held.ends.remove(&key);
            }
        }
    }

    /// Whether a process holds a connection.
    pub fn holds(&self, stub: Stub) -> bool {
        self.held.values().any(|it| it.stub == stub)
    }
}
