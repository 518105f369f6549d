//! Tests of the generators and of what leads to them.

mod ambient;
mod annotations;
mod config;
mod generations;
mod manifest;
mod nft;
mod precedence;
mod sidecar;

use super::{
    Config, DnsServers, Emitted, Environment, Flag, Host, Release, Settings, Warning, iptables,
    restore,
};
use crate::rules::{self, Family};

/// What a test renders: `flag=value` words, beside `ipv6`, `dns=SERVER`, `istio=RELEASE` and VARIABLE=value.
struct Case {
    settings: Settings,
    host: Host,
    release: Release,
    warnings: Vec<Warning>,
}

impl Case {
    fn new(words: &str) -> Self {
        let (mut flags, mut environment) = (Vec::new(), Environment::new());
        let (mut host, mut release) = (Host::default(), Release::NEWEST);
        for word in words.split_whitespace() {
            match word.split_once('=').unwrap_or((word, "true")) {
                ("ipv6", _) => host.ipv6 = true,
                ("dns", server) => assert!(host.dns_servers.push(server)),
                ("istio", text) => release = text.parse().unwrap(),
                (name, value) if name.chars().any(char::is_uppercase) => {
                    environment.insert(name.to_owned(), value.to_owned());
                }
                (name, value) => flags.push((Flag::find(name).expect(name), value)),
            }
        }
        let mut warnings = Vec::new();
        let settings = Settings::resolve(&environment, flags, &mut warnings).unwrap();
        Self {
            settings,
            host,
            release,
            warnings,
        }
    }

    fn config(&mut self) -> Result<Config, super::BadValue> {
        Config::new(&self.settings, &self.host, &mut self.warnings)
    }

    fn rules(mut self) -> Vec<Emitted> {
        let release = self.release;
        iptables(&self.config().unwrap(), release)
    }
}

/// The restore text of one family. It is also read by hoplab's own parser, which must not refuse it.
fn text(words: &str, family: Family) -> String {
    let text = restore(&Case::new(words).rules(), family);
    if !text.is_empty() {
        rules::parse(&text, family, "a generated set").unwrap();
    }
    text
}

fn v4(words: &str) -> String {
    text(words, Family::V4)
}

fn v6(words: &str) -> String {
    text(words, Family::V6)
}

/// The lines of one chain in one table.
fn chain(text: &str, table: &str, chain: &str) -> Vec<String> {
    let in_table = text
        .lines()
        .skip_while(|line| *line != format!("* {table}"));
    let in_table = in_table.take_while(|line| *line != "COMMIT");
    let of_chain = |line: &&str| line.split(' ').nth(1) == Some(chain) && !line.starts_with("-N");
    in_table.filter(of_chain).map(str::to_owned).collect()
}

fn has(text: &str, line: &str) -> bool {
    text.lines().any(|candidate| candidate == line)
}

fn config_of(words: &str) -> Config {
    Case::new(words).config().unwrap()
}

#[test]
fn resolv_conf_gives_servers_in_canonical_form() {
    let text = "# nameserver 9.9.9.9\nsearch x\nnameserver 10.96.0.10\nnameserver ::127.0.0.53 # local\nnameserver dns\n";
    let servers = DnsServers::from_resolv_conf(text);
    assert_eq!(servers.v4, ["10.96.0.10"]);
    assert_eq!(servers.v6, ["::7f00:35"]);
}
