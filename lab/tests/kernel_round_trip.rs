//! Every rule set that hoplab generates loads in the kernel, with both backends, and is read back as the same rules.
//!
//! One test per configuration, release, family and backend; the list is made of the configurations.

mod istio_inputs;
mod real_iptables;

use hoplab::rules::{Family, RuleSet, Table, diff, parse};
use istio_inputs::{AMBIENT, Input, SIDECAR, input};
use libtest_mimic::{Arguments, Failed, Trial};
use real_iptables::{GROUPS, Program};

/// One release of each generation of sidecar rules.
const RELEASES: [&str; 7] = ["1.12", "1.13", "1.18", "1.20", "1.23", "1.24", "1.32"];

/// Configurations that no golden has: exclusions, capture of all DNS, TPROXY with several owners, everything at once.
const MORE: [(&str, &str); 8] = [
    ("the-default-of-injection", "-b * -i * -d 15090,15021,15020"),
    ("exclude-outbound-ports", "-b * -i * -o 5432,6379"),
    (
        "capture-all-dns",
        "CAPTURE_ALL_DNS=true -b * -i * --redirect-dns",
    ),
    ("tproxy-several-owners", "-m TPROXY -b * -i * -u 3,4 -g 1,2"),
    ("tproxy-port-list", "-m TPROXY -b 80,443 -i *"),
    ("tproxy-drop-invalid", "-m TPROXY -b * -i * --drop-invalid"),
    (
        "custom-ports-and-mark",
        "-p 9001 -z 9006 -e 9008 -t 77 -r 99 -m TPROXY -b *",
    ),
    ("loopback-include", "-i 127.0.0.0/8,::1/128 -b *"),
];

fn cases() -> Vec<(String, Input)> {
    let mut cases = Vec::new();
    for release in RELEASES {
        for (name, words) in SIDECAR.iter().chain(&MORE) {
            let input = input(words).and("--istio").and(release);
            cases.push((format!("sidecar/{release}/{name}"), input));
        }
    }
    for (name, words) in AMBIENT {
        cases.push((format!("ambient/{name}"), input(words)));
    }
    cases
}

fn trial(name: &str, input: &Input, program: Program) -> Trial {
    let family = if program.ipv6 { "ipv6" } else { "ipv4" };
    let mut input = input.clone().and("--family").and(family);
    if !input.flags.contains(&"--ipv6") {
        input = input.and("--ipv6");
    }
    let needs_set = name.ends_with("/hostprobe");
    Trial::test(format!("{program}/{name}"), move || {
        let text = input.render()?;
        if text.is_empty() {
            return Err("there is nothing to load".into());
        }
        match needs_set {
            true => refused_for_want_of_a_set(program, &text),
            false => same_rules(program, &text),
        }
    })
}

/// The host's rule names an ipset that the node agent makes; no other refusal is expected.
fn refused_for_want_of_a_set(program: Program, text: &str) -> Result<(), Failed> {
    let words = match program.load(text) {
        Ok(saved) => return Err(format!("it was loaded:\n{saved}").into()),
        Err(words) => words,
    };
    let set = if program.ipv6 { "v6" } else { "v4" };
    let expected = format!("Set istio-inpod-probes-{set} doesn't exist.");
    match words.contains(&expected) {
        true => Ok(()),
        false => Err(format!("wanted `{expected}`, had:\n{words}").into()),
    }
}

fn same_rules(program: Program, text: &str) -> Result<(), Failed> {
    let saved = program
        .load(text)
        .map_err(|words| format!("{program} refused it:\n{words}\n{text}"))?;
    let family = if program.ipv6 { Family::V6 } else { Family::V4 };
    let read = |text: &str, origin: &str| -> Result<RuleSet, Failed> {
        parse(text, family, origin).map_err(|error| error.to_string().into())
    };
    let (meant, held) = (
        read(&numbered(text), "rendered")?,
        read(&saved, "iptables-save")?,
    );
    let differences = diff(&meant, &held, &Table::ALL);
    if differences.is_empty() && meant.len() == held.len() {
        return Ok(());
    }
    let lines: Vec<String> = differences.iter().map(ToString::to_string).collect();
    Err(format!(
        "{} meant, {} held\n{}\n{saved}",
        meant.len(),
        held.len(),
        lines.join("\n")
    )
    .into())
}

/// The text with the names of groups as the kernel holds them.
fn numbered(text: &str) -> String {
    GROUPS.iter().fold(text.to_owned(), |text, (name, id)| {
        text.replace(
            &format!("--gid-owner {name} "),
            &format!("--gid-owner {id} "),
        )
    })
}

fn main() {
    let cases = cases();
    let trials = Program::ALL.iter().flat_map(|program| {
        cases
            .iter()
            .map(|(name, input)| trial(name, input, *program))
    });
    libtest_mimic::run(&Arguments::from_args(), trials.collect()).exit();
}
