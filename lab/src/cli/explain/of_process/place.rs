//! What is known of a namespace before anything is sent: its rules and its addresses.

use std::net::IpAddr;

use nix::{
    ifaddrs::getifaddrs,
    sys::socket::{AddressFamily, SockaddrLike as _},
};

use crate::{
    cli::source::complaint,
    failure::{Class, Failure},
    net::ProcessNamespace,
    netfilter::{Held, rules_here},
    rules::{self, Family, RuleSet},
};

/// What is known of a namespace.
pub(super) struct Place {
    /// By name: the rules of each holder that has some.
    pub held: Vec<(String, Vec<RuleSet>)>,
    /// Addresses of its interfaces, those of lo left out.
    pub addresses: Vec<(String, IpAddr)>,
}

impl Place {
    /// # Errors
    /// It can't be entered, or its rules not be read.
    pub fn of(namespace: &ProcessNamespace) -> Result<Self, Failure> {
        let name = format!("process {}", namespace.pid());
        let (held, addresses) = namespace.visit(|| (rules_here(&name), addresses()))?;
        let held = held?;
        let held = held
            .iter()
            .map(|it| Ok((it.by.to_string(), sets(it, namespace.pid())?)));
        Ok(Self {
            held: held.collect::<Result<_, Failure>>()?,
            addresses,
        })
    }

    /// The first of a family, with its interface.
    pub fn address(&self, family: Family) -> Option<&(String, IpAddr)> {
        self.addresses
            .iter()
            .find(|(_, it)| Family::of(*it) == family)
    }
}

fn sets(held: &Held, pid: u32) -> Result<Vec<RuleSet>, Failure> {
    let origin = format!("pid:{pid}/{}", held.by);
    let read = rules::read(&held.text, &origin, Family::V4);
    read.and_then(|it| it.rules()).map_err(complaint)
}

/// Addresses by interface, in the namespace the calling thread is in.
fn addresses() -> Vec<(String, IpAddr)> {
    let all = getifaddrs().into_iter().flatten();
    let found = all.filter_map(|it| {
        let address = it.address?;
        let ip = match address.family()? {
            AddressFamily::Inet => IpAddr::from(address.as_sockaddr_in()?.ip()),
            AddressFamily::Inet6 => {
                let ip = address.as_sockaddr_in6()?.ip();
                // A link-local address is nobody's to be called at.
                (!ip.is_unicast_link_local()).then_some(IpAddr::from(ip))?
            }
            _ => return None,
        };
        (it.interface_name != "lo").then_some((it.interface_name, ip))
    });
    found.collect()
}

/// The rules of a family, where one holder has all of them.
///
/// # Errors
/// Two holders have some.
pub(super) fn only(place: &Place, family: Family, pid: u32) -> Result<(String, RuleSet), Failure> {
    let of_family = |sets: &Vec<RuleSet>| sets.iter().find(|it| it.family == family).cloned();
    let mut found = place
        .held
        .iter()
        .filter_map(|(holder, sets)| Some((holder.clone(), of_family(sets)?)));
    match (found.next(), found.next()) {
        (None, _) => Ok((
            "nobody, for there are none,".to_owned(),
            RuleSet::empty(family),
        )),
        (Some(one), None) => Ok(one),
        (Some((one, _)), Some((other, _))) => Err(Failure::new(
            Class::Input,
            format!("process {pid} has {family} rules of {one} and of {other}"),
        )
        .cause("which of them decides, one rule set alone can't tell")
        .hint("add --trace and see, or ask about one: hoplab predict --rules pid:PID/HOLDER")),
    }
}
