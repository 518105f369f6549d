//! What the right side of a condition of nft says in terms of iptables; `None` where iptables has no such value.

use std::collections::BTreeSet;
use std::net::IpAddr;

use ipnet::IpNet;

use super::statement::{BitOperator, Expression, Operator};
use crate::rules::address_kind::AddressKind;
use crate::rules::tcp_flags::TcpFlags;
use crate::rules::values::{Interface, OwnerId, PortRange};

/// The one value there is, in a set or not.
pub(super) fn only(value: &Expression) -> Option<&Expression> {
    match value.members() {
        [one] => Some(one),
        _ => None,
    }
}

pub(super) fn network(value: &Expression) -> Option<IpNet> {
    let network = match value {
        Expression::Word(address) => IpNet::from(address.parse::<IpAddr>().ok()?),
        Expression::Prefix(address, length) => {
            IpNet::new(address.parse().ok()?, *length).ok()?.trunc()
        }
        _ => return None,
    };
    Some(network)
}

/// A name of nft ends in `*` for what iptables ends in `+`; a `+` of its own is a plain character to nft.
pub(super) fn interface(key: &str, name: &str) -> Option<Interface> {
    let by_name = key.ends_with("name");
    match name.strip_suffix('*').filter(|_| by_name) {
        Some(start) if start.ends_with('\\') => None,
        Some(start) => Interface::new(&format!("{start}+")),
        None if name.ends_with('+') => None,
        None => Interface::new(name),
    }
}

pub(super) fn owner(value: &Expression) -> Option<OwnerId> {
    match value {
        Expression::Word(name) => Some(OwnerId::Name(name.clone())),
        Expression::Range(first, last) => {
            let (first, last) = (first.number()?, last.number()?);
            (first <= last).then_some(OwnerId::Range { first, last })
        }
        number => number.number().map(OwnerId::one),
    }
}

/// The ports an operator and its value name, and whether they are those not meant.
pub(super) fn port_ranges(
    operator: Operator,
    right: &Expression,
) -> Option<(bool, BTreeSet<PortRange>)> {
    let port = || right.number::<u16>();
    let range = match operator {
        Operator::Less => PortRange::new(0, port()?.checked_sub(1)?)?,
        Operator::AtMost => PortRange::new(0, port()?)?,
        Operator::Greater => PortRange::new(port()?.checked_add(1)?, u16::MAX)?,
        Operator::AtLeast => PortRange::new(port()?, u16::MAX)?,
        Operator::Implied | Operator::Equal | Operator::NotEqual => {
            let one = |value: &Expression| match value {
                Expression::Range(first, last) => PortRange::new(first.number()?, last.number()?),
                one => one.number().map(PortRange::one),
            };
            let ports = right.members().iter().map(one);
            let ports = ports.collect::<Option<BTreeSet<_>>>()?;
            let negated = operator == Operator::NotEqual;
            return (!ports.is_empty()).then_some((negated, ports));
        }
    };
    Some((false, BTreeSet::from([range])))
}

pub(super) fn address_kind(value: &Expression) -> Option<AddressKind> {
    let name = value.word()?;
    let mut known = AddressKind::ALL.into_iter();
    known.find(|it| it.name().eq_ignore_ascii_case(name))
}

/// `syn`, `fin,syn`, `fin | syn`, `0x0`
pub(super) fn tcp_flags(value: &Expression) -> Option<TcpFlags> {
    let bits = match value {
        Expression::Number(bits) => u8::try_from(*bits).ok()?,
        Expression::Word(name) => TcpFlags::from_names(name)?.bits(),
        Expression::List(names) => {
            let flags = names.iter().map(tcp_flags).collect::<Option<Vec<_>>>()?;
            flags.iter().fold(0, |bits, it| bits | it.bits())
        }
        Expression::Bits(BitOperator::Or, left, right) => {
            tcp_flags(left)?.bits() | tcp_flags(right)?.bits()
        }
        _ => return None,
    };
    TcpFlags::from_bits(bits)
}
