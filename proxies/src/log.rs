//! The connection log of this process: numbers connections, stamps records, hands them to the ordered writer.
//!
//! Order within a process is causal because each event is awaited before what it leads to: an accept before its
//! connects, the closes of connections opened on behalf of another before that one's close.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use nix::time::{ClockId, clock_gettime};

use crate::counted_io::Traffic;
use crate::output::Output;
use crate::record::{CloseOutcome, ConnectResult, Event, Owner, Record, Role, Transport};
use crate::wire::Line;

/// Handle to the log; clones share the numbering.
#[derive(Clone)]
pub(crate) struct Log {
    shared: Arc<Shared>,
}

struct Shared {
    pod: String,
    role: Role,
    next_conn: AtomicU64,
    output: Output,
}

/// An attempt to connect, as the log wants to know it.
pub(crate) struct ConnectEvent {
    pub(crate) transport: Transport,
    pub(crate) parent: Option<u64>,
    pub(crate) remote: SocketAddr,
    pub(crate) bound: Option<IpAddr>,
    pub(crate) mark: u32,
    pub(crate) owner: Owner,
    pub(crate) result: ConnectResult,
}

impl Log {
    pub(crate) fn new(pod: String, role: Role, output: Output) -> Self {
        let shared = Shared {
            pod,
            role,
            next_conn: AtomicU64::new(1),
            output,
        };
        Self {
            shared: Arc::new(shared),
        }
    }

    /// A number no other connection of this process has.
    pub(crate) fn next_conn(&self) -> u64 {
        self.shared.next_conn.fetch_add(1, Ordering::Relaxed)
    }

    /// Name of the pod.
    pub(crate) fn pod(&self) -> &str {
        &self.shared.pod
    }

    /// The writer, for lines that are not records.
    pub(crate) fn output(&self) -> &Output {
        &self.shared.output
    }

    /// Writes one record about `conn`.
    pub(crate) async fn write(&self, conn: u64, request_id: Option<&str>, event: Event) {
        let record = Record {
            at_ns: monotonic_ns(),
            pod: self.shared.pod.clone(),
            role: self.shared.role,
            pid: std::process::id(),
            conn,
            request_id: request_id.map(str::to_owned),
            event,
        };
        self.shared.output.send(Line::Record(record)).await;
    }

    /// Writes the connect record of `conn`.
    pub(crate) async fn connect(&self, conn: u64, request_id: Option<&str>, event: ConnectEvent) {
        let ConnectEvent {
            transport,
            parent,
            remote,
            bound,
            mark,
            owner,
            result,
        } = event;
        self.write(
            conn,
            request_id,
            Event::Connect {
                transport,
                parent,
                remote,
                bound,
                mark,
                owner,
                result,
            },
        )
        .await;
    }

    /// Writes the close record of `conn`.
    pub(crate) async fn close(
        &self,
        conn: u64,
        request_id: Option<&str>,
        traffic: &Traffic,
        outcome: CloseOutcome,
    ) {
        let event = Event::Close {
            received: traffic.received(),
            sent: traffic.sent(),
            outcome,
        };
        self.write(conn, request_id, event).await;
    }
}

fn monotonic_ns() -> u64 {
    // clock_gettime(CLOCK_MONOTONIC) fails only for a bad pointer, and the clock never goes below zero.
    let now = clock_gettime(ClockId::CLOCK_MONOTONIC)
        .map(std::time::Duration::from)
        .unwrap_or_default();
    u64::try_from(now.as_nanos()).unwrap_or(u64::MAX)
}
