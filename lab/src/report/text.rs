//! The result of a run as text: what came up, each flow, the notes, what went down.

use std::{collections::BTreeSet, fmt::Write as _};

use super::Style;
use crate::{
    evidence::Evidence,
    judge::{
        Claim, Finding, FlowVerdict, Judgement, NotesVerdict, Reading, Step, Verdict, Witness,
    },
    rules::{self, Chain, CounterSnapshot, Family, RuleId, RuleSet, Table, list_verbose},
    sandbox::protocol::Down,
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
    /// Microseconds from start to end.
    pub took_us: u64,
}

/// The whole report.
pub fn summary(run: &Run, detail: Detail) -> String {
    let mut out = String::new();
    if detail > Detail::Quiet {
        heading(&mut out, run);
        up(&mut out, run);
    }
    flows(&mut out, run, detail);
    if let Some(notes) = &run.judgement.notes {
        self::notes(&mut out, notes, detail);
    }
    if detail > Detail::Quiet {
        down(&mut out, run);
    }
    verdict(&mut out, run);
    out
}

fn heading(out: &mut String, run: &Run) {
    let machine = &run.evidence.machine;
    let family = run
        .evidence
        .windows
        .first()
        .map_or(Family::V4, |w| w.family);
    let who = if machine.root { "root" } else { "rootless" };
    let _ = writeln!(
        out,
        "{}  {family} · {who} · kernel {} · {}\n{:8}  backend {} ({})\n",
        Style::bold(&run.evidence.lab),
        machine.kernel,
        machine.iptables,
        "",
        machine.backend.backend,
        machine.backend.why,
    );
}

fn up(out: &mut String, run: &Run) {
    let up = &run.evidence.up;
    let processes: usize = up.pods.iter().map(|p| p.processes.len()).sum();
    let ruled: Vec<_> = up.pods.iter().filter(|p| !p.rules.is_empty()).collect();
    let rules = ruled
        .first()
        .map_or(0, |p| p.counters.iter().map(|c| c.rules.len()).sum());
    let _ = writeln!(
        out,
        "up {:>8}   a node, {} pods, {} of them with a sidecar and {rules} nat rules, {processes} processes\n",
        ms(up.took_us),
        up.pods.len(),
        ruled.len(),
    );
}

fn flows(out: &mut String, run: &Run, detail: Detail) {
    let flows = &run.judgement.flows;
    let route = |f: &FlowVerdict| {
        let flow = run.topology.flow(&f.flow);
        flow.map_or(String::new(), |f| format!("{} → {}", f.from, f.to))
    };
    let name_width = width(flows.iter().map(|f| f.flow.as_str()), "flow");
    let routes: Vec<String> = flows.iter().map(route).collect();
    let route_width = width(routes.iter().map(String::as_str), "from → to");
    if detail > Detail::Quiet {
        let head = format!(
            "{:name_width$}  {:route_width$}  {:>7}  {:>4}  {:>5}  {:11}{:>8}  witnesses",
            "flow", "from → to", "answer", "legs", "rules", "verdict", "time"
        );
        let _ = writeln!(out, "{}", Style::dim(&head));
    }
    for (flow, route) in flows.iter().zip(&routes) {
        let bad = flow.verdict != Verdict::Holds;
        if detail > Detail::Quiet || bad {
            let _ = writeln!(
                out,
                "{:name_width$}  {}{}  {:>7}  {:>4}  {:>5}  {}{:>8}  {}",
                flow.flow,
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
        claims(out, &flow.claims, detail);
    }
    claims(out, &run.judgement.run, detail);
    if detail > Detail::Quiet {
        let legs: usize = flows.iter().map(|f| f.legs).sum();
        let moved: u64 = flows.iter().map(|f| f.moved).sum();
        let more = if detail < Detail::Verbose {
            " (-v shows each of them)"
        } else {
            ""
        };
        let text = format!(
            "{legs} connections, {moved} rule moves, each explained{more}; every other rule of every pod moved by 0"
        );
        if flows.iter().all(|f| f.verdict == Verdict::Holds) {
            let _ = writeln!(out, "{}", Style::dim(&text));
        }
        out.push('\n');
    }
}

/// Who agreed, by kind, with how many of them: `answer, log ×4, counters ×2, conntrack, model`.
fn witnesses<'a>(all: impl Iterator<Item = &'a Witness>) -> String {
    let distinct: BTreeSet<&Witness> = all.collect();
    let mut kinds: Vec<(&str, usize)> = Vec::new();
    for witness in distinct {
        let kind = match witness {
            Witness::Answer => "answer",
            Witness::Log { .. } => "log",
            Witness::Counters { .. } => "counters",
            Witness::Conntrack { .. } => "conntrack",
            Witness::Model => "model",
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

/// All claims when verbose, else only those that do not hold.
fn claims(out: &mut String, claims: &[Claim], detail: Detail) {
    for claim in claims {
        let verdict = claim.verdict();
        if verdict == Verdict::Holds && detail < Detail::Verbose {
            continue;
        }
        let _ = writeln!(
            out,
            "    {} {}",
            Style::verdict(verdict, &verdict.to_string(), 10),
            claim.text
        );
        let names: Vec<String> = claim.witnesses().iter().map(ToString::to_string).collect();
        if !names.is_empty() && detail == Detail::Verbose {
            let _ = writeln!(
                out,
                "{:15}{}",
                "",
                Style::dim(&format!("witnesses: {}", names.join(", ")))
            );
        }
        for check in claim.checks.iter().filter(|c| c.finding != Finding::Agrees) {
            let _ = writeln!(out, "{:15}{check}", "");
        }
    }
}

fn notes(out: &mut String, notes: &NotesVerdict, detail: Detail) {
    for reading in &notes.readings {
        self::reading(out, reading, detail);
    }
    if detail > Detail::Quiet {
        table(out, notes);
    }
}

fn reading(out: &mut String, reading: &Reading, detail: Detail) {
    if detail > Detail::Quiet {
        let _ = writeln!(
            out,
            "{}",
            Style::bold(&format!("the notes' 15 steps, {}", reading.title))
        );
    }
    for step in &reading.steps {
        if detail == Detail::Quiet && step.as_expected() {
            continue;
        }
        let word = if step.half_true() {
            "half true".to_string()
        } else {
            step.verdict.to_string()
        };
        let _ = writeln!(
            out,
            "{:>3}  {}  {}",
            step.number,
            Style::verdict(step.verdict, &word, 11),
            step.text
        );
        parts(out, step, detail);
        if let Some(instead) = &step.instead {
            let _ = writeln!(out, "{:18}instead: {instead}", "");
        }
        if !step.as_expected() {
            let _ = writeln!(
                out,
                "{:18}this is not what the kernel did when the lab was written",
                ""
            );
        }
    }
    if detail > Detail::Quiet {
        out.push('\n');
    }
}

fn parts(out: &mut String, step: &Step, detail: Detail) {
    for part in &step.parts {
        let prefix = if step.parts.len() > 1 {
            format!("{} {}: ", Style::mark(part.verdict), part.claim.text)
        } else {
            String::new()
        };
        let who = witnesses(part.claim.checks.iter().map(|c| &c.witness));
        let _ = writeln!(
            out,
            "{:18}{}",
            "",
            Style::dim(&format!("{prefix}{} [{who}]", part.evidence))
        );
        if detail == Detail::Verbose || part.verdict != part.expected {
            for check in &part.claim.checks {
                let _ = writeln!(out, "{:20}{}", "", Style::dim(&check.to_string()));
            }
        }
    }
}

fn table(out: &mut String, notes: &NotesVerdict) {
    let table = &notes.table;
    let word = table.verdict.to_string();
    let _ = writeln!(
        out,
        "{}  {}",
        Style::bold(&format!("the notes' counter table beside {}", table.pod)),
        Style::verdict(table.verdict, &word, 0)
    );
    let width = width(table.rows.iter().map(|r| r.text.as_str()), "rule");
    let head = format!("  {:width$}  {:>9}  {:>9}", "rule", "notes", "lab");
    let _ = writeln!(out, "{}", Style::dim(&head));
    for row in &table.rows {
        let packets = row.packets.map_or("?".to_string(), |p| p.to_string());
        let _ = writeln!(out, "  {:width$}  {:>9}  {packets:>9}", row.text, row.notes);
    }
    for check in table
        .claim
        .checks
        .iter()
        .filter(|c| c.finding != Finding::Agrees)
    {
        let _ = writeln!(out, "  {check}");
    }
    out.push('\n');
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
    if let Some(notes) = &run.judgement.notes {
        let _ = write!(words, "; {}", notes_words(notes));
    }
    let _ = writeln!(
        out,
        "{}  {words}; {} in all",
        Style::verdict(verdict, &verdict.to_string(), 0),
        ms(run.took_us)
    );
}

fn notes_words(notes: &NotesVerdict) -> String {
    let all = notes.readings.iter().flat_map(|r| &r.steps);
    let (mut hold, mut half, mut refuted, mut surprising) = (0, 0, 0, 0);
    for step in all {
        match step {
            s if s.half_true() => half += 1,
            s if s.verdict == Verdict::Holds => hold += 1,
            _ => refuted += 1,
        }
        surprising += usize::from(!step.as_expected());
    }
    let as_expected = match surprising {
        0 => "as expected".to_string(),
        n => format!("{n} not as expected"),
    };
    format!("of 2 × 15 steps {hold} hold, {half} are half true, {refuted} refuted, {as_expected}")
}

/// `iptables -t nat -L -v` of every pod with rules, from the final counters.
pub fn counters(evidence: &Evidence) -> String {
    let mut out = String::new();
    for pod in &evidence.up.pods {
        for (family, text) in &pod.rules {
            let last = evidence.totals.get(&pod.name);
            let last = last.and_then(|t| t.iter().find(|c| c.family == *family));
            let Ok(mut rules) = rules::parse(text, *family, "the rules in the evidence") else {
                continue;
            };
            if let Some(last) = last {
                count(&mut rules, last);
            }
            let title = format!("{} ({family})", pod.name);
            let _ = writeln!(
                out,
                "{}\n{}",
                Style::bold(&title),
                list_verbose(&rules, Table::Nat)
            );
        }
    }
    out
}

/// Writes a snapshot's counters into a rule set.
fn count(rules: &mut RuleSet, snapshot: &CounterSnapshot) {
    let family = rules.family;
    for (table, chains) in &mut rules.tables {
        let names: Vec<String> = chains
            .chains()
            .iter()
            .map(|c: &Chain| c.name.clone())
            .collect();
        for name in names {
            let Some(chain) = chains.chain_mut(&name) else {
                continue;
            };
            for (place, rule) in (1..).zip(&mut chain.rules) {
                let id = RuleId::new(family, *table, &name, place);
                rule.counters = snapshot.rules.get(&id).copied();
            }
        }
    }
}

fn width<'a>(texts: impl Iterator<Item = &'a str>, heading: &str) -> usize {
    texts
        .map(|t| t.chars().count())
        .max()
        .unwrap_or(0)
        .max(heading.chars().count())
}

/// Milliseconds, with one decimal below ten.
pub(crate) fn ms(us: u64) -> String {
    let (whole, tenth) = (us / 1000, us % 1000 / 100);
    if whole < 10 {
        format!("{whole}.{tenth} ms")
    } else {
        format!("{whole} ms")
    }
}
