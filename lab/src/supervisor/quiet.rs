//! When a flow is over, judged by the logs alone.
//!
//! A process writes a connection's records in causal order, but the logs of two processes arrive in any order. So a
//! flow is over when every connection that was made has met its accept, every accept its connect, and both ends are
//! closed. Counting would not do: a connect whose accept is late and an accept whose connect is late cancel out.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::SocketAddr,
};

use hoplab_proxies::record::{CloseOutcome, ConnectResult, Event, Record, Role, Transport};

/// What the logs say about the end of a flow.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum State {
    /// Every connect has met its accept, and both ends are closed.
    Over,
    /// The same, if REDIRECT rewrote a source port or the host a source address, or nobody took a UDP query that stayed without an answer; or records
    /// are still on their way. Once every process has been asked and no record came, it is the former.
    OverIfAsked,
    /// What is still open, in words.
    Open(Vec<String>),
}

/// Judges the records of a flow. One whose connection `stays_open` is over once every connect has met its accept, and
/// nobody has more to say.
pub(super) fn state(records: &[Record], stays_open: bool) -> State {
    let mut open: BTreeMap<Key, &str> = BTreeMap::new();
    let (mut made, mut accepted) = (Vec::new(), Vec::new());
    // UDP queries by their connection: connect(2) says nothing about anybody at the other end.
    let mut queries: BTreeMap<Key, End> = BTreeMap::new();
    let mut unanswered = Vec::new();
    for record in records {
        let key = (record.pod.as_str(), record.role, record.pid, record.conn);
        match &record.event {
            Event::Accept {
                transport,
                peer,
                local,
                original_dst,
                ..
            } => {
                open.insert(key, "accepted");
                let to = original_dst.addr().unwrap_or(*local);
                accepted.push((*transport, *peer, to));
            }
            Event::Connect {
                transport,
                remote,
                result: ConnectResult::Connected { local, .. },
                ..
            } => {
                open.insert(key, "opened");
                let end = (*transport, *local, *remote);
                made.push(end);
                if *transport == Transport::Udp {
                    queries.insert(key, end);
                }
            }
            Event::Connect { .. } => {}
            Event::Close { outcome, .. } => {
                open.remove(&key);
                let query = queries.remove(&key);
                unanswered.extend(query.filter(|_| *outcome != CloseOutcome::Done));
            }
        }
    }
    let mut words: Vec<String> = open
        .iter()
        .map(|((pod, role, _, conn), how)| format!("connection {conn} {how} by {role} of {pod}"))
        .collect();
    if stays_open {
        words.clear();
    }
    let (unmet, stray) = pair(made, accepted, |end| (end.0, end.1));
    if words.is_empty() && !unmet.is_empty() {
        let answered = unmet.iter().filter(|end| !unanswered.contains(end));
        let port_rewritten = |end: &End| (end.0, end.1.ip(), end.2);
        let (unmet, stray) = pair(answered.copied().collect(), stray.clone(), port_rewritten);
        let address_rewritten = |end: &End| (end.0, end.1.port(), end.2);
        let (unmet, stray) = pair(unmet, stray, address_rewritten);
        // The node does both to a pod that calls itself by a service: who accepts it knows neither end.
        let both_rewritten = |end: &End| (end.0, end.1.port());
        if pair(unmet, stray, both_rewritten) == (Vec::new(), Vec::new()) {
            return State::OverIfAsked;
        }
    }
    words.extend(
        unmet
            .iter()
            .map(|(_, from, to)| format!("the connection {from} → {to} met no accept")),
    );
    words.extend(
        stray
            .iter()
            .map(|(_, from, to)| format!("the accept from {from} for {to} met no connect")),
    );
    if words.is_empty() && stays_open {
        State::OverIfAsked
    } else if words.is_empty() {
        State::Over
    } else {
        State::Open(words)
    }
}

/// Sources of the TCP connections that were made: conntrack must see the end of these. One that failed may have none.
pub(super) fn sources(records: &[Record]) -> BTreeSet<SocketAddr> {
    let made = records.iter().filter_map(|record| match &record.event {
        Event::Connect {
            transport: Transport::Tcp,
            result: ConnectResult::Connected { local, .. },
            ..
        } => Some(*local),
        Event::Accept {
            transport: Transport::Tcp,
            peer,
            ..
        } => Some(*peer),
        _ => None,
    });
    made.collect()
}

/// A connection in the log of a process.
type Key<'r> = (&'r str, Role, u32, u64);

/// An end by its transport, its source address and the destination that was meant.
type End = (Transport, SocketAddr, SocketAddr);

/// Takes away connects and accepts that belong together: those of equal `likeness`.
fn pair<L: Ord>(
    mut made: Vec<End>,
    accepted: Vec<End>,
    likeness: impl Fn(&End) -> L,
) -> (Vec<End>, Vec<End>) {
    let mut waiting: BTreeMap<L, Vec<End>> = BTreeMap::new();
    for accept in accepted {
        waiting.entry(likeness(&accept)).or_default().push(accept);
    }
    made.retain(|connect| {
        let alike = waiting.get_mut(&likeness(connect));
        alike.and_then(Vec::pop).is_none()
    });
    (made, waiting.into_values().flatten().collect())
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
        match state(records, false) {
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
        assert_eq!(state(&records, false), State::Over);
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
        assert_eq!(state(&records, false), State::OverIfAsked);
    }

    /// The host gives kubelet's probes another address, and keeps the port.
    #[test]
    fn a_rewritten_source_address_is_over_only_once_everybody_was_asked() {
        let port = A.rsplit(':').next().unwrap();
        let seen = format!("169.254.7.127:{port}");
        let records = [
            record(Role::App, 1, connect(A, B)),
            record(Role::App, 1, close()),
            record(Role::Proxy, 1, accept(&seen, B)),
            record(Role::Proxy, 1, close()),
        ];
        assert_eq!(state(&records, false), State::OverIfAsked);
    }

    fn query(from: &str, to: &str) -> Event {
        match connect(from, to) {
            Event::Connect {
                remote,
                owner,
                result,
                ..
            } => Event::Connect {
                transport: Transport::Udp,
                parent: None,
                mark: 0,
                remote,
                bound: None,
                owner,
                result,
            },
            other => other,
        }
    }

    fn without_answer() -> Event {
        Event::Close {
            received: 0,
            sent: 30,
            outcome: CloseOutcome::Error("ECONNREFUSED".into()),
        }
    }

    #[test]
    fn a_query_that_nobody_took_is_over_only_once_everybody_was_asked() {
        let mut records = vec![record(Role::App, 1, query(A, B))];
        assert_eq!(open(&records), 2, "open, and nobody took it yet");
        records.push(record(Role::App, 1, without_answer()));
        assert_eq!(state(&records, false), State::OverIfAsked);
    }

    #[test]
    fn a_query_with_an_answer_must_meet_the_server_that_took_it() {
        let records = [
            record(Role::App, 1, query(A, B)),
            record(Role::App, 1, close()),
            // The same source over TCP is another connection.
            record(Role::Dns, 1, accept(A, B)),
            record(Role::Dns, 1, close()),
        ];
        assert_eq!(open(&records), 2);
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
        assert_eq!(state(&[record(Role::App, 1, refused)], false), State::Over);
    }
}
