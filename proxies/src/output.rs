//! The one way to standard output: lines leave in the order they were handed over, whole, and none is lost.
//!
//! A bounded queue leads to a writer thread. A slow reader fills the pipe, then the queue, then makes the senders
//! wait: connections slow down, memory stays bounded and nothing is dropped.

use std::io::{self, BufWriter, Write};
use std::thread::{self, JoinHandle};

use tokio::sync::mpsc;

use crate::errno::errno_name;
use crate::wire::Line;

/// Lines that may wait for the reader; about a megabyte of records.
const QUEUE: usize = 4096;

#[expect(
    clippy::large_enum_variant,
    reason = "all but the last message are lines"
)]
enum Message {
    Line(Line),
    Finish,
}

/// Handle to the writer; clones share its queue.
#[derive(Clone)]
pub(crate) struct Output {
    queue: mpsc::Sender<Message>,
}

impl Output {
    /// Hands a line over. Returns once it is queued, which may wait for a slow reader.
    pub(crate) async fn send(&self, line: Line) {
        // The queue closes only after a failed write, and then the process is about to end with its message.
        let _ = self.queue.send(Message::Line(line)).await;
    }
}

/// The writer thread.
pub(crate) struct Writer {
    queue: mpsc::Sender<Message>,
    thread: JoinHandle<io::Result<()>>,
}

impl Writer {
    /// Starts writing to `sink`; `on_failure` runs on the writer thread when the sink fails, before the queue closes.
    pub(crate) fn start<W, F>(sink: W, on_failure: F) -> (Self, Output)
    where
        W: Write + Send + 'static,
        F: FnOnce(&io::Error) + Send + 'static,
    {
        let (queue, lines) = mpsc::channel(QUEUE);
        let thread = thread::spawn(move || write_lines(sink, lines).inspect_err(on_failure));
        let output = Output {
            queue: queue.clone(),
        };
        (Self { queue, thread }, output)
    }

    /// Writes everything queued so far and stops. Must not be called from async code.
    pub(crate) fn finish(self) -> io::Result<()> {
        // A closed queue means the thread already failed; joining it gives the reason.
        let _ = self.queue.blocking_send(Message::Finish);
        self.thread
            .join()
            .unwrap_or_else(|_| Err(io::Error::other("writer thread panicked")))
    }
}

/// Ends the process: without its log a stub proves nothing, and nobody is left to read it.
pub(crate) fn exit_without_reader(error: &io::Error) {
    eprintln!(
        "hoplab stub: cannot write to standard output: {}",
        errno_name(error)
    );
    std::process::exit(1);
}

fn write_lines(sink: impl Write, mut lines: mpsc::Receiver<Message>) -> io::Result<()> {
    let mut sink = BufWriter::with_capacity(64 * 1024, sink);
    while let Some(message) = lines.blocking_recv() {
        let Message::Line(line) = message else { break };
        serde_json::to_writer(&mut sink, &line)?;
        sink.write_all(b"\n")?;
        // Flush as soon as nothing waits: prompt when idle, few system calls under load.
        if lines.is_empty() {
            sink.flush()?;
        }
    }
    sink.flush()
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc as gate;

    use super::*;
    use crate::wire::CallOutcome;

    /// A reader that takes nothing until it is told to.
    struct SlowReader {
        opened: gate::Receiver<()>,
        read: gate::Sender<Vec<u8>>,
    }

    impl Write for SlowReader {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            // After the gate is dropped every read is free.
            let _ = self.opened.recv();
            self.read.send(bytes.to_vec()).map_err(io::Error::other)?;
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn reply(id: u64) -> Line {
        Line::Reply {
            id,
            outcome: CallOutcome::Timeout,
        }
    }

    #[test]
    fn a_slow_reader_makes_senders_wait_and_loses_nothing() {
        let (open, opened) = gate::channel();
        let (read, chunks) = gate::channel();
        let (writer, output) = Writer::start(SlowReader { opened, read }, |error| {
            panic!("write failed: {error}")
        });
        let sent: u64 = 3 * QUEUE as u64;
        let runtime = tokio::runtime::Builder::new_current_thread()
            .build()
            .expect("runtime");
        runtime.block_on(async {
            let queue = output.queue.clone();
            let sending = tokio::spawn(async move {
                for id in 0..sent {
                    output.send(reply(id)).await;
                }
            });
            while queue.capacity() > 0 {
                tokio::task::yield_now().await;
            }
            assert!(!sending.is_finished(), "the queue has no bound");
            drop(open);
            sending.await.expect("no panic");
        });
        writer.finish().expect("written");
        let bytes: Vec<u8> = chunks.iter().flatten().collect();
        let lines = String::from_utf8(bytes).expect("text");
        let ids = lines.lines().map(|line| match serde_json::from_str(line) {
            Ok(Line::Reply { id, .. }) => id,
            other => panic!("not a reply: {other:?}"),
        });
        assert!(ids.eq(0..sent), "lines are missing or out of order");
    }
}
