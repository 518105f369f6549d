//! Tests that need no kernel: bytes, handles, and events put together.

mod assembling;
mod orders;
mod places;
mod wire;

use super::{
    ChainName, ConntrackSeen, Hook, NftEvent, NftKind, TableFamily, Verdict,
    rulebook::{ChainEntry, Generation, RuleBook},
    wire::Header,
};

/// A chain of the IPv4 nat table.
fn nat(chain: &str) -> ChainName {
    ChainName {
        family: TableFamily::Ip,
        table: "nat".into(),
        chain: chain.into(),
    }
}

/// A chain of our own table.
fn own(chain: &str) -> ChainName {
    ChainName {
        family: TableFamily::Inet,
        table: OWN.into(),
        chain: chain.into(),
    }
}

const OWN: &str = "hoplab-trace-1";

/// A chain with hook, priority and rules.
type Row<'a> = (ChainName, Option<(Hook, i32)>, &'a [u64]);

fn generation(id: u32, chains: &[Row<'_>]) -> Generation {
    let chains = chains.iter().map(|(name, base, rules)| {
        let entry = ChainEntry {
            base: *base,
            nat: false,
            rules: rules.to_vec(),
        };
        (name.clone(), entry)
    });
    Generation {
        id,
        chains: chains.collect(),
    }
}

/// nat and observers at each hook.
fn book() -> RuleBook {
    let base = |hook, priority| Some((hook, priority));
    RuleBook::new(generation(
        7,
        &[
            (own("mark-output"), base(Hook::Output, -350), &[90]),
            (own("output-after-nat"), base(Hook::Output, 300), &[]),
            (own("postrouting"), base(Hook::Postrouting, 350), &[]),
            (own("mark-prerouting"), base(Hook::Prerouting, -350), &[91]),
            (own("input"), base(Hook::Input, 300), &[]),
            (nat("OUTPUT"), base(Hook::Output, -100), &[1]),
            (nat("PREROUTING"), base(Hook::Prerouting, -100), &[3]),
            (nat("SUB"), None, &[4, 5, 6]),
        ],
    ))
}

/// A SYN with this sequence number.
fn syn(source: &str, destination: &str, sequence: u32) -> Header {
    let (source, destination): (std::net::SocketAddr, std::net::SocketAddr) = (
        source.parse().expect("an address"),
        destination.parse().expect("an address"),
    );
    Header {
        source: source.ip(),
        destination: destination.ip(),
        protocol: 6,
        source_port: Some(source.port()),
        destination_port: Some(destination.port()),
        ip_id: Some(1),
        flow_label: None,
        hops_left: 64,
        length: 60,
        tcp: Some(super::wire::TcpHeader {
            sequence,
            acknowledgement: 0,
            flags: 2,
        }),
        icmp: None,
        payload: Vec::new(),
    }
}

/// An event without a header.
fn event(id: u32, chain: ChainName, handle: Option<u64>, kind: NftKind) -> NftEvent {
    NftEvent {
        chain,
        handle,
        kind,
        id,
        header: None,
        input: None,
        output: None,
        mark: 0,
        conntrack: None,
    }
}

/// The only event of an observer's chain, as it is where no rule is in it.
fn sight(id: u32, chain: &str, header: &Header, lo: bool) -> NftEvent {
    let base = book().base(&own(chain)).expect("a chain of the book").0;
    let interface = Some(if lo { 1 } else { 2 });
    let comes_in = matches!(base, Hook::Prerouting | Hook::Input);
    NftEvent {
        header: Some(header.clone()),
        input: interface.filter(|_| comes_in),
        output: interface.filter(|_| !comes_in),
        ..event(id, own(chain), None, NftKind::Policy(Verdict::Accept))
    }
}

/// conntrack's view of a first packet.
fn entry(id: u32) -> Option<ConntrackSeen> {
    Some(ConntrackSeen {
        id: Some(id),
        reply: false,
        status: 0,
        state: 8,
    })
}
