//! Golden paths of a lab: written with `--record`, compared with in every run of all flows.

use std::{
    fs,
    io::ErrorKind,
    path::{Path, PathBuf},
};

use super::Args;
use crate::{
    Expect, LabFile, builtin,
    cli::{show::not_written, stdout::say},
    evidence::Evidence,
    failure::{Class, Failure},
    path,
    report::{Goldens, Style, golden},
    rules::Family,
};

/// Where the golden paths of a lab are.
enum Place {
    /// In the binary.
    Carried,
    /// Beside the lab file, in the folder it names.
    Folder(PathBuf),
}

/// Complains before the run about `--record` that can't be done.
///
/// # Errors
/// The lab has no place for golden paths, or not all of its flows are to be sent.
pub(super) fn check(args: &Args, file: &LabFile) -> Result<(), Failure> {
    if !args.record {
        return Ok(());
    }
    let refuse = |what: &str, hint: &str| Err(Failure::new(Class::Input, what).hint(hint));
    if !args.flows.is_empty() || args.until.is_some() {
        return refuse(
            "--record needs all flows",
            "leave --flow and --until out: which endpoint a proxy takes depends on the flows before",
        );
    }
    if file.expect != Expect::File || args.rules.are_given_rules() {
        return refuse(
            "--record needs the lab's own rules",
            "leave the flags for rules out: golden paths are those of the lab as its file says",
        );
    }
    match place(&args.lab, file) {
        Some(Place::Folder(_)) => Ok(()),
        Some(Place::Carried) => refuse(
            "the golden paths of a lab that hoplab carries are in its binary",
            "name the lab file by its path, such as ./scenarios/labs/bookinfo.toml",
        ),
        None => refuse(
            "the lab file names no folder for golden paths",
            "add a line at its top, with a folder relative to it: paths = \"paths\"",
        ),
    }
}

fn place(lab: &str, file: &LabFile) -> Option<Place> {
    let folder = file.topology.paths.as_ref()?;
    // As `LabFile::open` tells a file from a name.
    if !lab.contains('/') && !lab.ends_with(".toml") {
        return Some(Place::Carried);
    }
    let beside = Path::new(lab).parent().unwrap_or(Path::new(""));
    Some(Place::Folder(beside.join(folder)))
}

fn name(lab: &str, family: Family) -> String {
    match family {
        Family::V4 => format!("{lab}.path"),
        Family::V6 => format!("{lab}.v6.path"),
    }
}

/// Compares the paths of a run with the golden ones, or records them. True when they are not the same.
///
/// # Errors
/// A file that can't be read or written, or evidence with rules that can't be read.
pub(super) fn settle(args: &Args, file: &LabFile, evidence: &Evidence) -> Result<bool, Failure> {
    let all_flows = args.flows.is_empty() && args.until.is_none();
    let place = place(&args.lab, file).filter(|_| all_flows && file.expect == Expect::File);
    let Some(place) = place else { return Ok(false) };
    let lab = &file.topology.name;
    let mut differ = false;
    for family in [Family::V4, Family::V6] {
        let taken = taken(file, evidence, family)?;
        if taken.is_empty() {
            continue;
        }
        let taken = Goldens::new(lab, taken);
        let name = name(lab, family);
        if args.record
            && let Place::Folder(folder) = &place
        {
            let path = folder.join(&name);
            fs::create_dir_all(folder).map_err(|e| not_written(folder, e))?;
            fs::write(&path, taken.to_string()).map_err(|e| not_written(&path, e))?;
            anstream::eprintln!("recorded {}", path.display());
            continue;
        }
        let Some(text) = text(&place, lab, &name, family)? else {
            continue;
        };
        let differences = Goldens::parse(&text).differences(&taken);
        let mut words = String::new();
        for it in &differences {
            let head = format!("the path of {} ({family}) is not the golden one", it.flow);
            words.push_str(&format!("\n{}\n{}", Style::bold(&head), it.diff));
        }
        if !differences.is_empty() {
            words.push_str(&format!(
                "\n{} of the golden paths in {name} differ; if that is meant, record them: hoplab run LAB-FILE --record\n",
                differences.len()
            ));
            differ = true;
        }
        match args.show.is_json() {
            true => anstream::eprint!("{}", crate::cli::harmless::harmless(&words)),
            false => say(&words)?,
        }
    }
    Ok(differ)
}

/// Name and golden text of each flow that was sent over a family.
fn taken(
    file: &LabFile,
    evidence: &Evidence,
    family: Family,
) -> Result<Vec<(String, String)>, Failure> {
    let windows = evidence.windows.iter().filter(|it| it.family == family);
    let sent = windows.filter_map(|it| Some((it, file.topology.flow(&it.flow)?)));
    sent.map(|(window, flow)| {
        let path = path::of_window(file, evidence, window, flow)?;
        Ok((flow.name.clone(), golden(&path)))
    })
    .collect()
}

fn text(place: &Place, lab: &str, name: &str, family: Family) -> Result<Option<String>, Failure> {
    let folder = match place {
        Place::Carried => return Ok(builtin::golden_text(lab, family).map(str::to_owned)),
        Place::Folder(folder) => folder,
    };
    let path = folder.join(name);
    match fs::read_to_string(&path) {
        Ok(text) => Ok(Some(text)),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => {
            let what = format!("could not read {}", path.display());
            Err(Failure::new(Class::Input, what).cause(error.to_string()))
        }
    }
}
