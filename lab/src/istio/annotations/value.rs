//! What injection and the CNI plugin accept in an annotation. Stricter than the flags the values end up in.

use crate::istio::{BadValue, Cidr};

/// `*`, or ports.
pub(super) fn ports_or_all(name: &str, text: &str) -> Result<(), BadValue> {
    if text == "*" {
        Ok(())
    } else {
        ports(name, text)
    }
}

/// Ports: numbers between commas, spaces around them allowed, nothing at all allowed.
pub(super) fn ports(name: &str, text: &str) -> Result<(), BadValue> {
    let is_port = |port: &str| port.trim().parse::<u16>().is_ok();
    check(
        name,
        text,
        is_port,
        "is no port number",
        "give ports like \"8080,9090\"",
    )
}

/// `*`, or address ranges.
pub(super) fn ranges_or_all(name: &str, text: &str) -> Result<(), BadValue> {
    if text == "*" {
        Ok(())
    } else {
        ranges(name, text)
    }
}

/// Address ranges between commas, nothing at all allowed.
pub(super) fn ranges(name: &str, text: &str) -> Result<(), BadValue> {
    let is_range = |range: &str| range.trim().parse::<Cidr>().is_ok();
    check(
        name,
        text,
        is_range,
        "is no address range",
        "give ranges like \"10.0.0.0/8\"",
    )
}

/// Interfaces. The names go into command lines, so they must not look like options.
pub(super) fn interfaces(name: &str, text: &str) -> Result<(), BadValue> {
    let is_name = |nic: &str| {
        let nic = nic.trim();
        nic.len() <= 15
            && nic.starts_with(|c: char| c.is_ascii_alphabetic())
            && nic
                .chars()
                .all(|c| c.is_ascii_alphanumeric() || "_.-".contains(c))
    };
    let fix = "give names of up to 15 letters, digits and `_.-`, a letter first";
    check(name, text, is_name, "is no interface name", fix)
}

fn check(
    name: &str,
    text: &str,
    is_item: impl Fn(&str) -> bool,
    not: &str,
    fix: &str,
) -> Result<(), BadValue> {
    if text.trim().is_empty() {
        return Ok(());
    }
    match text.split(',').find(|item| !is_item(item)) {
        None => Ok(()),
        Some(item) => Err(BadValue::new(name, text, format!("`{item}` {not}"), fix)),
    }
}
