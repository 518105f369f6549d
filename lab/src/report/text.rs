//! The result of a run as text: what came up, each flow, the notes, what went down.

use std::{collections::BTreeSet, fmt::Write as _};

use super::{
    Style,
    heading::{heading, up},
    notes,
};
use crate::{
    evidence::{Down, Evidence, Taken},
    judge::{Agreement, Check, Claim, Finding, FlowVerdict, Hops, Judgement, Verdict, Witness},
    lab_file::Expect,
    rules,
    topology::Topology,
};

/// How much to say.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Detail {
    /// One line, and what is wrong.
    Quiet,
    /// Flows and steps.
    Normal,
    /// Every claim with its witnesses.
    Verbose,
}

/// Everything a report shows.
pub struct Run<'a> {
    /// The lab.
    pub topology: &'a Topology,
    /// What was observed.
    pub evidence: &'a Evidence,
    /// The verdict.
    pub judgement: &'a Judgement,
    /// What went down; none when the lab was kept.
    pub down: Option<&'a Down>,
    /// Microseconds from start to end; none when nobody wrote down the end.
    pub took_us: Option<u64>,
}

/// The whole report.
pub fn summary(run: &Run, detail: Detail) -> String {
    let mut out = String::new();
    if detail > Detail::Quiet {
        heading(&mut out, run);
        up(&mut out, run);
    }
    rule_changes(&mut out, run);
    flows(&mut out, run, detail);
    if let Some(found) = &run.judgement.notes {
        notes::write(&mut out, found, detail);
    }
    if detail > Detail::Quiet {
        down(&mut out, run);
    }
    verdict(&mut out, run);
    out
}

/// Rules that are not the lab's own come first: they are what the rest follows from.
fn rule_changes(out: &mut String, run: &Run) {
    let changes = &run.judgement.rule_changes;
    if changes.is_empty() {
        return;
    }
    let _ = writeln!(
        out,
        "{}",
        Style::bold(match run.judgement.expect {
            Expect::File => "the rules in the pods are not the lab's own",
            Expect::Rules | Expect::Outcome =>
                "the rules in the pods are not those that were meant",
        })
    );
    for change in changes {
        let _ = writeln!(out, "  {change}");
    }
    out.push('\n');
}

fn flows(out: &mut String, run: &Run, detail: Detail) {
    let flows = &run.judgement.flows;
    let route = |f: &FlowVerdict| {
        let flow = run.topology.flow(&f.flow);
        flow.map_or(String::new(), |f| format!("{} → {}", f.from, f.to))
    };
    let names: Vec<String> = flows.iter().map(|f| run.judgement.name_of(f)).collect();
    let name_width = width(names.iter().map(String::as_str), "flow");
    let routes: Vec<String> = flows.iter().map(route).collect();
    let answer_width = width(flows.iter().map(|f| f.answer.as_str()), " answer");
    let route_width = width(routes.iter().map(String::as_str), "from → to");
    if detail > Detail::Quiet {
        let head = format!(
            "{:name_width$}  {:route_width$}  {:>answer_width$}  {:>4}  {:>5}  {:11}{:>8}  witnesses",
            "flow", "from → to", "answer", "legs", "rules", "verdict", "time"
        );
        let _ = writeln!(out, "{}", Style::dim(&head));
    }
    for (at, ((flow, name), route)) in flows.iter().zip(&names).zip(&routes).enumerate() {
        steps(out, run, detail, |it| it.after_flows == at);
        let bad = flow.verdict != Verdict::Holds;
        if detail > Detail::Quiet || bad {
            let _ = writeln!(
                out,
                "{:name_width$}  {}{}  {:>answer_width$}  {:>4}  {:>5}  {}{:>8}  {}",
                name,
                route,
                " ".repeat(route_width - route.chars().count()),
                flow.answer,
                flow.legs,
                flow.moved,
                Style::verdict(flow.verdict, &flow.verdict.to_string(), 11),
                ms(flow.took_us),
                Style::dim(&witnesses(flow.claims.iter().flat_map(Claim::witnesses))),
            );
        }
        if let Some(answer) = flow
            .file_expects
            .as_ref()
            .filter(|_| detail > Detail::Quiet || bad)
        {
            let words = format!("the file, written for its own rules, expects {answer}");
            let _ = writeln!(out, "    {}", Style::dim(&words));
        }
        claims(out, &flow.claims, detail);
    }
    steps(out, run, detail, |it| it.after_flows >= flows.len());
    claims(out, &run.judgement.run, detail);
    if detail > Detail::Quiet {
        let legs: usize = flows.iter().map(|f| f.legs).sum();
        let moved = rules::packets(flows.iter().map(|f| f.moved));
        let more = if detail < Detail::Verbose {
            " (-v shows each of them)"
        } else {
            ""
        };
        let text = format!(
            "{legs} connections, {moved} rule moves, each explained{more}; every other rule of every pod moved by 0"
        );
        let of_run = run.judgement.run.iter().map(Claim::verdict);
        let mut all = flows.iter().map(|f| f.verdict).chain(of_run);
        if all.all(|verdict| verdict == Verdict::Holds) {
            let _ = writeln!(out, "{}", Style::dim(&text));
        }
        let words = agreement(&run.judgement.agreement);
        let _ = writeln!(out, "{}", Style::dim(&words));
        let words = hops(run.judgement);
        let _ = writeln!(out, "{}", Style::dim(&words));
        out.push('\n');
    }
}

/// Steps that were taken at a place among the flows.
fn steps(out: &mut String, run: &Run, detail: Detail, at: impl Fn(&Taken) -> bool) {
    for taken in run.evidence.steps.iter().filter(|it| at(it)) {
        let steps = &run.topology.steps;
        let step = steps.iter().find(|it| it.name == taken.step);
        let what = step.map_or(String::new(), |it| it.to_string());
        if detail > Detail::Quiet {
            let words = format!("step {}: {what}", taken.step);
            let _ = writeln!(out, "{}", Style::dim(&words));
        }
    }
}

/// Model against kernel, over all flows: one count is one rule of one pod in one flow.
fn agreement(found: &Agreement) -> String {
    let agreed = found.moved + found.still;
    let (moved, exactly) = (found.moved, found.exactly);
    let counts =
        format!("{agreed} counts of rules ({moved} of them not 0, {exactly} to the packet)");
    match found.disagreed {
        0 => format!("model and kernel agree on all {counts}"),
        wrong => format!("model and kernel agree on {counts} and differ on {wrong}"),
    }
}

/// `all 64 connections have two kinds of witnesses or more, 52 four or more; 511 packets were traced rule by rule`
fn hops(judgement: &Judgement) -> String {
    let Hops {
        connections,
        by_two,
        by_four,
    } = judgement.hops;
    let two = match connections - by_two {
        0 => format!("all {connections}"),
        _ => format!("{by_two} of {connections}"),
    };
    let traced = match judgement.traced {
        0 => "no packet was traced".to_owned(),
        packets => format!("{packets} packets were traced rule by rule"),
    };
    format!(
        "{two} connections have two kinds of witnesses or more, {by_four} four or more; {traced}"
    )
}

/// Who agreed, by kind, with how many of them: `answer, log ×4, counters ×2, conntrack, model`.
pub(super) fn witnesses<'a>(all: impl Iterator<Item = &'a Witness>) -> String {
    let distinct: BTreeSet<&Witness> = all.collect();
    let mut kinds: Vec<(&str, usize)> = Vec::new();
    for witness in distinct {
        let kind = match witness {
            Witness::Answer => "answer",
            Witness::Log { .. } => "log",
            Witness::Counters { .. } => "counters",
            Witness::Conntrack { .. } => "conntrack",
            Witness::Trace { .. } => "trace",
            Witness::Model => "model",
            Witness::File => "evidence file",
            Witness::Command { .. } => "command",
            Witness::Rules { .. } => "rules",
            Witness::Interfaces { .. } => "interfaces",
        };
        match kinds.last_mut() {
            Some((last, count)) if *last == kind => *count += 1,
            _ => kinds.push((kind, 1)),
        }
    }
    let words = kinds.iter().map(|(kind, count)| match count {
        1 => (*kind).to_string(),
        _ => format!("{kind} ×{count}"),
    });
    words.collect::<Vec<_>>().join(", ")
}

/// Claims shown of a flow that does not hold, unless verbose.
const MOST_CLAIMS: usize = 3;

/// All claims when verbose, else only those that do not hold, and each complaint once: what follows from one rule
/// shows up in many claims.
fn claims(out: &mut String, claims: &[Claim], detail: Detail) {
    if detail == Detail::Verbose {
        for claim in claims {
            self::claim(out, claim, claim.checks.iter().collect());
            let names: Vec<String> = claim.witnesses().iter().map(ToString::to_string).collect();
            if !names.is_empty() {
                let words = Style::dim(&format!("witnesses: {}", names.join(", ")));
                let _ = writeln!(out, "{:15}{words}", "");
            }
        }
        return;
    }
    let mut told = BTreeSet::new();
    let (mut shown, mut hidden) = (0, 0);
    for claim in claims.iter().filter(|c| c.verdict() != Verdict::Holds) {
        let checks = claim.checks.iter().filter(|c| c.finding != Finding::Agrees);
        let news: Vec<&Check> = checks.filter(|c| told.insert(c.to_string())).collect();
        let nothing_new =
            news.is_empty() && !claim.checks.iter().all(|c| c.finding == Finding::Agrees);
        if shown == MOST_CLAIMS || nothing_new {
            hidden += 1;
            continue;
        }
        shown += 1;
        self::claim(out, claim, news);
    }
    if hidden > 0 {
        let _ = writeln!(
            out,
            "    {}",
            Style::dim(&format!("and {hidden} more claims that do not hold (-v)"))
        );
    }
}

fn claim(out: &mut String, claim: &Claim, checks: Vec<&Check>) {
    let verdict = claim.verdict();
    let _ = writeln!(
        out,
        "    {} {}",
        Style::verdict(verdict, &verdict.to_string(), 10),
        claim.text
    );
    for check in checks.into_iter().filter(|c| c.finding != Finding::Agrees) {
        let _ = writeln!(out, "{:15}{check}", "");
    }
    let agreeing = claim.witnesses();
    if verdict == Verdict::Unproven && claim.checks.iter().all(|c| c.finding == Finding::Agrees) {
        let _ = writeln!(
            out,
            "{:15}only {} witness speaks to it, two are needed",
            "",
            agreeing.len()
        );
    }
}

fn down(out: &mut String, run: &Run) {
    let Some(down) = run.down else {
        return;
    };
    let left = if down.leftovers.is_empty() {
        "nothing left".to_string()
    } else {
        down.leftovers.join("; ")
    };
    let killed = match down.killed.len() {
        0 => String::new(),
        n => format!(", {n} killed ({})", down.killed.join(", ")),
    };
    let _ = writeln!(
        out,
        "down {:>6}   {} processes ended{killed}, {} namespaces removed, {left}\n",
        ms(down.took_us),
        down.stopped,
        down.namespaces,
    );
}

fn verdict(out: &mut String, run: &Run) {
    let verdict = run.judgement.verdict;
    let flows = &run.judgement.flows;
    let count = |v: Verdict| flows.iter().filter(|f| f.verdict == v).count();
    let mut words = format!("{} of {} flows hold", count(Verdict::Holds), flows.len());
    for (v, word) in [
        (Verdict::Refuted, "refuted"),
        (Verdict::Unproven, "unproven"),
    ] {
        if count(v) > 0 {
            let _ = write!(words, ", {} {word}", count(v));
        }
    }
    if let Some(found) = &run.judgement.notes {
        let _ = write!(words, "; {}", notes::words(found));
    }
    let took = run.took_us.map(|us| format!("; {} in all", ms(us)));
    let took = took.unwrap_or_default();
    let _ = writeln!(
        out,
        "{}  {words}{took}",
        Style::verdict(verdict, &verdict.to_string(), 0),
    );
}

pub(super) fn width<'a>(texts: impl Iterator<Item = &'a str>, heading: &str) -> usize {
    texts
        .map(|t| t.chars().count())
        .max()
        .unwrap_or(0)
        .max(heading.chars().count())
}

/// Milliseconds, with one decimal below ten.
pub fn ms(us: u64) -> String {
    let (whole, tenth) = (us / 1000, us % 1000 / 100);
    if whole < 10 {
        format!("{whole}.{tenth} ms")
    } else {
        format!("{whole} ms")
    }
}
