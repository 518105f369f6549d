//! The record format is a contract between processes and with evidence on disk: its exact text is pinned here.

use hoplab_proxies::record::{
    CloseOutcome, ConnectResult, Event, OriginalDst, Owner, Record, Role, Transport,
};
use hoplab_proxies::wire::{CallOutcome, Line};

const PROXY: Owner = Owner {
    uid: 1337,
    gid: 1337,
};

fn record(event: Event) -> Record {
    Record {
        at_ns: 1_234_567_890,
        pod: "reviews-1".to_owned(),
        role: Role::Proxy,
        pid: 7,
        conn: 3,
        request_id: None,
        event,
    }
}

fn accept(original_dst: OriginalDst) -> Event {
    Event::Accept {
        transport: Transport::Tcp,
        listener: "0.0.0.0:15006".parse().expect("literal"),
        peer: "10.77.2.2:40000".parse().expect("literal"),
        local: "10.77.1.2:15006".parse().expect("literal"),
        original_dst,
        owner: PROXY,
    }
}

fn connect(result: ConnectResult) -> Event {
    Event::Connect {
        transport: Transport::Tcp,
        parent: Some(3),
        remote: "[fd77:1::2]:9080".parse().expect("literal"),
        bound: Some("::6".parse().expect("literal")),
        mark: 0,
        owner: PROXY,
        result,
    }
}

fn assert_round_trip(line: &Line) {
    let text = serde_json::to_string(line).expect("serialize");
    assert_eq!(serde_json::from_str::<Line>(&text).expect(&text), *line);
}

#[test]
fn an_accept_line_reads_exactly_so() {
    let dst = OriginalDst::Known("10.77.1.2:9080".parse().expect("literal"));
    let text = serde_json::to_string(&Line::Record(record(accept(dst)))).expect("serialize");
    assert_eq!(
        text,
        concat!(
            r#"{"record":{"at_ns":1234567890,"pod":"reviews-1","role":"proxy","pid":7,"conn":3,"event":"accept","#,
            r#""listener":"0.0.0.0:15006","peer":"10.77.2.2:40000","local":"10.77.1.2:15006","#,
            r#""original_dst":{"known":"10.77.1.2:9080"},"owner":{"uid":1337,"gid":1337}}}"#
        )
    );
}

/// Also the shape of logs from before there were marks and UDP.
#[test]
fn a_connect_line_over_tcp_without_a_mark_names_neither() {
    let line = Line::Record(record(connect(ConnectResult::Connected {
        local: "[::6]:50000".parse().expect("literal"),
        remote: "[fd77:1::2]:9080".parse().expect("literal"),
    })));
    let text = concat!(
        r#"{"record":{"at_ns":1234567890,"pod":"reviews-1","role":"proxy","pid":7,"conn":3,"event":"connect","#,
        r#""parent":3,"remote":"[fd77:1::2]:9080","bound":"::6","owner":{"uid":1337,"gid":1337},"#,
        r#""result":{"connected":{"local":"[::6]:50000","remote":"[fd77:1::2]:9080"}}}}"#
    );
    assert_eq!(serde_json::to_string(&line).expect("serialize"), text);
    assert_eq!(
        serde_json::from_str::<Line>(text).expect("an old log"),
        line
    );
}

#[test]
fn an_accept_line_over_udp_says_so() {
    let mut event = accept(OriginalDst::None(
        "the kernel tells it of TCP and SCTP only".to_owned(),
    ));
    if let Event::Accept { transport, .. } = &mut event {
        *transport = Transport::Udp;
    }
    let line = Line::Record(record(event));
    let text = concat!(
        r#"{"record":{"at_ns":1234567890,"pod":"reviews-1","role":"proxy","pid":7,"conn":3,"event":"accept","#,
        r#""transport":"udp","listener":"0.0.0.0:15006","peer":"10.77.2.2:40000","local":"10.77.1.2:15006","#,
        r#""original_dst":{"none":"the kernel tells it of TCP and SCTP only"},"owner":{"uid":1337,"gid":1337}}}"#
    );
    assert_eq!(serde_json::to_string(&line).expect("serialize"), text);
    assert_round_trip(&line);
}

#[test]
fn a_connect_line_carries_transport_and_mark_where_there_is_something_to_tell() {
    let event = Event::Connect {
        transport: Transport::Udp,
        parent: None,
        remote: "10.96.0.10:53".parse().expect("literal"),
        bound: None,
        mark: 1337,
        owner: PROXY,
        result: ConnectResult::Failed {
            errno: "ENETUNREACH".to_owned(),
        },
    };
    let line = Line::Record(record(event));
    let text = concat!(
        r#"{"record":{"at_ns":1234567890,"pod":"reviews-1","role":"proxy","pid":7,"conn":3,"event":"connect","#,
        r#""transport":"udp","remote":"10.96.0.10:53","mark":1337,"owner":{"uid":1337,"gid":1337},"#,
        r#""result":{"failed":{"errno":"ENETUNREACH"}}}}"#
    );
    assert_eq!(serde_json::to_string(&line).expect("serialize"), text);
    assert_round_trip(&line);
}

#[test]
fn an_accept_without_conntrack_survives_a_round_trip() {
    let dst = OriginalDst::None("no conntrack in this namespace".to_owned());
    assert_round_trip(&Line::Record(record(accept(dst))));
}

#[test]
fn a_connect_survives_a_round_trip() {
    let local = "[::6]:50000".parse().expect("literal");
    let remote = "[fd77:1::2]:9080".parse().expect("literal");
    assert_round_trip(&Line::Record(record(connect(ConnectResult::Connected {
        local,
        remote,
    }))));
}

#[test]
fn a_failed_connect_survives_a_round_trip() {
    let result = ConnectResult::Failed {
        errno: "ECONNREFUSED".to_owned(),
    };
    assert_round_trip(&Line::Record(record(connect(result))));
}

#[test]
fn a_close_with_a_request_id_survives_a_round_trip() {
    let outcome = CloseOutcome::LoopRefused("peer is its own".to_owned());
    let mut close = record(Event::Close {
        received: 5,
        sent: 6,
        outcome,
    });
    close.request_id = Some("trace-1".to_owned());
    assert_round_trip(&Line::Record(close));
}

#[test]
fn a_reply_survives_a_round_trip() {
    let outcome = CallOutcome::Answer {
        status: 200,
        body: "line\nbreak".to_owned(),
    };
    assert_round_trip(&Line::Reply { id: 9, outcome });
}

#[test]
fn the_answers_to_a_lookup_read_exactly_so() {
    let resolved = CallOutcome::Resolved(vec!["10.96.0.4".parse().expect("literal")]);
    let unresolved = CallOutcome::Unresolved("NXDOMAIN".to_owned());
    let text = |outcome| serde_json::to_string(&Line::Reply { id: 9, outcome }).expect("serialize");
    assert_eq!(
        text(resolved),
        r#"{"reply":{"id":9,"outcome":{"resolved":["10.96.0.4"]}}}"#
    );
    assert_eq!(
        text(unresolved),
        r#"{"reply":{"id":9,"outcome":{"unresolved":"NXDOMAIN"}}}"#
    );
}
