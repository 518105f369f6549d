//! Whose connections are captured: the proxy's own, and those of the other family.

use std::net::{IpAddr, SocketAddr};

use super::{Finding, Mistake, Proxy};
use crate::model::{Hook, Outcome, Packet, PodAddresses, evaluate};
use crate::rules::{Family, RuleId, RuleSet, Table};

/// The pod and another machine, for packets to show: addresses reserved for documentation.
pub(super) fn addresses(family: Family) -> PodAddresses {
    let (pod, other) = match family {
        Family::V4 => (IpAddr::from([192, 0, 2, 2]), IpAddr::from([192, 0, 2, 3])),
        Family::V6 => {
            let host = |last| IpAddr::from([0x2001, 0xdb8, 0, 0, 0, 0, 0, last]);
            (host(2), host(3))
        }
    };
    PodAddresses { pod, other }
}

fn outbound(family: Family, uid: u32, gid: u32) -> Packet {
    let PodAddresses { pod, other } = addresses(family);
    let (src, dst) = (SocketAddr::new(pod, 40_000), SocketAddr::new(other, 9080));
    Packet::tcp(src, dst).leaving_by("eth0").owned_by(uid, gid)
}

fn inbound(family: Family) -> Packet {
    let PodAddresses { pod, other } = addresses(family);
    let (src, dst) = (SocketAddr::new(other, 40_000), SocketAddr::new(pod, 9080));
    Packet::tcp(src, dst).coming_in("eth0")
}

/// The rule that turns a packet to this machine.
fn turned(set: &RuleSet, hook: Hook, packet: &Packet) -> Option<RuleId> {
    match evaluate(set, Table::Nat, hook, packet).decided {
        Outcome::Redirected { by, .. } => Some(by),
        _ => None,
    }
}

/// A connection of the proxy to another machine that is turned back to the proxy.
pub(super) fn proxy_to_itself(set: &RuleSet, proxy: Proxy) -> Option<Finding> {
    let mark = proxy.mark.map_or(0, |mark| mark.value);
    let packet = outbound(set.family, proxy.uid, proxy.gid).marked(mark);
    let by = turned(set, Hook::Output, &packet)?;
    let marked = match mark {
        0 => String::new(),
        mark => format!(", mark {mark:#x}"),
    };
    let because = format!(
        "it turns the connections of the proxy ({}:{}{marked}) back to the proxy",
        proxy.uid, proxy.gid
    );
    let finding = Finding::new(Mistake::ProxyToItself, set, by, because);
    Some(finding.shown_by(Hook::Output, packet))
}

/// A direction captured in one family and not in the other.
pub(super) fn family_left_open(sets: &[RuleSet]) -> Vec<Finding> {
    let mut findings = Vec::new();
    for set in sets {
        let other = match set.family {
            Family::V4 => Family::V6,
            Family::V6 => Family::V4,
        };
        let twin = sets.iter().find(|it| it.family == other);
        let packets = |family| {
            [
                (Hook::Prerouting, inbound(family)),
                (Hook::Output, outbound(family, 1000, 1000)),
            ]
        };
        for ((hook, packet), (_, same)) in packets(set.family).into_iter().zip(packets(other)) {
            let Some(by) = turned(set, hook, &packet) else {
                continue;
            };
            let open = match twin {
                None => true,
                Some(twin) => matches!(
                    evaluate(twin, Table::Nat, hook, &same).decided,
                    Outcome::Accepted { .. }
                ),
            };
            if open {
                let because =
                    format!("{other} connections like those it captures go past the proxy");
                let finding = Finding::new(Mistake::FamilyLeftOpen, set, by, because);
                findings.push(finding.shown_by(hook, same));
            }
        }
    }
    findings
}
