//! Plays flows under a rule set in a real kernel: one pod with the rules, one machine outside that answers for every
//! address, sockets of the users that are asked for, and the kernel's own trace of every first packet.
//!
//! `run_inside` runs in the supervisor of a sandbox without a lab, [`Pool`] starts such sandboxes and hands out work.
//! What was seen is data of [`behaviour`](crate::behaviour); nothing is judged here.

mod drive;
mod error;
mod pool;
mod ports;
mod room;
mod run;
mod scene;
mod sockets;
mod stray;
mod told;

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
};

use serde::{Deserialize, Serialize};

pub use error::ProbeError;
pub use pool::Pool;
pub use room::flows_at_once;
pub(crate) use run::run_inside;
pub(crate) use scene::link;

use crate::{
    behaviour::{Flow, INTERFACE, Origin, Stage},
    netfilter::BackendChoice,
    rules::{Family, OwnerNames, Written},
};

/// What is to be tried.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProbePlan {
    /// Which iptables, for rules of iptables.
    pub backend: BackendChoice,
    /// The rules.
    pub rules: Written,
    /// What names in the rules stand for.
    pub names: OwnerNames,
    /// Marks that `ip rule` routes to the pod: family, value, mask.
    pub marks: Vec<(Family, u32, u32)>,
    /// Addresses of pod and outside.
    pub stage: Stage,
    /// The flows.
    pub flows: Vec<Flow>,
    /// Ports where a flow may end beside those the flows go to.
    pub landings: BTreeSet<u16>,
}

impl ProbePlan {
    /// Interfaces that flows come in or leave by, beside the pod's own, with the numbers that [`Stage::beyond`] knows
    /// them by.
    fn interfaces(&self) -> BTreeMap<String, u8> {
        let of = self.flows.iter().filter_map(|flow| match &flow.origin {
            Origin::Outside { interface } if interface != INTERFACE => {
                Some((interface.clone(), Stage::number_beyond(flow.source)))
            }
            _ => {
                let leaves = flow.leaves.clone()?;
                Some((leaves, Stage::number_beyond(flow.to.ip())))
            }
        });
        of.collect()
    }

    /// The families the flows are of.
    fn families(&self) -> BTreeSet<Family> {
        self.flows.iter().map(Flow::family).collect()
    }
}

/// Prefix length of the link between pod and outside.
fn prefix_of(address: IpAddr) -> u8 {
    match address {
        IpAddr::V4(_) => 24,
        IpAddr::V6(_) => 64,
    }
}
