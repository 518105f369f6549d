//! `hoplab rules diff`, `snapshot`, `verify`, `cover` and `mutate` as a person uses them, in real kernels.

#[path = "../command/mod.rs"]
mod command;
mod diff;
mod mutate;
mod snapshot;

use rstest::rstest;
use serde_json::Value;

use self::command::{Ended, Scratch, hoplab, run};

fn rules(words: &str, more: &[&str]) -> Ended {
    let mut args = vec!["rules"];
    args.extend(words.split_whitespace());
    args.extend(more);
    run(&mut hoplab(&args))
}

/// The same, where it ends with this code.
fn ending(code: i32, words: &str, more: &[&str]) -> Ended {
    let ended = rules(words, more);
    let Ended { stdout, stderr, .. } = &ended;
    assert_eq!(ended.status.code(), Some(code), "{stdout}{stderr}");
    ended
}

fn says(ended: &Ended, words: &str) {
    let stdout = &ended.stdout;
    assert!(stdout.contains(words), "no `{words}` in {stdout}");
}

fn json(ended: &Ended) -> Value {
    serde_json::from_str(&ended.stdout)
        .unwrap_or_else(|error| panic!("{error}: {}\n{}", ended.stdout, ended.stderr))
}

/// Every flow that is treated differently.
fn differing(value: &Value) -> Vec<String> {
    let groups = value["differences"].as_array().expect("a list");
    let flows = groups.iter().flat_map(|group| {
        let others = group["others"].as_array().expect("a list").iter();
        std::iter::once(&group["flow"]).chain(others)
    });
    flows
        .map(|it| it.as_str().expect("words").to_owned())
        .collect()
}

/// What differs, each difference as one flow.
fn patterns(value: &Value) -> Vec<&str> {
    let groups = value["differences"].as_array().expect("a list").iter();
    groups
        .map(|it| it["pattern"].as_str().expect("words"))
        .collect()
}

/// A file with the rules of a mesh, as `hoplab rules render` writes them.
fn rendered(scratch: &Scratch, name: &str, words: &str) -> String {
    let ended = rules(words, &[]);
    assert!(ended.status.success(), "{}", ended.stderr);
    scratch.file(name, &ended.stdout)
}

#[rstest]
#[case::no_such_profile("diff kuma kumo", "there is no file and no profile of this name")]
#[case::no_such_snapshot(
    "verify kuma --against no-such.snapshot",
    "could not read no-such.snapshot"
)]
fn what_can_not_be_tried_is_an_input_error(#[case] words: &str, #[case] why: &str) {
    let ended = rules(words, &[]);
    assert_eq!((ended.status.code(), ended.stdout.as_str()), (Some(2), ""));
    assert!(ended.stderr.contains(why), "{}", ended.stderr);
}

#[test]
fn rules_that_the_kernel_refuses_are_an_input_error_in_its_words() {
    let scratch = Scratch::new();
    let bad = scratch.file(
        "bad",
        "*nat\n-A OUTPUT -p tcp -j TPROXY --on-port 1\nCOMMIT\n",
    );
    let ended = ending(2, "diff", &[&bad, "kuma"]);
    assert!(
        ended.stderr.contains("the rules are refused by"),
        "{}",
        ended.stderr
    );
    assert!(ended.stderr.contains(&bad), "{}", ended.stderr);
}
