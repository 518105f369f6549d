//! What `hoplab doctor` says of machines that lack something, and that `run` says the same.
//!
//! Each lack is made in a user namespace, a mount namespace or an environment of the test's own: the machine stays as
//! it is. They need util-linux, and a machine that can run labs.

use std::{
    fs,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
    process::{Command, Output},
};

use hoplab::{
    doctor::{Ability, Check, Outcome, Problem},
    netfilter::Backend,
    rules::Family,
};
use rstest::rstest;
use serde::Deserialize;

const HOPLAB: &str = env!("CARGO_BIN_EXE_hoplab");

/// What `doctor --json` prints.
#[derive(Deserialize)]
struct Report {
    checks: Vec<Check>,
    can_run: Ability,
}

/// What both verbs say on the same machine.
struct Said {
    report: Report,
    doctor: Output,
    run: Output,
}

impl Said {
    /// `on` makes a command that runs `hoplab` with these arguments on the machine in question.
    fn on(backend: &str, on: impl Fn(&[&str]) -> Command) -> Self {
        let output = |args: &[&str]| on(args).output().expect("the command starts");
        let doctor = output(&["doctor", "--json"]);
        let report = serde_json::from_slice(&doctor.stdout).unwrap_or_else(|error| {
            let words = String::from_utf8_lossy(&doctor.stderr);
            panic!("doctor --json prints no report: {error}; it said {words}")
        });
        Self {
            report,
            doctor,
            run: output(&["run", "bookinfo", "--quiet", "--backend", backend]),
        }
    }

    #[track_caller]
    fn check(&self, id: &str) -> &Check {
        let found = self.report.checks.iter().find(|c| c.id == id);
        found.unwrap_or_else(|| panic!("there is no check `{id}`"))
    }

    #[track_caller]
    fn problem(&self, id: &str) -> &Problem {
        let check = self.check(id);
        let problem = check.problem();
        problem.unwrap_or_else(|| panic!("there is no problem: {check:#?}"))
    }

    #[track_caller]
    fn assert_skipped(&self, id: &str, because: &str) {
        let because = because.to_string();
        assert_eq!(self.check(id).outcome, Outcome::Skipped { because });
    }

    /// `run` ended as a machine that can't does, with the very words of this problem.
    #[track_caller]
    fn assert_run_says(&self, problem: &Problem) {
        let stderr = String::from_utf8_lossy(&self.run.stderr);
        assert_eq!(stderr, format!("error: {problem}\n"));
        assert_eq!(self.run.status.code(), Some(3));
    }
}

fn plain(args: &[&str]) -> Command {
    let mut command = Command::new(HOPLAB);
    command.args(args);
    command
}

/// As root of a user namespace with one id and mounts of its own, after `script`.
fn confined(script: &str, args: &[&str]) -> Command {
    let mut command = Command::new("unshare");
    command
        .args(["--user", "--map-root-user", "--mount", "sh", "-ec"])
        .arg(format!("{script}\nexec \"$@\""))
        .args(["sh", HOPLAB])
        .args(args);
    command
}

/// A directory that goes with its test.
struct Scratch(PathBuf);

impl Scratch {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("hoplab-{name}-{}", std::process::id()));
        fs::create_dir_all(&path).expect("a directory below the temporary one");
        Self(path)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// Every extension of this machine's iptables but one.
fn extensions_without(name: &str, scratch: &Scratch) {
    let candidates = fs::read_dir("/usr/lib").into_iter().flatten().flatten();
    let places = candidates
        .map(|entry| entry.path().join("xtables"))
        .chain(["/usr/lib/xtables".into(), "/usr/lib64/xtables".into()]);
    let all: Vec<PathBuf> = places
        .filter_map(|place| fs::read_dir(place).ok())
        .flat_map(|entries| entries.flatten().map(|entry| entry.path()))
        .collect();
    let (left_out, kept): (Vec<_>, Vec<_>) = all
        .into_iter()
        .partition(|path| path.file_name() == Path::new(name).file_name());
    assert!(!left_out.is_empty(), "this iptables has no {name}");
    for path in kept {
        let link = scratch.0.join(path.file_name().expect("a file has a name"));
        // The same directory may have been found by two names.
        if !link.exists() {
            symlink(path, link).expect("a link in a directory of ours");
        }
    }
}

#[test]
fn on_a_machine_that_can_everything_was_tried_and_works() {
    let said = Said::on("auto", plain);
    let Report { checks, can_run } = &said.report;
    let others: Vec<_> = checks.iter().filter(|c| !c.works()).collect();
    assert!(others.is_empty(), "{others:#?}");
    for backend in [Backend::Nft, Backend::Legacy] {
        let families = can_run.0.get(&backend.to_string()).cloned();
        assert_eq!(families, Some(vec![Family::V4, Family::V6]), "{backend}");
    }
    assert_eq!(said.doctor.status.code(), Some(0));
    assert_eq!(said.run.status.code(), Some(0));
}

#[test]
fn the_text_ends_with_what_can_run() {
    let output = plain(&["doctor"]).output().expect("hoplab starts");
    let text = String::from_utf8_lossy(&output.stdout);
    assert_eq!(
        text.lines().last(),
        Some("✔ a lab can run here with nft and legacy, over IPv4 and IPv6")
    );
}

#[rstest]
#[case("nft", "legacy")]
#[case("legacy", "nft")]
fn a_backend_that_is_not_installed_is_named_with_its_package(
    #[case] gone: &str,
    #[case] there: &str,
) {
    let hide = format!(
        "PATH=$PATH:/usr/sbin:/sbin\n\
         mount --bind /dev/null \"$(readlink -f \"$(command -v iptables-{gone}-restore)\")\""
    );
    let said = Said::on(gone, |args| confined(&hide, args));
    let problem = said.problem(&format!("iptables-{gone}"));
    assert!(problem.fix.contains("install the package `iptables`"));
    assert!(said.check(&format!("iptables-{there}")).works());
    assert!(said.check(&format!("{there}-ipv4-nat-table")).works());
    let because = format!("iptables-{gone}");
    said.assert_skipped(&format!("{gone}-ipv4-nat-table"), &because);
    said.assert_skipped(&format!("{gone}-ipv6-conntrack"), &because);
    assert_eq!(
        problem.what_follows,
        format!("no lab can run here with the {gone} backend")
    );
    said.assert_run_says(problem);
}

#[rstest]
#[case("max_net_namespaces")]
#[case("max_pid_namespaces")]
#[case("max_mnt_namespaces")]
fn a_limit_that_forbids_namespaces_is_named_with_the_command_that_raises_it(#[case] limit: &str) {
    let lower = format!("echo 0 >/proc/sys/user/{limit}");
    let said = Said::on("auto", |args| confined(&lower, args));
    let problem = said.problem("namespaces");
    let command = format!("sysctl -w user.{limit}=10000 (it is 0)");
    assert!(problem.fix.contains(&command), "{problem}");
    said.assert_skipped("mounts", "namespaces");
    said.assert_skipped("legacy-ipv6-owner-counts", "namespaces");
    assert!(!said.report.can_run.any());
    assert_eq!(said.doctor.status.code(), Some(3));
    said.assert_run_says(problem);
}

#[test]
fn with_a_single_id_the_users_of_a_lab_and_the_owner_match_are_missing() {
    let said = Said::on("auto", |args| confined("", args));
    let problem = said.problem("proxy-user");
    assert!(problem.fix.contains("uid_map"), "{problem}");
    assert!(said.problem("nft-ipv4-uid-owner").fix.contains("uid_map"));
    assert!(said.check("nft-ipv4-redirect").works());
    assert!(said.check("nft-ipv4-original-dst").works());
    assert_eq!(said.doctor.status.code(), Some(3));
    said.assert_run_says(problem);
}

#[rstest]
#[case("nft")]
#[case("legacy")]
fn a_match_that_iptables_lacks_is_named_and_run_blames_the_machine_for_it(#[case] backend: &str) {
    let scratch = Scratch::new(&format!("no-owner-{backend}"));
    extensions_without("libxt_owner.so", &scratch);
    let said = Said::on(backend, |args| {
        let mut command = plain(args);
        command.env("XTABLES_LIBDIR", &scratch.0);
        command
    });
    let problem = said.problem(&format!("{backend}-ipv4-uid-owner"));
    assert!(problem.fix.contains("libxt_owner.so"), "{problem}");
    assert!(said.check(&format!("{backend}-ipv4-redirect")).works());
    said.assert_skipped(
        &format!("{backend}-ipv4-owner-counts"),
        &format!("{backend}-ipv4-uid-owner"),
    );
    said.assert_run_says(problem);
}
