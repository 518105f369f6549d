//! Ports of a probe: where sockets listen, the source port that names each flow, and which flows one scene can play.

use std::collections::BTreeSet;
use std::net::SocketAddr;

use super::{ProbeError, ProbePlan};
use crate::{behaviour::Flow, rules::Protocol};

/// Source ports start here, where kernels take theirs from too.
const FIRST: u16 = 40_000;

/// Flows that one scene plays: no two of them are one connection to conntrack, and none of TCP is sent from a port that
/// something listens at.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Round {
    /// Their places in the plan.
    pub flows: Vec<usize>,
    /// Where sockets listen, in the pod and outside.
    pub listened: BTreeSet<u16>,
    /// The source port of each.
    pub sources: Vec<u16>,
}

/// The flows of a plan in as many rounds as they need; mostly that is one.
pub(super) fn rounds(plan: &ProbePlan) -> Result<Vec<Round>, ProbeError> {
    let mut landings = plan.landings.clone();
    landings.remove(&0);
    let mut rounds: Vec<Round> = Vec::new();
    // Flows that may send from any port make the first round, whatever comes after.
    let (any, named): (Vec<usize>, Vec<usize>) =
        (0..plan.flows.len()).partition(|at| plan.flows[*at].source_port.is_none());
    for at in any.into_iter().chain(named) {
        let flow = &plan.flows[at];
        let fits = |round: &&mut Round| fits(round, flow, plan);
        let place = match rounds.iter_mut().position(|mut it| fits(&mut it)) {
            Some(place) => place,
            None => {
                rounds.push(Round {
                    listened: landings.clone(),
                    ..Round::default()
                });
                rounds.len() - 1
            }
        };
        rounds[place].flows.push(at);
        rounds[place].listened.insert(flow.to.port());
    }
    for round in &mut rounds {
        round.sources = sources(round, plan)?;
    }
    Ok(rounds)
}

fn fits(round: &Round, flow: &Flow, plan: &ProbePlan) -> bool {
    let mut others = round.flows.iter().map(|at| &plan.flows[*at]);
    // A datagram's socket shares its port with one that listens, a connection's can't.
    let in_the_way = |port: Option<u16>, of: &Flow, listened: u16| {
        port == Some(listened) && of.protocol != Protocol::Udp
    };
    let listens = |port: &u16| in_the_way(flow.source_port, flow, *port);
    !round.listened.iter().any(listens)
        && others.all(|it| {
            !in_the_way(it.source_port, it, flow.to.port())
                && !is_same(it, flow)
                && !may_land_alike(it, flow, plan)
        })
}

/// Whether one goes from the same port to where rules may turn the other: the listener would have both of one peer, and
/// the kernel gives the second another source port or loses it (`nf_nat_used_tuple`, `__nf_conntrack_confirm`).
fn may_land_alike(one: &Flow, other: &Flow, plan: &ProbePlan) -> bool {
    let from = |it: &Flow| it.source_port.map(|port| (it.source, port, it.protocol));
    let lands = |it: &Flow| plan.landings.contains(&it.to.port());
    from(one).is_some() && from(one) == from(other) && (lands(one) || lands(other))
}

/// Whether conntrack takes both for one connection, whoever of it sends first.
fn is_same(one: &Flow, other: &Flow) -> bool {
    let from = |it: &Flow| it.source_port.map(|port| SocketAddr::new(it.source, port));
    let (Some(a), Some(b)) = (from(one), from(other)) else {
        return false;
    };
    let alike = a == b && one.to == other.to;
    let turned = a == other.to && b == one.to;
    one.protocol == other.protocol && (alike || turned)
}

/// One source port for each flow: its own, or one that no socket listens at and no flow has.
fn sources(round: &Round, plan: &ProbePlan) -> Result<Vec<u16>, ProbeError> {
    let named: Vec<Option<u16>> = round
        .flows
        .iter()
        .map(|at| plan.flows[*at].source_port)
        .collect();
    let taken = |port: &u16| round.listened.contains(port) || named.contains(&Some(*port));
    let mut free = (FIRST..u16::MAX).filter(|port| !taken(port));
    let ports: Option<Vec<u16>> = named.iter().map(|it| it.or_else(|| free.next())).collect();
    ports.ok_or_else(|| ProbeError::TooMany {
        flows: round.flows.len(),
        most: (FIRST..u16::MAX).filter(|port| !taken(port)).count(),
    })
}

#[cfg(test)]
mod tests {
    use super::rounds;
    use crate::{behaviour::Stage, netfilter::BackendChoice, probe::ProbePlan};

    fn plan(flows: &[&str]) -> ProbePlan {
        ProbePlan {
            backend: BackendChoice::Auto,
            rules: crate::rules::Written::default(),
            names: crate::rules::OwnerNames::default(),
            marks: Vec::new(),
            stage: Stage::away_from([]),
            flows: flows.iter().map(|it| it.parse().expect("a flow")).collect(),
            landings: [15053].into(),
        }
    }

    #[test]
    fn flows_that_are_in_each_others_way_are_played_one_after_the_other() {
        let plan = plan(&[
            "tcp in=eth0 src=192.0.2.3:53 dst=192.0.2.2:9080",
            "udp uid=0 gid=0 src=192.0.2.2 dst=192.0.2.3:53",
            "tcp uid=0 gid=0 src=192.0.2.2:53 dst=192.0.2.3:9080",
            "tcp uid=0 gid=0 mark=0x1 src=192.0.2.2:53 dst=192.0.2.3:9080",
            "udp uid=0 gid=0 src=192.0.2.2:53 dst=192.0.2.3:9080",
            "udp in=eth0 src=192.0.2.3:9080 dst=192.0.2.2:53",
            "tcp in=eth0 src=192.0.2.3:53 dst=192.0.2.2:15053",
        ]);
        let rounds = rounds(&plan).expect("room for all");
        let flows: Vec<&[usize]> = rounds.iter().map(|it| it.flows.as_slice()).collect();
        // Something listens at 53 in the first; flow 3 has the ends of flow 2, flow 5 answers one and goes to the others'
        // port, flow 6 goes from the port of flow 0 to where rules may turn that.
        assert_eq!(flows, [&[1, 4][..], &[0, 2], &[3, 6], &[5]]);
        assert_eq!(rounds[1].sources, [53, 53]);
        assert_eq!(rounds[0].listened, [53, 9080, 15053].into());
        assert!(!rounds[0].listened.contains(&rounds[0].sources[0]));
    }
}
