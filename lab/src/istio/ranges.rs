//! Outbound address ranges, and the loopback range.

use super::{BadValue, Cidr, Warning, items::split};
use crate::rules::Family;

/// Destinations that are captured.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ranges {
    /// All of them.
    All,
    /// These; none of them is possible.
    Only(Vec<Cidr>),
}

impl Ranges {
    /// A loopback range is among them, of whatever family.
    pub(super) fn has_loopback(&self) -> bool {
        matches!(self, Self::Only(cidrs) if cidrs.iter().any(Cidr::is_loopback))
    }
}

/// The ranges of one family.
pub(super) fn of_family(cidrs: &[Cidr], family: Family) -> impl Iterator<Item = &Cidr> {
    cidrs.iter().filter(move |cidr| cidr.family() == family)
}

pub(super) fn included(text: &str, warnings: &mut Vec<Warning>) -> Ranges {
    match text {
        "*" => Ranges::All,
        _ => Ranges::Only(list("--istio-service-cidr", text, warnings)),
    }
}

pub(super) fn excluded(text: &str, warnings: &mut Vec<Warning>) -> Result<Vec<Cidr>, BadValue> {
    const NAME: &str = "--istio-service-exclude-cidr";
    match text {
        "*" => Err(BadValue::new(
            NAME,
            text,
            "Istio does not exclude everything",
            "leave out --istio-service-cidr instead: without it no address is captured",
        )),
        _ => Ok(list(NAME, text, warnings)),
    }
}

/// What is no range, Istio leaves out with a line in its log.
fn list(name: &'static str, text: &str, warnings: &mut Vec<Warning>) -> Vec<Cidr> {
    let mut cidrs = Vec::new();
    for item in split(text) {
        match item.parse() {
            Ok(cidr) => cidrs.push(cidr),
            Err(why) => {
                let (value, why) = (item.to_owned(), super::cidr::NoCidr::to_string(&why));
                warnings.push(Warning::CidrIgnored { name, value, why });
            }
        }
    }
    cidrs
}

/// ISTIO_OUTBOUND_IPV4_LOOPBACK_CIDR.
pub(super) fn loopback(text: &str) -> Result<Cidr, BadValue> {
    let bad = |why: String| {
        BadValue::new(
            "ISTIO_OUTBOUND_IPV4_LOOPBACK_CIDR",
            text,
            why,
            "give an IPv4 loopback range like 127.0.0.1/32 or 127.0.0.0/8",
        )
    };
    let cidr: Cidr = text
        .parse()
        .map_err(|e: super::cidr::NoCidr| bad(e.to_string()))?;
    if cidr.family() != Family::V4 || !cidr.is_loopback() {
        return Err(bad("it is no IPv4 loopback range".into()));
    }
    if cidr.bits() < 8 {
        return Err(bad("it reaches beyond 127.0.0.0/8".into()));
    }
    Ok(cidr)
}
