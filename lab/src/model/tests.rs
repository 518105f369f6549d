//! The model against what KERNEL-FACTS measured in real namespaces, for IPv4 and IPv6.

use std::net::{IpAddr, SocketAddr};

use super::*;
use crate::rules::tests::istio;
use crate::rules::{Family, RuleId, RuleSet, Table};

mod flows;
mod journeys;
mod mutants;
mod questions;
mod reasons;
mod semantics;

const APP: (u32, u32) = (1000, 1000);
const PROXY: (u32, u32) = (1337, 1337);

/// The cast of the flows, in one family.
#[derive(Clone, Copy)]
struct Cast {
    client: IpAddr,
    pod: IpAddr,
    other: IpAddr,
    localhost: IpAddr,
    /// What the proxy's inbound connections come from: 127.0.0.6 or ::6.
    passthrough: IpAddr,
}

fn cast(family: Family) -> Cast {
    let texts = match family {
        Family::V4 => ["10.0.0.1", "10.0.0.2", "10.0.0.3", "127.0.0.1", "127.0.0.6"],
        Family::V6 => ["fd00::1", "fd00::2", "fd00::3", "::1", "::6"],
    };
    let [client, pod, other, localhost, passthrough] =
        texts.map(|text| text.parse().expect("these are addresses"));
    Cast {
        client,
        pod,
        other,
        localhost,
        passthrough,
    }
}

impl Cast {
    /// A connection that comes in to the pod.
    fn inbound(&self, port: u16) -> (Hook, Packet) {
        let (src, dst) = (
            SocketAddr::new(self.client, 40_000),
            SocketAddr::new(self.pod, port),
        );
        (Hook::Prerouting, Packet::tcp(src, dst).coming_in("eth0"))
    }

    /// A connection a process of the pod opens.
    fn outbound(
        &self,
        src: IpAddr,
        dst: IpAddr,
        port: u16,
        (uid, gid): (u32, u32),
    ) -> (Hook, Packet) {
        let out = if dst == self.other || dst == self.client {
            "eth0"
        } else {
            "lo"
        };
        let packet = Packet::tcp(SocketAddr::new(src, 40_000), SocketAddr::new(dst, port));
        (Hook::Output, packet.leaving_by(out).owned_by(uid, gid))
    }
}

fn ask(rules: &RuleSet, (hook, packet): &(Hook, Packet)) -> Traversal {
    evaluate(rules, Table::Nat, *hook, packet)
}

fn nat(lines: &str) -> RuleSet {
    let text = format!("*nat\n-N A\n-N B\n{lines}COMMIT\n");
    crate::rules::parse(&text, Family::V4, "test").unwrap_or_else(|error| panic!("{error}"))
}

fn id(family: Family, chain: &str, ordinal: u32) -> RuleId {
    RuleId::new(family, Table::Nat, chain, ordinal)
}
