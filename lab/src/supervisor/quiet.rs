//! When a flow is over, judged by the logs alone.
//!
//! A process writes a connection's records in causal order, so three sums decide: every connection that was made
//! was accepted by somebody, and every connection that was made or accepted was closed.

use std::collections::BTreeMap;

use hoplab_proxies::record::{ConnectResult, Event, Record, Role};

/// What is still open, in words; empty when the flow is over.
pub(super) fn still_open(records: &[Record]) -> Vec<String> {
    let mut open: BTreeMap<(&str, Role, u32, u64), &str> = BTreeMap::new();
    let (mut made, mut accepted) = (0usize, 0usize);
    for record in records {
        let key = (record.pod.as_str(), record.role, record.pid, record.conn);
        match &record.event {
            Event::Accept { .. } => {
                accepted += 1;
                open.insert(key, "accepted");
            }
            Event::Connect {
                result: ConnectResult::Connected { .. },
                ..
            } => {
                made += 1;
                open.insert(key, "opened");
            }
            Event::Connect { .. } => {}
            Event::Close { .. } => {
                open.remove(&key);
            }
        }
    }
    let mut words: Vec<String> = open
        .iter()
        .map(|((pod, role, _, conn), how)| format!("connection {conn} {how} by {role:?} of {pod}"))
        .collect();
    if made != accepted {
        words.push(format!(
            "{made} connections were made and {accepted} accepted"
        ));
    }
    words
}

#[cfg(test)]
mod tests {
    use hoplab_proxies::record::{CloseOutcome, OriginalDst, Owner};

    use super::*;

    fn record(role: Role, conn: u64, event: Event) -> Record {
        Record {
            at_ns: 0,
            pod: "p".into(),
            role,
            pid: 1,
            conn,
            request_id: None,
            event,
        }
    }

    const OWNER: Owner = Owner { uid: 1, gid: 1 };

    fn connect(result: ConnectResult) -> Event {
        let remote = "10.0.0.1:1".parse().unwrap();
        Event::Connect {
            parent: None,
            remote,
            bound: None,
            owner: OWNER,
            result,
        }
    }

    fn close() -> Event {
        Event::Close {
            received: 0,
            sent: 0,
            outcome: CloseOutcome::Done,
        }
    }

    #[test]
    fn a_connection_is_open_until_both_ends_are_closed() {
        let addr = "10.0.0.1:1".parse().unwrap();
        let made = ConnectResult::Connected {
            local: addr,
            remote: addr,
        };
        let accept = Event::Accept {
            listener: addr,
            peer: addr,
            local: addr,
            original_dst: OriginalDst::None("test".into()),
            owner: OWNER,
        };
        let mut records = vec![record(Role::App, 1, connect(made))];
        assert_eq!(
            still_open(&records).len(),
            2,
            "open, and nobody accepted it yet"
        );
        records.push(record(Role::App, 1, close()));
        assert_eq!(still_open(&records).len(), 1, "nobody accepted it yet");
        records.push(record(Role::Proxy, 1, accept));
        assert_eq!(still_open(&records).len(), 1, "the accepted end is open");
        records.push(record(Role::Proxy, 1, close()));
        assert!(still_open(&records).is_empty());
    }

    #[test]
    fn a_refused_connection_is_over_at_once() {
        let failed = ConnectResult::Failed {
            errno: "ECONNREFUSED".into(),
        };
        assert!(still_open(&[record(Role::App, 1, connect(failed))]).is_empty());
    }
}
