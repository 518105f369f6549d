//! One base chain that a packet was traced in: the steps of the trace beside the rules that the model asks.

use super::{
    Event, Hop, Known, Namespace, Tried, Witness,
    kernel::hop_at,
    modelled::{Marks, not_taken, rule_text},
    seen::{as_seen, blank},
};
use crate::{
    model::{self, Traversal, TryResult, evaluate},
    rules::RuleId,
    traced::{ChainName, Ordinal, RulePlace, Source, Station, Step, TracedPacket, Verdict},
};

/// One base chain: the steps of the trace beside the rules that the model asks.
pub(super) struct Follow<'a> {
    namespace: &'a Namespace<'a>,
    station: &'a Station,
    marks: &'a mut Marks,
    /// What the model does with the packet as it came here; none for a table that it does not know.
    model: Option<Traversal>,
    /// The next of the model's tries; none once it has lost its way.
    next: Option<usize>,
    pending: Vec<Tried>,
}

impl<'a> Follow<'a> {
    /// `marks` go from chain to chain.
    pub fn new(
        namespace: &'a Namespace<'a>,
        (packet, known): (&TracedPacket, &Known<'_>),
        station: &'a Station,
        marks: &'a mut Marks,
    ) -> Self {
        if let Some(mark) = station.mark {
            marks.packet = mark;
        }
        let asked = as_seen(namespace, (packet, known), station, *marks);
        let builtin = station.builtin_in(namespace.rules);
        let builtin = builtin.filter(|(family, ..)| *family == namespace.rules.family);
        let table = builtin.as_ref().map(|(_, table, _)| *table);
        let model = table
            .zip(asked)
            .map(|(table, asked)| evaluate(namespace.rules, table, station.hook, &asked));
        Self {
            namespace,
            station,
            marks,
            next: model.as_ref().map(|_| 0),
            model,
            pending: Vec::new(),
        }
    }

    /// What happened in it, in order.
    pub fn hops(mut self) -> Vec<Hop> {
        let station = self.station;
        let steps = station.steps.iter();
        let mut hops: Vec<Hop> = steps.filter_map(|step| self.step(step)).collect();
        if let (Some(model), Some(last)) = (&self.model, hops.last_mut())
            && let Some(next) = self.next
            && !matches!(last.event, Event::Policy { .. })
        {
            let more = model.tried[next..]
                .iter()
                .filter(|it| it.result == TryResult::Matched);
            // The chain ended with a rule for the kernel, and goes on for the model.
            if let Some(more) = more.into_iter().next() {
                last.contradictions.push(format!(
                    "by the model {} matches after it, the trace has nothing of it",
                    more.rule.short()
                ));
            }
        }
        hops
    }

    fn step(&mut self, step: &Step) -> Option<Hop> {
        match step {
            Step::Rule {
                place,
                verdict,
                mark,
                ..
            } => Some(self.rule(place, verdict, *mark)),
            Step::End { .. } => None,
            Step::Policy { verdict, .. } => self.policy(verdict),
        }
    }

    fn rule(&mut self, place: &RulePlace, verdict: &Verdict, mark: u32) -> Hop {
        let id = self.station.rule_id(place, self.namespace.rules).ok();
        let rules = self.namespace.rules;
        let mut contradictions = Vec::new();
        let agrees = id
            .as_ref()
            .is_some_and(|id| self.catch_up(id, &mut contradictions));
        let before = *self.marks;
        let rule = id.as_ref().and_then(|id| rules.rule(id));
        if let Some(rule) = rule {
            let left = self.model.as_ref().map(|it| it.left.clone());
            let left = left.unwrap_or_else(|| blank(&self.station.header));
            self.marks.apply(&rule.spec.target, &left);
        }
        // nftables reports the mark after the rule, legacy before it.
        if self.station.source == Source::NftTrace {
            self.marks.packet = mark;
        }
        let text = id.as_ref().and_then(|id| rule_text(rules, id));
        let name = id.as_ref().map(|id| (id.table.name(), &id.chain));
        let (table, chain) = name.unwrap_or((&place.chain.table, &place.chain.chain));
        let event = Event::Rule {
            table: table.to_owned(),
            chain: chain.clone(),
            ordinal: match place.ordinal {
                Ordinal::Known(ordinal) => Some(ordinal),
                Ordinal::Unknown(_) => None,
            },
            text: text.or_else(|| (self.namespace.text)(place)),
            verdict: verdict.clone(),
        };
        let mut hop = hop_at(self.namespace, self.station, event);
        hop.tried = std::mem::take(&mut self.pending);
        hop.changes = self.marks.since(before);
        hop.contradictions = contradictions;
        hop.witnesses.insert(Witness::Trace);
        if agrees {
            hop.witnesses.insert(Witness::Model);
        }
        hop
    }

    /// Lets the model ask until it comes to the rule that the kernel says matched. True when it matches for the model,
    /// too.
    fn catch_up(&mut self, id: &RuleId, contradictions: &mut Vec<String>) -> bool {
        let (Some(model), Some(next)) = (&self.model, self.next) else {
            return false;
        };
        let Some(found) = model.tried[next..].iter().position(|it| it.rule == *id) else {
            contradictions.push(format!(
                "the model never asks {}, the trace says it matched",
                id.short()
            ));
            self.next = None;
            return false;
        };
        let rules = self.namespace.rules;
        for one in &model.tried[next..next + found] {
            if one.result == TryResult::Matched {
                contradictions.push(format!(
                    "by the model {} matches before it, the trace went on",
                    one.rule.short()
                ));
            }
            self.pending.push(not_taken(rules, &one.rule, &one.result));
        }
        self.next = Some(next + found + 1);
        match &model.tried[next + found].result {
            TryResult::Matched => true,
            TryResult::Unknown(_) => false,
            TryResult::Failed(mismatch) => {
                contradictions.push(format!(
                    "the trace says it matched, the model does not: {mismatch}"
                ));
                false
            }
        }
    }

    /// None where the chain has no rule: nothing was decided there.
    fn policy(&mut self, verdict: &Verdict) -> Option<Hop> {
        let mut contradictions = Vec::new();
        let rules = self.namespace.rules;
        let rest = self.model.as_ref().zip(self.next);
        let rest = rest.map(|(model, next)| (&model.tried[next..], &model.decided));
        let mut agrees = false;
        if let Some((tried, decided)) = rest {
            for one in tried {
                if one.result == TryResult::Matched {
                    contradictions.push(format!(
                        "by the model {} matches, the trace came to the policy",
                        one.rule.short()
                    ));
                }
                self.pending.push(not_taken(rules, &one.rule, &one.result));
            }
            agrees = matches!(
                (decided, verdict),
                (
                    model::Outcome::Accepted {
                        by: model::By::Policy(_)
                    },
                    Verdict::Accept
                ) | (
                    model::Outcome::Dropped {
                        by: model::By::Policy(_)
                    },
                    Verdict::Drop
                )
            );
        }
        let of_rules = self.station.steps.len() > 1 || !self.pending.is_empty();
        if *verdict == Verdict::Accept && !of_rules && contradictions.is_empty() {
            return None;
        }
        let builtin = self.station.builtin_in(rules);
        let name = builtin.map(|(_, table, chain)| (table.name().to_owned(), chain));
        let (table, chain) = name.unwrap_or_else(|| {
            let ChainName { table, chain, .. } = &self.station.chain;
            (table.clone(), chain.clone())
        });
        let event = Event::Policy {
            table,
            chain,
            verdict: verdict.clone(),
        };
        let mut hop = hop_at(self.namespace, self.station, event);
        hop.tried = std::mem::take(&mut self.pending);
        hop.contradictions = contradictions;
        hop.witnesses.insert(Witness::Trace);
        if agrees {
            hop.witnesses.insert(Witness::Model);
        }
        Some(hop)
    }
}
