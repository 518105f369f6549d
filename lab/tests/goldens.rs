//! `hoplab rules render` against the golden files of Istio's own generators, byte for byte.
//!
//! The goldens are not part of this project. They are looked for in `../shared/goldens` beside the workspace, or where
//! HOPLAB_GOLDENS says. One test per golden file that is there; when none is, the only test is an ignored one whose
//! name says so, because a comparison that did not happen must not look like one that did.

use std::{
    env,
    ffi::OsStr,
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use libtest_mimic::{Arguments, Failed, Trial};

/// Variables and flags of one rendering.
#[derive(Clone, Default)]
struct Input {
    variables: Vec<(&'static str, &'static str)>,
    flags: Vec<&'static str>,
}

/// Variables (`NAME=VALUE`), then flags, as on a command line. `ENVOY_USER` is nobody's name, so that no user of this
/// machine becomes the proxy.
fn input(words: &'static str) -> Input {
    let mut input = Input {
        variables: vec![("ENVOY_USER", "no-such-user")],
        ..Input::default()
    };
    let is_variable = |name: &str| name.bytes().all(|b| !b.is_ascii_lowercase() && b != b'-');
    for word in words.split_whitespace() {
        match word.split_once('=') {
            Some((name, value)) if is_variable(name) => input.variables.push((name, value)),
            _ => input.flags.push(word),
        }
    }
    input
}

/// The inputs of the sidecar goldens; the nft ones have the same. The scenarios run labs under them.
const SIDECAR: &str = include_str!("../../scenarios/configurations/goldens.txt");

fn sidecar(name: &str) -> Option<Input> {
    let lines = SIDECAR.lines().filter(|line| !line.starts_with('#'));
    let mut named = lines.filter_map(|line| line.split_once(':'));
    named
        .find(|(known, _)| *known == name)
        .map(|(_, words)| input(words))
}

/// The inputs of the ambient goldens. The IPv6 probe source is one that Istio's tests made up.
const AMBIENT: &[(&str, &str)] = &[
    ("default", "--ambient --redirect-dns"),
    (
        "ingress",
        "--ambient --annotation ambient.istio.io/bypass-inbound-capture=true",
    ),
    (
        "virtual_interfaces",
        "--ambient --annotation istio.io/reroute-virtual-interfaces=fake1s0f0,fake1s0f1",
    ),
    (
        "ingress_and_virtual_interfaces",
        "--ambient --annotation ambient.istio.io/bypass-inbound-capture=true --annotation istio.io/reroute-virtual-interfaces=fake1s0f0,fake1s0f1",
    ),
    (
        "dns_pod_enabled_and_off_globally",
        "--ambient --annotation ambient.istio.io/dns-capture=true",
    ),
    (
        "dns_pod_disabled_and_on_globally",
        "--ambient --redirect-dns --annotation ambient.istio.io/dns-capture=false",
    ),
    ("hostprobe", "--ambient=host --kubelet-uid 1000"),
];

fn find_input(folder: &str, name: &str) -> Option<Input> {
    let known = |inputs: &[(&str, &'static str)], name: &str| {
        inputs
            .iter()
            .find(|(known, _)| *known == name)
            .map(|(_, words)| input(words))
    };
    match folder {
        "sidecar-iptables" => sidecar(name),
        "sidecar-nftables" => sidecar(name).map(|input| input.and("--native-nftables")),
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

impl Input {
    fn and(mut self, flag: &'static str) -> Self {
        self.flags.push(flag);
        self
    }

    fn render(&self) -> Result<String, Failed> {
        let output = Command::new(env!("CARGO_BIN_EXE_hoplab"))
            .args(["rules", "render"])
            .args(&self.flags)
            .env_clear()
            .envs(self.variables.iter().copied())
            .output()?;
        if output.status.success() {
            return Ok(String::from_utf8(output.stdout)?);
        }
        Err(String::from_utf8_lossy(&output.stderr).into_owned().into())
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
