//! Writes the logs that `hoplab logs` shows: what processes say to people, and the connections they report.

use std::{
    fs::{self, File},
    io::{self, Write},
    time::{Duration, SystemTime},
};

use hoplab_proxies::record::{CloseOutcome, ConnectResult, Event, OriginalDst, Record, Transport};
use hoplab_proxies::wire::Line;
use nix::time::{ClockId, clock_gettime};

use crate::{
    netfilter::timestamp,
    process::Spawned,
    sandbox::{LOG_ROOM, full_log_path, log_path},
};

/// The log of one process. Nothing depends on it: what can't be written is left out.
#[derive(Default)]
pub(super) struct LogFile {
    file: Option<File>,
    bytes: u64,
}

impl LogFile {
    /// Writes down what a process did.
    pub fn take(&mut self, pod: &str, process: &str, what: &Spawned) {
        let Some(line) = line(what) else { return };
        if let Err(error) = self.write(pod, process, &line) {
            tracing::warn!(pod, process, %error, "could not write to a log");
        }
    }

    fn write(&mut self, pod: &str, process: &str, line: &str) -> io::Result<()> {
        if self.bytes > LOG_ROOM {
            fs::rename(log_path(pod, process), full_log_path(pod, process))?;
            self.file = None;
        }
        let file = match &mut self.file {
            Some(file) => file,
            none => {
                let file = open(pod, process)?;
                self.bytes = file.metadata()?.len();
                none.insert(file)
            }
        };
        // In one piece: whoever follows the log reads whole lines.
        let line = format!("{line}\n");
        self.bytes += line.len() as u64;
        file.write_all(line.as_bytes())
    }
}

/// Writes down what istio-init printed, as the kubelet keeps the log of a container that has ended.
pub(super) fn keep_init_log(pod: &str, text: &str) {
    let written = open(pod, "istio-init").and_then(|mut file| file.write_all(text.as_bytes()));
    if let Err(error) = written {
        tracing::warn!(pod, %error, "could not write the log of istio-init");
    }
}

/// One that is there goes on: a process that was started again has the log of the one before.
fn open(pod: &str, process: &str) -> io::Result<File> {
    let path = log_path(pod, process);
    if let Some(dir) = path.parent() {
        fs::create_dir_all(dir)?;
    }
    File::options().append(true).create(true).open(path)
}

/// The line of what a process did; none of what is only for the lab.
fn line(what: &Spawned) -> Option<String> {
    Some(match what {
        // Has a time of its own.
        Spawned::Stderr(line) => line.clone(),
        Spawned::Line(Line::Record(record)) => {
            format!("{}  CONN {}", timestamp(time_of(record)), words(record))
        }
        Spawned::Exit(exit) => {
            format!("{}  LAB  ended: {}", timestamp(SystemTime::now()), exit.0)
        }
        Spawned::Garbled(line) => format!("{}  LAB  garbled: {line}", timestamp(SystemTime::now())),
        // It says the same to people.
        Spawned::Line(Line::Ready { .. } | Line::Reply { .. } | Line::Synced { .. }) => {
            return None;
        }
    })
}

/// Records have the time since the machine started.
fn time_of(record: &Record) -> SystemTime {
    let now = clock_gettime(ClockId::CLOCK_MONOTONIC).map_or(Duration::ZERO, Duration::from);
    let ago = now.saturating_sub(Duration::from_nanos(record.at_ns));
    SystemTime::now() - ago
}

/// A record in words, as an access log has them.
fn words(record: &Record) -> String {
    let id = |it: &Record| {
        let id = it.request_id.as_ref();
        id.map_or_else(String::new, |id| format!(", request {id}"))
    };
    let over = |it: &Transport| match it {
        Transport::Tcp => "",
        Transport::Udp => " over UDP",
    };
    let number = record.conn;
    match &record.event {
        Event::Accept {
            transport,
            peer,
            local,
            original_dst,
            ..
        } => {
            let original = match original_dst {
                OriginalDst::Known(original) if original != local => {
                    format!(", sent to {original}")
                }
                _ => String::new(),
            };
            let over = over(transport);
            format!(
                "#{number} accepted {peer} at {local}{over}{original}{}",
                id(record)
            )
        }
        Event::Connect {
            transport,
            parent,
            remote,
            result,
            ..
        } => {
            let parent = parent.map_or_else(String::new, |it| format!(", for #{it}"));
            let over = over(transport);
            match result {
                ConnectResult::Connected { local, remote } => {
                    format!(
                        "#{number} connected {local} → {remote}{over}{parent}{}",
                        id(record)
                    )
                }
                ConnectResult::Failed { errno } => {
                    format!(
                        "#{number} could not connect to {remote}{over}: {errno}{parent}{}",
                        id(record)
                    )
                }
            }
        }
        Event::Close {
            received,
            sent,
            outcome,
        } => {
            let how = match outcome {
                CloseOutcome::Done => "closed".to_owned(),
                CloseOutcome::LoopRefused(why) => format!("refused, it would be a loop: {why}"),
                CloseOutcome::UpstreamFailed(errno) => format!("closed, no upstream: {errno}"),
                CloseOutcome::OverLimit => "closed, over the limit".to_owned(),
                CloseOutcome::Reset => "reset by the other end".to_owned(),
                CloseOutcome::Error(why) => format!("failed: {why}"),
            };
            format!(
                "#{number} {how}; {received} bytes received, {sent} sent{}",
                id(record)
            )
        }
    }
}
