//! `hoplab capture`: the packets of pods in one file, each with the rules it met.

use std::{
    fs::File,
    io::{self, BufWriter, IsTerminal as _, Write},
    path::{Path, PathBuf},
    process::ExitCode,
    time::Duration,
};

use super::{Outcome, name};
use crate::{
    capture::{Capture, CaptureError, Interface, Totals, pcapng},
    cli::trace::ends::{self, End, Ends},
    failure::{Class, Failure},
    live,
};

#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  hoplab capture -w all.pcapng                      every pod, until Ctrl-C
  hoplab capture reviews-v1 ratings -w two.pcapng --for 10s
  hoplab capture reviews-v1 -w - | wireshark -k -i -
  hoplab capture -w - | tcpdump -n -r -

Each interface has its name as POD/INTERFACE, and each packet a comment: its pod, and the rules it matched where the \
kernel tells: of TCP for the first packet of a connection, its answer and resets, of UDP for all. A packet after \
REDIRECT is on lo when the app sent it, and on no interface when it came from outside: the comment has what it became. \
Ends with 5 when packets or rules were lost.")]
pub(in crate::cli) struct Args {
    /// Names of pods, or `node` [default: every pod]
    #[arg(value_name = "POD")]
    pods: Vec<String>,
    /// The file, or - for standard output
    #[arg(short, long, value_name = "FILE")]
    write: PathBuf,
    /// End after this many packets
    #[arg(short, long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    count: Option<u64>,
    /// End after this time, such as 500ms, 10s or 2m
    #[arg(long = "for", visible_alias = "duration", value_name = "TIME", value_parser = ends::duration)]
    time: Option<Duration>,
    /// Packets alone: no observers in the pods' rules
    #[arg(long)]
    no_rules: bool,
    /// Name of the lab, not needed when only one is up
    #[arg(long, value_parser = name)]
    lab: Option<String>,
}

pub(super) fn run(args: &Args) -> Outcome {
    let to_stdout = args.write == Path::new("-");
    if to_stdout && io::stdout().is_terminal() {
        return Err(
            Failure::new(Class::Input, "a capture is no text for a terminal")
                .hint("give it a file: -w lab.pcapng, or a program: -w - | tcpdump -r -"),
        );
    }
    let lab = live::find(args.lab.as_deref())?;
    let mut pods = args.pods.clone();
    if pods.is_empty() {
        pods = lab.state().pods.iter().map(|it| it.name.clone()).collect();
    }
    let mut seen = std::collections::BTreeSet::new();
    pods.retain(|pod| seen.insert(pod.clone()));
    // Before a file is made for them.
    for pod in pods.iter().filter(|it| *it != "node") {
        lab.processes_in(pod)?;
    }
    let is_new = !to_stdout && !args.write.exists();
    let file: Box<dyn Write> = match to_stdout {
        true => Box::new(io::stdout()),
        // As the caller, before the lab's user namespace is entered.
        false => Box::new(File::create(&args.write).map_err(|error| {
            let what = format!("could not write {}", args.write.display());
            Failure::new(Class::Input, what).cause(error.to_string())
        })?),
    };
    let capture = Capture::open(&lab, &pods, !args.no_rules).inspect_err(|_| {
        if is_new {
            // An empty file of a capture that never was helps nobody.
            let _ = std::fs::remove_file(&args.write);
        }
    })?;
    let interfaces = capture.interfaces();
    let file = BufWriter::with_capacity(1 << 20, file);
    let file = pcapng::File::begin(file, lab.name(), &interfaces)?;
    let mut ends = Ends::watch(args.time)?;
    anstream::eprintln!("capturing {}", in_words(&interfaces));
    let mut written = Written {
        file,
        packets: 0,
        with_rules: 0,
        most: args.count.unwrap_or(u64::MAX),
    };
    let (end, totals) = match written.until_end(capture, &mut ends) {
        Ok((end, totals)) => (end, totals),
        Err(CaptureError::Write(error)) if error.kind() == io::ErrorKind::BrokenPipe => {
            (End::ReaderGone, None)
        }
        Err(error) => return Err(error.into()),
    };
    if end == End::Process {
        anstream::eprintln!("lab `{}` went down", lab.name());
    }
    conclude(args, &interfaces, &written, end, totals)
}

/// What was written so far.
struct Written<W: Write> {
    file: pcapng::File<W>,
    packets: u64,
    with_rules: u64,
    most: u64,
}

impl<W: Write> Written<W> {
    fn until_end(
        &mut self,
        mut capture: Capture,
        ends: &mut Ends,
    ) -> Result<(End, Option<Totals>), CaptureError> {
        // A reader of standard output learns of the interfaces before the first packet.
        self.file.flush()?;
        let end = loop {
            let packets = capture.read()?;
            self.add(&packets)?;
            if self.packets >= self.most {
                break End::Count;
            }
            if let Some(end) = ends.come(capture.lab()) {
                break end;
            }
            capture.wait(&ends.to_wait_for(capture.lab()), ends.deadline())?;
        };
        let (rest, totals) = capture.finish()?;
        self.add(&rest)?;
        self.file.end(&totals.counted)?;
        Ok((end, Some(totals)))
    }

    fn add(&mut self, packets: &[crate::capture::Joined]) -> Result<(), CaptureError> {
        for packet in packets {
            if self.packets == self.most {
                break;
            }
            self.file.packet(packet)?;
            self.packets += 1;
            self.with_rules += u64::from(packet.has_rules);
        }
        match packets.is_empty() {
            true => Ok(()),
            false => self.file.flush(),
        }
    }
}

/// `caller (eth0, lo), called (eth0, lo)`.
fn in_words(interfaces: &[Interface]) -> String {
    let pods = interfaces.chunk_by(|a, b| a.pod == b.pod);
    let words = pods.map(|pod| {
        let names: Vec<&str> = pod.iter().map(|it| it.name.as_str()).collect();
        format!("{} ({})", pod[0].pod, names.join(", "))
    });
    words.collect::<Vec<_>>().join(", ")
}

fn conclude<W: Write>(
    args: &Args,
    interfaces: &[Interface],
    written: &Written<W>,
    end: End,
    totals: Option<Totals>,
) -> Outcome {
    let Totals { counted, lost } = totals.unwrap_or_default();
    let dropped: u64 = counted.iter().map(|it| it.dropped).sum();
    anstream::eprintln!(
        "{} packets of {} interfaces, {} of them with their rules; {dropped} dropped for want of room",
        written.packets,
        interfaces.len(),
        written.with_rules,
    );
    for (interface, counted) in interfaces.iter().zip(&counted) {
        if counted.dropped > 0 {
            let Interface { pod, name } = interface;
            anstream::eprintln!("  {pod}/{name}: {} of {}", counted.dropped, counted.seen);
        }
    }
    if let Some(words) = lost.words() {
        anstream::eprintln!("incomplete: of the rules, {words}");
    }
    let is_short = args.count.is_some_and(|count| written.packets < count);
    if is_short && end == End::Time {
        anstream::eprintln!(
            "incomplete: {} packets seen, of {}",
            written.packets,
            written.most
        );
    }
    if let (End::Signal(signal), true) = (end, args.count.is_some() || args.time.is_some()) {
        return Ok(ExitCode::from(128 + signal));
    }
    let gone = end == End::Process;
    Ok(
        match dropped > 0 || !lost.is_nothing() || is_short && end != End::ReaderGone {
            true => ExitCode::from(Class::Incomplete.exit_code()),
            false if gone => ExitCode::from(Class::State.exit_code()),
            false => ExitCode::SUCCESS,
        },
    )
}
