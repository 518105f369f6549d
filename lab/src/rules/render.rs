//! Writes rules back as text: the line `iptables-save` prints for a rule, and whole files.

use std::collections::BTreeSet;
use std::fmt::Display;
use std::fmt::Write as _;

use super::matches::{Match, Matches, RuleSpec};
use super::set::{Chain, Counter, Policy, RuleSet};
use super::target::Target;
use super::values::{CtState, Negatable};

/// The rule as `iptables-save` prints it: `-A ISTIO_OUTPUT -s 127.0.0.6/32 -o lo -j RETURN`.
///
/// The order of the options is canonical; where the kernel keeps the order a person wrote matches in, it can differ.
pub fn spec_text(chain: &str, spec: &RuleSpec) -> String {
    let mut words = vec!["-A".to_owned(), quoted(chain)];
    base(&spec.matches, &mut words);
    extensions(&spec.matches, &mut words);
    target(&spec.target, &mut words);
    words.join(" ")
}

/// The text istio-init would write: `* nat`, `-N` for every user chain, a policy that is not ACCEPT, `-A` for every
/// rule, `COMMIT`. Counters are left out. [`super::parse`] reads the same rules back.
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
            let _ = writeln!(text, "{}", spec_text(&chain.name, &rule.spec));
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
            let _ = writeln!(text, "{counted}{}", spec_text(&chain.name, &rule.spec));
        }
        text.push_str("COMMIT\n");
    }
    text
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
    states
        .iter()
        .map(|state| state.name())
        .collect::<Vec<_>>()
        .join(",")
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
            Match::OwnerUid(_) => "--uid-owner",
            Match::OwnerGid(_) => "--gid-owner",
            Match::CtState(_) => "--ctstate",
            Match::Mark(_) => "--mark",
            Match::Comment(_) => "--comment",
            Match::Verbatim { .. } => "",
        };
        // A match takes each of its options once: a second one needs the match loaded again. A match that is kept
        // verbatim stands for its own `-m`.
        let again = given.contains(&option) || condition.is_whole_match();
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
            Match::Mark(it) => push(words, option, it, it.value),
            Match::Comment(it) => words.extend([option.to_owned(), quoted(it)]),
            Match::Verbatim { words: kept, .. } => words.extend(kept.iter().cloned()),
        }
    }
}

fn target(target: &Target, words: &mut Vec<String>) {
    match target {
        Target::None => {}
        Target::Goto(chain) => words.extend(["-g".to_owned(), quoted(chain)]),
        Target::Redirect { ports: Some(ports) } => {
            words.extend(["-j", "REDIRECT", "--to-ports"].map(str::to_owned));
            words.push(ports.dashed());
        }
        Target::Verbatim(kept) => {
            words.push("-j".to_owned());
            words.extend(kept.iter().cloned());
        }
        other => words.extend(["-j".to_owned(), quoted(other.name())]),
    }
}
