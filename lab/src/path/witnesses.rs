//! What counters, conntrack and logs say of hops whose rules are known.

use super::{Changed, Event, Hop, Leg, Witness, observed::Observed};
use crate::{
    evidence::Window,
    rules::{CounterDelta, Family, RuleId, Table},
    topology::NODE,
};

/// Adds the witnesses that speak of rules and translations, and what contradicts.
pub(super) fn add(leg: &mut Leg, observed: &Observed<'_>, window: &Window) {
    for stretch in leg.there.iter_mut().chain(&mut leg.back) {
        let read = window.counters.get(&stretch.pod);
        let delta = read.and_then(|it| it.after.since(&it.before).ok());
        let entry = match stretch.pod == NODE && observed.opener.pod != NODE {
            true => observed.in_node,
            false => observed.entries[usize::from(observed.opener.pod != stretch.pod)],
        };
        for hop in &mut stretch.hops {
            if let Some(delta) = &delta {
                counter(hop, delta, window.family);
            }
            for change in &hop.changes {
                let told = match (change, entry) {
                    // There the one end is turned, back the other: each to what the other tuple has.
                    (Changed::Destination { before, after }, Some(entry)) => [
                        (entry.original.dst, entry.reply.src),
                        (entry.reply.dst, entry.original.src),
                    ]
                    .contains(&(*before, *after)),
                    (Changed::Source { before, after }, Some(entry)) => [
                        (entry.reply.src, entry.original.dst),
                        (entry.original.src, entry.reply.dst),
                    ]
                    .contains(&(*before, *after)),
                    (Changed::Zone { zone }, Some(entry)) => entry.zone == Some(*zone),
                    (Changed::ConnectionMark { after, .. }, Some(entry)) => entry.mark == *after,
                    _ => false,
                };
                if told {
                    hop.witnesses.insert(Witness::Conntrack);
                }
                let accepted = observed.accepted.map(|(_, it)| it);
                let logged = accepted.is_some_and(|it| match change {
                    Changed::Destination { before, after } => {
                        it.local == *after && it.original_dst.addr() == Some(*before)
                    }
                    // The one log has the port it called from, the other the port it was called from.
                    Changed::Source { before, after } => {
                        it.peer == *after && observed.local() == Some(*before)
                    }
                    _ => false,
                });
                if logged {
                    hop.witnesses.insert(Witness::Log);
                }
            }
        }
    }
}

fn counter(hop: &mut Hop, delta: &CounterDelta, family: Family) {
    let Event::Rule {
        table,
        chain,
        ordinal: Some(ordinal),
        ..
    } = &hop.event
    else {
        return;
    };
    let Some(table) = Table::ALL.into_iter().find(|it| it.name() == table) else {
        return;
    };
    let rule = RuleId::new(family, table, chain.clone(), *ordinal);
    match delta.get(&rule).map(|it| it.packets) {
        Some(0) => hop
            .contradictions
            .push("its counter did not move".to_owned()),
        Some(_) => _ = hop.witnesses.insert(Witness::Counter),
        None => {}
    }
}
