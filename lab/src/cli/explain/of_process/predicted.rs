//! A connection as the rules of a namespace decide it: nothing is sent.

use std::net::{IpAddr, SocketAddr};

use hoplab_proxies::record::Transport;

use super::{
    name_of,
    place::{Place, only},
    target,
};
use crate::{
    cli::source::complaint,
    failure::{Class, Failure},
    model::{Given, Question, journey, local_marks, question},
    net::ProcessNamespace,
    path::{Path, namespace_path, of_journey},
    rules::Family,
};

/// The path by the rules there, with what each of them has counted so far.
///
/// # Errors
/// Words that are no connection, or rules that can't be read.
pub(super) fn predicted(
    namespace: &ProcessNamespace,
    (from, to): (&str, &str),
    over: Transport,
) -> Result<Path, Failure> {
    let place = Place::of(namespace)?;
    let to: SocketAddr = target(to)?;
    let family = Family::of(to.ip());
    let (holder, set) = only(&place, family, namespace.pid())?;
    let given = Given {
        addresses: place.addresses.iter().map(|(_, it)| *it).collect(),
        local_marks: local_marks(&set),
        conntrack_sleeps: !set.wakes_conntrack(),
    };
    let interface = place.address(family).map_or("eth0", |(name, _)| name);
    let who = match (from.parse::<IpAddr>(), from.split_once(':')) {
        (Ok(source), _) => format!("in={interface} src={source}"),
        (_, Some((uid, gid))) if uid.parse::<u32>().is_ok() && gid.parse::<u32>().is_ok() => {
            format!("uid={uid} gid={gid}")
        }
        _ => {
            return Err(
                Failure::new(Class::Input, format!("`{from}` sends nothing here"))
                    .hint("write UID:GID of a process there, or the address of one that calls"),
            );
        }
    };
    let protocol = match over {
        Transport::Tcp => "tcp",
        Transport::Udp => "udp",
    };
    let words = format!("{protocol} {who} dst={to}");
    let Question {
        packet, mut host, ..
    } = question(&words, "the connection", &given).map_err(complaint)?;
    interface.clone_into(&mut host.interface);
    let journey = journey(&set, &host, packet.clone());
    let mut hops = of_journey(&set, &journey);
    for hop in &mut hops {
        hop.count(&set);
    }
    let mut path = namespace_path(&name_of(namespace), &packet, hops, Vec::new());
    path.answer = format!("as the rules of {holder} say; nothing was sent");
    Ok(path)
}
