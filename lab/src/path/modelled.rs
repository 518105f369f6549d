//! Hops of a packet by the model alone.

use super::{Changed, Event, Hop, Tried, Why, Witness};
use crate::{
    model::{By, Journey, Outcome, Packet, Passage, Traversal, TryResult},
    rules::{RuleId, RuleSet, Table, Target, spec_text},
    traced::Verdict,
};

/// The hops of a packet as the model follows it, in order; the one witness of each is the model.
pub fn of_journey(rules: &RuleSet, journey: &Journey) -> Vec<Hop> {
    let hops = journey.passages.iter().flat_map(|it| passage(rules, it));
    hops.collect()
}

fn passage(rules: &RuleSet, passage: &Passage) -> Vec<Hop> {
    let mut before = Marks::of(&passage.came);
    let mut events = Vec::new();
    for (table, traversal) in &passage.tables {
        events.extend(asked(rules, *table, traversal, &mut before));
    }
    let came = &passage.came;
    let hop = |(event, tried, changes)| Hop {
        tried,
        changes,
        ..Hop::at(
            passage.hook,
            came.in_iface.clone(),
            came.out_iface.clone(),
            event,
        )
    };
    let mut hops: Vec<Hop> = events.into_iter().map(hop).collect();
    let turned = turned((came.src, came.dst), (passage.left.src, passage.left.dst));
    attach(&mut hops, turned, || {
        let event = Event::Passed {
            without_nat: passage.without_nat,
        };
        hop((event, Vec::new(), Vec::new()))
    });
    for hop in &mut hops {
        hop.witnesses.insert(Witness::Model);
    }
    hops
}

/// What is different at the two ends of a packet.
pub(super) fn turned(
    (source, destination): (std::net::SocketAddr, std::net::SocketAddr),
    (to_source, to_destination): (std::net::SocketAddr, std::net::SocketAddr),
) -> Vec<Changed> {
    let source = (source != to_source).then_some(Changed::Source {
        before: source,
        after: to_source,
    });
    let destination = (destination != to_destination).then_some(Changed::Destination {
        before: destination,
        after: to_destination,
    });
    source.into_iter().chain(destination).collect()
}

/// Gives a translation to the rule of nat that decided it, else to a hop of its own: conntrack does it then. A hook
/// without any hop gets one, too.
pub(super) fn attach(hops: &mut Vec<Hop>, turned: Vec<Changed>, passed: impl FnOnce() -> Hop) {
    let decides = |hop: &&mut Hop| matches!(&hop.event, Event::Rule { table, verdict: Verdict::Accept, .. } if table == Table::Nat.name());
    if turned.is_empty() && !hops.is_empty() {
        return;
    }
    match hops.iter_mut().rev().find(decides) {
        Some(hop) => hop.changes.extend(turned),
        None => {
            let mut passed = passed();
            passed.changes.extend(turned);
            hops.push(passed);
        }
    }
}

/// Marks and zone of a packet on its way through the rules.
#[derive(Debug, Clone, Copy)]
pub(super) struct Marks {
    pub packet: u32,
    pub connection: u32,
    pub zone: Option<u16>,
}

impl Marks {
    pub fn of(packet: &Packet) -> Self {
        Self {
            packet: packet.mark,
            connection: packet.connmark,
            zone: packet.zone,
        }
    }

    /// What the target of a rule that matched does to them; `left` is the packet as it leaves the table.
    pub fn apply(&mut self, target: &Target, left: &Packet) -> Vec<Changed> {
        let before = *self;
        match target {
            Target::Mark(change) => self.packet = change.apply(self.packet),
            Target::Tproxy { mark, .. } => self.packet = mark.apply(self.packet),
            Target::Connmark(action) => {
                (self.packet, self.connection) = action.apply(self.packet, self.connection);
            }
            // The first one counts, and the model knows which zone it is.
            Target::Zone { .. } => self.zone = self.zone.or(left.zone),
            _ => {}
        }
        self.since(before)
    }

    /// What is different from before.
    pub fn since(&self, before: Self) -> Vec<Changed> {
        let mark = (before.packet != self.packet).then_some(Changed::Mark {
            before: before.packet,
            after: self.packet,
        });
        let connection =
            (before.connection != self.connection).then_some(Changed::ConnectionMark {
                before: before.connection,
                after: self.connection,
            });
        let zone = self.zone.filter(|_| before.zone.is_none());
        let zone = zone.map(|zone| Changed::Zone { zone });
        [mark, connection, zone].into_iter().flatten().collect()
    }
}

type Happened = (Event, Vec<Tried>, Vec<Changed>);

/// What happened in one table.
fn asked(rules: &RuleSet, table: Table, traversal: &Traversal, marks: &mut Marks) -> Vec<Happened> {
    let mut happened = Vec::new();
    let mut tried = Vec::new();
    for one in &traversal.tried {
        if one.result != TryResult::Matched {
            tried.push(not_taken(rules, &one.rule, &one.result));
            continue;
        }
        let target = rules.rule(&one.rule).map(|it| &it.spec.target);
        let changes = target.map(|it| marks.apply(it, &traversal.left));
        let event = Event::Rule {
            table: table.name().to_owned(),
            chain: one.rule.chain.clone(),
            ordinal: Some(one.rule.ordinal),
            text: rule_text(rules, &one.rule),
            verdict: target.map_or(Verdict::NotTold, verdict),
        };
        happened.push((
            event,
            std::mem::take(&mut tried),
            changes.unwrap_or_default(),
        ));
    }
    *marks = Marks::of(&traversal.left);
    let policy = |chain: &String, verdict| Event::Policy {
        table: table.name().to_owned(),
        chain: chain.clone(),
        verdict,
    };
    let end = match &traversal.decided {
        Outcome::Accepted {
            by: By::Policy(chain),
        } if !traversal.tried.is_empty() => policy(chain, Verdict::Accept),
        Outcome::Dropped {
            by: By::Policy(chain),
        } => policy(chain, Verdict::Drop),
        Outcome::Unknown { rule, why } => Event::Unknown {
            why: format!("{}: {why}", rule.short()),
        },
        _ => return happened,
    };
    happened.push((end, tried, Vec::new()));
    happened
}

/// A rule that was asked and is not known to match.
pub(super) fn not_taken(rules: &RuleSet, rule: &RuleId, result: &TryResult) -> Tried {
    Tried {
        table: rule.table.name().to_owned(),
        chain: rule.chain.clone(),
        ordinal: rule.ordinal,
        text: rule_text(rules, rule),
        why: match result {
            TryResult::Failed(mismatch) => Why::Mismatch(mismatch.clone()),
            TryResult::Unknown(what) => Why::Unknown { what: what.clone() },
            TryResult::Matched => Why::Contradicted,
        },
    }
}

/// A rule as iptables spells it, without `-A CHAIN`.
pub(super) fn rule_text(rules: &RuleSet, id: &RuleId) -> Option<String> {
    let rule = rules.rule(id)?;
    let text = spec_text(&id.chain, &rule.spec);
    let bare = text.strip_prefix("-A ")?.strip_prefix(id.chain.as_str())?;
    Some(bare.trim_start().to_owned())
}

/// What a target decides, in the words of nftables.
fn verdict(target: &Target) -> Verdict {
    use crate::rules::Flow;
    match (target, target.flow()) {
        (_, Flow::Continues) => Verdict::Continue,
        (_, Flow::Calls(chain)) => Verdict::Jump(chain.to_owned()),
        (_, Flow::Leaves(chain)) => Verdict::Goto(chain.to_owned()),
        (_, Flow::Returns) => Verdict::Return,
        (Target::Drop | Target::Reject { .. }, _) => Verdict::Drop,
        (_, Flow::Decides) => Verdict::Accept,
        (_, Flow::Unknown) => Verdict::NotTold,
    }
}
