//! Where verbs take rules from, beside a file: a profile by name, a file in a revision.

mod command;

use std::{path::Path, process::Command};

use rstest::rstest;

use self::command::{Ended, Scratch, hoplab, run};

const SPARE: &str = "*nat\n-A OUTPUT -p tcp -j ACCEPT\nCOMMIT\n";

fn there(at: &Path, args: &[&str]) -> Ended {
    run(hoplab(args).current_dir(at))
}

#[track_caller]
fn shows(ended: &Ended, part: &str) {
    assert_eq!(ended.status.code(), Some(0), "{}", ended.stderr);
    assert!(
        ended.stdout.contains(part),
        "no `{part}` in\n{}",
        ended.stdout
    );
}

#[rstest]
#[case::always("profile:kuma", "-A KUMA_MESH_INBOUND ")]
#[case::by_its_name_alone("kuma", "-A KUMA_MESH_INBOUND ")]
#[case::by_another_name("linkerd-0", "-A PROXY_INIT_OUTPUT ")]
#[case::with_a_dot("istio-1.17", "-A ISTIO_OUTPUT ")]
#[case::of_native_nft("istio-nft", "-A istio-output ")]
fn a_profile_is_a_source_by_its_name(#[case] source: &str, #[case] rule: &str) {
    let ended = there(
        Scratch::new().path(),
        &["rules", "show", source, "--as", "restore"],
    );
    shows(&ended, "# iptables-restore\n");
    shows(&ended, "# ip6tables-restore\n");
    shows(&ended, rule);
    assert_eq!(ended.stderr, "");
}

#[test]
fn a_file_goes_before_a_profile_of_the_same_name_and_that_is_said() {
    let scratch = Scratch::new();
    scratch.file("kuma", SPARE);
    let show = |source| {
        there(
            scratch.path(),
            &["rules", "show", source, "--as", "restore"],
        )
    };
    let file = show("kuma");
    shows(&file, "-A OUTPUT -p tcp -j ACCEPT");
    assert_eq!(
        file.stderr,
        "note: `kuma` is the file; the profile is `profile:kuma`\n"
    );
    shows(&show("profile:kuma"), "-A KUMA_MESH_INBOUND ");
}

#[test]
fn a_folder_does_not_hide_a_profile() {
    let scratch = Scratch::new();
    std::fs::create_dir(scratch.path().join("kuma")).expect("a new folder");
    let ended = there(
        scratch.path(),
        &["rules", "show", "kuma", "--as", "restore"],
    );
    shows(&ended, "-A KUMA_MESH_INBOUND ");
}

#[rstest]
#[case::near("kumma", &["could not read kumma", "there is no file and no profile", "did you mean `kuma`?"])]
#[case::far("my.rules", &["could not read my.rules", "`hoplab profiles` lists"])]
#[case::said_to_be_one("profile:linkerd-3", &["there is no profile `linkerd-3`", "did you mean `linkerd"])]
#[case::a_path("./kuma", &["could not read ./kuma", "No such file"])]
fn a_name_of_nothing_is_refused_with_the_nearest(#[case] source: &str, #[case] said: &[&str]) {
    let scratch = Scratch::new();
    for verb in ["show", "lint", "read-counters"] {
        there(scratch.path(), &["rules", verb, source]).failed_with(2, said);
    }
    let packet = "uid=1000 dst=10.0.0.9:80";
    there(scratch.path(), &["predict", "--rules", source, packet]).failed_with(2, said);
    there(scratch.path(), &["rules", "apply", "--rules", source]).failed_with(2, said);
    there(scratch.path(), &["rules", "apply", "--over", source]).failed_with(2, said);
    there(scratch.path(), &["run", "bookinfo", "--rules", source]).failed_with(2, said);
}

#[rstest]
#[case("kuma", "uid=5678 dst=10.0.0.9:80", "sent out to 10.0.0.9:80")]
#[case("kuma", "uid=1337 dst=10.0.0.9:80", "the socket on 127.0.0.1:15001")]
#[case("linkerd", "uid=1000 dst=[fd00::9]:80", "the socket on [::1]:4140")]
fn predict_takes_a_profile(#[case] profile: &str, #[case] packet: &str, #[case] end: &str) {
    let ended = run(&mut hoplab(&["predict", "--rules", profile, "-q", packet]));
    shows(&ended, end);
}

#[rstest]
#[case::show(&["rules", "show"], &["--as", "restore"])]
#[case::lint(&["rules", "lint"], &[])]
#[case::predict(&["predict", "--rules"], &["uid=1000 dst=10.0.0.9:80"])]
#[case::apply(&["rules", "apply", "--rules"], &[])]
fn of_several_dumps_of_a_table_the_last_one_counts_and_that_is_said(
    #[case] verb: &[&str],
    #[case] more: &[&str],
) {
    let scratch = Scratch::new();
    let redirect = SPARE.replace("ACCEPT", "REDIRECT --to-ports 15001");
    let file = scratch.file("both.rules", &format!("{SPARE}# iptables-save\n{redirect}"));
    let ended = run(&mut hoplab(&[verb, &[&file], more].concat()));
    let said = "holds IPv4 nat 2 times, from the lines 1, 5; the last one counts";
    assert_eq!(ended.stderr.matches(said).count(), 1, "{}", ended.stderr);
    assert!(!ended.stdout.contains("ACCEPT\n"), "{}", ended.stdout);
}

#[test]
fn a_family_that_only_its_place_tells_is_said_to_be_a_guess() {
    let scratch = Scratch::new();
    let file = scratch.file("both.rules", &format!("{SPARE}{SPARE}"));
    let ended = run(&mut hoplab(&["rules", "lint", &file]));
    let said = "both.rules:4:1: taken as IPv6: its table comes a second time";
    assert!(ended.stderr.contains(said), "{}", ended.stderr);
    let told = scratch.file("told.rules", &format!("{SPARE}# ip6tables-save\n{SPARE}"));
    assert_eq!(run(&mut hoplab(&["rules", "lint", &told])).stderr, "");
}

#[test]
fn lint_names_what_it_does_not_understand() {
    let scratch = Scratch::new();
    let file = scratch.file(
        "my.rules",
        "*nat\n-A OUTPUT -m odd --bar -j ACCEPT\nCOMMIT\n",
    );
    let ended = run(&mut hoplab(&["rules", "lint", &file]));
    let said = "note: IPv4 nat OUTPUT 1 is not modelled: -A OUTPUT -m odd --bar -j ACCEPT\n";
    assert_eq!(ended.stderr, said);
}

#[test]
fn a_profile_has_no_counters() {
    let ended = run(&mut hoplab(&["rules", "read-counters", "profile:kuma"]));
    ended.failed_with(2, &["profile:kuma: nat PREROUTING 1 carries no counters"]);
}

#[rstest]
#[case::known_by_its_user("linkerd")]
#[case::known_by_its_mark("ambient")]
fn lint_knows_the_proxy_of_a_profile(#[case] profile: &str) {
    let of = |args: &[&str]| {
        let args = [&["rules", "lint", profile], args].concat();
        run(&mut hoplab(&args)).stdout
    };
    assert!(!of(&[]).contains("proxy-to-itself"), "{}", of(&[]));
    let another = of(&[
        "--proxy-uid",
        "77",
        "--proxy-gid",
        "77",
        "--proxy-mark",
        "0x77",
    ]);
    assert!(another.contains("proxy-to-itself"), "{another}");
}

#[test]
fn over_a_profile_another_one_is_applied() {
    let args = [
        "rules",
        "apply",
        "--over",
        "istio-1.13",
        "--rules",
        "profile:kuma",
    ];
    let ended = run(&mut hoplab(&args));
    shows(&ended, "rules in the pod");
    let again = run(&mut hoplab(&[
        "rules", "apply", "--over", "kuma", "--rules", "kuma",
    ]));
    assert_eq!(again.status.code(), Some(1), "{}", again.stdout);
    assert!(again.stdout.contains("nothing changed"), "{}", again.stdout);
}

#[test]
fn a_run_under_a_proxy_that_no_lab_plays_is_refused() {
    let ended = run(&mut hoplab(&[
        "run",
        "bookinfo",
        "--rules",
        "ztunnel-dedicated",
    ]));
    ended.failed_with(2, &["the lab can't run under profile", "bring nothing in"]);
}

/// A repository with one commit, and a change since that is not committed.
fn repository() -> Scratch {
    let scratch = Scratch::new();
    let git = |args: &[&str]| {
        let mut command = Command::new("git");
        let identity = ["-c", "user.name=a", "-c", "user.email=a@example.org"];
        let ended = run(command
            .arg("-C")
            .arg(scratch.path())
            .args(identity)
            .args(args));
        assert_eq!(ended.status.code(), Some(0), "{}", ended.stderr);
    };
    git(&["init", "--quiet"]);
    std::fs::create_dir(scratch.path().join("rules")).expect("a new folder");
    scratch.file("rules/my.rules", SPARE);
    git(&["add", "."]);
    git(&[
        "-c",
        "commit.gpgsign=false",
        "commit",
        "--quiet",
        "--message",
        "rules",
    ]);
    scratch.file("rules/my.rules", "not rules any more");
    scratch
}

#[rstest]
#[case::from_the_root("git:HEAD:rules/my.rules", "")]
#[case::from_the_root_anywhere("git:HEAD:rules/my.rules", "rules")]
#[case::from_here("git:HEAD:./my.rules", "rules")]
fn a_revision_holds_what_was_committed(#[case] source: &str, #[case] at: &str) {
    let repository = repository();
    let at = repository.path().join(at);
    let ended = there(&at, &["rules", "show", source, "--as", "restore"]);
    shows(&ended, "-A OUTPUT -p tcp -j ACCEPT");
}

#[rstest]
#[case::no_file("git:HEAD:no.rules", "path 'no.rules' does not exist in 'HEAD'")]
#[case::no_revision("git:none:rules/my.rules", "invalid object name 'none'")]
#[case::a_folder("git:HEAD:rules", "HEAD:rules")]
fn what_no_revision_holds_is_an_input_error(#[case] source: &str, #[case] why: &str) {
    let repository = repository();
    let ended = there(repository.path(), &["rules", "lint", source]);
    ended.failed_with(2, &[&format!("could not read {source}"), why]);
}

#[test]
fn outside_of_a_repository_no_revision_is_found() {
    let ended = there(
        Scratch::new().path(),
        &["rules", "lint", "git:HEAD:a.rules"],
    );
    ended.failed_with(
        2,
        &["could not read git:HEAD:a.rules", "not a git repository"],
    );
}
