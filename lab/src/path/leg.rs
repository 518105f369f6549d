//! A path: the connections of a flow, and the hops of each.

use std::{fmt, net::SocketAddr};

use hoplab_proxies::record::{Role, Transport};
use serde::Serialize;

use super::Hop;
use crate::rules::Family;

/// The way of a flow: every connection it made, hop by hop.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Path {
    /// Name of the flow.
    pub flow: String,
    /// Who sends: `details-v1/app`, `node`.
    pub from: String,
    /// Where to: `reviews:9080`.
    pub to: String,
    /// Family it ran over.
    pub family: Family,
    /// What the sender got: `200`, `refused`.
    pub answer: String,
    /// What was still open when the time for the flow was over, in words.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub open: Vec<String>,
    /// Observations that were lost, in words.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub lost: Vec<String>,
    /// Its connections, in the order they were opened.
    pub legs: Vec<Leg>,
}

/// One connection: a TCP connection, or a UDP query with its answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Leg {
    /// Counted from 1.
    pub number: usize,
    /// Number of the leg on whose behalf it was opened.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub parent: Option<usize>,
    /// Who opened it.
    pub opener: Process,
    /// What carries it.
    pub transport: Transport,
    /// Source; its port is not known where the log has no such connection.
    pub source: Source,
    /// Address given to connect(2).
    pub destination: SocketAddr,
    /// `SO_MARK` of the socket; 0 is none.
    pub mark: u32,
    /// The way of the first packet, pod by pod.
    pub there: Vec<Stretch>,
    /// The way of the answer, pod by pod.
    pub back: Vec<Stretch>,
}

/// Source of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Source {
    /// Address.
    pub address: std::net::IpAddr,
    /// Port, where known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub port: Option<u16>,
    /// True when the process chose it by bind(2).
    pub bound: bool,
}

/// What happens in one pod, or in the node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Stretch {
    /// Name.
    pub pod: String,
    /// In the order they happen.
    pub hops: Vec<Hop>,
}

/// A process of the lab.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Process {
    /// Pod, or `node`.
    pub pod: String,
    /// What it plays; none outside of labs.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub role: Option<Role>,
    /// User of its sockets.
    pub uid: u32,
    /// Group of its sockets.
    pub gid: u32,
    /// Id in the lab's PID namespace, where a log tells.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pid: Option<u32>,
}

/// One half of a leg.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    /// To the one that is called.
    There,
    /// The answer.
    Back,
}

impl Path {
    /// Legs in the order things happen: one that is opened on behalf of another comes before that one's answer.
    pub fn order(&self) -> Vec<(&Leg, Way)> {
        let mut order = Vec::new();
        self.visit(None, &mut order);
        let of = |(number, way)| {
            self.legs
                .iter()
                .find(|it| it.number == number)
                .map(|it| (it, way))
        };
        order.into_iter().filter_map(of).collect()
    }

    fn visit(&self, parent: Option<usize>, order: &mut Vec<(usize, Way)>) {
        for leg in self.legs.iter().filter(|it| it.parent == parent) {
            order.push((leg.number, Way::There));
            // A leg's number is above its parent's, so this comes to an end whatever a file says.
            if parent.is_none_or(|it| it < leg.number) {
                self.visit(Some(leg.number), order);
            }
            order.push((leg.number, Way::Back));
        }
    }

    /// Numbers the hops in that order.
    pub(super) fn number(&mut self) {
        let order: Vec<(usize, Way)> = self
            .order()
            .iter()
            .map(|(leg, way)| (leg.number, *way))
            .collect();
        let mut number = 0;
        for (leg, way) in order {
            let Some(leg) = self.legs.iter_mut().find(|it| it.number == leg) else {
                continue;
            };
            let stretches = match way {
                Way::There => &mut leg.there,
                Way::Back => &mut leg.back,
            };
            for hop in stretches.iter_mut().flat_map(|it| &mut it.hops) {
                number += 1;
                hop.number = number;
            }
        }
    }

    /// Every hop, in the order of the legs.
    pub fn hops(&self) -> impl Iterator<Item = &Hop> {
        let stretches = self
            .legs
            .iter()
            .flat_map(|leg| leg.there.iter().chain(&leg.back));
        stretches.flat_map(|it| &it.hops)
    }
}

impl Leg {
    /// One half of it.
    pub fn way(&self, way: Way) -> &[Stretch] {
        match way {
            Way::There => &self.there,
            Way::Back => &self.back,
        }
    }
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.port {
            Some(port) => write!(f, "{}", SocketAddr::new(self.address, port)),
            None => write!(f, "{}", self.address),
        }
    }
}

impl fmt::Display for Process {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.role {
            Some(role) => write!(f, "{}/{role} {}:{}", self.pod, self.uid, self.gid),
            None => write!(f, "{} {}:{}", self.pod, self.uid, self.gid),
        }
    }
}
