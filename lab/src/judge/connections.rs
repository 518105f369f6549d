//! From single records to connections as each process saw them.

use std::{collections::HashMap, net::SocketAddr};

use hoplab_proxies::record::{
    CloseOutcome, ConnectResult, Event, OriginalDst, Owner, Record, Role, Transport,
};

use super::Witness;

/// One end of a connection, from the log of one process.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct End {
    pub pod: String,
    pub role: Role,
    pub pid: u32,
    pub conn: u64,
    /// How it began; none when that record is missing.
    pub began: Option<Began>,
    /// How it ended; none when that record is missing, or when it never was a connection.
    pub closed: Option<Closed>,
}

#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Began {
    Accepted(Accepted),
    Opened(Opened),
}

#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Accepted {
    pub transport: Transport,
    pub listener: SocketAddr,
    pub peer: SocketAddr,
    pub local: SocketAddr,
    pub original_dst: OriginalDst,
    pub owner: Owner,
}

#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Opened {
    pub transport: Transport,
    pub mark: u32,
    pub parent: Option<u64>,
    pub remote: SocketAddr,
    pub bound: Option<std::net::IpAddr>,
    pub owner: Owner,
    pub result: ConnectResult,
}

impl Opened {
    pub fn local(&self) -> Option<SocketAddr> {
        match &self.result {
            ConnectResult::Connected { local, .. } => Some(*local),
            ConnectResult::Failed { .. } => None,
        }
    }
}

#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Closed {
    pub received: u64,
    pub sent: u64,
    pub outcome: CloseOutcome,
}

impl End {
    pub fn witness(&self) -> Witness {
        Witness::Log {
            pod: self.pod.clone(),
            role: self.role,
        }
    }

    pub fn accepted(&self) -> Option<&Accepted> {
        match &self.began {
            Some(Began::Accepted(accepted)) => Some(accepted),
            _ => None,
        }
    }

    pub fn opened(&self) -> Option<&Opened> {
        match &self.began {
            Some(Began::Opened(opened)) => Some(opened),
            _ => None,
        }
    }

    /// One line for people.
    pub fn words(&self) -> String {
        match &self.began {
            Some(Began::Accepted(a)) => format!("accept from {} at {}", a.peer, a.listener),
            Some(Began::Opened(o)) => format!("connect to {}", o.remote),
            None => format!("close of connection {} without its beginning", self.conn),
        }
    }
}

/// Groups records by connection, in the order of their first record.
pub(crate) fn ends(records: &[Record]) -> Vec<End> {
    let mut ends: Vec<End> = Vec::new();
    let mut known = HashMap::new();
    for record in records {
        let connection = (&record.pod, record.role, record.pid, record.conn);
        let index = *known.entry(connection).or_insert_with(|| {
            ends.push(End {
                pod: record.pod.clone(),
                role: record.role,
                pid: record.pid,
                conn: record.conn,
                began: None,
                closed: None,
            });
            ends.len() - 1
        });
        let end = &mut ends[index];
        match record.event.clone() {
            Event::Accept {
                transport,
                listener,
                peer,
                local,
                original_dst,
                owner,
            } => {
                end.began = Some(Began::Accepted(Accepted {
                    transport,
                    listener,
                    peer,
                    local,
                    original_dst,
                    owner,
                }));
            }
            Event::Connect {
                transport,
                mark,
                parent,
                remote,
                bound,
                owner,
                result,
            } => {
                end.began = Some(Began::Opened(Opened {
                    transport,
                    mark,
                    parent,
                    remote,
                    bound,
                    owner,
                    result,
                }));
            }
            Event::Close {
                received,
                sent,
                outcome,
            } => {
                end.closed = Some(Closed {
                    received,
                    sent,
                    outcome,
                });
            }
        }
    }
    ends
}
