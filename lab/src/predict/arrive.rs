//! Where a connection ends: at a listener of a pod or of the node, at nobody, or on the way.

use std::net::SocketAddr;

use hoplab_proxies::record::Transport;

use super::{
    LegEnd, Listener,
    crossing::intercepted,
    listener_at,
    walk::{Call, Walk},
};
use crate::{
    model::{Journey, JourneyEnd, Outcome},
    topology::{NODE, Pod},
};

impl Walk<'_> {
    /// At a local address of a pod.
    pub fn arrive(&self, pod: Option<&Pod>, way: &Journey, at: SocketAddr, call: &Call) -> LegEnd {
        let Some(pod) = pod else {
            return LegEnd::Refused {
                pod: NODE.to_string(),
                local: at,
            };
        };
        // The node may have turned it before it came here.
        let asked = match &way.end {
            JourneyEnd::Delivered { original, .. } => *original,
            _ => call.remote,
        };
        let local = match intercepted(way) {
            true => asked,
            false => at,
        };
        let name = pod.name.clone();
        let interception = self.world.interception_of(&pod.name);
        let Some(listener) = listener_at(pod, at, call.transport, interception) else {
            return LegEnd::Refused { pod: name, local };
        };
        // Without conntrack the kernel has no other destination to tell (ENOENT).
        let told = call.transport == Transport::Tcp && self.world.tracks(Some(pod));
        LegEnd::Accepted {
            refused_as_loop: self.refused_as_loop(pod, listener, call, asked),
            pod: name,
            listener,
            port: at.port(),
            local,
            original_dst: told.then_some(asked),
        }
    }

    /// Where a pod that forwards sends it on to.
    pub fn beyond(&self, from: &Pod, way: &Journey, to: SocketAddr, call: &Call) -> LegEnd {
        match self.world.topology.next_hop(Some(from), to.ip()) {
            None if self.world.is_node(to.ip()) => self.at_node(to, call.transport),
            None => LegEnd::Unreachable,
            Some((pod, _)) if !pod.plugged => no_link(pod),
            Some((pod, _)) if pod.is_sidecar() => LegEnd::Unknown {
                why: format!(
                    "{} sends it on to {}, and only one pod with rules is followed",
                    from.name, pod.name
                ),
            },
            Some((pod, _)) => self.arrive(Some(pod), way, to, call),
        }
    }

    /// At an address of the node. With the host's rules of ambient mode, or those of kube-proxy, conntrack runs there, and
    /// the kernel tells where a connection was meant to go: to that address, which no rule turns.
    pub fn at_node(&self, local: SocketAddr, transport: Transport) -> LegEnd {
        let ztunnel = self.world.interception.ztunnel;
        let host_rules = ztunnel.is_some_and(|it| it.probes.is_some());
        let tracks = host_rules || self.world.tracks(None);
        let told = tracks && transport == Transport::Tcp;
        let original_dst = told.then_some(local);
        if self.world.dns() != Some(local) {
            return LegEnd::Refused {
                pod: NODE.to_string(),
                local,
            };
        }
        LegEnd::Accepted {
            pod: NODE.to_string(),
            listener: Listener::DnsServer,
            port: local.port(),
            local,
            original_dst,
            refused_as_loop: false,
        }
    }

    /// The proxy's own rule: steps go gateway, outbound, inbound, never back, and never to its own ports.
    fn refused_as_loop(&self, pod: &Pod, listener: Listener, call: &Call, dst: SocketAddr) -> bool {
        if !matches!(listener, Listener::Inbound | Listener::Outbound) {
            return false;
        }
        let interception = self.world.interception_of(&pod.name);
        let own_port = [interception.inbound, interception.outbound].contains(&dst.port());
        let own_address = pod.addr.contains(dst.ip()) || dst.ip().is_loopback();
        let sources = &interception.inbound_source;
        let own_source = listener == Listener::Inbound && sources.contains(&call.opener.source);
        let own_upstream = call.opener.pod == pod.name
            && match call.on_behalf_of {
                Some(Listener::Inbound) => true,
                Some(Listener::Outbound) => listener == Listener::Outbound,
                _ => false,
            };
        (own_port && own_address) || own_source || own_upstream
    }
}

/// Who looks for a pod without a link finds another machine or none, by routes and neighbours that are not modelled.
pub(super) fn no_link(pod: &Pod) -> LegEnd {
    LegEnd::Unknown {
        why: format!("{} has no link here", pod.name),
    }
}

/// Where a packet ends that reaches nobody in a pod. A dropped query says more or less, by the hook: that is not predicted.
pub(super) fn gone(pod: &Pod, end: &JourneyEnd, transport: Transport) -> LegEnd {
    match end {
        JourneyEnd::Gone(Outcome::Dropped { .. }) if transport == Transport::Tcp => {
            LegEnd::Dropped {
                pod: pod.name.clone(),
            }
        }
        other => unknown(other),
    }
}

pub(super) fn unknown(end: &JourneyEnd) -> LegEnd {
    let why = match end {
        JourneyEnd::Unknown(why) => why.clone(),
        JourneyEnd::Gone(outcome) => outcome.to_string(),
        JourneyEnd::Sent { to } => format!("the pod sends it on to {to}"),
        JourneyEnd::Delivered { at, .. } => format!("it ends at {at}"),
    };
    LegEnd::Unknown { why }
}
