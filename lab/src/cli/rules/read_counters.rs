//! `hoplab rules read-counters`: what the figures of a dump say. Needs no root and no lab.

use std::{collections::BTreeSet, process::ExitCode};

use serde_json::{Value, json};

use super::super::{
    Outcome,
    source::{self, Source, complaint},
    stdout::say,
};
use crate::{
    failure::{Class, Failure},
    figures::figures,
    lint::{self, Mistake},
    report::{figures_json, figures_text},
    rules::{Family, RuleId},
};

#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  nsenter -t PID -n iptables-save -c | hoplab rules read-counters -
  hoplab rules read-counters listing.txt --json     (listing.txt: iptables -t nat -L -v -n)
Figures a listing rounds (138K) are ranges. Exit code 1 when figures do not add up.")]
pub(super) struct Args {
    #[arg(help = source::HELP)]
    source: Source,
    /// Family of a form that does not tell it
    #[arg(long, default_value = "ipv4", value_parser = crate::cli::family)]
    family: Family,
    /// Print everything as one JSON value
    #[arg(long)]
    json: bool,
}

pub(super) fn run(args: &Args) -> Outcome {
    let texts = args.source.open()?;
    let (mut out, mut values, mut add_up) = (String::new(), Vec::new(), true);
    for text in &texts {
        let sets = text.read(args.family)?.rules().map_err(complaint)?;
        let findings = lint::lint(&sets, text.proxy()).into_iter();
        let dead = findings.filter(|it| it.mistake == Mistake::NeverMatches);
        let dead: BTreeSet<RuleId> = dead.map(|it| it.rule).collect();
        for set in &sets {
            let tables = figures(set).map_err(|error| {
                Failure::new(Class::Input, format!("{}: {error}", text.origin))
                    .hint("counters are in `iptables-save -c` and in `iptables -L -v`")
            })?;
            for table in &tables {
                add_up &= table.add_up();
                if !out.is_empty() {
                    out.push('\n');
                }
                out.push_str(&figures_text(table, &dead));
                values.push(with_origin(&text.origin, figures_json(table)));
            }
        }
    }
    if args.json {
        let all = json!({ "tables": values });
        out = format!("{all:#}\n");
    }
    say(&out)?;
    Ok(ExitCode::from(u8::from(!add_up)))
}

fn with_origin(origin: &str, mut value: Value) -> Value {
    if let Value::Object(fields) = &mut value {
        fields.insert("origin".to_owned(), json!(origin));
    }
    value
}
