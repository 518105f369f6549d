//! The next connection in a namespace, traced.

use std::{
    net::IpAddr,
    time::{Duration, Instant},
};

use hoplab_proxies::record::Transport;

use super::{
    ProcessArgs, name_of,
    place::{Place, only},
    target,
};
use crate::{
    cli::{
        explain::Sent,
        harmless::harmless,
        trace::ends::{End, Ends},
    },
    failure::{Class, Failure},
    model::{Host, Packet, local_marks},
    net::ProcessNamespace,
    path::{Known, Namespace, Path, namespace_path, of_packet},
    rules::{Protocol, RuleSet},
    trace::{NamespaceTrace, Packets, Selection},
    traced::{Block, Blocks, Owner, RulePlace, TracedPacket},
};

/// How often it is looked whether a packet on its way has got stuck.
const STUCK: Duration = Duration::from_millis(250);

/// The path of the next connection that is meant, by its trace.
///
/// # Errors
/// The namespace can't be traced, or nothing came in time.
pub(super) fn traced(
    args: &ProcessArgs,
    namespace: ProcessNamespace,
    route: Option<(&str, &str)>,
    over: Transport,
) -> Result<Sent, Failure> {
    let place = Place::of(&namespace)?;
    let name = name_of(&namespace);
    let (mut ports, mut peers) = (args.port.clone(), args.peer.clone());
    let mut user = None;
    if let Some((from, to)) = route {
        let to = target(to)?;
        ports.push(to.port());
        match (from.parse::<IpAddr>(), from.split_once(':')) {
            (Ok(source), _) => peers.push(source),
            (_, Some((uid, _))) => {
                user = uid.parse::<u32>().ok();
                peers.push(to.ip());
            }
            _ => peers.push(to.ip()),
        }
    }
    let mut ends = Ends::watch(args.time)?;
    let mut trace = NamespaceTrace::open(
        namespace,
        Selection {
            packets: Packets::FirstAndReply,
            // Without a connection that is meant, the next one over either.
            protocols: match (over, route) {
                (Transport::Tcp, None) => Vec::new(),
                (over, _) => vec![over],
            },
            ports,
            addresses: peers,
        },
    )?;
    anstream::eprintln!(
        "waiting for a connection; the table `{}` is there meanwhile",
        trace.table()
    );
    let wanted = |packet: &TracedPacket| match (user, &packet.owner) {
        (Some(user), Owner::Socket { uid, .. }) => user == *uid,
        (Some(_), Owner::Missing(_)) => false,
        (None, _) => true,
    };
    let block = match next(&mut trace, &mut ends, wanted)? {
        Ok(block) => block,
        Err(End::Signal(number)) => return Ok(Sent::Interrupted((128 + number).into())),
        Err(End::Process) => {
            return Err(Failure::new(Class::State, format!("{name} has ended")));
        }
        Err(_) => {
            return Err(
                Failure::new(Class::Incomplete, "no such connection came in time")
                    .hint("wait longer (--for), or for any: leave the ports and addresses out"),
            );
        }
    };
    let mut path = path_of(&place, &trace, &name, &block)?;
    let (_, lost) = trace.stop()?;
    path.lost.extend(lost.words());
    Ok(Sent::Whole(path))
}

/// The next connection that is wanted, or what ended the waiting.
fn next(
    trace: &mut NamespaceTrace,
    ends: &mut Ends,
    wanted: impl Fn(&TracedPacket) -> bool,
) -> Result<Result<Block, End>, Failure> {
    let mut blocks = Blocks::default();
    loop {
        let packets = trace.ended()?;
        let now = Instant::now();
        for packet in packets {
            blocks.add(packet, now);
        }
        let opens = |it: &Block| it.packets.iter().any(|(reply, _)| !reply);
        if let Some(block) = blocks.ready(now, &wanted).into_iter().find(opens) {
            return Ok(Ok(block));
        }
        if let Some(end) = ends.come(trace.namespace().process()) {
            return Ok(Err(end));
        }
        let wake = blocks.next().into_iter().chain(ends.deadline());
        let wake = wake.chain(trace.is_waiting().then(|| now + STUCK)).min();
        let left = wake.map(|it| it.saturating_duration_since(Instant::now()));
        trace.wait(&ends.to_wait_for(trace.namespace().process()), left)?;
    }
}

/// The way of a traced connection, with the model's reasons where one holder has all rules.
fn path_of(
    place: &Place,
    trace: &NamespaceTrace,
    name: &str,
    block: &Block,
) -> Result<Path, Failure> {
    let first = block
        .packets
        .iter()
        .find(|(reply, _)| !reply)
        .map(|(_, it)| it);
    let answer = block
        .packets
        .iter()
        .find(|(reply, _)| *reply)
        .map(|(_, it)| it);
    let some = first
        .or(answer)
        .ok_or_else(|| Failure::new(Class::State, "the connection has no packet"))?;
    let family = some.family();
    // Who decides what, the trace tells; why not, only one rule set can.
    let set = only(place, family, trace.namespace().pid());
    let set = set.map_or(RuleSet::empty(family), |(_, set)| set);
    let (interface, address) = match place.address(family) {
        Some((name, address)) => (name.clone(), *address),
        None => ("eth0".to_owned(), some.first().destination),
    };
    let host = Host {
        local_marks: Some(local_marks(&set)),
        conntrack: set.wakes_conntrack(),
        ..Host::new(interface, address)
    };
    let namespace = Namespace {
        rules: &set,
        host: Some(&host),
        interfaces: trace.interfaces(),
        text: &|place: &RulePlace| trace.texts().of(place).map(|it| harmless(it).into_owned()),
    };
    let hops = |packet: Option<&TracedPacket>| {
        let hops = packet.map(|it| of_packet(&namespace, it, &Known::default()));
        hops.unwrap_or_default()
    };
    let header = some.first();
    let owner = match &some.owner {
        Owner::Socket { uid, gid } => Some((*uid, *gid)),
        Owner::Missing(_) => None,
    };
    let (source, destination) = (header.source_end(), header.destination_end());
    let packet = match Protocol::from_number(header.protocol) {
        Protocol::Udp => Packet::udp(source, destination),
        _ => Packet::tcp(source, destination),
    };
    let packet = Packet { owner, ..packet };
    let mut path = namespace_path(name, &packet, hops(first), hops(answer));
    path.answer = match answer {
        Some(_) => "traced, with its answer".to_owned(),
        None => "traced; no answer was seen".to_owned(),
    };
    Ok(path)
}
