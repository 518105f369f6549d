//! The path of a connection in one namespace that is no pod of a lab.

use hoplab_proxies::record::Transport;

use super::{Event, Hop, Leg, Path, Process, Source, Stretch};
use crate::{
    model::Packet,
    rules::{Family, Protocol, RuleId, RuleSet, Table},
};

/// A path of one leg in one namespace. What the sender got is for the caller to say.
pub fn namespace_path(name: &str, first: &Packet, there: Vec<Hop>, back: Vec<Hop>) -> Path {
    let (uid, gid) = first.owner.unwrap_or((0, 0));
    let opener = Process {
        pod: match first.owner {
            Some(_) => name.to_owned(),
            None => first.src.ip().to_string(),
        },
        role: None,
        uid,
        gid,
        pid: None,
    };
    let from = match first.owner {
        Some(_) => opener.to_string(),
        None => opener.pod.clone(),
    };
    let stretch = |hops: Vec<Hop>| {
        let stretch = Stretch {
            pod: name.to_owned(),
            hops,
        };
        (!stretch.hops.is_empty())
            .then_some(stretch)
            .into_iter()
            .collect()
    };
    let mut path = Path {
        flow: format!("{from} -> {}", first.dst),
        from,
        to: first.dst.to_string(),
        family: Family::of(first.dst.ip()),
        answer: String::new(),
        open: Vec::new(),
        lost: Vec::new(),
        legs: vec![Leg {
            number: 1,
            parent: None,
            opener,
            transport: match first.protocol {
                Protocol::Udp => Transport::Udp,
                _ => Transport::Tcp,
            },
            source: Source {
                address: first.src.ip(),
                port: Some(first.src.port()),
                bound: false,
            },
            destination: first.dst,
            mark: first.mark,
            there: stretch(there),
            back: stretch(back),
        }],
    };
    path.number();
    path
}

impl Hop {
    /// Notes how many packets its rule counted so far, in all.
    pub fn count(&mut self, rules: &RuleSet) {
        let Event::Rule {
            table,
            chain,
            ordinal: Some(ordinal),
            ..
        } = &self.event
        else {
            return;
        };
        let table = Table::ALL.into_iter().find(|it| it.name() == table);
        let rule = table.map(|it| RuleId::new(rules.family, it, chain.clone(), *ordinal));
        let rule = rule.and_then(|it| rules.rule(&it)?.counters);
        self.counted = rule.map(|it| it.packets);
    }
}
