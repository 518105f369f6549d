//! `hoplab rules render` against the golden files of Istio's own generators, byte for byte.
//!
//! The goldens are not part of this project. They are looked for in `../shared/goldens` beside the workspace, or where
//! HOPLAB_GOLDENS says. One test per golden file that is there; when none is, the only test is an ignored one whose
//! name says so, because a comparison that did not happen must not look like one that did.

mod istio_inputs;

use std::{
    env,
    ffi::OsStr,
    fs,
    path::{Path, PathBuf},
};

use istio_inputs::{AMBIENT, Input, SIDECAR, input};
use libtest_mimic::{Arguments, Failed, Trial};

fn find_input(folder: &str, name: &str) -> Option<Input> {
    let known = |inputs: &[(&str, &'static str)], name: &str| {
        inputs
            .iter()
            .find(|(known, _)| *known == name)
            .map(|(_, words)| input(words))
    };
    match folder {
        "sidecar-iptables" => known(SIDECAR, name),
        "sidecar-nftables" => known(SIDECAR, name).map(|input| input.and("--native-nftables")),
        "ambient-iptables" | "ambient-nftables" => {
            let (stem, ipv6) = name
                .strip_suffix("_ipv6")
                .map_or((name, false), |stem| (stem, true));
            let mut input = known(AMBIENT, stem)?;
            let nft = folder == "ambient-nftables";
            if stem != "hostprobe" || nft {
                input.variables.push((
                    "HOST_PROBE_SNAT_IPV6",
                    "e9ac:1e77:90ca:399f:4d6d:ece2:2f9b:3164",
                ));
            }
            let input = if ipv6 { input.and("--ipv6") } else { input };
            Some(if nft {
                input.and("--native-nftables")
            } else {
                input
            })
        }
        _ => None,
    }
}

/// The rules of a golden, without the marker lines around them.
fn between_markers(golden: &str) -> String {
    let is_marker = |line: &&str| ["iptables-save", "ip6tables-save"].contains(line);
    let lines: Vec<&str> = golden
        .trim()
        .lines()
        .filter(|line| !is_marker(line))
        .collect();
    lines.join("\n")
}

fn compare(golden: &Path, input: &Input) -> Result<(), Failed> {
    let expected = between_markers(&fs::read_to_string(golden)?);
    let rendered = input.render()?;
    let rendered = rendered.trim_end();
    if expected == rendered {
        return Ok(());
    }
    let mut expected_lines = expected.lines();
    let mut rendered_lines = rendered.lines();
    for number in 1.. {
        let (wanted, got) = (expected_lines.next(), rendered_lines.next());
        if wanted != got {
            let show = |line: Option<&str>| line.unwrap_or("(the end)").to_owned();
            let (wanted, got) = (show(wanted), show(got));
            return Err(format!("line {number}\n  golden:   {wanted}\n  rendered: {got}").into());
        }
    }
    Ok(())
}

fn golden_files(folder: &Path) -> Vec<PathBuf> {
    let entries = |path: &Path| -> Vec<PathBuf> {
        let found = fs::read_dir(path).into_iter().flatten().flatten();
        found.map(|entry| entry.path()).collect()
    };
    let files = entries(folder)
        .iter()
        .flat_map(|path| entries(path))
        .collect::<Vec<_>>();
    let is_golden = |path: &PathBuf| path.extension() == Some(OsStr::new("golden"));
    let mut goldens: Vec<PathBuf> = files.into_iter().filter(is_golden).collect();
    goldens.sort();
    goldens
}

fn trial(path: PathBuf) -> Trial {
    let text = |part: Option<&OsStr>| part.unwrap_or_default().to_string_lossy().into_owned();
    let folder = text(path.parent().and_then(Path::file_name));
    let case = text(path.file_stem());
    let name = format!("{folder}/{case}");
    match find_input(&folder, &case) {
        Some(input) => Trial::test(name, move || compare(&path, &input)),
        None => Trial::test(
            format!("{name} (what it is rendered from is not known)"),
            || Err("add its input to this file".into()),
        )
        .with_ignored_flag(true),
    }
}

fn main() {
    let folder = env::var_os("HOPLAB_GOLDENS").map_or_else(
        || Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/goldens"),
        PathBuf::from,
    );
    let mut trials: Vec<Trial> = golden_files(&folder).into_iter().map(trial).collect();
    if trials.is_empty() {
        eprintln!(
            "NOTHING WAS COMPARED: no golden files in {}; HOPLAB_GOLDENS names the folder that has them",
            folder.display()
        );
        let absent = || Err("there are no golden files to compare with: set HOPLAB_GOLDENS".into());
        let absent = Trial::test("goldens_are_absent_nothing_was_compared", absent);
        trials.push(absent.with_ignored_flag(true));
    }
    libtest_mimic::run(&Arguments::from_args(), trials).exit();
}
