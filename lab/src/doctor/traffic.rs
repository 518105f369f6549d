//! Whether rules do to real connections what labs count on: REDIRECT, SO_ORIGINAL_DST, conntrack, owner.

use std::{
    net::{
        IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6, TcpListener, TcpStream,
    },
    os::fd::AsFd,
};

use nix::{
    poll::{PollFd, PollFlags, PollTimeout, poll},
    sys::socket::{SockaddrIn, SockaddrIn6, getsockopt, sockopt},
};

use super::{
    links::{PATIENCE, listen},
    machine_failure,
    rules::{Accepted, Place},
    sheet::{Sheet, Step, Trial},
    users::{APP, PROXY, Probe},
};
use crate::{
    failure::{Class, Failure},
    net::{Namespace, write_sysctls},
    netfilter::{self, Backend, ConntrackWatch},
    plan::Plan,
    ports,
    rules::{Family, RuleId, Table},
};

/// Discard: nobody listens there.
const NOBODY: u16 = 9;

pub(super) fn examine(
    sheet: &mut Sheet,
    accepted: &Accepted,
    users: &Step<()>,
    backend: Backend,
    family: Family,
    plan: &Plan,
) {
    let place = Place { backend, family };
    let trial = |what: &str, tried: &str, fix: &str| {
        Trial::new(place.id(what), tried, place.needed_by(), fix)
    };
    let try_redirect = trial(
        "original-dst",
        "a connection through REDIRECT, and SO_ORIGINAL_DST",
        "as root: modprobe -a nf_nat nf_conntrack xt_REDIRECT (CONFIG_NF_NAT, CONFIG_NF_CONNTRACK)",
    );
    let redirected = sheet.try_after(accepted.redirect.by_ref(), try_redirect, |()| {
        let rule = format!(
            "-A OUTPUT -p tcp --dport {NOBODY} -j REDIRECT --to-ports {}",
            ports::OUTBOUND
        );
        let scene = Scene::set("original-dst", place, &rule)?;
        let detail = scene.redirect()?;
        Ok((scene, detail))
    });
    let try_conntrack = trial(
        "conntrack",
        "conntrack over netlink, with counters",
        "as root: modprobe -a nf_conntrack nf_conntrack_netlink (CONFIG_NF_CT_NETLINK, CONFIG_NF_CONNTRACK_EVENTS)",
    );
    let sysctls = plan.pods[0].conntrack_sysctls.clone();
    sheet.try_after(redirected, try_conntrack, |scene| {
        Ok(((), scene.conntrack(sysctls)?))
    });
    let try_owner = trial(
        "owner-counts",
        "`owner --uid-owner 1337` for a connection of 1337 and one of 1000",
        "as root: modprobe xt_owner (CONFIG_NETFILTER_XT_MATCH_OWNER)",
    );
    let rules = accepted.uid_owner.by_ref().and(accepted.redirect.by_ref());
    let before = rules.and(users.by_ref());
    sheet.try_after(before, try_owner, |_| {
        // nat asks its rules only where conntrack is awake, and it sleeps where no rule translates.
        let rules = format!(
            "-A OUTPUT -p tcp -m owner --uid-owner 1337 -j RETURN\n\
             -A OUTPUT -p tcp --dport {NOBODY} -j REDIRECT --to-ports {}",
            ports::OUTBOUND
        );
        Ok(((), Scene::set("owner-counts", place, &rules)?.owner()?))
    });
}

/// A namespace with rules and a listener.
struct Scene {
    place: Place,
    namespace: Namespace,
    listener: TcpListener,
    listens: SocketAddr,
}

impl Scene {
    fn set(name: &str, place: Place, rule: &str) -> Result<Self, Failure> {
        let namespace = Namespace::create(&place.id(name))?;
        let (texts, backend) = (place.file(rule), place.backend);
        let listens = loopback(place.family, ports::OUTBOUND);
        let listener = namespace
            .job(move |inside| {
                inside.netlink.set_up("lo", &[])?;
                netfilter::apply(backend, &texts, &inside.name)?;
                listen(listens)
            })
            .wait()??;
        Ok(Self {
            place,
            namespace,
            listener,
            listens,
        })
    }

    /// Connects to where nobody listens, and takes what arrives at the listener: near end, far end.
    fn connect(&self) -> Result<(TcpStream, TcpStream), Failure> {
        let to = loopback(self.place.family, NOBODY);
        let near = self
            .namespace
            .job(move |_| TcpStream::connect_timeout(&to, PATIENCE))
            .wait()?
            .map_err(|e| machine_failure(format!("REDIRECT did not lead {to} elsewhere"), e))?;
        Ok((near, self.accept()?))
    }

    fn accept(&self) -> Result<TcpStream, Failure> {
        let at = self.listens;
        let nothing = |why: String| machine_failure(format!("no connection arrived at {at}"), why);
        let timeout = PollTimeout::try_from(PATIENCE).unwrap_or(PollTimeout::MAX);
        let mut wanted = [PollFd::new(self.listener.as_fd(), PollFlags::POLLIN)];
        match poll(&mut wanted, timeout) {
            Ok(0) => {
                return Err(nothing(format!(
                    "nothing came in {} ms",
                    PATIENCE.as_millis()
                )));
            }
            Ok(_) => {}
            Err(errno) => return Err(nothing(errno.to_string())),
        }
        let (stream, _) = self.listener.accept().map_err(|e| nothing(e.to_string()))?;
        Ok(stream)
    }

    fn redirect(&self) -> Result<String, Failure> {
        let (_near, far) = self.connect()?;
        let answer = match self.place.family {
            Family::V4 => getsockopt(&far, sockopt::OriginalDst)
                .map(|raw| SocketAddr::V4(SocketAddrV4::from(SockaddrIn::from(raw)))),
            Family::V6 => getsockopt(&far, sockopt::Ip6tOriginalDst)
                .map(|raw| SocketAddr::V6(SocketAddrV6::from(SockaddrIn6::from(raw)))),
        };
        let found = answer.map_err(|e| machine_failure("SO_ORIGINAL_DST gives no address", e))?;
        let (meant, at) = (loopback(self.place.family, NOBODY), self.listens);
        if found == meant {
            return Ok(format!("{meant} arrives at {at}, which knows {meant}"));
        }
        let what = format!("SO_ORIGINAL_DST gives {found} for a connection to {meant}");
        Err(Failure::new(Class::Machine, what))
    }

    fn conntrack(&self, sysctls: Vec<(String, String)>) -> Result<String, Failure> {
        let mut watch = self
            .namespace
            .job(move |_| {
                write_sysctls(&sysctls)?;
                Ok::<_, Failure>(ConntrackWatch::open()?)
            })
            .wait()??;
        let (near, _far) = self.connect()?;
        let client = near
            .local_addr()
            .map_err(|e| machine_failure("a connection has no address", e))?;
        let meant = loopback(self.place.family, NOBODY);
        let entries = watch.take()?;
        let entry = entries
            .iter()
            .find(|e| (e.original.src, e.original.dst) == (client, meant));
        let failed = |what: &str| Err(Failure::new(Class::Machine, what));
        match entry {
            None => failed("conntrack told of no entry for a connection that was there"),
            Some(entry) if entry.reply.src != self.listens => {
                failed("conntrack does not know where a connection was redirected to")
            }
            Some(entry) if entry.original_counter.is_none() => {
                failed("conntrack entries have no counters")
            }
            Some(_) => Ok(format!("{meant} redirected to {}, counted", self.listens)),
        }
    }

    fn owner(&self) -> Result<String, Failure> {
        let mut counts = vec![self.count()?];
        for user in [PROXY, APP] {
            let mut probe = Probe::start(&self.namespace, user)?;
            probe.connect(self.listens);
            let accepted = self.accept();
            // Closed before the probe is asked, so that its call ends.
            let arrived = accepted.map(drop);
            probe.connected()?;
            arrived?;
            counts.push(self.count()?);
        }
        match counts[..] {
            [0, 1, 1] => Ok("counts a connection of uid 1337, and not one of uid 1000".into()),
            _ => {
                let what = format!(
                    "`owner --uid-owner 1337` counted {counts:?} before, after a connection of uid 1337, after one of \
                     uid 1000; that should be [0, 1, 1]"
                );
                Err(Failure::new(Class::Machine, what))
            }
        }
    }

    /// Packets that the first rule of OUTPUT has counted.
    fn count(&self) -> Result<u64, Failure> {
        let Place { backend, family } = self.place;
        let counters = self
            .namespace
            .job(move |inside| {
                let saved = netfilter::save(backend, family, &inside.name)?;
                netfilter::counters(&saved, &inside.name)
            })
            .wait()??;
        let rule = RuleId::new(family, Table::Nat, "OUTPUT", 1);
        match counters.rules.get(&rule) {
            Some(counter) => Ok(counter.packets),
            None => Err(Failure::new(
                Class::Machine,
                format!("{} has no rule {rule}", self.namespace.name()),
            )),
        }
    }
}

fn loopback(family: Family, port: u16) -> SocketAddr {
    let ip: IpAddr = match family {
        Family::V4 => Ipv4Addr::LOCALHOST.into(),
        Family::V6 => Ipv6Addr::LOCALHOST.into(),
    };
    SocketAddr::new(ip, port)
}
