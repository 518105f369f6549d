//! `hoplab predict`: what rules do to a packet, and why. Needs no root and no lab.

use std::{net::IpAddr, process::ExitCode};

use serde_json::{Value, json};

use super::{
    Outcome,
    source::{self, Source, Text, complaint},
    stdout::say,
};
use crate::{
    model::{Given, JourneyEnd, journey, local_marks, mark_value, question},
    report::{end_words, journey_json, journey_text},
    rules::{Family, MarkValue, RuleSet},
};

/// Exit code when the end of a packet is unknown: as evidence that is incomplete.
const UNKNOWN: u8 = 5;

#[derive(clap::Args)]
#[command(after_help = "\
A packet is words in quotes: in= or out=, tcp or udp (or proto=), src=, dst= with a port or sport= and dport=, uid=, \
gid=, mark=, connmark=, state=, zone=, flags=. `in=eth0` starts at PREROUTING, `out=` or `uid=` at OUTPUT. What is \
left out is assumed, and the answer says so: the routes are those of a pod, loopback and one interface.

Examples:
  hoplab predict --rules my.rules 'uid=1337 out=lo dst=10.244.1.20:9080'
  hoplab predict --rules my.rules -q 'in=eth0 dst=10.244.1.20:9080' 'in=eth0 dst=10.244.1.20:15021'
  hoplab predict --rules tproxy.rules --address 10.244.1.20 'uid=1000 dst=10.0.0.9:40000 state=ESTABLISHED connmark=1337'
  hoplab predict --rules profile:kuma -q 'uid=1000 dst=10.244.1.20:9080'
  hoplab rules render -b '*' -i '*' | hoplab predict --rules - 'udp uid=1000 dst=10.96.0.10:53'

Exit codes: 0 the end of every packet is known, 2 a packet, flag or file is wrong,
5 the end of a packet depends on something that is not modelled: it is called unknown, never guessed.")]
pub(super) struct Args {
    #[arg(long, value_name = "SOURCE", help = source::HELP)]
    rules: Source,
    /// The packets, each in quotes
    #[arg(required = true, value_name = "PACKET")]
    packets: Vec<String>,
    /// Family of a form of rules that does not tell it
    #[arg(long, default_value = "ipv4", value_parser = super::family)]
    family: Family,
    /// Address of the machine the rules are on (once per family) [default: as the packet tells]
    #[arg(long, value_name = "ADDRESS")]
    address: Vec<IpAddr>,
    /// Mark whose packets `ip rule` routes to this machine, or `none` (repeatable) [default: as the rules tell]
    #[arg(long, value_name = "MARK[/MASK]", value_parser = fwmark)]
    fwmark: Vec<Fwmark>,
    /// One line for each packet
    #[arg(short, long, conflicts_with = "json")]
    quiet: bool,
    /// Print everything as one JSON value
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Clone, Copy)]
enum Fwmark {
    None,
    Mark(MarkValue),
}

fn fwmark(text: &str) -> Result<Fwmark, String> {
    match text {
        "none" => Ok(Fwmark::None),
        mark => mark_value(mark)
            .map(Fwmark::Mark)
            .ok_or_else(|| "expected a mark such as 1337 or 0x111/0xfff, or none".to_owned()),
    }
}

pub(super) fn run(args: &Args) -> Outcome {
    let mut sources = Vec::new();
    for text in args.rules.open()? {
        let sets = text.read(args.family)?.rules().map_err(complaint)?;
        sources.push((text, sets));
    }
    if sources.is_empty() {
        // A process without rules: what happens to a packet there is a question all the same.
        let nothing = Text {
            origin: args.rules.to_string(),
            ..Text::default()
        };
        sources.push((nothing, Vec::new()));
    }
    let (mut out, mut values, mut known) = (String::new(), Vec::new(), true);
    for (text, sets) in &sources {
        let rules = &text.origin;
        let answers = args.packets.iter().enumerate().map(|(index, packet)| {
            let origin = format!("packet {}", index + 1);
            answer(args, text, sets, packet, &origin)
        });
        let answers = answers.collect::<Result<Vec<_>, _>>()?;
        if sources.len() > 1 {
            out.push_str(&format!("{rules}:\n"));
        }
        for answer in answers {
            known &= answer.known;
            if !out.is_empty() && !args.quiet {
                out.push('\n');
            }
            out.push_str(&answer.text);
            values.push(json!({ "rules": rules, "answer": answer.json }));
        }
    }
    if args.json {
        let all = json!({ "packets": values });
        out = format!("{all:#}\n");
    }
    say(&out)?;
    Ok(ExitCode::from(if known { 0 } else { UNKNOWN }))
}

struct Answer {
    known: bool,
    text: String,
    json: Value,
}

fn answer(
    args: &Args,
    text: &Text,
    sets: &[RuleSet],
    packet: &str,
    origin: &str,
) -> Result<Answer, crate::failure::Failure> {
    let mut given = Given {
        addresses: args.address.clone(),
        ..Given::default()
    };
    let asked = question(packet, origin, &given).map_err(complaint)?;
    let family = asked.packet.family();
    let rules = sets.iter().find(|it| it.family == family).cloned();
    let rules = rules.unwrap_or_else(|| RuleSet::empty(family));
    given.local_marks = marks(args, text, &rules);
    given.conntrack_sleeps = !rules.wakes_conntrack();
    // Again, for a packet whose own mark decides by which interface it leaves.
    let asked = question(packet, origin, &given).map_err(complaint)?;
    let journey = journey(&rules, &asked.host, asked.packet.clone());
    let text = match args.quiet {
        true => {
            let nothing = match rules.is_empty() {
                true => format!("; the rules hold nothing for {family}"),
                false => String::new(),
            };
            format!("{packet}: {}{nothing}\n", end_words(&asked, &journey))
        }
        false => journey_text(&rules, &asked, &journey),
    };
    Ok(Answer {
        known: !matches!(journey.end, JourneyEnd::Unknown(_)),
        json: journey_json(&rules, packet, &asked, &journey),
        text,
    })
}

fn marks(args: &Args, text: &Text, rules: &RuleSet) -> Vec<MarkValue> {
    if args.fwmark.is_empty() {
        let known = text.local_marks(rules.family);
        return known.unwrap_or_else(|| local_marks(rules));
    }
    let given = args.fwmark.iter().filter_map(|it| match it {
        Fwmark::None => None,
        Fwmark::Mark(mark) => Some(*mark),
    });
    given.collect()
}
