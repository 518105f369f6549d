//! Takes what a rule of nft does for a target of iptables, as one family sees it.

use std::net::IpAddr;

use super::condition::Conditions;
use super::statement::{BitOperator, Expression, Nat, NatKind, Statement, Step};
use crate::rules::id::Family;
use crate::rules::logging::{Log, Nflog};
use crate::rules::marks::{ConnmarkAction, MarkChange};
use crate::rules::nat::{NatPick, NatRange};
use crate::rules::target::{Target, ZoneDirection, ZoneId};
use crate::rules::values::PortRange;

/// The target of a rule that does these steps. May add to the conditions that it is for one family only. `None` for
/// what no one target does.
pub(super) fn target(steps: &[&Step], conditions: &mut Conditions) -> Option<Target> {
    let statements: Vec<&Statement> = steps.iter().map(|it| &it.statement).collect();
    Some(match statements[..] {
        [] | [Statement::Continue] => Target::None,
        [Statement::Accept] => Target::Accept,
        [Statement::Drop] => Target::Drop,
        [Statement::Return] => Target::Return,
        [Statement::Jump(chain)] => Target::Jump(chain.clone()),
        [Statement::Goto(chain)] => Target::Goto(chain.clone()),
        [Statement::Notrack] => Target::Notrack,
        [Statement::Set { key, value }] => set(key, value)?,
        [Statement::Nat(nat)] => translation(nat, conditions)?,
        [Statement::Reject { with, code }] => reject(with.as_deref(), code.as_deref(), conditions)?,
        [
            Statement::Log {
                prefix,
                level,
                group,
            },
        ] => log(prefix.as_deref(), level.as_deref(), *group)?,
        // Alone, `tproxy` goes on to the next rule.
        [tproxy @ Statement::Tproxy { .. }, Statement::Accept] => {
            self::tproxy(tproxy, MarkChange::set_xmark(0, 0), conditions)?
        }
        [
            tproxy @ Statement::Tproxy { .. },
            Statement::Set { key, value },
            Statement::Accept,
        ] => match set(key, value)? {
            Target::Mark(mark) => self::tproxy(tproxy, mark, conditions)?,
            _ => return None,
        },
        _ => return None,
    })
}

/// What an operation on bits starts from.
#[derive(PartialEq)]
enum Start {
    Nothing,
    PacketMark,
    ConnectionMark,
}

/// A value as `(start & keep) ^ flip`.
fn bits(value: &Expression) -> Option<(Start, u32, u32)> {
    match value {
        Expression::Number(number) => Some((Start::Nothing, 0, u32::try_from(*number).ok()?)),
        Expression::Meta(key) if key == "mark" => Some((Start::PacketMark, u32::MAX, 0)),
        Expression::Ct(key, None) if key == "mark" => Some((Start::ConnectionMark, u32::MAX, 0)),
        Expression::Bits(operator, left, right) => {
            let (start, keep, flip) = bits(left)?;
            let number: u32 = right.number()?;
            Some(match operator {
                BitOperator::And => (start, keep & number, flip & number),
                BitOperator::Or => (start, keep & !number, flip & !number | number),
                BitOperator::Xor => (start, keep, flip ^ number),
            })
        }
        _ => None,
    }
}

fn set(key: &Expression, value: &Expression) -> Option<Target> {
    match key {
        Expression::Meta(key) if key == "mark" => {
            let (start, keep, flip) = bits(value)?;
            match start {
                Start::Nothing | Start::PacketMark => {
                    Some(Target::Mark(MarkChange::set_xmark(flip, !keep)))
                }
                Start::ConnectionMark if flip == 0 => {
                    let (nfmask, ctmask) = (u32::MAX, keep);
                    Some(Target::Connmark(ConnmarkAction::Restore { nfmask, ctmask }))
                }
                Start::ConnectionMark => None,
            }
        }
        Expression::Meta(key) if key == "nftrace" => {
            (value.number() == Some(1_u8)).then_some(Target::Trace)
        }
        Expression::Ct(key, None) if key == "mark" => {
            let (start, keep, flip) = bits(value)?;
            match start {
                Start::Nothing | Start::ConnectionMark => {
                    let change = MarkChange::set_xmark(flip, !keep);
                    Some(Target::Connmark(ConnmarkAction::Set(change)))
                }
                Start::PacketMark if flip == 0 => {
                    let (nfmask, ctmask) = (keep, u32::MAX);
                    Some(Target::Connmark(ConnmarkAction::Save { nfmask, ctmask }))
                }
                Start::PacketMark => None,
            }
        }
        Expression::Ct(key, direction) if key == "zone" => {
            let direction = match direction.as_deref() {
                None => None,
                Some("original") => Some(ZoneDirection::Original),
                Some("reply") => Some(ZoneDirection::Reply),
                Some(_) => return None,
            };
            let zone = ZoneId::Number(value.number()?);
            Some(Target::Zone { zone, direction })
        }
        _ => None,
    }
}

fn ports(value: Option<&Expression>) -> Option<Option<PortRange>> {
    Some(match value {
        None => None,
        Some(Expression::Range(first, last)) => {
            Some(PortRange::new(first.number()?, last.number()?)?)
        }
        Some(one) => Some(PortRange::one(one.number()?)),
    })
}

/// First and last address, all of one family.
fn addresses(value: Option<&Expression>, family: Family) -> Option<Option<(IpAddr, IpAddr)>> {
    let one = |value: &Expression| {
        let address: IpAddr = value.word()?.parse().ok()?;
        (Family::of(address) == family).then_some(address)
    };
    Some(match value {
        None => None,
        Some(Expression::Range(first, last)) => Some((one(first)?, one(last)?)),
        Some(value) => Some((one(value)?, one(value)?)),
    })
}

fn translation(nat: &Nat, conditions: &mut Conditions) -> Option<Target> {
    let family = nat.family.unwrap_or(conditions.family);
    let has = |flag: &str| nat.flags.iter().any(|it| it == flag);
    let range = NatRange {
        addresses: addresses(nat.address.as_ref(), family)?,
        ports: ports(nat.port.as_ref())?,
        pick: NatPick {
            random: has("random"),
            random_fully: has("fully-random"),
            persistent: has("persistent"),
        },
    };
    let (name, target) = match nat.kind {
        NatKind::Redirect if nat.flags.is_empty() && range.addresses.is_none() => {
            let ports = range.ports;
            ("redirect", Target::Redirect { ports })
        }
        NatKind::Redirect => return None,
        NatKind::Masquerade => ("masquerade", Target::Masquerade(range)),
        NatKind::Source => ("snat", Target::Snat(range)),
        NatKind::Destination => ("dnat", Target::Dnat(range)),
    };
    conditions.only_of(family, || statement_of(name, family));
    Some(target)
}

/// nft asks for a listener too: without one the rule does not match, where iptables' TPROXY drops the packet
/// (`nft_tproxy_eval_v4` in net/netfilter/nft_tproxy.c, `tproxy_tg4` in net/netfilter/xt_TPROXY.c).
fn tproxy(statement: &Statement, mark: MarkChange, conditions: &mut Conditions) -> Option<Target> {
    let Statement::Tproxy {
        family,
        address,
        port,
    } = statement
    else {
        return None;
    };
    let family = family.unwrap_or(conditions.family);
    let address = addresses(address.as_ref(), family)?.map(|(first, _)| first);
    let port = port.as_ref()?.number()?;
    conditions.only_of(family, || statement_of("tproxy", family));
    Some(Target::Tproxy {
        port,
        address,
        mark,
    })
}

fn statement_of(name: &str, family: Family) -> String {
    let family = if family == Family::V4 { "ip" } else { "ip6" };
    format!("{name} {family}")
}

/// The answer under the name `iptables-save` prints.
fn reject(with: Option<&str>, code: Option<&str>, conditions: &mut Conditions) -> Option<Target> {
    let family = match with {
        None | Some("icmpx" | "tcp reset") => conditions.family,
        Some("icmp") => Family::V4,
        Some("icmpv6") => Family::V6,
        Some(_) => return None,
    };
    let code = match (with, family, code.unwrap_or("port-unreachable")) {
        (Some("tcp reset"), _, _) => "tcp-reset",
        (_, Family::V4, "port-unreachable") => "icmp-port-unreachable",
        (_, Family::V4, "admin-prohibited") => "icmp-admin-prohibited",
        (_, Family::V6, "port-unreachable") => "icmp6-port-unreachable",
        (_, Family::V6, "admin-prohibited") => "icmp6-adm-prohibited",
        (Some("icmp"), _, "net-unreachable") => "icmp-net-unreachable",
        (Some("icmp"), _, "host-unreachable") => "icmp-host-unreachable",
        (Some("icmpv6"), _, "no-route") => "icmp6-no-route",
        (Some("icmpv6"), _, "addr-unreachable") => "icmp6-addr-unreachable",
        _ => return None,
    };
    conditions.only_of(family, || statement_of("reject with", family));
    Some(Target::Reject {
        with: code.to_owned(),
    })
}

fn log(prefix: Option<&str>, level: Option<&str>, group: Option<u16>) -> Option<Target> {
    let prefix = prefix.unwrap_or_default().to_owned();
    if let Some(group) = group {
        return level.is_none().then(|| {
            Target::Nflog(Nflog {
                prefix,
                group,
                ..Nflog::default()
            })
        });
    }
    let level = match level {
        None => Log::WARNING,
        Some(name) => Log::level(name)?,
    };
    Some(Target::Log(Log {
        level,
        prefix,
        ..Log::default()
    }))
}
