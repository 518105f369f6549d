//! What a person gets for input that is wrong and for a machine that can't: an exit code, the place, the words of
//! whoever refused, a way out. And nothing stays behind.

mod command;

use std::{fs, os::unix::fs::PermissionsExt, process::Command};

use command::{Ended, HOPLAB, SMALL as LAB, Scratch, hoplab, run};
use nix::unistd::Uid;
use rstest::rstest;

#[test]
fn the_lab_file_of_these_tests_holds_as_it_is() {
    let scratch = Scratch::new();
    let lab = scratch.file("lab.toml", LAB);
    let ended = run(&mut hoplab(&["run", &lab]));
    assert!(ended.status.success(), "{ended:#?}");
}

#[rstest]
#[case::unknown_pod_in_a_flow(
    "from = \"caller\"",
    "from = \"callr\"",
    r#"29:8: there is no pod `callr`
  29 | from = "callr"
     |        ^^^^^^^
     = help: did you mean `caller`?"#
)]
#[case::unknown_target_of_a_flow(
    "to = \"called:9080\"",
    "to = \"cold:9080\"",
    r#"30:6: there is no pod or service `cold`
  30 | to = "cold:9080"
     |      ^^^^^^^^^^^"#
)]
#[case::duplicate_address(
    "10.77.0.11",
    "10.77.0.10",
    r#"21:8: 10.77.0.10 belongs to pod `caller` already
  21 | ipv4 = "10.77.0.10"
     |        ^^^^^^^^^^^^
     = help: every pod, service and the node needs an address of its own"#
)]
#[case::address_outside_the_subnet(
    "10.77.0.11",
    "10.78.0.11",
    r#"21:8: 10.78.0.11 is not a host address of 10.77.0.0/24
  21 | ipv4 = "10.78.0.11"
     |        ^^^^^^^^^^^^
     = help: pods and the node share one network: choose an address inside it"#
)]
#[case::ipv6_address_outside_the_subnet(
    "fd77::11",
    "fd78::11",
    r#"22:8: fd78::11 is not a host address of fd77::/64
  22 | ipv6 = "fd78::11"
     |        ^^^^^^^^^^"#
)]
#[case::interface_name_too_long(
    "sidecar = true",
    "sidecar = true\nhost_interface = \"sixteen-letters-\"",
    r#"24:18: interface name `sixteen-letters-` is 16 bytes long; the kernel takes 15
  24 | host_interface = "sixteen-letters-"
     |                  ^^^^^^^^^^^^^^^^^^
     = help: use at most 15 letters, digits, `-`, `_` or `.`"#
)]
#[case::unknown_key("sidecar = true", "sidekar = true", r#"23:1: unknown field `sidekar`"#)]
#[case::not_toml("[rules]", "[rules", r#"10:"#)]
fn a_wrong_lab_file_is_refused_with_the_place_and_the_repair(
    #[case] right: &str,
    #[case] wrong: &str,
    #[case] complaint: &str,
) {
    assert_eq!(LAB.matches(right).count(), 1, "`{right}` is not one place");
    let scratch = Scratch::new();
    let lab = scratch.file("lab.toml", &LAB.replace(right, wrong));
    let ended = run(&mut hoplab(&["run", &lab]));
    ended.failed_with(2, &[&format!("error: {lab}:{complaint}")]);
    assert_eq!(ended.stdout, "");
}

#[rstest]
#[case::unknown_chain(
    "-A PREROUTING -p tcp -j ISTIO_INBUND",
    r#"3:25: chain `ISTIO_INBUND` does not exist
   3 | -A PREROUTING -p tcp -j ISTIO_INBUND
     |                         ^^^^^^^^^^^^
     = help: did you mean `ISTIO_INBOUND`?"#
)]
#[case::missing_value(
    "-A OUTPUT -p -j ISTIO_INBOUND",
    r#"3:11: `-p` needs a value
   3 | -A OUTPUT -p -j ISTIO_INBOUND
     |           ^^"#
)]
fn rules_that_do_not_parse_are_refused_with_the_place(#[case] rule: &str, #[case] complaint: &str) {
    let scratch = Scratch::new();
    let rules = with_rule(&scratch, rule);
    let ended = run(&mut hoplab(&["run", "bookinfo", "--rules", &rules]));
    ended.failed_with(2, &[&format!("error: {rules}:{complaint}")]);
}

/// A restore file with this rule in line 3.
fn with_rule(scratch: &Scratch, rule: &str) -> String {
    let text = format!("* nat\n-N ISTIO_INBOUND\n{rule}\nCOMMIT\n");
    scratch.file("my.rules", &text)
}

#[rstest]
#[case::match_nobody_knows(
    "-A OUTPUT -p tcp -m nosuchmatch -j ISTIO_INBOUND",
    "nft",
    &["Couldn't load match `nosuchmatch'", "line: 3"]
)]
#[case::match_nobody_knows_to_legacy(
    "-A OUTPUT -p tcp -m nosuchmatch -j ISTIO_INBOUND",
    "legacy",
    &["Couldn't load match `nosuchmatch'", "line: 3"]
)]
#[case::redirect_where_the_kernel_has_none(
    "-A POSTROUTING -p tcp -j REDIRECT --to-ports 15006",
    "nft",
    &["line 3: RULE_APPEND failed (Invalid argument): rule in chain POSTROUTING"]
)]
fn rules_that_do_not_apply_are_refused_with_the_words_of_iptables_and_the_line(
    #[case] rule: &str,
    #[case] backend: &str,
    #[case] words: &[&str],
) {
    let scratch = Scratch::new();
    let rules = with_rule(&scratch, rule);
    let args = ["run", "bookinfo", "--backend", backend, "--rules", &rules];
    let ended = run(&mut hoplab(&args));
    let command = format!("`iptables-{backend}-restore --noflush ");
    ended.failed_with(2, &[&command, &format!("   3 | {rule}\n")]);
    ended.failed_with(2, words);
}

/// Legacy takes a table as a whole, and so can't tell which rule the kernel refused.
#[test]
fn rules_that_legacy_does_not_apply_are_refused_at_their_commit() {
    let scratch = Scratch::new();
    let rules = with_rule(
        &scratch,
        "-A POSTROUTING -p tcp -j REDIRECT --to-ports 15006",
    );
    let args = ["run", "bookinfo", "--backend", "legacy", "--rules", &rules];
    run(&mut hoplab(&args)).failed_with(2, &["iptables-restore: line 4 failed\n   4 | COMMIT\n"]);
}

#[rstest]
#[case::flow(
    &["run", "bookinfo", "--flow", "app-to-own-ipp"],
    "lab `bookinfo` has no flow `app-to-own-ipp`\n  help: did you mean `app-to-own-ip`?"
)]
#[case::lab(&["run", "bokinfo"], "there is no lab `bokinfo`\n  help: labs that hoplab carries: bookinfo")]
#[case::lab_file(&["run", "./none.toml"], "could not read ./none.toml\n  because No such file or directory")]
#[case::rules_file(
    &["run", "bookinfo", "--rules", "none.rules"],
    "could not read none.rules\n  because there is no file and no profile of this name\n  help: `hoplab profiles` lists"
)]
#[case::backend(
    &["run", "bookinfo", "--backend", "ebpf"],
    "invalid value 'ebpf' for '--backend <BACKEND>': `ebpf` is not a backend: nft, legacy or auto"
)]
#[case::family(&["run", "bookinfo", "--family", "ipx"], "invalid value 'ipx' for '--family <FAMILY>'")]
#[case::verb(&["ran", "bookinfo"], "unrecognized subcommand 'ran'")]
fn a_wrong_argument_is_refused_with_what_would_be_right(
    #[case] args: &[&str],
    #[case] complaint: &str,
) {
    run(&mut hoplab(args)).failed_with(2, &[&format!("error: {complaint}")]);
}

#[rstest]
#[case::any("auto", "nft")]
#[case::nft("nft", "nft")]
#[case::legacy("legacy", "legacy")]
fn a_machine_without_iptables_is_told_what_to_install(#[case] asked: &str, #[case] named: &str) {
    let hide = "for f in iptables ip6tables; do for b in nft legacy; do for t in save restore; do
        while p=$(command -v $f-$b-$t); do mount --bind /dev/null \"$p\" || exit 100; done
    done; done; done; exec \"$@\"";
    let path = "/usr/sbin:/sbin:/usr/bin:/bin";
    let mut command = as_root(&["unshare", "--mount", "sh", "-c", hide, "sh", HOPLAB]);
    let ended = run(command
        .args(["run", "bookinfo", "--backend", asked])
        .env("PATH", path));
    let missing = format!("`iptables-{named}-restore` is not installed");
    ended.failed_with(3, &[&missing, "help: install the package `iptables`"]);
}

#[test]
fn an_ordinary_user_without_subordinate_ids_is_told_the_line_to_add() {
    let scratch = Scratch::new();
    let ended = as_user_64999(&scratch);
    ended.failed_with(3, &[":65536` to /etc/subuid", "or run as root"]);
    let (_, line) = ended
        .stderr
        .split_once("add the line `64999:")
        .expect("a line");
    let first = line
        .split(':')
        .next()
        .and_then(|it| it.parse::<u64>().ok())
        .expect("a number");
    // Of the ranges that others have here it takes nothing.
    let text = fs::read_to_string("/etc/subuid").unwrap_or_default();
    for other in text.lines() {
        let mut numbers = other
            .split(':')
            .skip(1)
            .filter_map(|it| it.parse::<u64>().ok());
        if let (Some(start), Some(count)) = (numbers.next(), numbers.next()) {
            assert!(
                first >= start + count || first + 65_536 <= start,
                "{first}: {other}"
            );
        }
    }
}

#[test]
fn where_new_namespaces_are_forbidden_the_error_says_so_and_names_the_tests_that_need_none() {
    let mut command = as_root(&["setpriv", "--inh-caps=-all", "--bounding-set=-all", HOPLAB]);
    let ended = run(command.args(["run", "bookinfo"]));
    ended.failed_with(
        3,
        &[
            "refuses new namespaces",
            "run the container privileged",
            "just test-pure",
        ],
    );
}

/// Runs `hoplab run bookinfo` as a user that the machine knows nothing of.
fn as_user_64999(scratch: &Scratch) -> Ended {
    // The target directory may be closed to others.
    let binary = scratch.path().join("hoplab");
    // By another process: a descriptor open for writing here could be inherited by another test's child, and keep
    // the copy from being executed (ETXTBSY).
    let copied = run(Command::new("install")
        .args(["-m", "755", HOPLAB])
        .arg(&binary));
    assert!(copied.status.success(), "{copied:?}");
    let open = fs::Permissions::from_mode(0o755);
    fs::set_permissions(scratch.path(), open).expect("the directory is ours");
    let user = ["--reuid=64999", "--regid=64999", "--clear-groups"];
    let mut command = as_root(&["setpriv"]);
    run(command.args(user).arg(binary).args(["run", "bookinfo"]))
}

/// A command as root of this machine, or of a user namespace with all ids.
fn as_root(words: &[&str]) -> Command {
    let user_namespace = ["unshare", "--user", "--map-root-user", "--map-auto"];
    let words: Vec<&str> = match Uid::effective().is_root() {
        true => words.to_vec(),
        false => [&user_namespace, words].concat(),
    };
    let mut command = Command::new(words[0]);
    command.args(&words[1..]);
    command
}
