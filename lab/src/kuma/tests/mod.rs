//! The default set word for word, and what each option changes.

mod dns;
mod options;
mod values;

use rstest::rstest;

use super::{Config, Host, Warning, iptables, restore, restore_command, tries};
use crate::{
    istio::BadValue,
    mesh::Configuration,
    rules::{self, Family},
};

/// What a test renders: `flag=value` words, beside `dns=SERVER`, `docker` and `without=PIECE`.
fn configured(words: &str) -> Result<(Config, Host), BadValue> {
    let (mut config, mut host) = (Config::default(), Host::default());
    for word in words.split_whitespace() {
        match word.split_once('=').unwrap_or((word, "true")) {
            ("dns", server) => assert!(host.dns_servers.push(server)),
            ("docker", _) => host.docker_output.push(Family::V4),
            ("without", "raw") => host.without_raw = true,
            ("without", "mangle") => host.without_mangle = true,
            ("without", "conntrack") => host.without_conntrack = true,
            ("without", "udp") => host.without_udp = true,
            (name, value) => {
                let flag = Config::FLAGS.iter().find(|flag| flag.name == name);
                let values: Vec<&str> = value.split('|').collect();
                flag.expect(name).apply(&mut config, &values)?;
            }
        }
    }
    Ok((config, host))
}

fn warnings(words: &str) -> Vec<Warning> {
    let (config, host) = configured(words).unwrap();
    let mut warnings = Vec::new();
    iptables(&config, &host, &mut warnings);
    warnings
}

/// The restore text, which hoplab's own parser must not refuse.
fn text(words: &str, family: Family) -> String {
    let (config, host) = configured(words).unwrap();
    let text = restore(&iptables(&config, &host, &mut Vec::new()), family);
    // Docker's chain is there before.
    let before = if host.docker_output.contains(&family) {
        "*nat\n:DOCKER_OUTPUT - [0:0]\nCOMMIT\n"
    } else {
        ""
    };
    rules::parse(&format!("{before}{text}"), family, "a generated set").unwrap();
    text
}

/// What comes and goes against the default set: `+` and `-` lines, in the order of the texts.
fn change(words: &str, family: Family) -> String {
    let (before, after) = (text("", family), text(words, family));
    let mut left = with_tables(&before);
    let mut change = String::new();
    for line in with_tables(&after) {
        match left.iter().position(|it| *it == line) {
            // Lines that stay keep their order, so what stands before this one is gone.
            Some(at) => left
                .drain(..=at)
                .take(at)
                .for_each(|(_, it)| change += &format!("- {it}\n")),
            None => change += &format!("+ {}\n", line.1),
        }
    }
    left.iter()
        .for_each(|(_, it)| change += &format!("- {it}\n"));
    change
}

/// Lines with the table they are of: every table has a COMMIT.
fn with_tables(text: &str) -> Vec<(&str, &str)> {
    let mut table = "";
    let tagged = text.lines().map(|line| {
        table = line.strip_prefix("* ").unwrap_or(table);
        (table, line)
    });
    tagged.collect()
}

const K0: &str = "\
* nat
-N KUMA_MESH_INBOUND
-N KUMA_MESH_OUTBOUND
-N KUMA_MESH_INBOUND_REDIRECT
-N KUMA_MESH_OUTBOUND_REDIRECT
-A PREROUTING -p tcp -j KUMA_MESH_INBOUND
-A OUTPUT -p tcp -j KUMA_MESH_OUTBOUND
-A KUMA_MESH_INBOUND -p tcp -j KUMA_MESH_INBOUND_REDIRECT
-A KUMA_MESH_OUTBOUND -s 127.0.0.6/32 -o lo -j RETURN
-A KUMA_MESH_OUTBOUND -p tcp -o lo ! -d 127.0.0.1/32 -m owner --uid-owner 5678 -j KUMA_MESH_INBOUND_REDIRECT
-A KUMA_MESH_OUTBOUND -p tcp -o lo -m owner ! --uid-owner 5678 -j RETURN
-A KUMA_MESH_OUTBOUND -m owner --uid-owner 5678 -j RETURN
-A KUMA_MESH_OUTBOUND -d 127.0.0.1/32 -j RETURN
-A KUMA_MESH_OUTBOUND -j KUMA_MESH_OUTBOUND_REDIRECT
-A KUMA_MESH_INBOUND_REDIRECT -p tcp -j REDIRECT --to-ports 15006
-A KUMA_MESH_OUTBOUND_REDIRECT -p tcp -j REDIRECT --to-ports 15001
COMMIT
";

#[test]
fn the_default_set_is_kumas_word_for_word() {
    assert_eq!(text("", Family::V4), K0);
    let v6 = K0
        .replace("127.0.0.6/32", "::6/128")
        .replace("127.0.0.1/32", "::1/128");
    assert_eq!(text("", Family::V6), v6);
    assert_eq!(warnings(""), []);
}
