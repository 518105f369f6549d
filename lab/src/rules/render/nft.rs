//! Writes rules of nft's own back as a transaction for nft.
//!
//! What a rule set reads from nft it can say again; what only iptables has is an error that names it.

use std::collections::BTreeMap;
use std::fmt::{Display, Write as _};
use std::net::IpAddr;

use super::super::address_kind::End;
use super::super::id::{Family, Table};
use super::super::marks::{ConnmarkAction, MarkChange, MarkValue};
use super::super::matches::{Match, Matches, RuleSpec};
use super::super::nat::NatRange;
use super::super::set::{Chain, RuleSet};
use super::super::target::{Target, ZoneDirection, ZoneId};
use super::super::values::{Negatable, PortRange, Protocol};

/// A transaction that makes the tables of these sets, one set a family. Chains that both families share are written
/// from the first set that has them.
///
/// # Errors
/// In words, what of the rules nft has no words for, or that a chain is of no table of nft.
pub fn to_nft(sets: &[&RuleSet]) -> Result<String, String> {
    let (mut heads, mut rules) = (String::new(), String::new());
    let mut shared: Vec<(Table, &str)> = Vec::new();
    for set in sets {
        for (kind, table) in &set.tables {
            let name = table_of(table.chains());
            let given =
                |it: &&Chain| it.nft.is_some() || it.policy.is_none() || !it.rules.is_empty();
            for chain in table.chains().iter().filter(given) {
                if shared.contains(&(*kind, &chain.name)) {
                    continue;
                }
                if chain.both_families {
                    shared.push((*kind, &chain.name));
                }
                let table = name
                    .ok_or_else(|| format!("chain {} of {kind} is of no one table", chain.name))?;
                let at = format!(
                    "{table} {}",
                    chain.nft.as_ref().map_or(&chain.name, |it| &it.chain)
                );
                head(&mut heads, table, &at, *kind, chain);
                for rule in &chain.rules {
                    let words = nft_text(&rule.spec, set.family)?;
                    let _ = writeln!(rules, "add rule {at} {words}");
                }
            }
        }
    }
    Ok(heads + &rules)
}

/// The one table of nft that the base chains are of.
fn table_of(chains: &[Chain]) -> Option<&str> {
    let mut names = chains
        .iter()
        .filter_map(|it| it.nft.as_ref())
        .map(|it| it.table.as_str());
    let first = names.next()?;
    names.all(|it| it == first).then_some(first)
}

fn head(heads: &mut String, table: &str, at: &str, kind: Table, chain: &Chain) {
    let line = format!("add table {table}\n");
    if !heads.contains(&line) {
        heads.push_str(&line);
    }
    let _ = match (&chain.nft, chain.policy) {
        (Some(base), policy) => {
            let hook = chain.name.to_ascii_lowercase();
            let policy = policy.map_or_else(String::new, |it| {
                format!(" policy {} ;", it.to_string().to_ascii_lowercase())
            });
            let kind = match base.kind.is_empty() {
                true => kind.name(),
                false => &base.kind,
            };
            writeln!(
                heads,
                "add chain {at} {{ type {kind} hook {hook} priority {} ;{policy} }}",
                base.priority
            )
        }
        (None, _) => writeln!(heads, "add chain {at}"),
    };
}

/// A rule in the words of nft, its counter among them: `meta l4proto tcp tcp dport 22 counter return`.
///
/// # Errors
/// In words, what nft has no words for.
pub fn nft_text(spec: &RuleSpec, family: Family) -> Result<String, String> {
    let mut words = Vec::new();
    let other = base(&spec.matches, family, &mut words);
    let mut last = None;
    for condition in spec.matches.extensions() {
        match condition {
            Match::Comment(text) => last = Some(format!("comment \"{text}\"")),
            it => words.extend(extension(it, &spec.matches)?),
        }
    }
    words.push("counter".to_owned());
    words.extend(target(&spec.target, other.unwrap_or(family))?);
    words.extend(last);
    Ok(words.join(" "))
}

fn said<T>(left: &str, it: &Negatable<T>, right: impl Display) -> String {
    let not = if it.negated { "!= " } else { "" };
    format!("{left} {not}{right}")
}

/// The family of a rule that the target alone gives one, as `redirect ip6` would.
fn base(matches: &Matches, family: Family, words: &mut Vec<String>) -> Option<Family> {
    let mut of_target = None;
    if let Some(it) = &matches.in_interface {
        words.push(said("iifname", it, interface(it.value.as_str())));
    }
    if let Some(it) = &matches.out_interface {
        words.push(said("oifname", it, interface(it.value.as_str())));
    }
    if let Some(it) = &matches.protocol {
        words.push(said("meta l4proto", it, it.value));
    }
    let ip = header(family);
    if let Some(it) = &matches.source {
        words.push(said(&format!("{ip} saddr"), it, it.value));
    }
    if let Some(it) = &matches.destination {
        words.push(said(&format!("{ip} daddr"), it, it.value));
    }
    for it in matches.extensions() {
        if let Match::OtherFamily { family, words: it } = it {
            match it.starts_with(header(*family)) || it.starts_with("meta") {
                true => words.push(it.clone()),
                // The words of a target: `tproxy ip6`.
                false => of_target = Some(*family),
            }
        }
    }
    of_target
}

fn header(family: Family) -> &'static str {
    match family {
        Family::V4 => "ip",
        Family::V6 => "ip6",
    }
}

fn interface(name: &str) -> String {
    match name.strip_suffix('+') {
        Some(prefix) => format!("\"{prefix}*\""),
        None => format!("\"{name}\""),
    }
}

fn extension(condition: &Match, all: &Matches) -> Result<Option<String>, String> {
    let port = |field: &str| match all.only_protocol() {
        Some(Protocol::Tcp) => Ok(format!("tcp {field}")),
        Some(Protocol::Udp) => Ok(format!("udp {field}")),
        _ => Err("ports of neither TCP nor UDP".to_owned()),
    };
    Ok(Some(match condition {
        Match::SourcePort(it) => said(&port("sport")?, it, it.value.dashed()),
        Match::DestinationPort(it) => said(&port("dport")?, it, it.value.dashed()),
        Match::Ports {
            end: Some(end),
            ports,
        } => {
            let field = if *end == End::Source {
                "sport"
            } else {
                "dport"
            };
            let list = ports.value.iter().map(|it| it.dashed());
            said(&port(field)?, ports, list_of(list))
        }
        Match::OwnerUid(it) => said("meta skuid", it, &it.value),
        Match::OwnerGid(it) => said("meta skgid", it, &it.value),
        // An owner is asked for only where there is a socket.
        Match::SocketExists(true)
            if all
                .extensions()
                .iter()
                .any(|it| matches!(it, Match::OwnerUid(_) | Match::OwnerGid(_))) =>
        {
            return Ok(None);
        }
        Match::CtState(it) => {
            let names = it.value.iter().map(|it| it.name().to_ascii_lowercase());
            said("ct state", it, list_of(names))
        }
        Match::Mark(it) => mark("meta mark", it),
        Match::ConnMark(it) => mark("ct mark", it),
        Match::AddressKind { end, kinds } => {
            let field = if *end == End::Source {
                "saddr"
            } else {
                "daddr"
            };
            let names = kinds.value.iter().map(|it| it.name().to_ascii_lowercase());
            said(&format!("fib {field} type"), kinds, list_of(names))
        }
        Match::OtherFamily { .. } => return Ok(None),
        other => {
            let name = other.module().unwrap_or("an option");
            return Err(format!("-m {name}, as these rules use it"));
        }
    }))
}

fn list_of(names: impl Iterator<Item = String>) -> String {
    let names: Vec<String> = names.collect();
    match names.as_slice() {
        [one] => one.clone(),
        several => format!("{{ {} }}", several.join(", ")),
    }
}

fn mark(key: &str, it: &Negatable<MarkValue>) -> String {
    let MarkValue { value, mask } = it.value;
    let sign = if it.negated { "!=" } else { "==" };
    match mask {
        u32::MAX => format!("{key} {sign} {value:#x}"),
        mask => format!("{key} & {mask:#x} {sign} {value:#x}"),
    }
}

/// `meta mark set …`, from what the mark was.
fn marked(key: &str, change: MarkChange) -> String {
    let MarkChange { value, mask } = change;
    let sign = if value & !mask == 0 { "|" } else { "^" };
    match mask {
        u32::MAX => format!("{key} set {value:#x}"),
        mask => format!("{key} set {key} & {:#x} {sign} {value:#x}", !mask),
    }
}

fn target(target: &Target, family: Family) -> Result<Option<String>, String> {
    let ip = header(family);
    Ok(Some(match target {
        Target::None => return Ok(None),
        Target::Jump(chain) => format!("jump {chain}"),
        Target::Goto(chain) => format!("goto {chain}"),
        Target::Return => "return".to_owned(),
        Target::Accept => "accept".to_owned(),
        Target::Drop => "drop".to_owned(),
        Target::Redirect { ports } => format!("redirect{}", to(&ranged(*ports), family)),
        Target::Dnat(range) => format!("dnat {ip}{}", to(range, family)),
        Target::Snat(range) => format!("snat {ip}{}", to(range, family)),
        Target::Masquerade(range) => format!("masquerade{}", to(range, family)),
        Target::Reject { with } if with == "tcp-reset" => "reject with tcp reset".to_owned(),
        Target::Tproxy {
            port,
            address,
            mark,
        } => {
            let range = NatRange {
                addresses: address.map(|it| (it, it)),
                ..ranged(Some(PortRange::one(*port)))
            };
            let mark = match *mark {
                MarkChange { value: 0, mask: 0 } => String::new(),
                change => marked(" meta mark", change),
            };
            format!("tproxy {ip}{}{mark} accept", to(&range, family))
        }
        Target::Mark(change) => marked("meta mark", *change),
        Target::Connmark(ConnmarkAction::Set(change)) => marked("ct mark", *change),
        Target::Connmark(ConnmarkAction::Restore {
            nfmask: u32::MAX,
            ctmask,
        }) => copied("meta mark", "ct mark", *ctmask),
        Target::Connmark(ConnmarkAction::Save {
            nfmask,
            ctmask: u32::MAX,
        }) => copied("ct mark", "meta mark", *nfmask),
        Target::Zone {
            zone: ZoneId::Number(zone),
            direction,
        } => {
            let direction = match direction {
                None => "",
                Some(ZoneDirection::Original) => "original ",
                Some(ZoneDirection::Reply) => "reply ",
            };
            format!("ct {direction}zone set {zone}")
        }
        Target::Notrack => "notrack".to_owned(),
        Target::Trace => "meta nftrace set 1".to_owned(),
        other => return Err(format!("-j {}, as these rules use it", other.name())),
    }))
}

fn copied(to: &str, from: &str, mask: u32) -> String {
    match mask {
        u32::MAX => format!("{to} set {from}"),
        mask => format!("{to} set {from} & {mask:#x}"),
    }
}

fn ranged(ports: Option<PortRange>) -> NatRange {
    NatRange {
        ports,
        ..NatRange::default()
    }
}

/// ` to ADDRESS:PORT FLAGS`, of which there may be nothing.
fn to(range: &NatRange, family: Family) -> String {
    let NatRange {
        addresses,
        ports,
        pick,
    } = range;
    let one = |it: IpAddr| match (ports, family) {
        (Some(_), Family::V6) => format!("[{it}]"),
        _ => it.to_string(),
    };
    let address = addresses.map_or_else(String::new, |(first, last)| match first == last {
        true => one(first),
        false => format!("{}-{}", one(first), one(last)),
    });
    let port = ports.map_or_else(String::new, |it| format!(":{}", it.dashed()));
    let mut words = match (address.as_str(), port.as_str()) {
        ("", "") => String::new(),
        _ => format!(" to {address}{port}"),
    };
    let flags = BTreeMap::from([
        ("fully-random", pick.random_fully),
        ("persistent", pick.persistent),
        ("random", pick.random),
    ]);
    let flags: Vec<&str> = flags
        .into_iter()
        .filter_map(|(it, given)| given.then_some(it))
        .collect();
    if !flags.is_empty() {
        let _ = write!(words, " {}", flags.join(","));
    }
    words
}
