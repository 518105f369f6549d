//! The words of a packet: `uid=1337 out=lo dst=10.244.1.20:9080`.

use std::net::{IpAddr, SocketAddr};
use std::ops::Range;

use crate::diagnostic::{Diagnostic, did_you_mean};
use crate::rules::{CtState, Interface, Protocol, TcpFlags};

/// Every key, and what its value looks like.
const KEYS: [(&str, &str); 14] = [
    ("in", "an interface such as eth0"),
    ("out", "an interface such as lo"),
    ("proto", "tcp, udp, or a protocol number"),
    ("src", "an address, with a port or without: 10.0.0.1:40000"),
    (
        "dst",
        "an address, with a port or without: 10.244.1.20:9080 or [fd00::1]:9080",
    ),
    ("sport", "a port, 0 to 65535"),
    ("dport", "a port, 0 to 65535"),
    ("uid", "a user id, 0 to 4294967295"),
    ("gid", "a group id, 0 to 4294967295"),
    ("mark", "a mark: 1337 or 0x539"),
    ("connmark", "a mark: 1337 or 0x539"),
    ("state", "NEW, ESTABLISHED, RELATED, INVALID or UNTRACKED"),
    ("zone", "a conntrack zone, 0 to 65535"),
    ("flags", "TCP flags: SYN, or SYN,ACK"),
];

/// Other words people have for a key.
const SYNONYMS: [(&str, &str); 8] = [
    ("protocol", "proto"),
    ("source", "src"),
    ("destination", "dst"),
    ("iif", "in"),
    ("oif", "out"),
    ("ctstate", "state"),
    ("ctmark", "connmark"),
    ("user", "uid"),
];

/// A value, and where its word stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct At<T> {
    pub value: T,
    pub span: Range<usize>,
}

/// What the words say; what they leave out is `None`.
#[derive(Debug, Default)]
pub(super) struct Said {
    pub inbound: Option<At<String>>,
    pub outbound: Option<At<String>>,
    pub protocol: Option<At<Protocol>>,
    pub src: Option<At<IpAddr>>,
    pub dst: Option<At<IpAddr>>,
    pub sport: Option<At<u16>>,
    pub dport: Option<At<u16>>,
    pub uid: Option<At<u32>>,
    pub gid: Option<At<u32>>,
    pub mark: Option<At<u32>>,
    pub connmark: Option<At<u32>>,
    pub state: Option<At<CtState>>,
    pub zone: Option<At<u16>>,
    pub flags: Option<At<TcpFlags>>,
}

/// Reads the words of one packet.
pub(super) fn read(text: &str, origin: &str) -> Result<Said, Diagnostic> {
    let mut said = Said::default();
    let mut words = 0;
    for span in spans(text) {
        words += 1;
        word(&mut said, text, origin, span)?;
    }
    if words == 0 {
        let help = "such as 'in=eth0 dst=10.244.1.20:9080' or 'uid=1000 out=eth0 dst=10.0.0.9:80'";
        return Err(Diagnostic::at(origin, text, 0..1, "no packet").help(help));
    }
    Ok(said)
}

fn spans(text: &str) -> impl Iterator<Item = Range<usize>> {
    text.split_whitespace().map(|word| {
        // Words are slices of the text.
        let start = word.as_ptr() as usize - text.as_ptr() as usize;
        start..start + word.len()
    })
}

fn word(said: &mut Said, text: &str, origin: &str, span: Range<usize>) -> Result<(), Diagnostic> {
    let word = &text[span.clone()];
    let complain = |message: String, help: Option<String>| Diagnostic {
        help,
        ..Diagnostic::at(origin, text, span.clone(), message)
    };
    let Some((key, value)) = word.split_once('=') else {
        if let Some(protocol) = Protocol::from_name(word).filter(|_| !is_number(word)) {
            return put(&mut said.protocol, protocol, span.clone())
                .ok_or_else(|| complain("the protocol is given twice".to_owned(), None));
        }
        let help = match word.parse::<SocketAddr>().is_ok() || word.parse::<IpAddr>().is_ok() {
            true => Some(format!("did you mean `dst={word}`?")),
            false => did_you_mean(word, ["tcp", "udp"]).or_else(|| Some(keys())),
        };
        return Err(complain(format!("`{word}` is not KEY=VALUE"), help));
    };
    let known = SYNONYMS.iter().find(|(other, _)| *other == key);
    let key = known.map_or(key, |(_, key)| key);
    let Some((_, shape)) = KEYS.iter().find(|(known, _)| *known == key) else {
        let names = KEYS.iter().map(|(name, _)| *name);
        let help = did_you_mean(key, names).unwrap_or_else(keys);
        return Err(complain(format!("a packet has no `{key}`"), Some(help)));
    };
    let wrong = || {
        let help = (key == "state")
            .then(|| did_you_mean(value, states()))
            .flatten();
        complain(
            format!("`{value}` is no value of {key}: expected {shape}"),
            help,
        )
    };
    let twice = || complain(format!("{key} is given twice"), None);
    let span = span.clone();
    let put = match key {
        "in" => put(&mut said.inbound, interface(value).ok_or_else(wrong)?, span),
        "out" => put(
            &mut said.outbound,
            interface(value).ok_or_else(wrong)?,
            span,
        ),
        "proto" => put(
            &mut said.protocol,
            Protocol::from_name(value).ok_or_else(wrong)?,
            span,
        ),
        "src" => end(
            &mut said.src,
            &mut said.sport,
            endpoint(value).ok_or_else(wrong)?,
            span,
        ),
        "dst" => end(
            &mut said.dst,
            &mut said.dport,
            endpoint(value).ok_or_else(wrong)?,
            span,
        ),
        "sport" => put(&mut said.sport, value.parse().map_err(|_| wrong())?, span),
        "dport" => put(&mut said.dport, value.parse().map_err(|_| wrong())?, span),
        "uid" => put(&mut said.uid, value.parse().map_err(|_| wrong())?, span),
        "gid" => put(&mut said.gid, value.parse().map_err(|_| wrong())?, span),
        "mark" => put(&mut said.mark, number(value).ok_or_else(wrong)?, span),
        "connmark" => put(&mut said.connmark, number(value).ok_or_else(wrong)?, span),
        "state" => put(&mut said.state, state(value).ok_or_else(wrong)?, span),
        "zone" => put(&mut said.zone, value.parse().map_err(|_| wrong())?, span),
        // The last of the keys.
        _ => put(
            &mut said.flags,
            TcpFlags::from_names(value).ok_or_else(wrong)?,
            span,
        ),
    };
    put.ok_or_else(twice)
}

/// Fills an empty place; `None` when it was filled before.
fn put<T>(place: &mut Option<At<T>>, value: T, span: Range<usize>) -> Option<()> {
    place.is_none().then(|| *place = Some(At { value, span }))
}

fn end(
    address: &mut Option<At<IpAddr>>,
    port: &mut Option<At<u16>>,
    (ip, number): (IpAddr, Option<u16>),
    span: Range<usize>,
) -> Option<()> {
    if let Some(number) = number {
        put(port, number, span.clone())?;
    }
    put(address, ip, span)
}

fn endpoint(text: &str) -> Option<(IpAddr, Option<u16>)> {
    if let Ok(both) = text.parse::<SocketAddr>() {
        return Some((both.ip(), Some(both.port())));
    }
    let bare = text.strip_prefix('[').and_then(|it| it.strip_suffix(']'));
    Some((bare.unwrap_or(text).parse().ok()?, None))
}

fn interface(name: &str) -> Option<String> {
    let name = Interface::new(name)?.as_str().to_owned();
    (!name.ends_with('+')).then_some(name)
}

/// A number as marks are written: decimal, or hexadecimal after `0x`.
pub(super) fn number(text: &str) -> Option<u32> {
    match text.strip_prefix("0x") {
        Some(digits) => u32::from_str_radix(digits, 16).ok(),
        None => text.parse().ok(),
    }
}

fn is_number(text: &str) -> bool {
    text.bytes().all(|it| it.is_ascii_digit())
}

/// A packet has one of these; SNAT and DNAT are properties of its connection.
const STATES: [CtState; 5] = [
    CtState::New,
    CtState::Established,
    CtState::Related,
    CtState::Invalid,
    CtState::Untracked,
];

fn states() -> impl Iterator<Item = &'static str> {
    STATES.into_iter().map(CtState::name)
}

fn state(text: &str) -> Option<CtState> {
    STATES
        .into_iter()
        .find(|it| it.name().eq_ignore_ascii_case(text))
}

fn keys() -> String {
    let names: Vec<&str> = KEYS.iter().map(|(name, _)| *name).collect();
    format!(
        "a packet is made of {}, tcp and udp",
        names.join("=, ") + "="
    )
}
