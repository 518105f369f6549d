//! A packet as a person asks about it: what was said, and what had to be assumed to make it a packet of a machine.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use super::journey::Host;
use super::landing::is_loopback;
use super::packet::Packet;
use crate::diagnostic::Diagnostic;
use crate::rules::{
    ConnmarkAction, CtState, Family, MarkValue, Match, Protocol, RuleSet, Table, Target, TcpFlags,
};

mod words;

use self::words::{At, Said};

/// What is known of the machine beside the packet.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Given {
    /// Its addresses, at most one of a family.
    pub addresses: Vec<IpAddr>,
    /// Marks that are routed to this machine; see [`Host::local_marks`].
    pub local_marks: Vec<MarkValue>,
    /// No rule there needs conntrack, so nat is not asked; see [`RuleSet::wakes_conntrack`].
    pub conntrack_sleeps: bool,
}

/// A packet, and the machine it is on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Question {
    /// The packet.
    pub packet: Packet,
    /// The machine.
    pub host: Host,
    /// What neither the packet's words nor [`Given`] say, one line each.
    pub assumed: Vec<String>,
}

/// The source port of a client, where none is said: one of the range kernels pick from, that no rule names.
const CLIENT_PORT: u16 = 40_000;

/// Reads a packet: `in=eth0 dst=10.244.1.20:9080`, `uid=1337 out=lo dst=10.244.1.20:9080`, `udp uid=0 dst=10.96.0.10:53`.
///
/// `in=` makes it one that comes in, `out=` or an owner one that this machine sends. `origin` names it in complaints.
///
/// # Errors
/// A word that is no word of a packet, or words that no packet can have together.
pub fn question(text: &str, origin: &str, given: &Given) -> Result<Question, Diagnostic> {
    let said = words::read(text, origin)?;
    Asked {
        text,
        origin,
        given,
        assumed: Vec::new(),
    }
    .answer(&said)
}

/// The marks the rules prepare for routing: Istio adds `ip rule fwmark MARK` for the mark TPROXY sets, and for the
/// connection mark that is copied back to a reply (`istio::routes`).
pub fn local_marks(rules: &RuleSet) -> Vec<MarkValue> {
    let mut marks = BTreeSet::new();
    for (_, rule) in rules.rules(Table::Mangle) {
        match &rule.spec.target {
            Target::Tproxy { mark, .. } if mark.mask != 0 => {
                marks.insert(MarkValue {
                    value: mark.value,
                    mask: mark.mask,
                });
            }
            Target::Connmark(ConnmarkAction::Restore { .. }) => {
                let conditions = rule.spec.matches.extensions().iter();
                marks.extend(conditions.filter_map(|it| match it {
                    Match::ConnMark(it) if !it.negated => Some(it.value),
                    _ => None,
                }));
            }
            _ => {}
        }
    }
    marks.into_iter().collect()
}

/// Reads `1337` or `0x539/0xfff`; `None` for what is no mark.
pub fn mark_value(text: &str) -> Option<MarkValue> {
    let (value, mask) = match text.split_once('/') {
        Some((value, mask)) => (words::number(value)?, words::number(mask)?),
        None => (words::number(text)?, u32::MAX),
    };
    Some(MarkValue { value, mask })
}

struct Asked<'a> {
    text: &'a str,
    origin: &'a str,
    given: &'a Given,
    assumed: Vec<String>,
}

impl Asked<'_> {
    fn answer(mut self, said: &Said) -> Result<Question, Diagnostic> {
        let sent = self.sent(said)?;
        let dst = self.destination(said, sent)?;
        let family = Family::of(dst);
        let address = self.own_address(said, sent, dst);
        let src = self.source(said, sent, dst, address)?;
        let protocol = said.protocol.as_ref().map_or(Protocol::Tcp, |it| it.value);
        let (sport, dport) = self.ports(said, protocol)?;
        let interface = [&said.inbound, &said.outbound].into_iter().flatten();
        let interface = interface.map(|it| it.value.as_str()).find(|it| *it != "lo");
        let mut host = Host::new(interface.unwrap_or("eth0"), address);
        host.local_marks = Some(self.given.local_marks.clone());
        host.conntrack = !self.given.conntrack_sleeps;
        let mark = said.mark.as_ref().map_or(0, |it| it.value);
        let (in_iface, out_iface) = match sent {
            false => (said.inbound.as_ref().map(|it| it.value.clone()), None),
            true => (None, Some(self.leaves_by(said, &host, dst, mark))),
        };
        let owner = self.owner(said, sent);
        let state = said.state.as_ref().map_or(CtState::New, |it| it.value);
        let tcp_flags = self.flags(said, protocol, state)?;
        debug_assert_eq!(Family::of(src), family, "checked in `source`");
        let packet = Packet {
            in_iface,
            out_iface,
            owner,
            mark,
            state,
            connmark: said.connmark.as_ref().map_or(0, |it| it.value),
            zone: said.zone.as_ref().map(|it| it.value),
            tcp_flags,
            protocol,
            ..Packet::tcp(SocketAddr::new(src, sport), SocketAddr::new(dst, dport))
        };
        Ok(Question {
            packet,
            host,
            assumed: self.assumed,
        })
    }

    fn wrong<T>(&self, at: &At<T>, message: &str, help: &str) -> Diagnostic {
        Diagnostic::at(self.origin, self.text, at.span.clone(), message).help(help)
    }

    fn wrong_all(&self, message: &str, help: &str) -> Diagnostic {
        Diagnostic::at(self.origin, self.text, 0..self.text.len(), message).help(help)
    }

    fn assume(&mut self, what: String) {
        self.assumed.push(what);
    }

    /// Whether this machine sends the packet.
    fn sent(&self, said: &Said) -> Result<bool, Diagnostic> {
        let owner = said.uid.as_ref().or(said.gid.as_ref());
        match (&said.inbound, &said.outbound, owner) {
            (Some(_), Some(out), _) => Err(self.wrong(
                out,
                "a packet does not come in and go out at once",
                "say `in=` for one that comes in; where it goes on to is what the rules and routes decide",
            )),
            (Some(_), None, Some(owner)) => Err(self.wrong(
                owner,
                "a packet that comes in has no owner here",
                "say `out=` in place of `in=` for a packet that a process of this machine sends",
            )),
            (Some(_), None, None) => Ok(false),
            (None, _, Some(_)) | (None, Some(_), None) => Ok(true),
            (None, None, None) => Err(self.wrong_all(
                "this packet neither comes in nor goes out",
                "add `in=eth0`, or `out=` or `uid=` for one that this machine sends",
            )),
        }
    }

    fn given_address(&self, family: Family) -> Option<IpAddr> {
        let mut known = self.given.addresses.iter().copied();
        known.find(|it| Family::of(*it) == family)
    }

    fn destination(&mut self, said: &Said, sent: bool) -> Result<IpAddr, Diagnostic> {
        if let Some(dst) = &said.dst {
            return Ok(dst.value);
        }
        let family = said.src.as_ref().map(|it| Family::of(it.value));
        let mine = match family {
            Some(family) => self.given_address(family),
            None => self.given.addresses.first().copied(),
        };
        match mine.filter(|_| !sent) {
            Some(address) => {
                self.assume(format!("it goes to {address}, the address of this machine"));
                Ok(address)
            }
            None => Err(self.wrong_all("where does it go?", "add `dst=ADDRESS:PORT`")),
        }
    }

    /// The address of this machine: given, or told by the packet.
    fn own_address(&mut self, said: &Said, sent: bool, dst: IpAddr) -> IpAddr {
        let family = Family::of(dst);
        if let Some(address) = self.given_address(family) {
            return address;
        }
        let src = said.src.as_ref().map(|it| it.value);
        let src = src.filter(|it| Family::of(*it) == family && !is_loopback(*it));
        let out = said.outbound.as_ref().map(|it| it.value.as_str());
        let told = match (sent, out) {
            (true, Some("lo")) if !is_loopback(dst) => Some((dst, "it is reached by lo")),
            (true, _) => src.map(|src| (src, "it sends the packet")),
            (false, _) if !is_loopback(dst) => Some((dst, "the packet comes in for it")),
            (false, _) => None,
        };
        match told {
            Some((address, why)) => {
                self.assume(format!("{address} is the address of this machine: {why}"));
                address
            }
            None => {
                let address = match family {
                    Family::V4 => IpAddr::from(Ipv4Addr::new(192, 0, 2, 2)),
                    Family::V6 => IpAddr::from(Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 2)),
                };
                self.assume(format!(
                    "the address of this machine is {address} (say --address)"
                ));
                address
            }
        }
    }

    fn source(
        &mut self,
        said: &Said,
        sent: bool,
        dst: IpAddr,
        address: IpAddr,
    ) -> Result<IpAddr, Diagnostic> {
        let family = Family::of(dst);
        if let Some(src) = &said.src {
            if Family::of(src.value) != family {
                let message = format!("the source is no {family} address, the destination is one");
                return Err(self.wrong(src, &message, "give both of one family"));
            }
            return Ok(src.value);
        }
        let loopback: IpAddr = match family {
            Family::V4 => Ipv4Addr::LOCALHOST.into(),
            Family::V6 => Ipv6Addr::LOCALHOST.into(),
        };
        let inside = said.inbound.as_ref().is_some_and(|it| it.value == "lo");
        let (src, why) = match (sent || inside, family) {
            (true, _) if is_loopback(dst) => (loopback, ""),
            (true, _) => (address, ""),
            (false, Family::V4) => (IpAddr::from([192, 0, 2, 3]), ", another machine"),
            (false, Family::V6) => {
                let other = [0x2001, 0xdb8, 0, 0, 0, 0, 0, 3];
                (IpAddr::from(other), ", another machine")
            }
        };
        self.assume(format!("it comes from {src}{why}"));
        Ok(src)
    }

    fn ports(&mut self, said: &Said, protocol: Protocol) -> Result<(u16, u16), Diagnostic> {
        if !protocol.has_ports() {
            return match said.sport.as_ref().or(said.dport.as_ref()) {
                None => Ok((0, 0)),
                Some(port) => {
                    let message = format!("protocol {protocol} has no ports");
                    Err(self.wrong(port, &message, "leave the port out, or say tcp or udp"))
                }
            };
        }
        let Some(dport) = &said.dport else {
            let help = "write `dst=ADDRESS:PORT`, or add `dport=PORT`";
            return Err(self.wrong_all("which port does it go to?", help));
        };
        let sport = said.sport.as_ref().map(|it| it.value);
        if sport.is_none() {
            self.assume(format!("it comes from port {CLIENT_PORT}"));
        }
        Ok((sport.unwrap_or(CLIENT_PORT), dport.value))
    }

    fn leaves_by(&mut self, said: &Said, host: &Host, dst: IpAddr, mark: u32) -> String {
        if let Some(out) = &said.outbound {
            return out.value.clone();
        }
        // `local_marks` is given, so every mark has a route.
        let here = host.delivers(dst, mark).unwrap_or(false);
        let (by, why) = match here {
            true if host.is_local(dst) => ("lo".to_owned(), format!("{dst} is this machine's")),
            true => (
                "lo".to_owned(),
                format!("mark {mark:#x} is routed to this machine"),
            ),
            false => (
                host.interface.clone(),
                format!("{dst} is another machine's"),
            ),
        };
        self.assume(format!("it leaves by {by}: {why}"));
        by
    }

    fn owner(&mut self, said: &Said, sent: bool) -> Option<(u32, u32)> {
        let id = |it: &Option<At<u32>>| it.as_ref().map(|it| it.value);
        match (id(&said.uid), id(&said.gid)) {
            (Some(uid), Some(gid)) => Some((uid, gid)),
            (Some(uid), None) => {
                self.assume(format!("its group is {uid}, as its user"));
                Some((uid, uid))
            }
            (None, Some(gid)) => {
                self.assume(format!("its user is {gid}, as its group"));
                Some((gid, gid))
            }
            (None, None) => {
                if sent {
                    self.assume("no process sends it: it has no user and no group".to_owned());
                }
                None
            }
        }
    }

    fn flags(
        &mut self,
        said: &Said,
        protocol: Protocol,
        state: CtState,
    ) -> Result<TcpFlags, Diagnostic> {
        match &said.flags {
            Some(flags) if protocol == Protocol::Tcp => Ok(flags.value),
            Some(flags) => Err(self.wrong(
                flags,
                &format!("protocol {protocol} has no TCP flags"),
                "leave `flags=` out, or say tcp",
            )),
            None if protocol != Protocol::Tcp => Ok(TcpFlags::NONE),
            None if state == CtState::New => Ok(TcpFlags::SYN),
            None => {
                self.assume("its TCP flags are ACK".to_owned());
                Ok(TcpFlags::from_names("ACK").unwrap_or(TcpFlags::NONE))
            }
        }
    }
}
