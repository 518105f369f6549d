//! `hoplab rules snapshot` and `verify`: what a repository keeps.

use rstest::rstest;

use crate::{command::Scratch, ending, says};

#[test]
fn a_snapshot_holds_for_its_rules_and_not_for_others() {
    let scratch = Scratch::new();
    let taken = ending(0, "snapshot linkerd --only ipv4", &[]);
    let file = scratch.file("linkerd.snapshot", &taken.stdout);
    ending(0, "verify linkerd --only ipv4 --against", &[&file]);
    let other = ending(1, "verify linkerd-1 --only ipv4 --against", &[&file]);
    says(&other, "-> pod 127.0.0.1:4143, original 192.0.2.2:9080");
    // One end altered: the kernel does not do that.
    let altered = taken
        .stdout
        .replacen("-> pod 192.0.2.2:4143", "-> pod 192.0.2.2:4144", 1);
    let altered = scratch.file("altered.snapshot", &altered);
    let found = ending(1, "verify linkerd --only ipv4 --against", &[&altered]);
    assert!(
        found.stdout.contains(": 1 changed, ") || found.stdout.contains("flows: 1 changed"),
        "{}",
        found.stdout
    );
}

#[test]
fn a_file_that_is_no_snapshot_is_told_with_its_place() {
    let scratch = Scratch::new();
    let file = scratch.file(
        "odd",
        "hoplab snapshot 1\n\ntcp uid=x gid=1 src=1.1.1.1 dst=1.1.1.2:1\n",
    );
    let ended = ending(2, "verify kuma --against", &[&file]);
    assert!(
        ended.stderr.contains("`x` is no number") && ended.stderr.contains(":3:"),
        "{}",
        ended.stderr
    );
}

fn snapshots() -> std::path::PathBuf {
    std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../scenarios/snapshots")
}

#[rstest]
fn a_profile_does_what_its_snapshot_says(
    #[values(
        "istio-1.12",
        "istio-1.13",
        "istio-1.18",
        "istio-1.20",
        "istio-1.23",
        "istio-1.24",
        "istio-1.25",
        "istio-tproxy",
        "istio-nft",
        "ambient",
        "ambient-nft",
        "ztunnel",
        "ztunnel-dedicated",
        "kuma",
        "linkerd",
        "linkerd-1"
    )]
    profile: &str,
) {
    let file = snapshots().join(format!("{profile}.snapshot"));
    let source = format!("profile:{profile}");
    ending(
        0,
        "verify --against",
        &[&file.display().to_string(), &source],
    );
}

#[test]
fn every_profile_has_a_snapshot() {
    let mut files: Vec<String> = std::fs::read_dir(snapshots())
        .expect("a directory")
        .map(|it| {
            it.expect("readable")
                .file_name()
                .to_string_lossy()
                .replace(".snapshot", "")
        })
        .collect();
    files.sort();
    let mut profiles: Vec<String> = hoplab::profiles::all()
        .into_iter()
        .map(|it| it.name)
        .collect();
    profiles.sort();
    assert_eq!(files, profiles);
}
