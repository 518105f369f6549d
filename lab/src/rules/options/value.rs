//! Reads the values of options: networks, ports, owners, marks and states.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::IpNet;

use crate::diagnostic::{Diagnostic, did_you_mean};
use crate::rules::address_kind::AddressKind;
use crate::rules::id::Family;
use crate::rules::marks::MarkValue;
use crate::rules::tcp_flags::TcpFlags;
use crate::rules::values::{CtState, OwnerId, PortRange};
use crate::rules::words::{Line, Word};

/// `address[/prefix|/mask]`, masked as the kernel does; `None` for a mask with holes.
pub(super) fn network(
    line: Line<'_>,
    word: &Word,
    family: Family,
) -> Result<Option<IpNet>, Diagnostic> {
    let text = word.text.as_str();
    let bad = |why: &str| line.error(word, format!("`{text}` is not an address: {why}"));
    if text.contains(',') {
        return Err(bad(
            "a list stands for several rules, write them one by one",
        ));
    }
    let (address, mask) = match text.split_once('/') {
        Some((address, mask)) => (address, Some(mask)),
        None => (text, None),
    };
    let address = match (address, family) {
        ("0", Family::V4) => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
        _ => address
            .parse()
            .map_err(|_| bad("expected numbers, such as 10.0.0.0/8 or fd00::/8"))?,
    };
    if Family::of(address) != family {
        let message = format!(
            "address `{text}` is {}, these rules are {family}",
            Family::of(address)
        );
        return Err(line.error(word, message));
    }
    let widest = if family == Family::V4 { 32 } else { 128 };
    let prefix = match mask {
        None => Some(widest),
        Some(mask) => match mask.parse::<u8>() {
            Ok(prefix) if prefix <= widest => Some(prefix),
            Ok(_) => return Err(bad("the prefix is too long")),
            Err(_) => mask_prefix(mask, family)
                .ok_or_else(|| bad("the mask is neither a length nor an address"))?,
        },
    };
    let network = prefix.and_then(|prefix| IpNet::new(address, prefix).ok());
    Ok(network.map(|network| network.trunc()))
}

/// The length of a mask written as an address; `Some(None)` when its ones have holes.
fn mask_prefix(mask: &str, family: Family) -> Option<Option<u8>> {
    let (bits, widest) = match family {
        Family::V4 => (
            u128::from(u32::from(mask.parse::<Ipv4Addr>().ok()?)) << 96,
            32,
        ),
        Family::V6 => (u128::from(mask.parse::<Ipv6Addr>().ok()?), 128),
    };
    let ones = bits.leading_ones();
    let whole = bits.count_ones() == ones && ones <= widest;
    Some(u8::try_from(ones).ok().filter(|_| whole))
}

/// `80`, `1024:65535`, `:1023` or `1024:`; `separator` is `-` in `--to-ports`, which has no open ends.
pub(super) fn ports(line: Line<'_>, word: &Word, separator: char) -> Result<PortRange, Diagnostic> {
    let text = word.text.as_str();
    let bad = |why: &str| line.error(word, format!("`{text}` is not a port: {why}"));
    let open_ends = separator == ':';
    let port = |part: &str, open: u16| match part {
        "" if open_ends && text.len() > 1 => Ok(open),
        _ => part
            .parse::<u16>()
            .map_err(|_| bad("expected a number from 0 to 65535")),
    };
    match text.split_once(separator) {
        None => port(text, 0).map(PortRange::one),
        Some((first, last)) => {
            let range = PortRange::new(port(first, 0)?, port(last, u16::MAX)?);
            range.ok_or_else(|| bad("the range is upside down"))
        }
    }
}

/// `1337`, `1000-2000`, `1000:2000` or a name.
pub(super) fn owner(line: Line<'_>, word: &Word) -> Result<OwnerId, Diagnostic> {
    let text = word.text.as_str();
    let bad = |why: &str| line.error(word, format!("`{text}` is not a user or group: {why}"));
    if text.is_empty() {
        return Err(bad("it is empty"));
    }
    let range = text.split_once(['-', ':']);
    let (first, last) = range.unwrap_or((text, text));
    let numeric = |part: &str| !part.is_empty() && part.bytes().all(|it| it.is_ascii_digit());
    if !numeric(first) || !numeric(last) {
        return Ok(OwnerId::Name(text.to_owned()));
    }
    match (first.parse(), last.parse()) {
        (Ok(first), Ok(last)) if first <= last => Ok(OwnerId::Range { first, last }),
        (Ok(_), Ok(_)) => Err(bad("the range is upside down")),
        _ => Err(bad("the id does not fit 32 bits")),
    }
}

/// A 32-bit number, hexadecimal, octal or decimal.
pub(super) fn number(text: &str) -> Option<u32> {
    let (digits, radix) = match text.strip_prefix("0x").or_else(|| text.strip_prefix("0X")) {
        Some(digits) => (digits, 16),
        None if text.len() > 1 && text.starts_with('0') => (&text[1..], 8),
        None => (text, 10),
    };
    let parsed = u32::from_str_radix(digits, radix).ok();
    parsed.filter(|_| !digits.starts_with('+'))
}

/// `0x1` or `0x1/0xff`
pub(super) fn mark(line: Line<'_>, word: &Word) -> Result<MarkValue, Diagnostic> {
    let (value, mask) = match word.text.split_once('/') {
        Some((value, mask)) => (number(value), number(mask)),
        None => (number(&word.text), Some(u32::MAX)),
    };
    match (value, mask) {
        (Some(value), Some(mask)) => Ok(MarkValue { value, mask }),
        _ => Err(line.error(
            word,
            format!("`{}` is not a mark such as 0x1 or 0x1/0xff", word.text),
        )),
    }
}

/// `53,15008,30000:32767`
pub(super) fn port_list(line: Line<'_>, word: &Word) -> Result<BTreeSet<PortRange>, Diagnostic> {
    /// Slots of `struct xt_multiport_v1`; a range takes two.
    const SLOTS: usize = 15;
    let one = |part: &str| {
        let text = part.to_owned();
        ports(
            line,
            &Word {
                text,
                ..word.clone()
            },
            ':',
        )
    };
    let list = word
        .text
        .split(',')
        .map(one)
        .collect::<Result<Vec<_>, _>>()?;
    let slots: usize = list
        .iter()
        .map(|it| if it.first() == it.last() { 1 } else { 2 })
        .sum();
    if slots > SLOTS {
        let message = format!("a list holds at most {SLOTS} ports, a range counting as two");
        return Err(line.error(word, message));
    }
    Ok(list.into_iter().collect())
}

/// `SYN,ACK`
pub(super) fn tcp_flags(line: Line<'_>, word: &Word) -> Result<TcpFlags, Diagnostic> {
    TcpFlags::from_names(&word.text).ok_or_else(|| {
        let message = format!("`{}` are not TCP flags such as SYN,ACK", word.text);
        line.error(word, message)
    })
}

/// `LOCAL,UNICAST`
pub(super) fn address_kinds(
    line: Line<'_>,
    word: &Word,
) -> Result<BTreeSet<AddressKind>, Diagnostic> {
    let kind = |name: &str| {
        let known = AddressKind::ALL
            .into_iter()
            .find(|kind| kind.name().eq_ignore_ascii_case(name));
        let names = AddressKind::ALL.map(AddressKind::name);
        let message = || format!("unknown kind of address `{name}`");
        known.ok_or_else(|| line.error_with(word, message(), did_you_mean(name, names)))
    };
    word.text.split(',').map(kind).collect()
}

/// `NEW,RELATED`
pub(super) fn states(line: Line<'_>, word: &Word) -> Result<BTreeSet<CtState>, Diagnostic> {
    let state = |name: &str| {
        let known = CtState::ALL
            .into_iter()
            .find(|state| state.name().eq_ignore_ascii_case(name));
        let known_names = CtState::ALL.map(CtState::name);
        let message = || format!("unknown connection state `{name}`");
        known.ok_or_else(|| line.error_with(word, message(), did_you_mean(name, known_names)))
    };
    word.text.split(',').map(state).collect()
}
