//! Ports of a probe: where sockets listen, and the source port that names each flow.

use std::collections::BTreeSet;

use super::{ProbeError, ProbePlan};

/// Source ports start here, where kernels take theirs from too.
const FIRST: u16 = 40_000;

/// Where sockets listen, in the pod and outside.
pub(super) fn listened(plan: &ProbePlan) -> BTreeSet<u16> {
    let mut ports = plan.landings.clone();
    ports.extend(plan.flows.iter().map(|flow| flow.to.port()));
    ports.remove(&0);
    ports
}

/// One source port for each flow, none that a socket listens at.
pub(super) fn sources(plan: &ProbePlan, listened: &BTreeSet<u16>) -> Result<Vec<u16>, ProbeError> {
    let free = (FIRST..u16::MAX).filter(|port| !listened.contains(port));
    let ports: Vec<u16> = free.take(plan.flows.len()).collect();
    match ports.len() == plan.flows.len() {
        true => Ok(ports),
        false => Err(ProbeError::TooMany {
            flows: plan.flows.len(),
            most: ports.len(),
        }),
    }
}
