//! Whole stubs in this process, on loopback and on ports the kernel chooses.

mod app;
mod dns;
mod gateway;
mod many;
mod sidecar;
mod sync;

use std::io::Write;

use tokio::time::timeout;

use super::*;
use crate::record::{CloseOutcome, Event, Record};
use crate::wire::CallOutcome;

/// No test needs as long; one that hangs fails by name.
const DEADLINE: Duration = Duration::from_secs(20);

/// A stub under test.
struct Stub {
    /// Bound addresses, in the order of its configuration.
    listeners: Vec<SocketAddr>,
    commands: mpsc::Sender<Next>,
    lines: mpsc::UnboundedReceiver<Line>,
    /// Records read so far, in order.
    records: Vec<Record>,
}

/// Takes the stub's standard output apart again.
struct Lines {
    partial: Vec<u8>,
    lines: mpsc::UnboundedSender<Line>,
}

impl Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.partial.extend_from_slice(bytes);
        while let Some(end) = self.partial.iter().position(|byte| *byte == b'\n') {
            let line: Vec<u8> = self.partial.drain(..=end).collect();
            let line = serde_json::from_slice(&line).expect("a whole line");
            // A test that ended no longer listens.
            let _ = self.lines.send(line);
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Stub {
    async fn start(part: Part) -> Self {
        let (sender, lines) = mpsc::unbounded_channel();
        let sink = Lines {
            partial: Vec::new(),
            lines: sender,
        };
        let (_writer, output) = Writer::start(sink, |error| panic!("write failed: {error}"));
        let log = Log::new("pod-1".to_owned(), role(&part), output);
        let (commands, receiver) = mpsc::channel(8);
        let config = StubConfig {
            pod: "pod-1".to_owned(),
            part,
        };
        tokio::spawn(async move {
            let (level, _filter) = LogLevel::new();
            play(config, log, level, receiver)
                .await
                .expect("plays to the end");
        });
        let mut stub = Self {
            listeners: Vec::new(),
            commands,
            lines,
            records: Vec::new(),
        };
        let Line::Ready { listeners, .. } = stub.next_line().await else {
            panic!("the first line is not ready")
        };
        stub.listeners = listeners;
        stub
    }

    async fn next_line(&mut self) -> Line {
        let line = timeout(DEADLINE, self.lines.recv()).await;
        line.unwrap_or_else(|_| panic!("no line within {DEADLINE:?}; so far: {:#?}", self.records))
            .expect("the stub still runs")
    }

    /// Loopback address of the listener at `position`.
    fn on_loopback(&self, position: usize) -> SocketAddr {
        let bound = self.listeners[position];
        let ip = if bound.is_ipv4() { "127.0.0.1" } else { "::1" };
        SocketAddr::new(ip.parse().expect("literal"), bound.port())
    }

    /// Sends a GET from this stub and reads lines up to its reply.
    async fn get(&mut self, to: SocketAddr, path: &str) -> CallOutcome {
        self.get_within(to, path, DEADLINE).await
    }

    async fn get_within(&mut self, to: SocketAddr, path: &str, limit: Duration) -> CallOutcome {
        let call = Command::Call {
            source_port: None,
            source: None,
            hold: None,
            id: 7,
            to,
            host: "host".to_owned(),
            path: path.to_owned(),
            request_id: "trace-1".to_owned(),
            timeout_ms: limit.as_millis() as u64,
        };
        self.commands
            .send(Ok(call))
            .await
            .expect("the stub takes commands");
        loop {
            match self.next_line().await {
                Line::Reply { id: 7, outcome } => return outcome,
                Line::Record(record) => self.records.push(record),
                other => panic!("unexpected line {other:?}"),
            }
        }
    }

    /// Reads records until the close of connection `conn` and gives its outcome.
    async fn closed(&mut self, conn: u64) -> CloseOutcome {
        loop {
            let of_conn = self.records.iter().filter(|record| record.conn == conn);
            if let Some(outcome) = of_conn.filter_map(outcome).next() {
                return outcome;
            }
            match self.next_line().await {
                Line::Record(record) => self.records.push(record),
                other => panic!("unexpected line {other:?}"),
            }
        }
    }

    /// Events in the order of the log, such as `accept 1`.
    fn events(&self) -> Vec<String> {
        let name = |record: &Record| match &record.event {
            Event::Accept { .. } => format!("accept {}", record.conn),
            Event::Connect {
                parent: Some(parent),
                ..
            } => format!("connect {} for {parent}", record.conn),
            Event::Connect { parent: None, .. } => format!("connect {}", record.conn),
            Event::Close { .. } => format!("close {}", record.conn),
        };
        self.records.iter().map(name).collect()
    }
}

fn outcome(record: &Record) -> Option<CloseOutcome> {
    match &record.event {
        Event::Close { outcome, .. } => Some(outcome.clone()),
        _ => None,
    }
}

fn body(outcome: CallOutcome) -> String {
    match outcome {
        CallOutcome::Answer { body, .. } => body,
        other => panic!("no answer: {other:?}"),
    }
}

#[tokio::test]
async fn a_stub_whose_port_is_taken_says_which_and_why() {
    let taken = crate::listen::bind("0.0.0.0:0".parse().expect("literal")).expect("bind");
    let port = taken.address.port();
    let app = crate::wire::AppConfig {
        service: "details".to_owned(),
        ports: vec![port],
        calls: Vec::new(),
    };
    let config = StubConfig {
        pod: "pod-1".to_owned(),
        part: Part::App(app),
    };
    let (_writer, output) = Writer::start(io::sink(), |error| panic!("write failed: {error}"));
    let log = Log::new("pod-1".to_owned(), Role::App, output);
    let (_commands, receiver) = mpsc::channel(1);
    let (level, _filter) = LogLevel::new();
    let error = play(config, log, level, receiver)
        .await
        .expect_err("the port is taken");
    assert_eq!(
        error.to_string(),
        format!("cannot listen on 0.0.0.0:{port}: EADDRINUSE")
    );
}
