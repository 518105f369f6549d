//! A connection in the network namespace of any process: as its rules and counters say, or as it is traced.

use std::{
    net::{IpAddr, SocketAddr},
    time::{Duration, Instant},
};

use nix::{ifaddrs::getifaddrs, sys::socket::SockaddrLike as _};

use super::{Sent, Wanted};
use crate::{
    cli::{
        harmless::harmless,
        source::complaint,
        trace::ends::{self, End, Ends},
    },
    failure::{Class, Failure},
    model::{Given, Host, Packet, Question, journey, local_marks, question},
    net::ProcessNamespace,
    netfilter::{Held, rules_here},
    path::{Known, Namespace, Path, namespace_path, of_journey, of_packet},
    rules::{self, Family, RuleSet},
    trace::{NamespaceTrace, Packets, Selection},
    traced::{Block, Blocks, Owner, RulePlace, TracedPacket},
};

/// How often it is looked whether a packet on its way has got stuck.
const STUCK: Duration = Duration::from_millis(250);

// A doc comment would be the verb's help.
#[derive(clap::Args)]
pub(super) struct ProcessArgs {
    /// In the network namespace of this process: FROM is UID:GID of a process there or the address of a caller, TO is
    /// ADDRESS:port. Reads rules and counters, and changes nothing
    #[arg(long, value_name = "PID", conflicts_with_all = ["from", "lab", "sender"])]
    pub pid: Option<u32>,
    /// Wait for the next such connection and trace it; the kernel needs a table of observers there while it lasts
    #[arg(long, requires = "pid")]
    trace: bool,
    /// Wait no longer than this for one, such as 500ms, 10s or 2m
    #[arg(long = "for", value_name = "TIME", value_parser = ends::duration, requires = "trace")]
    time: Option<Duration>,
    /// Wait for one from or to this port; may be repeated
    #[arg(long, value_name = "PORT", requires = "trace")]
    port: Vec<u16>,
    /// Wait for one from or to this address; may be repeated
    #[arg(long, value_name = "ADDRESS", requires = "trace")]
    peer: Vec<IpAddr>,
    /// Also in the machine's own network namespace
    #[arg(long, requires = "pid")]
    host: bool,
}

/// What is known of a namespace.
struct Place {
    /// By name: the rules of each holder that has some.
    held: Vec<(String, Vec<RuleSet>)>,
    /// Addresses of its interfaces, those of lo left out.
    addresses: Vec<(String, IpAddr)>,
}

/// The path of a connection in the namespace.
///
/// # Errors
/// The namespace can't be entered or its rules not be read; words that are no connection; nothing came in time.
pub(super) fn path(args: &ProcessArgs, pid: u32, wanted: Option<&Wanted>) -> Result<Sent, Failure> {
    let namespace = ProcessNamespace::open(pid)?;
    if namespace.is_machines_own() && !args.host {
        let what = format!("process {pid} is in the machine's own network namespace");
        return Err(Failure::new(Class::Input, what)
            .hint("name a process of a container; if you mean the machine, add --host"));
    }
    // While there is one thread.
    namespace.enter_user_namespace()?;
    let route = match wanted {
        None => None,
        Some(Wanted::Route { from, to }) => Some((from.as_str(), to.as_str())),
        Some(Wanted::Named(name)) => {
            return Err(Failure::new(
                Class::Input,
                format!("`{name}` is no connection of a process"),
            )
            .hint("write FROM TO: UID:GID or the caller's address, then ADDRESS:port"));
        }
    };
    match (args.trace, route) {
        (true, route) => traced(args, namespace, route),
        (false, Some(route)) => predicted(&namespace, route).map(Sent::Whole),
        (false, None) => Err(Failure::new(Class::Input, "which connection?").hint(
            "write FROM TO, such as 1000:1000 10.96.0.13:9080; or add --trace to wait for the next one",
        )),
    }
}

impl Place {
    fn of(namespace: &ProcessNamespace) -> Result<Self, Failure> {
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

    fn address(&self, family: Family) -> Option<&(String, IpAddr)> {
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
            nix::sys::socket::AddressFamily::Inet => IpAddr::from(address.as_sockaddr_in()?.ip()),
            nix::sys::socket::AddressFamily::Inet6 => {
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

fn predicted(namespace: &ProcessNamespace, (from, to): (&str, &str)) -> Result<Path, Failure> {
    let place = Place::of(namespace)?;
    let to: SocketAddr = target(to)?;
    let family = Family::of(to.ip());
    let (holder, set) = only(&place, family, namespace.pid())?;
    let given = Given {
        addresses: place.addresses.iter().map(|(_, it)| *it).collect(),
        local_marks: local_marks(&set),
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
    let words = format!("tcp {who} dst={to}");
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

fn name_of(namespace: &ProcessNamespace) -> String {
    format!("process {}", namespace.pid())
}

fn target(text: &str) -> Result<SocketAddr, Failure> {
    let local = text
        .strip_prefix("localhost:")
        .map(|port| format!("127.0.0.1:{port}"));
    local.as_deref().unwrap_or(text).parse().map_err(|_| {
        Failure::new(Class::Input, format!("`{text}` is no address with a port"))
            .hint("write ADDRESS:port, [ADDRESS]:port or localhost:port: names of a cluster are not known here")
    })
}

/// The rules of a family, where one holder has all of them.
fn only(place: &Place, family: Family, pid: u32) -> Result<(String, RuleSet), Failure> {
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

fn traced(
    args: &ProcessArgs,
    namespace: ProcessNamespace,
    route: Option<(&str, &str)>,
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
            protocols: Vec::new(),
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
    let path = path_of(&place, &trace, &name, &block)?;
    let (_, lost) = trace.stop()?;
    let mut path = path;
    if !lost.is_nothing() {
        path.lost.push(format!("reports of the kernel: {lost:?}"));
    }
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
    let packet = Packet {
        owner,
        ..Packet::tcp(header.source_end(), header.destination_end())
    };
    let mut path = namespace_path(name, &packet, hops(first), hops(answer));
    path.answer = match answer {
        Some(_) => "traced, with its answer".to_owned(),
        None => "traced; no answer was seen".to_owned(),
    };
    Ok(path)
}
