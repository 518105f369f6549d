//! Writes rules back as text: the line `iptables-save` prints for a rule, and whole files.

use std::collections::BTreeSet;
use std::fmt::Display;
use std::fmt::Write as _;

use super::address_kind::{AddressKind, End};
use super::id::Table;
use super::matches::{Match, Matches, RuleSpec};
use super::set::{Chain, Counter, Policy, RuleSet};
use super::values::{CtState, Negatable, PortRange};

mod nft;
mod target;

pub use nft::{nft_text, to_nft};

/// The rule as `iptables-save` prints it: `-A ISTIO_OUTPUT -s 127.0.0.6/32 -o lo -j RETURN`.
///
/// The order of the options is canonical; where the kernel keeps the order a person wrote matches in, it can differ.
pub fn spec_text(chain: &str, spec: &RuleSpec) -> String {
    let mut words = vec!["-A".to_owned(), quoted(chain)];
    base(&spec.matches, &mut words);
    extensions(&spec.matches, &mut words);
    target::words(&spec.target, &mut words);
    words.join(" ")
}

/// The text istio-init would write: `* nat`, `-N` for every user chain, a policy that is not ACCEPT, `-A` for every
/// rule, `COMMIT`. Counters are left out. [`super::parse`] reads the same rules back.
///
/// A rule of nft for the other family, which iptables can't say and which never matches in this one, is a comment.
pub fn to_restore(rules: &RuleSet) -> String {
    let mut text = String::new();
    for (table, rules) in &rules.tables {
        let _ = writeln!(text, "* {table}");
        for chain in rules.chains() {
            match chain.policy {
                None => _ = writeln!(text, "-N {}", quoted(&chain.name)),
                Some(Policy::Drop) => _ = writeln!(text, "-P {} DROP", chain.name),
                Some(Policy::Accept) => {}
            }
        }
        for (chain, rule) in rules
            .chains()
            .iter()
            .flat_map(|it| it.rules.iter().map(move |rule| (it, rule)))
        {
            let _ = writeln!(
                text,
                "{}{}",
                comment(&rule.spec),
                spec_text(&chain.name, &rule.spec)
            );
        }
        text.push_str("COMMIT\n");
    }
    text
}

/// The text `iptables-save -c` would print, without its comments. A rule without counters gets none in front;
/// a chain without counters gets `[0:0]`, as the format has no way to leave them out.
pub fn to_save(rules: &RuleSet) -> String {
    let counter = |it: Counter| format!("[{}:{}]", it.packets, it.bytes);
    let mut text = String::new();
    for (table, rules) in &rules.tables {
        let _ = writeln!(text, "*{table}");
        for Chain {
            name,
            policy,
            policy_counters,
            ..
        } in rules.chains()
        {
            let policy = policy.map_or("-".to_owned(), |policy| policy.to_string());
            let _ = writeln!(
                text,
                ":{name} {policy} {}",
                counter(policy_counters.unwrap_or_default())
            );
        }
        for (chain, rule) in rules
            .chains()
            .iter()
            .flat_map(|it| it.rules.iter().map(move |rule| (it, rule)))
        {
            let counted = rule
                .counters
                .map(|it| counter(it) + " ")
                .unwrap_or_default();
            let (comment, rule) = (comment(&rule.spec), spec_text(&chain.name, &rule.spec));
            let _ = writeln!(text, "{comment}{counted}{rule}");
        }
        text.push_str("COMMIT\n");
    }
    text
}

/// The text `iptables -t TABLE -S` would print; empty when the rule set lacks the table.
pub fn to_commands(rules: &RuleSet, table: Table) -> String {
    let Some(table) = rules.tables.get(&table) else {
        return String::new();
    };
    let chains = table.chains().iter().map(|chain| match chain.policy {
        Some(policy) => format!("-P {} {policy}\n", quoted(&chain.name)),
        None => format!("-N {}\n", quoted(&chain.name)),
    });
    let rules = table.chains().iter().flat_map(|chain| {
        let specs = chain.rules.iter().map(|rule| &rule.spec);
        specs.map(|spec| format!("{}{}\n", comment(spec), spec_text(&chain.name, spec)))
    });
    chains.chain(rules).collect()
}

/// What keeps readers off a rule that iptables can't say, and that never matches.
fn comment(spec: &RuleSpec) -> &'static str {
    match spec.matches.is_of_other_family() {
        true => "# ",
        false => "",
    }
}

/// Quotes a word when a reader would split it or take it for something else.
pub(super) fn quoted(word: &str) -> String {
    let plain = |it: char| {
        it.is_ascii_alphanumeric() || "_-.:/,+=@%^~<>[]{}|&;*?$#()!'".contains(it) || !it.is_ascii()
    };
    let plain_word = word != "!"
        && !word.starts_with('-')
        && word.chars().all(|it| plain(it) && !it.is_whitespace());
    if plain_word && !word.is_empty() {
        return word.to_owned();
    }
    format!("\"{}\"", word.replace('\\', "\\\\").replace('"', "\\\""))
}

pub(super) fn state_names(states: &BTreeSet<CtState>) -> String {
    joined(states)
}

pub(super) fn port_names(ports: &BTreeSet<PortRange>) -> String {
    joined(ports)
}

pub(super) fn kind_names(kinds: &BTreeSet<AddressKind>) -> String {
    joined(kinds)
}

fn joined(values: &BTreeSet<impl Display>) -> String {
    let names: Vec<String> = values.iter().map(ToString::to_string).collect();
    names.join(",")
}

fn push<T>(words: &mut Vec<String>, option: &str, condition: &Negatable<T>, value: impl Display) {
    if condition.negated {
        words.push("!".to_owned());
    }
    words.push(option.to_owned());
    words.push(value.to_string());
}

fn base(matches: &Matches, words: &mut Vec<String>) {
    if let Some(it) = &matches.source {
        push(words, "-s", it, it.value);
    }
    if let Some(it) = &matches.destination {
        push(words, "-d", it, it.value);
    }
    if let Some(it) = &matches.in_interface {
        push(words, "-i", it, quoted(it.value.as_str()));
    }
    if let Some(it) = &matches.out_interface {
        push(words, "-o", it, quoted(it.value.as_str()));
    }
    if let Some(it) = &matches.protocol {
        push(words, "-p", it, it.value);
    }
}

fn extensions(matches: &Matches, words: &mut Vec<String>) {
    let protocol = matches
        .only_protocol()
        .map(|it| it.to_string())
        .unwrap_or_default();
    let mut open = String::new();
    let mut given: Vec<&'static str> = Vec::new();
    for condition in matches.extensions() {
        let module = match condition.module() {
            Some("protocol") => Some(protocol.as_str()),
            other => other,
        };
        let option = match condition {
            Match::SourcePort(_) => "--sport",
            Match::DestinationPort(_) => "--dport",
            Match::Ports { end, .. } => match end {
                None => "--ports",
                Some(End::Source) => "--sports",
                Some(End::Destination) => "--dports",
            },
            Match::TcpFlags(_) => "--tcp-flags",
            Match::OwnerUid(_) => "--uid-owner",
            Match::OwnerGid(_) => "--gid-owner",
            Match::SocketExists(_) => "--socket-exists",
            Match::CtState(_) => "--ctstate",
            Match::Mark(_) | Match::ConnMark(_) => "--mark",
            Match::AddressKind { end, .. } => match end {
                End::Source => "--src-type",
                End::Destination => "--dst-type",
            },
            Match::Comment(_) => "--comment",
            Match::OtherFamily { .. } => "--expr",
            Match::Verbatim { .. } => "",
        };
        // A match takes each of its options once: a second one needs the match loaded again. A match that is kept
        // verbatim stands for its own `-m`.
        // `multiport` takes one option at all.
        let list = matches!(condition, Match::Ports { .. }) && !given.is_empty();
        let again = given.contains(&option) || condition.is_whole_match() || list;
        if let Some(module) = module.filter(|module| *module != open || again) {
            words.extend(["-m".to_owned(), quoted(module)]);
            module.clone_into(&mut open);
            given.clear();
        }
        given.extend((!option.is_empty()).then_some(option));
        match condition {
            Match::SourcePort(it) | Match::DestinationPort(it) => push(words, option, it, it.value),
            Match::OwnerUid(it) | Match::OwnerGid(it) => {
                push(words, option, it, quoted(&it.value.to_string()))
            }
            Match::CtState(it) => push(words, option, it, state_names(&it.value)),
            Match::Mark(it) | Match::ConnMark(it) => push(words, option, it, it.value),
            Match::Ports { ports, .. } => push(words, option, ports, port_names(&ports.value)),
            Match::TcpFlags(it) => push(words, option, it, it.value),
            Match::SocketExists(wanted) => {
                words.extend((!wanted).then(|| "!".to_owned()));
                words.push(option.to_owned());
            }
            Match::AddressKind { kinds, .. } => {
                push(words, option, kinds, kind_names(&kinds.value))
            }
            Match::Comment(it) | Match::OtherFamily { words: it, .. } => {
                words.extend([option.to_owned(), quoted(it)]);
            }
            Match::Verbatim { words: kept, .. } => words.extend(kept.iter().cloned()),
        }
    }
}
