//! `hoplab rules show`: rules as they stand, in another form. Needs no root and no lab.

use std::{fmt::Write as _, process::ExitCode};

use clap::ValueEnum;
use serde_json::{Value, json};

use super::say_not_modelled;
use crate::{
    cli::{
        Outcome,
        source::{self, Source, Text, complaint},
        stdout::say,
    },
    failure::{Class, Failure},
    rules::{self, Document, Family, RuleSet},
};

#[derive(clap::Args)]
#[command(after_help = "\
What hoplab repeats but does not understand is named on standard error, and in JSON as \"modelled\": false.

Examples:
  hoplab rules show scenarios/rules/istio-1.13.rules
  kubectl logs reviews-v1 -c istio-init | hoplab rules show -
  hoplab rules show support-ticket.txt --as restore > pod.rules
  hoplab rules show pid:4711
  nft -j list ruleset | hoplab rules show - --family ipv6
  hoplab rules show dump.txt --as json | jq '.[].tables[].chains[].rules[] | select(.modelled | not)'")]
pub(super) struct Args {
    #[arg(help = source::HELP)]
    source: Source,
    /// Form to show them in
    #[arg(long = "as", value_name = "FORM", default_value = "annotated")]
    form: Form,
    /// Show this family only; where a text does not tell its family, it is this one [default: both; ipv4]
    #[arg(long, value_parser = crate::cli::family)]
    family: Option<Family>,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Form {
    /// Every rule with its number and what it does in words
    Annotated,
    /// A file for iptables-restore, as istio-init writes it
    Restore,
    /// As iptables-save -c prints them, with counters
    Save,
    /// As iptables -S prints them
    Commands,
    /// As iptables -L -v -n prints them
    List,
    /// For programs
    Json,
}

/// A text and the rules in it.
struct Read {
    origin: String,
    document: Document,
    sets: Vec<RuleSet>,
}

pub(super) fn run(args: &Args) -> Outcome {
    let texts = args.source.open()?;
    let read = texts.iter().map(|text| read(args, text));
    let read = read.collect::<Result<Vec<Read>, Failure>>()?;
    for it in &read {
        say_not_modelled(&it.sets);
        if args.form == Form::Save && it.sets.iter().any(RuleSet::has_rounded_counters) {
            anstream::eprintln!(
                "note: {} has rounded counters, such as 138K; this form can't hold them: rules go without, policies with [0:0]",
                it.origin
            );
        }
    }
    say(&shown(args.form, &read))?;
    Ok(ExitCode::SUCCESS)
}

fn read(args: &Args, text: &Text) -> Result<Read, Failure> {
    let document = text.read(args.family.unwrap_or(Family::V4))?;
    let mut sets = document.rules().map_err(complaint)?;
    let there: Vec<String> = sets.iter().map(|set| set.family.to_string()).collect();
    sets.retain(|set| args.family.is_none_or(|only| only == set.family));
    if let (true, Some(wanted)) = (sets.is_empty(), args.family) {
        let what = format!("{} holds no {wanted} rules", text.origin);
        return Err(Failure::new(Class::Input, what).hint(format!(
            "it holds {} rules; leave --family out",
            there.join(" and ")
        )));
    }
    Ok(Read {
        origin: text.origin.clone(),
        document,
        sets,
    })
}

fn shown(form: Form, read: &[Read]) -> String {
    if form == Form::Json {
        let sets = read
            .iter()
            .flat_map(|it| it.sets.iter().map(move |set| json_of(it, set)));
        return format!("{:#}\n", Value::Array(sets.collect()));
    }
    let mut text = String::new();
    for it in read {
        if read.len() > 1 {
            let _ = writeln!(text, "# {}", it.origin);
        }
        if form == Form::Annotated {
            text.push_str(&variables(&it.document));
        }
        for (index, set) in it.sets.iter().enumerate() {
            text.push_str(if index > 0 { "\n" } else { "" });
            text.push_str(&set_text(form, set));
        }
    }
    text
}

fn json_of(read: &Read, set: &RuleSet) -> Value {
    let mut value = rules::to_json(set);
    value["origin"] = json!(read.origin);
    if !read.document.variables.is_empty() {
        value["variables"] = json!(read.document.variables);
    }
    value
}

/// What a log of istio-init says it was told.
fn variables(document: &Document) -> String {
    let mut text = String::new();
    for (name, value) in &document.variables {
        let _ = writeln!(text, "{name}={value}");
    }
    if !text.is_empty() {
        text.insert_str(0, "variables of istio-init\n\n");
        text.push('\n');
    }
    text
}

fn set_text(form: Form, set: &RuleSet) -> String {
    // Each of these forms is of one table; the command in front tells readers which, hoplab among them.
    let program = match set.family {
        Family::V4 => "iptables",
        Family::V6 => "ip6tables",
    };
    let of_tables = |options: &str, write: fn(&RuleSet, rules::Table) -> String| {
        let tables = set.tables.keys();
        let texts: Vec<String> = tables
            .map(|table| {
                let command = format!("# {program} -t {table} {options}");
                format!("{command}\n{}", write(set, *table))
            })
            .collect();
        texts.join("\n")
    };
    match form {
        Form::Annotated | Form::Json => rules::annotated(set),
        Form::Restore => format!("# {program}-restore\n{}", rules::to_restore(set)),
        Form::Save => format!("# {program}-save -c\n{}", rules::to_save(set)),
        Form::Commands => of_tables("-S", rules::to_commands),
        Form::List => of_tables("-L -v -n", rules::list_verbose),
    }
}
