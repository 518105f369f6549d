//! `hoplab run --all DIR`: every lab file of a directory, in every way it makes sense, as a table.

use std::{
    path::Path,
    process::ExitCode,
    sync::{
        Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
    time::Instant,
};

use serde::Serialize;

use super::Args;
use crate::{
    LabFile,
    cli::{Outcome, lab_files, stdout::say},
    failure::{Class, Failure},
    judge::Verdict,
    netfilter::BackendChoice,
    report::{Style, ms},
    suite::{self, Case},
};

/// What came of one case.
#[derive(Serialize)]
struct Row {
    file: String,
    lab: String,
    variant: Option<String>,
    backend: String,
    family: String,
    /// None where the lab did not come up, or broke.
    verdict: Option<Verdict>,
    /// What came out otherwise than the file says.
    unexpected: Vec<String>,
    took_us: u64,
    #[serde(skip)]
    class: Option<Class>,
}

pub(super) fn run(args: &Args) -> Outcome {
    refuse_what_is_for_one(args)?;
    let started = Instant::now();
    // All of them before the first is up: a file that is wrong is told at once.
    let mut todo = Vec::new();
    for path in lab_files::of(Path::new(&args.lab))? {
        let name = path.to_string_lossy().into_owned();
        let file = LabFile::open(&name)?;
        let cases = suite::cases(&file)
            .into_iter()
            .filter(|it| is_wanted(args, it));
        todo.extend(cases.map(|case| (name.clone(), file.clone(), case)));
    }
    if todo.is_empty() {
        return Err(
            Failure::new(Class::Input, format!("no lab of {} runs so", args.lab)).hint(
                "leave --backend and --family out: each lab then runs in every way it makes sense",
            ),
        );
    }
    let rows = played(&todo);
    let took = u64::try_from(started.elapsed().as_micros()).unwrap_or(u64::MAX);
    match args.show.is_json() {
        true => say(&json(&rows)?)?,
        false => say(&table(&rows, took))?,
    }
    let failed = rows.iter().find_map(|row| row.class);
    Ok(match failed {
        Some(class) => ExitCode::from(class.exit_code()),
        None if rows.iter().all(|row| row.unexpected.is_empty()) => ExitCode::SUCCESS,
        None => ExitCode::from(1),
    })
}

fn refuse_what_is_for_one(args: &Args) -> Result<(), Failure> {
    let given = [
        ("--flow", !args.flows.is_empty()),
        ("--variant", args.variant.is_some()),
        ("--out", args.out.is_some()),
        ("--evidence", args.evidence.is_some()),
        ("--record", args.record),
        ("--keep", args.keep),
        ("rules of another kind", args.rules.are_given_rules()),
    ];
    match given.iter().find(|(_, is)| *is) {
        Some((what, _)) => Err(Failure::new(
            Class::Input,
            format!("{what} does not go with --all"),
        )
        .hint("run the one lab file by its path")),
        None => Ok(()),
    }
}

fn is_wanted(args: &Args, case: &Case) -> bool {
    let backend = match args.rules.backend() {
        BackendChoice::Auto => true,
        BackendChoice::Fixed(only) => only == case.backend,
    };
    backend && args.rules.family().is_none_or(|only| only == case.family)
}

/// Plays all cases, as many at once as there are processors; rows in the order of the cases.
fn played(todo: &[(String, LabFile, Case)]) -> Vec<Row> {
    let next = AtomicUsize::new(0);
    let rows: Mutex<Vec<(usize, Row)>> = Mutex::default();
    let workers = thread::available_parallelism().map_or(1, usize::from);
    thread::scope(|scope| {
        for _ in 0..workers.min(todo.len()) {
            scope.spawn(|| {
                loop {
                    let at = next.fetch_add(1, Ordering::Relaxed);
                    let Some((name, file, case)) = todo.get(at) else {
                        return;
                    };
                    let row = row(name, file, case);
                    if let Ok(mut rows) = rows.lock() {
                        rows.push((at, row));
                    }
                }
            });
        }
    });
    let mut rows = rows.into_inner().unwrap_or_default();
    rows.sort_by_key(|(at, _)| *at);
    rows.into_iter().map(|(_, row)| row).collect()
}

fn row(name: &str, file: &LabFile, case: &Case) -> Row {
    let started = Instant::now();
    let (verdict, unexpected, class) = match suite::play(file.clone(), case) {
        Ok(played) => (Some(played.judgement.verdict), played.unexpected, None),
        Err(failure) => (None, vec![failure.to_string()], Some(failure.class)),
    };
    Row {
        file: name.to_owned(),
        lab: file.topology.name.clone(),
        variant: case.variant.clone(),
        backend: case.backend.to_string(),
        family: case.family.to_string(),
        verdict,
        unexpected,
        took_us: u64::try_from(started.elapsed().as_micros()).unwrap_or(u64::MAX),
        class,
    }
}

fn json(rows: &[Row]) -> Result<String, Failure> {
    let text = serde_json::to_string_pretty(rows)
        .map_err(|e| Failure::new(Class::State, format!("the result has no JSON form: {e}")))?;
    Ok(text + "\n")
}

fn table(rows: &[Row], took_us: u64) -> String {
    let side = |row: &Row| row.variant.clone().unwrap_or_else(|| "as it is".to_owned());
    let width = |of: &dyn Fn(&Row) -> usize| rows.iter().map(of).max().unwrap_or(0);
    let lab_width = width(&|row| row.lab.len()).max(3);
    let side_width = width(&|row| side(row).len()).max(7);
    let head = format!(
        "{:lab_width$}  {:side_width$}  {:7}  {:6}  {:10}  {:>8}",
        "lab", "variant", "backend", "family", "verdict", "time"
    );
    let mut text = format!("{}\n", Style::dim(&head));
    for row in rows {
        let fine = row.unexpected.is_empty();
        // The mark says whether it is as expected, the word what the verdict is.
        let mark = Style::verdict(
            if fine {
                Verdict::Holds
            } else {
                Verdict::Refuted
            },
            "",
            0,
        );
        let verdict = row.verdict.map_or("failed".to_owned(), |it| it.to_string());
        text.push_str(&format!(
            "{:lab_width$}  {:side_width$}  {:7}  {:6}  {}{verdict:8}  {:>8}\n",
            row.lab,
            side(row),
            row.backend,
            row.family,
            mark,
            ms(row.took_us)
        ));
        for words in &row.unexpected {
            text.push_str(&format!("    {}\n", words.replace('\n', "\n    ")));
        }
    }
    let wrong = rows.iter().filter(|row| !row.unexpected.is_empty()).count();
    let words = match wrong {
        0 => format!("{} cases, all as expected", rows.len()),
        wrong => format!("{wrong} of {} cases are not as expected", rows.len()),
    };
    text.push_str(&format!("\n{words}; {} in all\n", ms(took_us)));
    text
}
