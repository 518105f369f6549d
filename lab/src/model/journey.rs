//! The way of a connection's first packet through one machine, hook by hook.

use std::net::{IpAddr, SocketAddr};

use serde::{Deserialize, Serialize};

use super::landing::redirect_landing;
use super::packet::{Hook, Packet};
use super::passage::{Passage, pass};
use super::traversal::Outcome;
use crate::rules::{Family, PortRange, RuleSet, Table};

/// What the routes of the machine are made from: loopback, and one interface to everywhere else.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Host {
    /// The interface: `eth0`.
    pub interface: String,
    /// Its address.
    pub address: IpAddr,
}

/// The way of a packet.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Journey {
    /// The hooks it passed, in order.
    pub passages: Vec<Passage>,
    /// Where it ended.
    pub end: JourneyEnd,
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
/// Routes are those of [`Host`]; routing rules that read a packet's mark are not modelled, so a marked packet for
/// another machine ends as unknown where such a rule could turn it.
pub fn journey(rules: &RuleSet, host: &Host, packet: Packet) -> Journey {
    let mut way = Way {
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
            self.hook(Hook::Output)?;
            self.packet.out_iface = Some(self.route());
            self.hook(Hook::Postrouting)?;
            if self.packet.out_iface.as_deref() != Some("lo") {
                return Ok(JourneyEnd::Sent {
                    to: self.packet.dst,
                });
            }
            // On its way through lo the packet loses its socket (`skb_orphan` in `loopback_xmit`).
            (self.packet.in_iface, self.packet.out_iface) = (self.packet.out_iface.take(), None);
            self.packet.owner = None;
        }
        self.hook(Hook::Prerouting)?;
        if self.socket.is_some() || self.is_local(self.packet.dst.ip()) {
            self.hook(Hook::Input)?;
            return Ok(JourneyEnd::Delivered {
                at: self.socket.unwrap_or(self.packet.dst),
                original: self.original,
            });
        }
        if self.packet.mark != 0 {
            let why = format!(
                "where mark {:#x} is routed is not modelled",
                self.packet.mark
            );
            return Err(JourneyEnd::Unknown(why));
        }
        self.packet.out_iface = Some(self.route());
        self.hook(Hook::Forward)?;
        self.packet.in_iface = None;
        self.hook(Hook::Postrouting)?;
        Ok(JourneyEnd::Sent {
            to: self.packet.dst,
        })
    }

    fn is_local(&self, address: IpAddr) -> bool {
        address == self.host.address || address.is_loopback()
    }

    fn route(&self) -> String {
        match self.is_local(self.packet.dst.ip()) {
            true => "lo".to_owned(),
            false => self.host.interface.clone(),
        }
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
        let passage = pass(self.rules, hook, &self.packet, translated);
        if let Some((_, last)) = passage.tables.last() {
            self.packet = last.left.clone();
        }
        let decided = passage.decided().cloned();
        self.passages.push(passage);
        let Some(decided) = decided else {
            return Ok(());
        };
        self.follow(hook, decided)?;
        self.filter_after_nat(hook)
    }

    fn follow(&mut self, hook: Hook, decided: Outcome) -> Result<(), JourneyEnd> {
        match decided {
            Outcome::Accepted { .. } | Outcome::Masqueraded { .. } => Ok(()),
            Outcome::Dropped { .. } | Outcome::Rejected { .. } => Err(JourneyEnd::Gone(decided)),
            Outcome::Unknown { .. } => Err(JourneyEnd::Unknown(decided.to_string())),
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
