//! `hoplab profiles`, and `hoplab rules render` of other meshes, as a person uses them.

use std::process::{Command, Output};

use rstest::rstest;

fn hoplab(words: &str) -> (Option<i32>, String, String) {
    let Output {
        status,
        stdout,
        stderr,
    } = Command::new(env!("CARGO_BIN_EXE_hoplab"))
        .args(words.split_whitespace())
        .output()
        .expect("it starts");
    let text = |bytes| String::from_utf8(bytes).expect("text");
    (status.code(), text(stdout), text(stderr))
}

fn json(words: &str) -> serde_json::Value {
    let (code, stdout, stderr) = hoplab(words);
    assert_eq!(code, Some(0), "{stderr}");
    serde_json::from_str(&stdout).expect("JSON")
}

#[test]
fn the_list_has_a_line_for_each_profile() {
    let (code, stdout, _) = hoplab("profiles");
    assert_eq!(code, Some(0));
    let line = |name: &str| {
        let mut lines = stdout.lines();
        let found = lines.find(|line| line.split_whitespace().next() == Some(name));
        found.unwrap_or_else(|| panic!("{name}: {stdout}"))
    };
    assert!(line("kuma").contains("15006/15001/-"), "{stdout}");
    assert!(line("linkerd-1").contains("4143/4140/-"), "{stdout}");
    assert!(line("istio-1.12").contains("1337:1337"), "{stdout}");
    assert!(line("ambient").contains("15006/15001/15053"), "{stdout}");
    assert!(
        line("ztunnel-dedicated").contains("mark 0x539/0xfff"),
        "{stdout}"
    );
    assert_eq!(stdout.lines().count(), hoplab::profiles::all().len() + 1);
}

#[test]
fn json_has_every_profile_and_with_a_name_its_rules() {
    let list = json("profiles --json");
    let all = list["profiles"].as_array().expect("a list");
    assert_eq!(all.len(), hoplab::profiles::all().len());
    let kuma = all.iter().find(|it| it["name"] == "kuma").expect("kuma");
    assert_eq!(kuma["proxy"]["uid"], 5678);
    assert_eq!(kuma["proxy"]["inbound_source"]["address"][0], "127.0.0.6");
    assert_eq!(kuma["beside"][1], "ip -6 addr add ::6/128 dev lo");
    assert!(kuma.get("rules").is_none());
    let one = json("profiles linkerd-1 --json");
    assert!(
        one["rules"]["ipv4"]
            .as_str()
            .is_some_and(|it| it.starts_with("*nat\n"))
    );
    assert!(one["rules"]["ipv6"].is_null());
    assert_eq!(one["ipv6"], false);
}

#[test]
fn a_name_prints_the_rules_of_both_families_or_one() {
    let (_, both, _) = hoplab("profiles kuma");
    let (_, v4, _) = hoplab("profiles kuma --family ipv4");
    let (_, v6, _) = hoplab("profiles kuma --family ipv6");
    assert_eq!(both, format!("{v4}{v6}"));
    assert_eq!(v4, hoplab("rules render kuma --family ipv4").1);
    assert!(v6.contains("::6/128"), "{v6}");
}

#[rstest]
#[case(
    "profiles kumaa",
    "there is no profile `kumaa`",
    "did you mean `kuma`?"
)]
#[case("profiles cilium", "there is no profile `cilium`", "linkerd-1")]
#[case(
    "profiles linkerd-1 --family ipv6",
    "linkerd-1 has no rules of that family",
    ""
)]
#[case(
    "profiles istio-nft --family ipv4",
    "--family does not go with native nftables",
    "one transaction"
)]
#[case("profiles --family ipv4", "required", "")]
#[case(
    "rules render kuma --vnet docker0",
    "--vnet is `docker0`: there is no `:`",
    "docker0:172.17.0.0/16"
)]
#[case("rules render kuma -b 80", "unexpected argument '-b'", "")]
#[case(
    "rules render kuma --redirect-dns --dns-servers here",
    "`here` is no IP address",
    ""
)]
#[case(
    "rules render linkerd --proxy-uid root",
    "--proxy-uid is `root`: it is no such number",
    ""
)]
#[case(
    "rules render linkerd --commands --existing /nowhere",
    "could not read /nowhere",
    ""
)]
#[case("rules render linkerd --commands --cleanup", "cannot be used with", "")]
#[case("rules render -b 80 kuma", "cannot be used with", "")]
fn what_can_not_be_meant_is_refused_and_nothing_is_printed(
    #[case] words: &str,
    #[case] what: &str,
    #[case] fix: &str,
) {
    let (code, stdout, stderr) = hoplab(words);
    assert_eq!((code, stdout.as_str()), (Some(2), ""));
    assert!(stderr.contains(what) && stderr.contains(fix), "{stderr}");
}

#[test]
fn warnings_and_what_the_installer_does_beside_go_to_standard_error() {
    let (code, stdout, stderr) = hoplab(
        "rules render kuma --redirect-dns --dns-servers 10.96.0.10 --without raw --drop-invalid-packets=true",
    );
    assert_eq!(code, Some(0));
    assert!(
        stdout.contains("* mangle\n") && !stdout.contains("* raw"),
        "{stdout}"
    );
    for said in [
        "warning: IPv6: DNS is not captured",
        "since there is no raw table",
        "# Beside these rules Kuma sets:\n#   ip -4 addr add 127.0.0.6/32 dev lo",
        "up to 5 times, 2 s apart",
        "iptables-legacy-restore --wait=5 --noflush",
    ] {
        assert!(stderr.contains(said), "{said}: {stderr}");
    }
    let (_, routes, _) = hoplab("rules render kuma --routes --ip-family-mode ipv4");
    assert_eq!(routes, "ip -4 addr add 127.0.0.6/32 dev lo\n");
}

#[test]
fn lists_given_twice_are_one_list_and_the_last_single_value_counts() {
    let (_, stdout, _) = hoplab(
        "rules render kuma --family ipv4 --exclude-inbound-ports 1,2 --exclude-inbound-ports 3 \
         --redirect-inbound-port 7 --redirect-inbound-port 8 --redirect-inbound=false --redirect-inbound",
    );
    for port in [1, 2, 3] {
        assert!(
            stdout.contains(&format!("--dport {port} -j RETURN")),
            "{stdout}"
        );
    }
    assert!(
        stdout.contains("--to-ports 8\n") && !stdout.contains("--to-ports 7\n"),
        "{stdout}"
    );
}

#[test]
fn linkerds_commands_know_what_is_there() {
    let scratch = std::env::temp_dir().join(format!("hoplab-profiles-{}", std::process::id()));
    let (_, text, _) = hoplab("rules render linkerd --family ipv4");
    std::fs::write(&scratch, text).expect("the directory is writable");
    let file = scratch.display();
    let (code, stdout, stderr) = hoplab(&format!(
        "rules render linkerd --commands -w --family ipv4 --existing {file}"
    ));
    std::fs::remove_file(&scratch).expect("it was written above");
    assert_eq!(code, Some(0), "{stderr}");
    let first = stdout.lines().next();
    assert_eq!(
        first,
        Some("iptables-legacy -t nat -F PROXY_INIT_REDIRECT -w")
    );
    let words = "rules render linkerd --simulate --family ipv6";
    assert!(
        hoplab(words)
            .1
            .starts_with("ip6tables-legacy -t nat -N PROXY_INIT_REDIRECT\n")
    );
    let (_, away, _) = hoplab("rules render linkerd --cleanup --family ipv6 --iptables-mode plain");
    assert!(away.starts_with("ip6tables -t nat -D PREROUTING"), "{away}");
    let (_, old, _) = hoplab("rules render linkerd --self-redirect --ipv6=false");
    assert_eq!(old, hoplab("profiles linkerd-1").1);
}

#[test]
fn help_explains_every_flag() {
    use hoplab::{kuma, linkerd, mesh::Configuration};
    let told = |help: &str, name: &str| help.contains(&format!("--{name}"));
    let (_, kuma, _) = hoplab("rules render kuma --help");
    for flag in kuma::Config::FLAGS {
        assert!(told(&kuma, flag.name), "{}: {kuma}", flag.name);
    }
    assert!(kuma.contains("[key: redirect.outbound.enabled]"), "{kuma}");
    let (_, linkerd, _) = hoplab("rules render linkerd --help");
    for flag in linkerd::Config::FLAGS {
        assert!(told(&linkerd, flag.name), "{}: {linkerd}", flag.name);
    }
}
