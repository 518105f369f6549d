//! Up, listed, looked at, down; by name, one or many.

use std::{
    fs,
    os::unix::fs::{PermissionsExt, symlink},
    process::Command,
    thread,
};

use hoplab::live;
use rstest::rstest;

use super::{
    SMALL,
    command::{Running, runtime::Runtime, traces::Traces},
    small,
};

#[test]
fn a_lab_is_up_until_it_is_taken_down_and_then_nothing_is_left() {
    let runtime = Runtime::new();
    let said = runtime.output(&["up", &runtime.file("small.toml", SMALL)]);
    assert_eq!(
        said,
        "small is up: 2 pods, 1 of them with a sidecar, 3 processes; rules: istio-1.13, the lab's own; nft\n"
    );
    let traces = Traces::of(runtime.pid("small"));
    assert_eq!(traces.networks(), 3, "the node and two pods: {traces:?}");
    let ended = runtime.down("small");
    assert_eq!(
        ended.stdout,
        "small is down: 3 processes ended, 0 had to be killed, 2 namespaces removed\n"
    );
    traces.assert_vanish();
    runtime.assert_empty();
}

#[test]
fn the_list_and_the_status_agree_with_the_kernel() {
    let runtime = Runtime::new();
    small(&runtime);
    let json = |args: &[&str]| -> serde_json::Value {
        serde_json::from_str(&runtime.output(args)).expect("JSON")
    };
    let list = json(&["ls", "--json"]);
    assert_eq!(list[0]["name"], "small");
    assert_eq!(list[0]["state"], "up");
    assert_eq!(list[0]["pid"], runtime.pid("small"));
    let status = json(&["status", "--json"]);
    assert_eq!(status["in_use"], false);
    assert_eq!(status["families"], serde_json::json!(["ipv4"]));
    let processes = status["pods"][1]["processes"].as_array().expect("a list");
    let mut owners = Vec::new();
    for process in processes {
        let pid = process["pid"].as_i64().expect("it lives");
        let text = fs::read_to_string(format!("/proc/{pid}/status")).expect("it lives");
        let uid = text.lines().find(|line| line.starts_with("Uid:"));
        let uid = uid.and_then(|line| line.split_whitespace().nth(1));
        owners.push((process["uid"].to_string(), uid.expect("a uid").to_owned()));
    }
    owners.sort();
    let same = |uid: &str| (uid.to_owned(), uid.to_owned());
    assert_eq!(owners, [same("1000"), same("1337")]);
    runtime.down("small");
}

/// The way a person goes into a pod by hand.
#[test]
fn the_process_id_of_a_pod_leads_to_its_rules() {
    let runtime = Runtime::new();
    small(&runtime);
    let lab = runtime.find("small");
    let enter = |pod: &str| {
        let pid = lab.pid_in(pod).expect("it lives").to_string();
        let mut command = Command::new("nsenter");
        command.args(["-t", &pid, "-n", "-m"]);
        command.args(["iptables-nft-save", "-t", "nat"]);
        let output = command.output().expect("nsenter is installed");
        String::from_utf8_lossy(&output.stdout).into_owned()
    };
    assert!(enter("called").contains("-A ISTIO_INBOUND -p tcp -j ISTIO_IN_REDIRECT"));
    assert!(!enter("caller").contains("ISTIO"));
    let failure = lab.pid_in("caled").expect_err("no such pod");
    assert_eq!(
        failure.hint.as_deref(),
        Some("did you mean `called`?"),
        "{failure}"
    );
    runtime.down("small");
}

#[test]
fn of_two_that_bring_up_the_same_lab_at_once_one_does_and_the_other_finds_it_up() {
    let runtime = Runtime::new();
    let file = runtime.file("small.toml", SMALL);
    let started: Vec<Running> = (0..2)
        .map(|_| Running::start(&mut runtime.hoplab(&["up", &file])))
        .collect();
    let mut said: Vec<String> = started
        .into_iter()
        .map(|command| {
            let ended = command.ended();
            assert!(ended.status.success(), "{ended:#?}");
            ended.stdout
        })
        .collect();
    said.sort();
    assert!(said[0] == "small is as its file says\n", "{said:#?}");
    assert!(said[1].starts_with("small is up: 2 pods"), "{said:#?}");
    runtime.down("small");
    runtime.assert_empty();
}

#[test]
fn twenty_labs_are_up_at_once_and_each_is_found_by_its_name() {
    let runtime = Runtime::new();
    let file = runtime.file("small.toml", SMALL);
    let names: Vec<String> = (1..=20).map(|number| format!("lab-{number:02}")).collect();
    let every = |verb: fn(&str, &str) -> Vec<String>| {
        thread::scope(|scope| {
            for name in &names {
                let (runtime, args) = (&runtime, verb(name, &file));
                scope.spawn(move || {
                    let args: Vec<&str> = args.iter().map(String::as_str).collect();
                    runtime.output(&args);
                });
            }
        });
    };
    every(|name, file| ["up", file, "--name", name].map(str::to_owned).to_vec());
    let list: serde_json::Value =
        serde_json::from_str(&runtime.output(&["ls", "--json"])).expect("JSON");
    let list = list.as_array().expect("a list");
    assert_eq!(list.len(), 20);
    assert!(list.iter().all(|lab| lab["state"] == "up"), "{list:#?}");
    let ambiguous = ["more than one lab is up", "lab-01, lab-02, lab-03"];
    runtime.done(&["down"]).failed_with(2, &ambiguous);
    let traces = Traces::of(runtime.pid("lab-20"));
    every(|name, _| ["down", name].map(str::to_owned).to_vec());
    traces.assert_vanish();
    runtime.assert_empty();
}

#[test]
fn a_lab_that_is_not_up_is_told_with_those_that_are() {
    let runtime = Runtime::new();
    let nothing = ["no lab is up", "hoplab up bookinfo"];
    runtime.done(&["status"]).failed_with(4, &nothing);
    runtime.done(&["down"]).failed_with(4, &nothing);
    runtime
        .done(&["down", "small"])
        .failed_with(4, &["no lab `small` is up"]);
    runtime.assert_empty();
    small(&runtime);
    let near = ["no lab `smal` is up", "did you mean `small`?"];
    runtime.done(&["status", "smal"]).failed_with(4, &near);
    runtime.down("small");
}

#[rstest]
#[case::a_way_out("../small")]
#[case::nothing("")]
#[case::capitals("Small")]
fn a_name_that_is_no_name_is_refused(#[case] name: &str) {
    let runtime = Runtime::new();
    let words = ["1 to 63 lower-case letters, digits and inner hyphens"];
    runtime.done(&["up", "--name", name]).failed_with(2, &words);
    runtime.assert_empty();
}

#[test]
fn a_place_that_others_may_enter_holds_no_labs() {
    let runtime = Runtime::new();
    fs::create_dir(runtime.labs()).expect("a new directory");
    fs::set_permissions(runtime.labs(), fs::Permissions::from_mode(0o755)).expect("it is ours");
    let words = [
        "can't hold running labs: its mode is 755, not 700",
        "HOPLAB_RUNTIME_DIR",
    ];
    runtime.done(&["up"]).failed_with(3, &words);
    fs::remove_dir(runtime.labs()).expect("nothing was put there");
}

#[test]
fn prune_removes_what_is_left_of_a_lab_and_nothing_else() {
    let runtime = Runtime::new();
    small(&runtime);
    let labs = runtime.labs();
    fs::write(labs.join("notes.txt"), "mine").expect("it is ours");
    fs::create_dir(labs.join("data")).expect("it is ours");
    fs::write(labs.join("data/state.json"), "{}").expect("it is ours");
    fs::write(labs.join("data/results.csv"), "mine").expect("it is ours");
    fs::create_dir(labs.join("never-up")).expect("it is ours");
    symlink("/tmp", labs.join("link")).expect("it is ours");
    let ended = runtime.done(&["prune"]);
    ended.failed_with(
        0,
        &[
            "left alone: data is not a lab's",
            "left alone: notes.txt",
            "left alone: link",
        ],
    );
    assert_eq!(ended.stdout, "removed what was left of lab `never-up`\n");
    let there = runtime.registry().names().expect("readable");
    assert_eq!(there, ["data", "link", "notes.txt", "small"]);
    assert!(labs.join("data/results.csv").exists() && labs.join("data/state.json").exists());
    runtime
        .done(&["prune", "small"])
        .failed_with(0, &["lab `small` is not stale"]);
    let foreign = ["is not a lab's: it holds `results.csv`"];
    runtime
        .done(&["up", "--name", "data"])
        .failed_with(4, &foreign);
    runtime.down("small");
}

#[test]
fn a_lab_of_another_version_of_hoplab_can_be_seen_and_taken_down() {
    let runtime = Runtime::new();
    small(&runtime);
    let traces = Traces::of(runtime.pid("small"));
    let state = runtime.labs().join("small/state.json");
    let text = fs::read_to_string(&state).expect("it is there");
    let changed = text.replacen("\"schema\": 4", "\"schema\": 99", 1);
    assert_ne!(changed, text);
    fs::write(&state, changed).expect("it is ours");
    assert!(runtime.output(&["ls"]).contains("other version"));
    let words = ["was started by another version of hoplab", "as schema 99"];
    runtime.done(&["status", "small"]).failed_with(4, &words);
    runtime.output(&["prune"]);
    runtime.down("small");
    traces.assert_vanish();
    runtime.assert_empty();
}

#[test]
fn a_place_whose_path_no_socket_address_has_room_for_holds_labs_too() {
    let runtime = Runtime::new();
    let long = runtime.labs().join("x".repeat(200));
    fs::create_dir_all(long.parent().expect("it has one")).expect("it is ours");
    let file = runtime.file("small.toml", SMALL);
    let with = |args: &[&str]| {
        let ended = Running::start(runtime.hoplab(args).env("HOPLAB_RUNTIME_DIR", &long)).ended();
        assert!(ended.status.success(), "{ended:#?}");
    };
    with(&["up", &file]);
    let registry = live::Registry::at(&long).expect("ours");
    let lab = live::find_in(&registry, None).expect("it is up");
    assert_eq!(lab.is_in_use(), Some(false));
    with(&["down"]);
    fs::remove_dir(long).expect("nothing is left");
    fs::remove_dir(runtime.labs()).expect("nothing is left");
}
