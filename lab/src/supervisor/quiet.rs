//! When a flow is over, judged by the logs alone.
//!
//! A process writes a connection's records in causal order, but the logs of two processes arrive in any order. So a
//! flow is over when every connection that was made has met its accept, every accept its connect, and both ends are
//! closed. Counting would not do: a connect whose accept is late and an accept whose connect is late cancel out.

use std::{collections::BTreeMap, net::SocketAddr};

use hoplab_proxies::record::{ConnectResult, Event, Record, Role};

/// What the logs say about the end of a flow.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum State {
    /// Every connect has met its accept, and both ends are closed.
    Over,
    /// The same, if REDIRECT rewrote a source port; or two records that belong to others are still on their way.
    /// Once every process has been asked and no record came, it is the former.
    OverIfRewritten,
    /// What is still open, in words.
    Open(Vec<String>),
}

/// Judges the records of a flow.
pub(super) fn state(records: &[Record]) -> State {
    let mut open: BTreeMap<(&str, Role, u32, u64), &str> = BTreeMap::new();
    let (mut made, mut accepted) = (Vec::new(), Vec::new());
    for record in records {
        let key = (record.pod.as_str(), record.role, record.pid, record.conn);
        match &record.event {
            Event::Accept {
                peer,
                local,
                original_dst,
                ..
            } => {
                open.insert(key, "accepted");
                accepted.push((*peer, original_dst.addr().unwrap_or(*local)));
            }
            Event::Connect {
                remote,
                result: ConnectResult::Connected { local, .. },
                ..
            } => {
                open.insert(key, "opened");
                made.push((*local, *remote));
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
    let (unmet, stray) = pair(made, accepted, |connect, accept| connect.0 == accept.0);
    if words.is_empty() && !unmet.is_empty() {
        let rewritten = |c: &End, a: &End| c.0.ip() == a.0.ip() && c.1 == a.1;
        if pair(unmet.clone(), stray.clone(), rewritten) == (Vec::new(), Vec::new()) {
            return State::OverIfRewritten;
        }
    }
    words.extend(
        unmet
            .iter()
            .map(|(from, to)| format!("the connection {from} → {to} met no accept")),
    );
    words.extend(
        stray
            .iter()
            .map(|(from, to)| format!("the accept from {from} for {to} met no connect")),
    );
    if words.is_empty() {
        State::Over
    } else {
        State::Open(words)
    }
}

/// An end by its source address and the destination that was meant.
type End = (SocketAddr, SocketAddr);

/// Takes away connects and accepts that belong together.
fn pair(
    mut made: Vec<End>,
    mut accepted: Vec<End>,
    belongs: impl Fn(&End, &End) -> bool,
) -> (Vec<End>, Vec<End>) {
    made.retain(
        |connect| match accepted.iter().position(|accept| belongs(connect, accept)) {
            Some(at) => {
                accepted.swap_remove(at);
                false
            }
            None => true,
        },
    );
    (made, accepted)
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

    fn open(records: &[Record]) -> usize {
        match state(records) {
            State::Open(words) => words.len(),
            other => panic!("{other:?}"),
        }
    }

    const OWNER: Owner = Owner { uid: 1, gid: 1 };

    fn connect(from: &str, to: &str) -> Event {
        let (local, remote) = (from.parse().unwrap(), to.parse().unwrap());
        let result = ConnectResult::Connected { local, remote };
        Event::Connect {
            transport: Default::default(),
            mark: 0,
            parent: None,
            remote,
            bound: None,
            owner: OWNER,
            result,
        }
    }

    fn accept(from: &str, to: &str) -> Event {
        let (peer, dst) = (from.parse().unwrap(), to.parse().unwrap());
        let local = "10.0.0.9:15006".parse().unwrap();
        let original_dst = OriginalDst::Known(dst);
        Event::Accept {
            transport: Default::default(),
            listener: local,
            peer,
            local,
            original_dst,
            owner: OWNER,
        }
    }

    fn close() -> Event {
        Event::Close {
            received: 0,
            sent: 0,
            outcome: CloseOutcome::Done,
        }
    }

    const A: &str = "10.0.0.1:1";
    const B: &str = "10.0.0.2:9080";

    #[test]
    fn a_connection_is_open_until_both_ends_are_there_and_closed() {
        let mut records = vec![record(Role::App, 1, connect(A, B))];
        assert_eq!(open(&records), 2, "open, and nobody accepted it yet");
        records.push(record(Role::App, 1, close()));
        assert_eq!(open(&records), 1, "nobody accepted it yet");
        records.push(record(Role::Proxy, 1, accept(A, B)));
        assert_eq!(open(&records), 1, "the accepted end is open");
        records.push(record(Role::Proxy, 1, close()));
        assert_eq!(state(&records), State::Over);
    }

    #[test]
    fn a_late_accept_and_a_late_connect_do_not_cancel_out() {
        let records = [
            record(Role::App, 1, connect(A, B)),
            record(Role::App, 1, close()),
            record(Role::App, 2, accept("127.0.0.6:7", B)),
            record(Role::App, 2, close()),
        ];
        assert_eq!(
            open(&records),
            2,
            "one accept and one connect are still to come"
        );
    }

    #[test]
    fn a_rewritten_source_port_is_over_only_once_everybody_was_asked() {
        let records = [
            record(Role::App, 1, connect(A, B)),
            record(Role::App, 1, close()),
            record(Role::Proxy, 1, accept("10.0.0.1:61102", B)),
            record(Role::Proxy, 1, close()),
        ];
        assert_eq!(state(&records), State::OverIfRewritten);
    }

    #[test]
    fn a_refused_connection_is_over_at_once() {
        let refused = Event::Connect {
            transport: Default::default(),
            mark: 0,
            parent: None,
            remote: B.parse().unwrap(),
            bound: None,
            owner: OWNER,
            result: ConnectResult::Failed {
                errno: "ECONNREFUSED".into(),
            },
        };
        assert_eq!(state(&[record(Role::App, 1, refused)]), State::Over);
    }
}
