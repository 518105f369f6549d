//! Takes a condition of nft for one of iptables, as one family sees it.

use std::collections::BTreeSet;

use super::operands::{address_kind, interface, network, only, owner, port_ranges, tcp_flags};
use super::statement::{BitOperator, Expression, Operator};
use crate::rules::address_kind::End;
use crate::rules::id::Family;
use crate::rules::marks::MarkValue;
use crate::rules::matches::{Match, Matches};
use crate::rules::tcp_flags::{TcpFlagTest, TcpFlags};
use crate::rules::values::{CtState, Negatable, OwnerId, Protocol};

/// The conditions of a rule as one family sees them.
pub(super) struct Conditions {
    pub family: Family,
    /// Whether what nft shows of owners is its translation of iptables' match, which is no exact one.
    pub of_iptables: bool,
    pub matches: Matches,
}

impl Conditions {
    /// Adds a condition, in `words` where it is written; `None` for one that is not modelled, and then nothing is added.
    pub fn add(
        &mut self,
        (left, operator, right): (&Expression, Operator, &Expression),
        words: &str,
    ) -> Option<()> {
        let before = self.matches.clone();
        let added = match self.header_of_other_family(left, operator, right, words) {
            true => Some(()),
            false => self.known(left, operator, right),
        };
        if added.is_none() {
            self.matches = before;
        }
        added
    }

    /// Of a header that packets of this family don't have, nothing needs to be understood.
    fn header_of_other_family(
        &mut self,
        left: &Expression,
        operator: Operator,
        right: &Expression,
        words: &str,
    ) -> bool {
        let Expression::Payload(header, field) = left else {
            return false;
        };
        let family = match header.as_str() {
            "ip" => Family::V4,
            "ip6" => Family::V6,
            _ => return false,
        };
        if family == self.family {
            return false;
        }
        // One spelling of addresses, whichever of nft's forms this is.
        let sign = match operator {
            Operator::Implied | Operator::Equal => Some(""),
            Operator::NotEqual => Some("!= "),
            _ => None,
        };
        let network = sign.zip(only(right).and_then(network));
        let words = match network {
            Some((sign, network)) => format!("{header} {field} {sign}{network}"),
            None => words.to_owned(),
        };
        self.matches.add(Match::OtherFamily { family, words });
        true
    }

    /// Adds what no packet of this family can have; said once per family is enough.
    pub fn only_of(&mut self, family: Family, words: impl FnOnce() -> String) {
        let other = |it: &Match| matches!(it, Match::OtherFamily { .. });
        let statement = family != self.family && !self.matches.extensions().iter().any(other);
        if statement {
            let words = words();
            self.matches.add(Match::OtherFamily { family, words });
        }
    }

    fn known(&mut self, left: &Expression, operator: Operator, right: &Expression) -> Option<()> {
        let negated = match operator {
            Operator::Implied | Operator::Equal => Some(false),
            Operator::NotEqual => Some(true),
            _ => None,
        };
        match left {
            Expression::Payload(protocol, field) => match (protocol.as_str(), field.as_str()) {
                ("tcp" | "udp" | "th", "sport" | "dport") => {
                    self.ports(protocol, field, operator, right)
                }
                ("ip" | "ip6", "saddr" | "daddr") => self.address(field, negated?, right),
                ("ip", "protocol") => self.protocol(negated?, right),
                ("tcp", "flags") if operator == Operator::Implied => {
                    let one = tcp_flags(right).filter(|it| it.bits().count_ones() == 1)?;
                    self.tcp_flags(false, one, one)
                }
                _ => None,
            },
            Expression::Meta(key) => self.meta(key, negated?, right),
            Expression::Ct(key, None) => match key.as_str() {
                "mark" => self.mark(left, u32::MAX, negated?, right),
                "state" => self.state(operator, right),
                _ => None,
            },
            Expression::Fib(flags, result) if result == "type" => {
                let end = match flags.as_slice() {
                    [one] if one == "saddr" => End::Source,
                    [one] if one == "daddr" => End::Destination,
                    _ => return None,
                };
                let kinds = right.members().iter().map(address_kind);
                let value = kinds.collect::<Option<BTreeSet<_>>>()?;
                let kinds = Negatable {
                    negated: negated?,
                    value,
                };
                self.matches.add(Match::AddressKind { end, kinds });
                Some(())
            }
            Expression::Bits(BitOperator::And, key, mask) => match &**key {
                Expression::Payload(protocol, field) if protocol == "tcp" && field == "flags" => {
                    if operator == Operator::Implied {
                        return None;
                    }
                    self.tcp_flags(negated?, tcp_flags(mask)?, tcp_flags(right)?)
                }
                key => self.mark(key, mask.number()?, negated?, right),
            },
            _ => None,
        }
    }

    fn meta(&mut self, key: &str, negated: bool, right: &Expression) -> Option<()> {
        match key {
            "l4proto" => self.protocol(negated, right),
            "nfproto" | "protocol" => {
                let family = match only(right)?.word()? {
                    "ipv4" | "ip" => Family::V4,
                    "ipv6" | "ip6" => Family::V6,
                    _ => return None,
                };
                let wanted = match (family, negated) {
                    (Family::V4, false) | (Family::V6, true) => Family::V4,
                    _ => Family::V6,
                };
                self.only_of(wanted, || format!("meta nfproto {}", wanted.key()));
                Some(())
            }
            "iif" | "iifname" | "oif" | "oifname" => {
                let value = interface(key, only(right)?.word()?)?;
                let field = match key.starts_with('i') {
                    true => &mut self.matches.in_interface,
                    false => &mut self.matches.out_interface,
                };
                once(field, Negatable { negated, value })
            }
            "mark" => self.mark(
                &Expression::Meta("mark".to_owned()),
                u32::MAX,
                negated,
                right,
            ),
            "skuid" => self.owner(Match::OwnerUid, negated, right),
            "skgid" => self.owner(Match::OwnerGid, negated, right),
            _ => None,
        }
    }

    fn protocol(&mut self, negated: bool, right: &Expression) -> Option<()> {
        let value = match only(right)? {
            Expression::Word(name) => Protocol::from_name(name)?,
            number => Protocol::from_number(number.number()?),
        };
        once(&mut self.matches.protocol, Negatable { negated, value })
    }

    /// An address in a header of this family.
    fn address(&mut self, field: &str, negated: bool, right: &Expression) -> Option<()> {
        let value = only(right).and_then(network)?;
        (Family::of(value.addr()) == self.family).then_some(())?;
        let field = match field {
            "saddr" => &mut self.matches.source,
            _ => &mut self.matches.destination,
        };
        once(field, Negatable { negated, value })
    }

    fn ports(
        &mut self,
        protocol: &str,
        field: &str,
        operator: Operator,
        right: &Expression,
    ) -> Option<()> {
        match protocol {
            "tcp" => once(&mut self.matches.protocol, Negatable::is(Protocol::Tcp))?,
            "udp" => once(&mut self.matches.protocol, Negatable::is(Protocol::Udp))?,
            // Any transport: which one, an earlier condition has to say.
            _ => {
                let known = self.matches.only_protocol()?;
                matches!(known, Protocol::Tcp | Protocol::Udp).then_some(())?;
            }
        }
        let source = field == "sport";
        let (negated, ports) = port_ranges(operator, right)?;
        let one = ports.first().copied().filter(|_| ports.len() == 1);
        self.matches.add(match one {
            Some(value) if source => Match::SourcePort(Negatable { negated, value }),
            Some(value) => Match::DestinationPort(Negatable { negated, value }),
            None => Match::Ports {
                end: Some(if source {
                    End::Source
                } else {
                    End::Destination
                }),
                ports: Negatable {
                    negated,
                    value: ports,
                },
            },
        });
        Some(())
    }

    fn tcp_flags(&mut self, negated: bool, mask: TcpFlags, wanted: TcpFlags) -> Option<()> {
        once(&mut self.matches.protocol, Negatable::is(Protocol::Tcp))?;
        let value = TcpFlagTest { mask, wanted };
        self.matches
            .add(Match::TcpFlags(Negatable { negated, value }));
        Some(())
    }

    /// Who sent a packet. A packet without a socket fails this whether it is inverted or not
    /// (`nft_meta_get_eval_skugid` in net/netfilter/nft_meta.c), where iptables' `! --uid-owner` holds for it: so the
    /// inverted one asks for a socket too.
    fn owner(
        &mut self,
        kind: fn(Negatable<OwnerId>) -> Match,
        negated: bool,
        right: &Expression,
    ) -> Option<()> {
        let owners = right.members().iter().map(owner);
        let owners = owners.collect::<Option<Vec<_>>>()?;
        // Any of several users is one condition, none of them is one for each.
        if owners.is_empty() || owners.len() > 1 && !negated || negated && self.of_iptables {
            return None;
        }
        for value in owners {
            self.matches.add(kind(Negatable { negated, value }));
        }
        let socket = Match::SocketExists(true);
        if negated && !self.matches.extensions().contains(&socket) {
            self.matches.add(socket);
        }
        Some(())
    }

    fn mark(
        &mut self,
        key: &Expression,
        mask: u32,
        negated: bool,
        right: &Expression,
    ) -> Option<()> {
        let value = MarkValue {
            value: only(right)?.number()?,
            mask,
        };
        let condition = Negatable { negated, value };
        self.matches.add(match key {
            Expression::Meta(key) if key == "mark" => Match::Mark(condition),
            Expression::Ct(key, None) if key == "mark" => Match::ConnMark(condition),
            _ => return None,
        });
        Some(())
    }

    /// A packet has one state. A list asks for any of its bits, where nothing else is written.
    fn state(&mut self, operator: Operator, right: &Expression) -> Option<()> {
        let names = match (operator, right) {
            (Operator::Implied, Expression::List(names)) => names.as_slice(),
            (Operator::Implied | Operator::Equal | Operator::NotEqual, other) => other.members(),
            _ => return None,
        };
        let state = |name: &Expression| {
            let name = name.word()?;
            let known = CtState::ALL.into_iter().take(5);
            known
                .into_iter()
                .find(|it| it.name().eq_ignore_ascii_case(name))
        };
        let value = names.iter().map(state).collect::<Option<BTreeSet<_>>>()?;
        let negated = operator == Operator::NotEqual;
        self.matches
            .add(Match::CtState(Negatable { negated, value }));
        Some(())
    }
}

/// Sets a condition that a rule has once; asking for the same again is fine.
fn once<T: PartialEq>(field: &mut Option<Negatable<T>>, condition: Negatable<T>) -> Option<()> {
    match field {
        Some(known) => (*known == condition).then_some(()),
        None => {
            *field = Some(condition);
            Some(())
        }
    }
}
