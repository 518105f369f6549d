//! Every lab file of `scenarios/labs`, as many tests as there are ways in which it makes sense: backends, families, the
//! lab as it is and each of its variants.

use std::{
    fs,
    path::{Path, PathBuf},
    process::ExitCode,
};

use hoplab::{
    outcome::CaseName,
    report::{self, Detail, Run},
    suite::{self, Case},
};
use hoplab_scenarios::{LabFile, assert_labs_possible};
use libtest_mimic::{Arguments, Failed, Trial};

#[path = "labs/inventory.rs"]
mod inventory;

fn main() -> ExitCode {
    assert_labs_possible();
    let arguments = Arguments::from_args();
    let labs = Path::new(env!("CARGO_MANIFEST_DIR")).join("labs");
    let mut trials = vec![
        Trial::test("examples_of_the_readme_are_in_its_labs", examples),
        Trial::test(
            "every_scenario_and_every_incident_has_its_files",
            inventory::is_complete,
        ),
    ];
    for path in lab_files(&labs) {
        let file = LabFile::open(&path.to_string_lossy()).unwrap_or_else(|it| panic!("{it}"));
        trials.push(can_turn_red(file.clone()));
        let cases = suite::cases(&path.to_string_lossy(), &file);
        trials.push(has_a_case(&file, cases.len()));
        trials.extend(cases.into_iter().map(comes_out_as_it_says));
    }
    libtest_mimic::run(&arguments, trials).exit_code()
}

fn lab_files(dir: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir).expect("the folder is there") {
        let path = entry.expect("the folder is readable").path();
        match path.is_dir() {
            true => found.extend(lab_files(&path)),
            false => found.push(path),
        }
    }
    found.sort();
    found
}

fn comes_out_as_it_says(case: Case) -> Trial {
    let CaseName {
        lab,
        side,
        backend,
        family,
        ..
    } = &case.name;
    let side = side.to_string().replace(' ', "_");
    let name = format!("{lab}::{side}::{}::{family}", backend.as_backend());
    Trial::test(name, move || {
        let played = suite::play(&case).map_err(|failure| failure.to_string())?;
        if played.unexpected.is_empty() {
            return Ok(());
        }
        let run = Run {
            topology: &played.file.topology,
            evidence: &played.evidence,
            judgement: &played.judgement,
            down: None,
            took_us: None,
        };
        let report = report::summary(&run, Detail::Quiet);
        let report = anstream::adapter::strip_str(&report);
        Err(Failed::from(format!(
            "{}\n{report}",
            played.unexpected.join("\n")
        )))
    })
}

fn can_turn_red(file: LabFile) -> Trial {
    let name = format!("{}::can_turn_red_and_names_the_rule", file.topology.name);
    Trial::test(name, move || inventory::can_turn_red(&file))
}

/// A lab whose families have no rules runs nowhere, and would pass everywhere.
fn has_a_case(file: &LabFile, cases: usize) -> Trial {
    let name = format!("{}::makes_sense_somewhere", file.topology.name);
    Trial::test(name, move || match cases {
        0 => Err(Failed::from("no backend and family of it has a case")),
        _ => Ok(()),
    })
}

/// An example of the README names its lab file in the first line: `# labs/NAME.toml: …`.
fn examples() -> Result<(), Failed> {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    let readme = fs::read_to_string(here.join("README.md"))?;
    let blocks = readme
        .split("```toml\n")
        .skip(1)
        .filter_map(|it| it.split("```").next());
    let mut found = 0;
    for block in blocks {
        let Some((head, example)) = block.split_once('\n') else {
            continue;
        };
        let named = head.strip_prefix("# ").and_then(|it| it.split_once(':'));
        let Some((file, _)) = named.filter(|(file, _)| file.starts_with("labs/")) else {
            continue;
        };
        let text = fs::read_to_string(here.join(file))?;
        if !text.contains(example) {
            return Err(Failed::from(format!("{file} has no\n{example}")));
        }
        found += 1;
    }
    match found {
        13 => Ok(()),
        found => Err(Failed::from(format!(
            "there are {found} examples, and 13 were"
        ))),
    }
}
