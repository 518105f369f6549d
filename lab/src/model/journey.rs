//! The way of a connection's first packet through one machine, hook by hook.

use std::net::{IpAddr, SocketAddr};

use serde::{Deserialize, Serialize};

use super::kind;
use super::known::Known;
use super::landing::{is_loopback, redirect_landing};
use super::packet::Packet;
use super::passage::{Passage, pass_known};
use super::traversal::Outcome;
use crate::rules::Hook;
use crate::rules::{AddressKind, CtState, Family, MarkValue, PortRange, RuleId, RuleSet, Table};

/// What the routes of the machine are made from: loopback, interfaces with single addresses behind them, and one interface
/// to everywhere else.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Host {
    /// The interface: `eth0`.
    pub interface: String,
    /// Its address.
    pub address: IpAddr,
    /// Marks whose packets a routing rule sends to this machine, wherever they go: `ip rule fwmark MARK lookup T` with
    /// `local default dev lo` in table T, as Istio adds them. `None` when it is not known what is routed by mark.
    pub local_marks: Option<Vec<MarkValue>>,
    /// Addresses behind other interfaces, each with its interface.
    pub behind: Vec<(IpAddr, String)>,
    /// Further addresses of its own.
    pub also: Vec<IpAddr>,
    /// Whether the kernel tracks connections here, see [`RuleSet::wakes_conntrack`].
    pub conntrack: bool,
}

impl Host {
    /// A machine with one address that tracks connections; what it routes by mark is not known.
    pub fn new(interface: impl Into<String>, address: IpAddr) -> Self {
        Self {
            interface: interface.into(),
            address,
            local_marks: None,
            behind: Vec::new(),
            also: Vec::new(),
            conntrack: true,
        }
    }

    /// Whether routes deliver the address here whatever the mark: the local table is asked before any rule.
    pub fn is_local(&self, address: IpAddr) -> bool {
        address == self.address || is_loopback(address) || self.also.contains(&address)
    }

    /// What routing makes of the address.
    pub fn kind(&self, address: IpAddr) -> AddressKind {
        match kind::of(address) {
            _ if self.is_local(address) => AddressKind::Local,
            Some(known) => known,
            None => AddressKind::Unicast,
        }
    }

    /// Whether a packet to the address is routed to this machine.
    ///
    /// # Errors
    /// It depends on the mark, and what is routed by mark is not known.
    pub fn delivers(&self, address: IpAddr, mark: u32) -> Result<bool, String> {
        match &self.local_marks {
            _ if self.is_local(address) => Ok(true),
            Some(marks) => Ok(marks.iter().any(|it| it.matches(mark))),
            None if mark == 0 => Ok(false),
            None => Err(format!("where mark {mark:#x} is routed is not known")),
        }
    }

    /// The interface a packet to the address leaves by.
    ///
    /// # Errors
    /// See [`Host::delivers`].
    pub fn route(&self, address: IpAddr, mark: u32) -> Result<String, String> {
        let here = self.delivers(address, mark)?;
        let behind = self.behind.iter().find(|(known, _)| *known == address);
        Ok(match behind {
            _ if here => "lo",
            Some((_, interface)) => interface,
            None => &self.interface,
        }
        .to_owned())
    }
}

/// The way of a packet.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Journey {
    /// The hooks it passed, in order.
    pub passages: Vec<Passage>,
    /// Where it ended.
    pub end: JourneyEnd,
}

impl Journey {
    /// The rules whose counter moves at all hooks and in all tables, in order.
    pub fn moved(&self) -> Vec<RuleId> {
        let tables = self.passages.iter().flat_map(|it| &it.tables);
        tables
            .flat_map(|(_, traversal)| traversal.moved())
            .collect()
    }
}

/// Where a packet ends.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum JourneyEnd {
    /// At a socket of this machine.
    Delivered {
        /// The socket's address.
        at: SocketAddr,
        /// Where the packet was sent before rules turned it, which is what `SO_ORIGINAL_DST` tells.
        original: SocketAddr,
    },
    /// Out by the interface.
    Sent {
        /// To whom.
        to: SocketAddr,
    },
    /// Gone, by this decision.
    Gone(Outcome),
    /// The model cannot tell.
    Unknown(String),
}

/// Follows the first packet of a connection: from PREROUTING when it came in by an interface, else from OUTPUT.
///
/// Routes are those of [`Host`]. A packet that leaves keeps the interface it was given until rules change its
/// destination or its mark; then it is routed anew (`ip_route_me_harder` in net/ipv4/netfilter.c).
pub fn journey(rules: &RuleSet, host: &Host, packet: Packet) -> Journey {
    along(rules, host, packet, None)
}

pub(super) fn along(rules: &RuleSet, host: &Host, packet: Packet, known: Option<Known>) -> Journey {
    let packet = match host.conntrack {
        true => packet,
        false => Packet {
            state: CtState::Untracked,
            ..packet
        },
    };
    let mut way = Way {
        known,
        rules,
        host,
        original: packet.dst,
        packet,
        passages: Vec::new(),
        socket: None,
        destination_settled: false,
        source_settled: false,
    };
    let end = way.walk();
    let end = match end {
        Ok(end) | Err(end) => end,
    };
    Journey {
        passages: way.passages,
        end,
    }
}

struct Way<'a> {
    rules: &'a RuleSet,
    /// Its connection, when the packet is not the first.
    known: Option<Known>,
    host: &'a Host,
    original: SocketAddr,
    packet: Packet,
    passages: Vec<Passage>,
    /// The socket TPROXY handed the packet to.
    socket: Option<SocketAddr>,
    destination_settled: bool,
    source_settled: bool,
}

impl Way<'_> {
    /// The end of the way; `Err` when it ends before its last hook.
    fn walk(&mut self) -> Result<JourneyEnd, JourneyEnd> {
        if self.packet.in_iface.is_none() {
            if self.packet.out_iface.is_none() {
                self.packet.out_iface = Some(self.route()?);
            }
            let routed_by = |packet: &Packet| (packet.dst.ip(), packet.mark);
            let before = routed_by(&self.packet);
            self.hook(Hook::Output)?;
            if before != routed_by(&self.packet) {
                self.packet.out_iface = Some(self.route()?);
            }
            self.hook(Hook::Postrouting)?;
            if self.packet.out_iface.as_deref() != Some("lo") {
                return Ok(JourneyEnd::Sent {
                    to: self.packet.dst,
                });
            }
            // On its way through lo the packet loses its socket (`skb_orphan` in `loopback_xmit`), and keeps the entry
            // conntrack gave it in OUTPUT: no zone rule of PREROUTING counts any more (`xt_ct_target`).
            self.packet.zone.get_or_insert(0);
            (self.packet.in_iface, self.packet.out_iface) = (self.packet.out_iface.take(), None);
            self.packet.owner = None;
        }
        self.hook(Hook::Prerouting)?;
        let (to, mark) = (self.packet.dst.ip(), self.packet.mark);
        if self.host.delivers(to, mark).map_err(JourneyEnd::Unknown)? {
            self.hook(Hook::Input)?;
            return Ok(JourneyEnd::Delivered {
                at: self.socket.unwrap_or(self.packet.dst),
                original: self.original,
            });
        }
        if let Some(socket) = self.socket {
            let why = format!(
                "TPROXY chose the socket {socket}, but no route delivers {to} to this machine"
            );
            return Err(JourneyEnd::Unknown(why));
        }
        self.packet.out_iface = Some(self.route()?);
        self.hook(Hook::Forward)?;
        self.packet.in_iface = None;
        self.hook(Hook::Postrouting)?;
        Ok(JourneyEnd::Sent {
            to: self.packet.dst,
        })
    }

    /// Whether the packet is for a machine behind another interface.
    fn is_behind(&self) -> bool {
        let to = self.packet.dst.ip();
        self.host.behind.iter().any(|(address, _)| *address == to)
    }

    fn route(&self) -> Result<String, JourneyEnd> {
        let route = self.host.route(self.packet.dst.ip(), self.packet.mark);
        route.map_err(JourneyEnd::Unknown)
    }

    /// Passes a hook and does to the packet what it decided.
    fn hook(&mut self, hook: Hook) -> Result<(), JourneyEnd> {
        let destination = matches!(hook, Hook::Prerouting | Hook::Output);
        let settled = match destination {
            true => &mut self.destination_settled,
            false => &mut self.source_settled,
        };
        // FORWARD asks no nat, so it settles nothing.
        let translated = *settled;
        *settled |= hook != Hook::Forward;
        self.packet.src_kind = Some(self.host.kind(self.packet.src.ip()));
        self.packet.dst_kind = Some(self.host.kind(self.packet.dst.ip()));
        let packet = self.packet.clone();
        let (passage, packet) = pass_known(self.rules, hook, packet, translated, self.known);
        self.packet = packet;
        let decided = passage.tables.iter().map(|(_, it)| it.decided.clone());
        let decided: Vec<Outcome> = decided.collect();
        self.passages.push(passage);
        for outcome in decided {
            self.follow(hook, outcome)?;
        }
        let filtered = self.filter_after_nat(hook);
        if let Some(passage) = self.passages.last_mut() {
            passage.left = self.packet.clone();
        }
        filtered
    }

    fn follow(&mut self, hook: Hook, decided: Outcome) -> Result<(), JourneyEnd> {
        match decided {
            Outcome::Accepted { .. } => Ok(()),
            Outcome::Masqueraded { .. } => {
                if self.packet.out_iface.as_deref() == Some(&self.host.interface) {
                    self.packet.src.set_ip(self.host.address);
                }
                Ok(())
            }
            Outcome::Dropped { .. } | Outcome::Rejected { .. } => Err(JourneyEnd::Gone(decided)),
            Outcome::Unknown { .. } => Err(JourneyEnd::Unknown(decided.to_string())),
            // The socket of the packet's own connection is looked for first, and the listener only where there is none
            // (`tproxy_tg4` in net/netfilter/xt_TPROXY.c: NF_TPROXY_LOOKUP_ESTABLISHED).
            // What only passes through has none here.
            Outcome::Intercepted { .. } if self.known.is_some() && !self.is_behind() => Ok(()),
            Outcome::Intercepted { address, port, .. } => {
                let address = address.unwrap_or(self.host.address);
                self.socket = Some(SocketAddr::new(address, port));
                Ok(())
            }
            Outcome::Redirected { ports, .. } => {
                let family = Family::of(self.packet.dst.ip());
                let arrived = match self.packet.in_iface.as_deref() {
                    Some("lo") => None,
                    _ => Some(self.host.address),
                };
                let address = redirect_landing(hook, family, arrived);
                let address = address.ok_or_else(|| {
                    JourneyEnd::Unknown("the interface has no address to redirect to".to_owned())
                })?;
                self.turn(address, ports)
            }
            Outcome::DestinationNat { to, .. } => {
                let address = match to.addresses {
                    None => Some(self.packet.dst.ip()),
                    Some(_) => to.only_address(),
                };
                let several = || JourneyEnd::Unknown(format!("the kernel picks one of {to}"));
                self.turn(address.ok_or_else(several)?, to.ports)
            }
            Outcome::SourceNat { to, .. } => {
                if let Some(address) = to.only_address() {
                    self.packet.src.set_ip(address);
                }
                Ok(())
            }
        }
    }

    fn turn(&mut self, address: IpAddr, ports: Option<PortRange>) -> Result<(), JourneyEnd> {
        let port = match ports {
            None => self.packet.dst.port(),
            Some(ports) if ports.first() == ports.last() => ports.first(),
            Some(ports) => {
                let why = format!("the kernel picks one of the ports {}", ports.dashed());
                return Err(JourneyEnd::Unknown(why));
            }
        };
        self.packet.dst = SocketAddr::new(address, port);
        Ok(())
    }

    /// filter OUTPUT comes after nat OUTPUT, and sees the packet turned and routed anew.
    fn filter_after_nat(&mut self, hook: Hook) -> Result<(), JourneyEnd> {
        let Some(passage) = self.passages.last_mut() else {
            return Ok(());
        };
        let asked = passage
            .tables
            .iter()
            .any(|(table, _)| *table == Table::Filter);
        if hook != Hook::Output || asked {
            return Ok(());
        }
        let traversal = super::evaluate(self.rules, Table::Filter, hook, &self.packet);
        let decided = traversal.decided.clone();
        passage.tables.push((Table::Filter, traversal));
        self.follow(hook, decided)
    }
}
