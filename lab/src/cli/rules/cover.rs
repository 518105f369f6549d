//! `hoplab rules cover`: which rules were met, and of the others whether they can be.

use std::{collections::BTreeMap, fmt::Write as _, path::PathBuf, process::ExitCode};

use serde_json::json;

use super::tried::{self, ProbeArgs};
use crate::{
    behaviour::{Coverage, Met, Reach, Stage, Subject, choose, cover},
    cli::{
        Outcome,
        interrupt::Interrupt,
        recorded,
        source::{self, Source},
        stdout::say,
    },
    failure::{Class, Failure},
    probe::Pool,
    rules::{Family, RuleSet},
};

#[derive(clap::Args)]
#[command(after_help = "\
Without --evidence the flows that tell the rules apart run in a real kernel, and its trace says which rules they met. With \
it, the counters of a run say so, and the rules are those of the run. A rule that nothing met is either reachable, and a \
flow that would meet it is shown, or no flow reaches it, and what takes its packets is named.

Examples:
  hoplab rules cover profile:istio
  hoplab run bookinfo --evidence run.ndjson && hoplab rules cover --evidence run.ndjson

Exit codes: 0 every rule that can be met was, 1 one was not.")]
pub(super) struct Args {
    #[arg(help = source::HELP, required_unless_present = "evidence")]
    source: Option<Source>,
    /// What a run met, by its evidence file
    #[arg(long, value_name = "FILE", conflicts_with = "source")]
    evidence: Option<PathBuf>,
    #[command(flatten)]
    probe: ProbeArgs,
    /// Print everything as one JSON value
    #[arg(long)]
    json: bool,
}

pub(super) fn run(args: &Args) -> Outcome {
    let all = match (&args.evidence, &args.source) {
        (Some(file), _) => of_evidence(file)?,
        (None, Some(source)) => match of_kernel(args, source)? {
            Ok(coverage) => vec![coverage],
            Err(code) => return Ok(code),
        },
        (None, None) => unreachable!("clap asks for one of them"),
    };
    let missed = all.iter().any(Coverage::misses);
    match args.json {
        true => {
            let value = json!({ "coverage": all });
            say(&format!("{value:#}\n"))?;
        }
        false => say(&all.iter().map(text).collect::<String>())?,
    }
    Ok(ExitCode::from(u8::from(missed)))
}

fn of_kernel(args: &Args, source: &Source) -> Result<Result<Coverage, ExitCode>, Failure> {
    let (tried, names) = tried::read(&[source], &args.probe)?;
    let [one] = &tried[..] else {
        unreachable!("one source was read");
    };
    let stage = tried::stage(&tried, &args.probe.address);
    let choice =
        choose(&[&one.subject], &stage, args.probe.sampling()).ok_or_else(tried::too_much)?;
    let pool = Pool::start(1)?;
    let interrupt = Interrupt::watch_pool(&pool)?;
    let plan = one.plan(
        args.probe.backend,
        &names,
        stage,
        &choice.flows,
        &choice.landings,
    );
    let report = pool.play(vec![plan], |_, _| {}).remove(0);
    if let Some(code) = interrupt.exit_code() {
        return Ok(Err(code));
    }
    let ran = tried::ran(&one.subject, &stage, &choice.flows, report?)?;
    let mut met: Met = BTreeMap::new();
    for one in &ran {
        for rule in one.seen.hops.iter().flat_map(|hop| &hop.rules) {
            *met.entry(rule.clone()).or_default() += 1;
        }
    }
    let by = format!("{} flows", choice.flows.len());
    Ok(Ok(cover(&one.subject, &stage, by, &met)))
}

/// One coverage for each rule set of the run; pods with the same rules count together.
fn of_evidence(file: &std::path::Path) -> Result<Vec<Coverage>, Failure> {
    let recorded = recorded::read(file)?;
    let evidence = &recorded.evidence;
    let mut sets: BTreeMap<String, (Vec<String>, Vec<RuleSet>, Met)> = BTreeMap::new();
    for pod in evidence.up.pods.iter().filter(|pod| !pod.rules.is_empty()) {
        let mut rules = Vec::new();
        for family in [Family::V4, Family::V6] {
            let set = pod.rules.rules(family, &pod.name);
            rules.extend(set.map_err(crate::cli::source::complaint)?);
        }
        let key: String = rules.iter().map(RuleSet::fingerprint).collect();
        let (pods, _, met) = sets
            .entry(key)
            .or_insert_with(|| (Vec::new(), rules, Met::new()));
        pods.push(pod.name.clone());
        let last = evidence
            .totals
            .get(&pod.name)
            .map_or(&[][..], Vec::as_slice);
        for (before, after) in pod.counters.iter().zip(last) {
            let moved = after.since(before).map_err(|error| {
                Failure::new(
                    Class::Incomplete,
                    format!("the counters of {} do not tell", pod.name),
                )
                .cause(error.to_string())
            })?;
            for (rule, counter) in moved.rules() {
                *met.entry(rule.clone()).or_default() += counter.packets;
            }
        }
    }
    let each = sets.into_values().map(|(pods, rules, mut met)| {
        met.retain(|_, packets| *packets > 0);
        let subject = Subject::new(evidence.rules_from.clone(), rules, |_| None);
        let stage = Stage::away_from(subject.sets());
        cover(
            &subject,
            &stage,
            format!("the run, in {}", pods.join(", ")),
            &met,
        )
    });
    Ok(each.collect())
}

fn text(coverage: &Coverage) -> String {
    let mut out = String::new();
    for (rule, text, reach) in coverage.unmet() {
        let _ = writeln!(out, "{} {rule}: {text}", rule.family);
        let _ = match reach {
            Reach::By(flow) => writeln!(out, "  reachable: {flow} would meet it"),
            Reach::Never(why) => writeln!(out, "  unreachable: {why}"),
            Reach::Untold => writeln!(
                out,
                "  no flow that was asked about meets it; it asks for what flows do not vary"
            ),
        };
    }
    let count =
        |wanted: fn(&Reach) -> bool| coverage.unmet().filter(|(_, _, it)| wanted(it)).count();
    let _ = writeln!(
        out,
        "{}, by {}: {} of {} rules met; of the others {} are reachable, {} are not, of {} it is not known",
        coverage.name,
        coverage.by,
        coverage.met(),
        coverage.rules.len(),
        count(|it| matches!(it, Reach::By(_))),
        count(|it| matches!(it, Reach::Never(_))),
        count(|it| matches!(it, Reach::Untold)),
    );
    out
}
