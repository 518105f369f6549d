//! The way of the first answer, back through the pods.

use hoplab_proxies::record::Transport;

use super::{
    Event, Known, Stretch, Witness,
    observed::Observed,
    walk::{Crossing, Walk},
};
use crate::{
    model::{self, Journey, Packet},
    predict::{established, follow, turned, zone_of},
    rules::TcpFlags,
    topology::Pod,
    traced::TracedPacket,
};

impl<'a> Walk<'a> {
    /// The way of the first answer.
    pub fn back(
        &self,
        observed: &Observed<'a>,
        near: Option<&Crossing<'a>>,
        far: Option<&Crossing<'a>>,
        elsewhere: bool,
    ) -> Vec<Stretch> {
        let accepted = observed
            .accepted
            .map(|(_, it)| (it.owner.uid, it.owner.gid));
        let mut back = Vec::new();
        if let Some(far) = far {
            // A pod that forwards gets the answer from elsewhere.
            let accepter = observed.accepted.map(|(end, _)| end.pod.as_str());
            let made = accepter.is_none_or(|it| it == far.pod.name);
            back.push(self.answer(observed, far, accepted, made));
        }
        if let Some(near) = near {
            back.push(self.answer(observed, near, accepted, !elsewhere));
        }
        back
    }

    /// The answer in one pod: from a socket of it (`made`), or come in from elsewhere.
    fn answer(
        &self,
        observed: &Observed<'a>,
        crossing: &Crossing<'a>,
        accepted: Option<(u32, u32)>,
        made: bool,
    ) -> Stretch {
        let Crossing {
            pod,
            first,
            way,
            traced,
        } = crossing;
        let turned = turned(way, first);
        let from = turned.map_or(first.dst, |it| it.to);
        let flags = match (observed.transport, accepted) {
            (Transport::Udp, _) => TcpFlags::NONE,
            (Transport::Tcp, Some(_)) => TcpFlags::from_names("SYN,ACK").unwrap_or(TcpFlags::NONE),
            (Transport::Tcp, None) => TcpFlags::from_names("RST,ACK").unwrap_or(TcpFlags::NONE),
        };
        let entry = observed.entries[usize::from(observed.opener.pod != pod.name)];
        let connmark = last_mark(way);
        let packet = Packet {
            src: from,
            dst: first.src,
            in_iface: None,
            out_iface: None,
            owner: accepted.filter(|_| made),
            mark: 0,
            tcp_flags: flags,
            connmark,
            ..established(first.clone())
        };
        let packet = match made {
            true => packet,
            false => packet.coming_in(&self.world.comes_in_by(Some(pod), from.ip())),
        };
        let rules = self.world.rules_of(Some(pod));
        let known = model::Known {
            answers: true,
            turned,
            source: None,
        };
        let zone = zone_of(way).unwrap_or(0);
        let (answer, _) = follow(
            rules,
            &self.world.host(Some(pod)),
            packet.clone(),
            known,
            zone,
        );
        let traced = match observed.packets.iter().find(|it| it.pod == pod.name) {
            Some(packets) => packets.answer(),
            None => traced.and_then(|first| self.answer_of(pod, first)),
        };
        let mut hops = self.of(
            pod,
            traced,
            Known {
                journey: Some(&answer),
                connmark: entry.map_or(connmark, |it| it.mark),
                owner: packet.owner,
            },
        );
        for hop in &mut hops {
            // conntrack counted answers, so they passed.
            let counted = entry
                .and_then(|it| it.reply_counter)
                .is_some_and(|it| it.packets > 0);
            if counted && matches!(hop.event, Event::Passed { .. }) && !hop.changes.is_empty() {
                hop.witnesses.insert(Witness::Conntrack);
            }
        }
        Stretch {
            pod: pod.name.clone(),
            hops,
        }
    }
    /// The first answer to a packet of a connection that nobody predicted.
    fn answer_of(&self, pod: &Pod, first: &TracedPacket) -> Option<&'a TracedPacket> {
        let id = first.conntrack?.id;
        self.packets(pod)
            .find(|it| it.conntrack.is_some_and(|it| it.reply && it.id == id))
    }
}

/// Mark of the connection after the first packet.
fn last_mark(way: &Journey) -> u32 {
    let last = way.passages.iter().flat_map(|it| &it.tables).next_back();
    last.map_or(0, |(_, it)| it.left.connmark)
}
