//! `pid:4711`: the rules in the network namespace of a process, read and not touched.

mod command;

use std::{fs, os::unix::fs::PermissionsExt, os::unix::process::CommandExt, process::Command};

use hoplab::rules::{self, Family, RuleSet, parse, to_restore};
use nix::unistd::Uid;
use rstest::rstest;

use self::command::{Ended, HOPLAB, Scratch, hoplab, netns::Netns, run};

const V4: &str = include_str!("../../scenarios/rules/istio-1.13.rules");
const V6: &str = include_str!("../../scenarios/rules/istio-1.13.v6.rules");

const NATIVE: &str = "\
add table inet istio-proxy-nat
add chain inet istio-proxy-nat output { type nat hook output priority -100 ; }
add chain inet istio-proxy-nat istio-redirect
add rule inet istio-proxy-nat output skuid != 1337 counter jump istio-redirect
add rule inet istio-proxy-nat istio-redirect meta l4proto tcp counter redirect to :15001
";

/// Everything packets can meet there, and everything that was only made by looking.
fn state(netns: &Netns) -> String {
    let look =
        "cat /proc/self/net/ip_tables_names /proc/self/net/ip6_tables_names; nft list ruleset";
    netns.output(&["sh", "-c", look], "")
}

/// What `rules show` says, with the proof that it changed nothing.
fn show(netns: &Netns, source: &str, form: &str) -> Ended {
    let before = state(netns);
    let ended = run(&mut netns.beside(&[HOPLAB, "rules", "show", source, "--as", form]));
    assert_eq!(state(netns), before, "reading changed something");
    ended
}

fn file(text: &str, family: Family) -> String {
    let rules = parse(text, family, "rules").expect("they are readable");
    let program = match family {
        Family::V4 => "iptables",
        Family::V6 => "ip6tables",
    };
    format!("# {program}-restore\n{}", to_restore(&rules))
}

fn both_families() -> String {
    format!("{}\n{}", file(V4, Family::V4), file(V6, Family::V6))
}

#[rstest]
#[case("nft")]
#[case("legacy")]
fn the_rules_of_a_backend_are_read_with_it(#[case] backend: &str) {
    let netns = Netns::new();
    netns.output(&[&format!("iptables-{backend}-restore")], V4);
    let source = format!("pid:{}", netns.pid());
    let ended = show(&netns, &source, "restore");
    assert_eq!(
        (ended.stdout, ended.stderr.as_str()),
        (file(V4, Family::V4), "")
    );

    netns.output(&[&format!("ip6tables-{backend}-restore")], V6);
    let ended = show(&netns, &source, "restore");
    assert_eq!((ended.stdout, ended.stderr.as_str()), (both_families(), ""));
}

#[test]
fn tables_that_only_one_family_has_stay_with_it() {
    let netns = Netns::new();
    netns.output(&["iptables-nft-restore"], V4);
    let mangle = "*mangle\n-A OUTPUT -d ::1 -j ACCEPT\nCOMMIT\n";
    netns.output(&["ip6tables-nft-restore"], mangle);
    let ended = show(&netns, &format!("pid:{}", netns.pid()), "restore");
    let wanted = format!("{}\n{}", file(V4, Family::V4), file(mangle, Family::V6));
    assert_eq!((ended.stdout, ended.stderr.as_str()), (wanted, ""));
}

#[test]
fn native_rules_of_nft_are_read_with_nft() {
    let netns = Netns::new();
    netns.output(&["nft", "-f", "-"], NATIVE);
    let ended = show(&netns, &format!("pid:{}", netns.pid()), "restore");
    let document = rules::read(NATIVE, "nft", Family::V4).expect("it is readable");
    let sets: Vec<RuleSet> = document.rules().expect("they are readable");
    let files: Vec<String> = ["iptables", "ip6tables"]
        .iter()
        .zip(&sets)
        .map(|(program, set)| format!("# {program}-restore\n{}", to_restore(set)))
        .collect();
    assert_eq!(
        (ended.stdout, ended.stderr.as_str()),
        (files.join("\n"), "")
    );
}

#[test]
fn all_that_hold_rules_are_shown_and_named() {
    let netns = Netns::new();
    netns.output(&["iptables-nft-restore"], V4);
    netns.output(&["iptables-legacy-restore"], V4);
    netns.output(&["nft", "-f", "-"], NATIVE);
    let source = format!("pid:{}", netns.pid());
    let ended = show(&netns, &source, "commands");
    for holder in ["iptables-legacy", "iptables-nft", "nft"] {
        let heading = format!("# {source}/{holder}\n");
        assert!(ended.stdout.contains(&heading), "{}", ended.stdout);
    }
    let said = format!("note: {source} has rules of iptables-legacy and iptables-nft and nft: ");
    assert!(ended.stderr.contains(&said), "{}", ended.stderr);

    for (holder, wanted) in [("iptables-legacy", V4), ("iptables-nft", V4)] {
        let one = show(&netns, &format!("{source}/{holder}"), "restore");
        assert_eq!(
            (one.stdout, one.stderr.as_str()),
            (file(wanted, Family::V4), "")
        );
    }
}

#[test]
fn a_table_that_was_only_looked_at_holds_no_rules() {
    let netns = Netns::new();
    let source = format!("pid:{}", netns.pid());
    let nothing = |ended: Ended| {
        assert_eq!((ended.status.code(), ended.stdout.as_str()), (Some(0), ""));
        assert!(ended.stderr.ends_with("has no rules\n"), "{}", ended.stderr);
    };
    nothing(show(&netns, &source, "annotated"));
    netns.output(&["iptables-legacy", "-t", "nat", "-S"], "");
    nothing(show(&netns, &source, "annotated"));
}

#[test]
fn every_verb_that_takes_rules_takes_a_process() {
    let netns = Netns::new();
    netns.output(&["iptables-nft-restore"], V4);
    let source = format!("pid:{}", netns.pid());
    let ended = run(&mut netns.beside(&[HOPLAB, "rules", "lint", &source]));
    assert_eq!(ended.status.code(), Some(1), "{}", ended.stderr);
    assert!(
        ended
            .stdout
            .contains("IPv4 nat ISTIO_OUTPUT 5: never-matches"),
        "{}",
        ended.stdout
    );
}

#[test]
fn native_rules_without_nft_say_what_to_install() {
    let netns = Netns::new();
    netns.output(&["nft", "-f", "-"], NATIVE);
    let hide = "while p=$(command -v nft); do mount --bind /dev/null \"$p\" || exit 100; done; exec \"$@\"";
    let source = format!("pid:{}", netns.pid());
    let words = [
        "unshare", "--mount", "sh", "-c", hide, "sh", HOPLAB, "rules", "show", &source,
    ];
    let ended = run(netns
        .beside(&words)
        .env("PATH", "/usr/sbin:/sbin:/usr/bin:/bin"));
    ended.failed_with(
        3,
        &[
            "`nft` is not installed",
            "help: install the package `nftables`",
        ],
    );
}

#[test]
fn a_process_that_is_not_there_is_an_input_error() {
    // Above the largest id the kernel gives (PID_MAX_LIMIT).
    let ended = run(&mut hoplab(&["rules", "show", "pid:4194305"]));
    ended.failed_with(2, &["there is no process 4194305"]);
}

#[test]
fn a_process_of_another_user_is_out_of_reach_and_says_why() {
    let scratch = Scratch::new();
    let binary = scratch.path().join("hoplab");
    // By a program: were it open for writing here, a child that another test starts at that moment would have it open
    // too until it executes, and nobody can execute what is open for writing (ETXTBSY).
    let copied = run(Command::new("install").args([HOPLAB.as_ref(), binary.as_os_str()]));
    assert_eq!(copied.status.code(), Some(0), "{}", copied.stderr);
    let open = fs::Permissions::from_mode(0o755);
    fs::set_permissions(scratch.path(), open).expect("it is ours");
    let mut command = Command::new(&binary);
    if Uid::effective().is_root() {
        command.uid(65534).gid(65534);
    }
    let ended = run(command.args(["rules", "show", "pid:1"]));
    ended.failed_with(
        3,
        &[
            "could not look at the network namespace of process 1",
            "CAP_SYS_PTRACE: run as root",
        ],
    );
}
