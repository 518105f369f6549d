//! One rule against one packet: matched, failed and why, or unknown and why.

use std::collections::BTreeSet;
use std::fmt::Display;

use super::kind;
use super::mismatch::{Field, Mismatch};
use super::packet::Packet;
use super::traversal::TryResult;
use crate::rules::{
    AddressKind, CtState, End, Interface, MarkValue, Match, Matches, Negatable, OwnerId, PortRange,
};

/// Asks the conditions of a rule in the order of the kernel: source, destination, in, out, protocol
/// (`ip_packet_match` in net/ipv4/netfilter/ip_tables.c), then the match extensions.
///
/// A rule with a condition that is not modelled still fails when another fails: all must hold.
pub(super) fn ask(matches: &Matches, packet: &Packet) -> TryResult {
    if let Some(mismatch) = base(matches, packet) {
        return TryResult::Failed(mismatch);
    }
    let mut unknown = None;
    for condition in matches.extensions() {
        match extension(condition, packet) {
            TryResult::Matched => {}
            TryResult::Failed(mismatch) => return TryResult::Failed(mismatch),
            TryResult::Unknown(why) => _ = unknown.get_or_insert(why),
        }
    }
    unknown.map_or(TryResult::Matched, TryResult::Unknown)
}

fn base(matches: &Matches, packet: &Packet) -> Option<Mismatch> {
    let (source, destination) = (packet.src.ip(), packet.dst.ip());
    let interface = |name: &Option<String>| name.clone().unwrap_or_default();
    let (inbound, outbound) = (interface(&packet.in_iface), interface(&packet.out_iface));
    let protocol = packet.protocol;
    None.or_else(|| {
        check(Field::Source, &matches.source, source, |it| {
            it.contains(&source)
        })
    })
    .or_else(|| {
        check(
            Field::Destination,
            &matches.destination,
            destination,
            |it| it.contains(&destination),
        )
    })
    .or_else(|| {
        check(
            Field::InInterface,
            &matches.in_interface,
            named(&inbound),
            |it| joined(it, &inbound),
        )
    })
    .or_else(|| {
        check(
            Field::OutInterface,
            &matches.out_interface,
            named(&outbound),
            |it| joined(it, &outbound),
        )
    })
    .or_else(|| {
        check(Field::Protocol, &matches.protocol, protocol, |it| {
            *it == protocol
        })
    })
}

fn named(interface: &str) -> &str {
    if interface.is_empty() {
        "none"
    } else {
        interface
    }
}

fn joined(wanted: &Interface, interface: &str) -> bool {
    wanted.matches(interface)
}

/// The mismatch of an optional condition, if it fails.
fn check<T: Display>(
    field: Field,
    condition: &Option<Negatable<T>>,
    had: impl Display,
    matched: impl FnOnce(&T) -> bool,
) -> Option<Mismatch> {
    let condition = condition.as_ref()?;
    match settle(
        field,
        condition,
        condition.value.to_string(),
        had,
        matched(&condition.value),
    ) {
        TryResult::Failed(mismatch) => Some(mismatch),
        TryResult::Matched | TryResult::Unknown(_) => None,
    }
}

fn settle<T>(
    field: Field,
    condition: &Negatable<T>,
    wanted: String,
    had: impl Display,
    matched: bool,
) -> TryResult {
    if condition.holds(matched) {
        return TryResult::Matched;
    }
    let sign = if condition.negated { "!" } else { "" };
    TryResult::Failed(Mismatch {
        field,
        wanted: format!("{sign}{wanted}"),
        had: had.to_string(),
    })
}

fn extension(condition: &Match, packet: &Packet) -> TryResult {
    match condition {
        Match::SourcePort(it) => port(Field::SourcePort, it, packet.src.port()),
        Match::DestinationPort(it) => port(Field::DestinationPort, it, packet.dst.port()),
        Match::OwnerUid(it) => owner(Field::OwnerUid, it, packet.owner.map(|(uid, _)| uid)),
        Match::OwnerGid(it) => owner(Field::OwnerGid, it, packet.owner.map(|(_, gid)| gid)),
        Match::CtState(it) => {
            let wanted: Vec<&str> = it.value.iter().copied().map(CtState::name).collect();
            settle(
                Field::CtState,
                it,
                wanted.join(","),
                packet.state,
                it.value.contains(&packet.state),
            )
        }
        Match::Mark(it) => mark(Field::Mark, it, packet.mark),
        // Without an entry the match fails, also where it is turned around (`connmark_mt` in net/netfilter/xt_connmark.c).
        Match::ConnMark(it) if !packet.has_entry() => {
            let sign = if it.negated { "!" } else { "" };
            TryResult::Failed(Mismatch {
                field: Field::ConnMark,
                wanted: format!("{sign}{}", it.value),
                had: "no connection".to_owned(),
            })
        }
        Match::ConnMark(it) => mark(Field::ConnMark, it, packet.connmark),
        Match::Ports { end, ports } => port_list(*end, ports, packet),
        Match::TcpFlags(it) => {
            let matched = it.value.matches(packet.tcp_flags);
            let wanted = it.value.to_string();
            settle(Field::TcpFlags, it, wanted, packet.tcp_flags, matched)
        }
        Match::SocketExists(wanted) => {
            let has = |it: bool| if it { "one" } else { "none" };
            let there = packet.owner.is_some();
            let condition = Negatable::is(());
            let matched = there == *wanted;
            settle(
                Field::Socket,
                &condition,
                has(*wanted).to_owned(),
                has(there),
                matched,
            )
        }
        Match::AddressKind { end, kinds } => address_kind(*end, kinds, packet),
        Match::Comment(_) => TryResult::Matched,
        // Packets of the other family are not asked of this rule set at all (`evaluate`).
        Match::OtherFamily { family, .. } => TryResult::Failed(Mismatch {
            field: Field::Family,
            wanted: family.to_string(),
            had: packet.family().to_string(),
        }),
        Match::Verbatim { module, words } => {
            let module = module.iter().map(|module| format!("-m {module}"));
            let words: Vec<String> = module.chain(words.iter().cloned()).collect();
            TryResult::Unknown(format!("`{}` is not modelled", words.join(" ")))
        }
    }
}

fn port(field: Field, condition: &Negatable<PortRange>, had: u16) -> TryResult {
    settle(
        field,
        condition,
        condition.value.to_string(),
        had,
        condition.value.contains(had),
    )
}

/// xt_owner: without a socket a plain owner condition fails and an inverted one holds
/// (`(info->match ^ info->invert) == 0` in net/netfilter/xt_owner.c).
fn owner(field: Field, condition: &Negatable<OwnerId>, had: Option<u32>) -> TryResult {
    let wanted = condition.value.to_string();
    let Some(id) = had else {
        return settle(field, condition, wanted, "no socket", false);
    };
    match condition.value.contains(id) {
        Some(matched) => settle(field, condition, wanted, id, matched),
        None => TryResult::Unknown(format!(
            "which {field} is named `{wanted}` depends on the machine"
        )),
    }
}

fn mark(field: Field, condition: &Negatable<MarkValue>, had: u32) -> TryResult {
    let matched = condition.value.matches(had);
    let wanted = condition.value.to_string();
    settle(field, condition, wanted, format!("{had:#x}"), matched)
}

fn port_list(
    end: Option<End>,
    condition: &Negatable<BTreeSet<PortRange>>,
    packet: &Packet,
) -> TryResult {
    let (source, destination) = (packet.src.port(), packet.dst.port());
    let named = |port: u16| condition.value.iter().any(|it| it.contains(port));
    let (field, had, matched) = match end {
        Some(End::Source) => (Field::SourcePort, source.to_string(), named(source)),
        Some(End::Destination) => (
            Field::DestinationPort,
            destination.to_string(),
            named(destination),
        ),
        None => (
            Field::AnyPort,
            format!("{source} and {destination}"),
            named(source) || named(destination),
        ),
    };
    let wanted: Vec<String> = condition.value.iter().map(PortRange::to_string).collect();
    settle(field, condition, wanted.join(","), had, matched)
}

fn address_kind(
    end: End,
    condition: &Negatable<BTreeSet<AddressKind>>,
    packet: &Packet,
) -> TryResult {
    let (field, address, said) = match end {
        End::Source => (Field::SourceKind, packet.src.ip(), packet.src_kind),
        End::Destination => (Field::DestinationKind, packet.dst.ip(), packet.dst_kind),
    };
    let Some(had) = said.or_else(|| kind::of(address)) else {
        return TryResult::Unknown(format!("the {field} {address} depends on the routes"));
    };
    let wanted: Vec<&str> = condition.value.iter().map(|it| it.name()).collect();
    let matched = condition.value.contains(&had);
    settle(field, condition, wanted.join(","), had, matched)
}
