//! Reads the targets that translate addresses.

use std::net::IpAddr;

use super::{Given, value};
use crate::diagnostic::Diagnostic;
use crate::rules::id::Family;
use crate::rules::nat::{NatPick, NatRange};
use crate::rules::target::Target;
use crate::rules::values::PortRange;
use crate::rules::words::Word;

pub(super) fn redirect(given: &mut Given<'_>) -> Result<Option<Target>, Diagnostic> {
    let ports = to_ports(given)?;
    Ok(Some(Target::Redirect { ports }))
}

pub(super) fn masquerade(given: &mut Given<'_>) -> Result<Option<Target>, Diagnostic> {
    let ports = to_ports(given)?;
    let pick = pick(given)?;
    Ok(Some(Target::Masquerade(NatRange {
        addresses: None,
        ports,
        pick,
    })))
}

pub(super) fn dnat(given: &mut Given<'_>) -> Result<Option<Target>, Diagnostic> {
    let range = range(given, "--to-destination")?;
    Ok(range.map(Target::Dnat))
}

pub(super) fn snat(given: &mut Given<'_>) -> Result<Option<Target>, Diagnostic> {
    let range = range(given, "--to-source")?;
    Ok(range.map(Target::Snat))
}

fn to_ports(given: &mut Given<'_>) -> Result<Option<PortRange>, Diagnostic> {
    let Some((option, word)) = given.option(&["--to-ports", "--to-port"])? else {
        return Ok(None);
    };
    needs_ports(given, option, "redirecting to a port")?;
    value::ports(given.line, word, '-').map(Some)
}

fn needs_ports(given: &Given<'_>, option: &Word, what: &str) -> Result<(), Diagnostic> {
    match given.ported {
        true => Ok(()),
        false => Err(given
            .line
            .error(option, format!("{what} needs `-p tcp` or `-p udp`"))),
    }
}

fn pick(given: &mut Given<'_>) -> Result<NatPick, Diagnostic> {
    Ok(NatPick {
        random: given.flag("--random")?,
        random_fully: given.flag("--random-fully")?,
        persistent: given.flag("--persistent")?,
    })
}

/// `[address[-address]][:port[-port]]`; `None` for what only iptables itself can resolve or shift.
fn range(given: &mut Given<'_>, name: &str) -> Result<Option<NatRange>, Diagnostic> {
    let pick = pick(given)?;
    let Some((option, word)) = given.option(&[name])? else {
        return Err(given.line.error(
            given.target,
            format!("`{}` needs `{name}`", given.target.text),
        ));
    };
    let (hosts, ports) = split(&word.text, given.family);
    let bad = |what: &str| {
        let message = format!("`{what}` is not an address of {}", given.family);
        given.line.error(word, message)
    };
    let address = |text: &str| {
        let parsed = text.parse::<IpAddr>().ok();
        parsed.filter(|it| Family::of(*it) == given.family)
    };
    let addresses = match hosts {
        "" => None,
        hosts => {
            let (first, last) = hosts.split_once('-').unwrap_or((hosts, hosts));
            let ends = address(first).ok_or_else(|| bad(first))?;
            Some((ends, address(last).ok_or_else(|| bad(last))?))
        }
    };
    let ports = match ports {
        None => None,
        // `80-90/100`: a shifted range.
        Some(ports) if ports.contains('/') => return Ok(None),
        Some(ports) => {
            needs_ports(given, option, "translating a port")?;
            let text = ports.to_owned();
            Some(value::ports(
                given.line,
                &Word {
                    text,
                    ..word.clone()
                },
                '-',
            )?)
        }
    };
    Ok(Some(NatRange {
        addresses,
        ports,
        pick,
    }))
}

/// Addresses and ports of a range. An IPv6 address with ports stands in brackets.
fn split(text: &str, family: Family) -> (&str, Option<&str>) {
    let bracketed = text
        .strip_prefix('[')
        .and_then(|inner| inner.split_once(']'));
    match (bracketed, family) {
        (Some((hosts, rest)), _) => (hosts, rest.strip_prefix(':')),
        (None, Family::V6) if !text.starts_with(':') || text.starts_with("::") => (text, None),
        (None, _) => match text.split_once(':') {
            Some((hosts, ports)) => (hosts, Some(ports)),
            None => (text, None),
        },
    }
}
