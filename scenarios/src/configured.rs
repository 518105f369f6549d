//! Bookinfo under a configuration of Istio, as words on a command line have it.

use hoplab::{
    Families, LabFile,
    istio::{Config, Environment, FLAGS, Flag, Release, Settings},
};

/// What istio-init is told in an ordinary pod: capture everything but the proxy's own ports.
pub const INJECTED: &str = "-b * -i * -d 15090,15021,15020";

/// A lab under the rules that a release writes for a configuration: variables (`NAME=VALUE`), short and long flags.
///
/// What only the lab knows is left to it: `--ipv6` and `--dns-servers` are dropped, since its pods have IPv6 where
/// flows run over it, and its DNS server is its own.
pub fn configured(lab: LabFile, words: &str, release: Release, families: Families) -> LabFile {
    let mut environment = Environment::new();
    let mut flags = Vec::new();
    let mut words = words.split_whitespace();
    while let Some(word) = words.next() {
        match (word, word.split_once('=')) {
            ("--ipv6", _) => {}
            ("--dns-servers", _) => drop(words.next()),
            (_, Some((name, value))) if !name.starts_with('-') => {
                environment.insert(name.to_owned(), value.to_owned());
            }
            (_, Some((name, value))) => flags.push((flag(name), value)),
            (switch, None) if switch.starts_with("--") && is_switch(switch) => {
                flags.push((flag(switch), "true"));
            }
            (name, None) => {
                let value = words.next();
                let value = value.unwrap_or_else(|| panic!("{name} wants a value"));
                flags.push((flag(name), value));
            }
        }
    }
    let mut warnings = Vec::new();
    let settings = Settings::resolve(&environment, flags, &mut warnings)
        .unwrap_or_else(|error| panic!("{error}"));
    let host = lab.host(families);
    let config = Config::new(&settings, &host, &mut warnings);
    let config = config.unwrap_or_else(|error| panic!("{error}"));
    lab.configured(&settings, &config, release)
}

fn is_switch(word: &str) -> bool {
    flag(word).kind() == hoplab::istio::Kind::Switch
}

fn flag(word: &str) -> &'static Flag {
    let is = |flag: &&Flag| match word.strip_prefix("--") {
        Some(name) => flag.name == name,
        None => word
            .strip_prefix('-')
            .is_some_and(|short| flag.short.is_some_and(|it| short.chars().eq([it]))),
    };
    FLAGS
        .iter()
        .find(is)
        .unwrap_or_else(|| panic!("istio-iptables has no {word}"))
}

/// The configurations of a list: a name, a colon, words.
pub fn listed(list: &str) -> impl Iterator<Item = (&str, &str)> {
    let lines = list.lines().filter(|line| !line.starts_with('#'));
    lines.filter_map(|line| line.split_once(':'))
}
