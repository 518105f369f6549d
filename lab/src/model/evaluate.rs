//! Walks one table at one hook as the kernel does.

use super::condition::ask;
use super::packet::Packet;
use super::traversal::{By, Outcome, Traversal, Try, TryResult};
use crate::rules::Hook;
use crate::rules::{
    Chain, CtState, Policy, RuleId, RuleSet, Table, TableRules, Target, ZoneDirection, ZoneId,
};

/// Rules asked before the model gives up. Chains may call others many times over, so a small rule set can ask for
/// very many rules; no rule set meant for a pod does.
const PATIENCE: usize = 100_000;

/// What a table does to a packet at a hook. For [`Table::Nat`], call it for the first packet of a connection only.
///
/// Every call is one consult: of a redirected connection the packet's next hook is another call, with the packet
/// changed as [`super::redirect_landing`] says.
pub fn evaluate(rules: &RuleSet, table: Table, hook: Hook, packet: &Packet) -> Traversal {
    let nobody = Traversal {
        hook,
        tried: Vec::new(),
        decided: Outcome::Accepted { by: By::Nobody },
        left: packet.clone(),
    };
    if packet.family() != rules.family {
        return nobody;
    }
    let Some(chains) = rules.tables.get(&table) else {
        return nobody;
    };
    let Some(start) = chains.chain(hook.chain()) else {
        return nobody;
    };
    let mut walk = Walk {
        rules,
        table,
        chains,
        stack: vec![Frame {
            chain: start,
            next: 0,
        }],
        tried: Vec::new(),
        packet: packet.clone(),
    };
    let decided = walk.run().unwrap_or_else(|| policy(start));
    Traversal {
        hook,
        tried: walk.tried,
        decided,
        left: walk.packet,
    }
}

fn policy(chain: &Chain) -> Outcome {
    let by = By::Policy(chain.name.clone());
    match chain.policy {
        Some(Policy::Drop) => Outcome::Dropped { by },
        Some(Policy::Accept) | None => Outcome::Accepted { by },
    }
}

/// Whether a rule with this target changes neither the packet nor its way.
fn is_idle(target: &Target) -> bool {
    matches!(
        target,
        Target::None | Target::Log(_) | Target::Nflog(_) | Target::Trace
    )
}

/// A chain being asked, and the index of its next rule.
struct Frame<'a> {
    chain: &'a Chain,
    next: usize,
}

struct Walk<'a> {
    rules: &'a RuleSet,
    table: Table,
    chains: &'a TableRules,
    stack: Vec<Frame<'a>>,
    tried: Vec<Try>,
    /// As the rules so far left it.
    packet: Packet,
}

impl<'a> Walk<'a> {
    /// The decision of a rule; `None` when the built-in chain ends or returns.
    fn run(&mut self) -> Option<Outcome> {
        while let Some(frame) = self.stack.last_mut() {
            let Some(rule) = frame.chain.rules.get(frame.next) else {
                self.stack.pop();
                continue;
            };
            frame.next += 1;
            let ordinal = u32::try_from(frame.next).unwrap_or(u32::MAX);
            let id = RuleId::new(self.rules.family, self.table, &frame.chain.name, ordinal);
            let result = ask(&rule.spec.matches, &self.packet);
            self.tried.push(Try {
                rule: id.clone(),
                result: result.clone(),
            });
            match result {
                TryResult::Failed(_) => {}
                // Whether a rule that does nothing matches changes nothing.
                TryResult::Unknown(_) if is_idle(&rule.spec.target) => {}
                TryResult::Unknown(why) => return Some(Outcome::Unknown { rule: id, why }),
                TryResult::Matched => {
                    if let Some(outcome) = self.follow(&rule.spec.target, id) {
                        return Some(outcome);
                    }
                }
            }
        }
        None
    }

    /// Does what the target of a rule that matched says; gives the outcome when that is the end.
    fn follow(&mut self, target: &'a Target, id: RuleId) -> Option<Outcome> {
        match target {
            Target::None | Target::Log(_) | Target::Nflog(_) | Target::Trace => None,
            Target::Mark(change) => {
                self.packet.mark = change.apply(self.packet.mark);
                None
            }
            // Without an entry it does nothing (`connmark_tg_shift` in net/netfilter/xt_connmark.c).
            Target::Connmark(_) if !self.packet.has_entry() => None,
            Target::Connmark(action) => {
                let marks = action.apply(self.packet.mark, self.packet.connmark);
                (self.packet.mark, self.packet.connmark) = marks;
                None
            }
            Target::Zone { zone, direction } => {
                self.assign(*zone, *direction);
                None
            }
            Target::Notrack => {
                if self.packet.zone.is_none() {
                    self.packet.state = CtState::Untracked;
                }
                None
            }
            Target::Reject { with } => Some(Outcome::Rejected {
                with: with.clone(),
                by: id,
            }),
            Target::Dnat(to) => Some(Outcome::DestinationNat { to: *to, by: id }),
            Target::Snat(to) => Some(Outcome::SourceNat { to: *to, by: id }),
            Target::Masquerade(range) => Some(Outcome::Masqueraded {
                ports: range.ports,
                by: id,
            }),
            Target::Tproxy {
                port,
                address,
                mark,
            } => {
                self.packet.mark = mark.apply(self.packet.mark);
                Some(Outcome::Intercepted {
                    address: *address,
                    port: *port,
                    by: id,
                })
            }
            Target::Return => {
                self.stack.pop();
                None
            }
            Target::Accept => Some(Outcome::Accepted { by: By::Rule(id) }),
            Target::Drop => Some(Outcome::Dropped { by: By::Rule(id) }),
            Target::Redirect { ports } => Some(Outcome::Redirected {
                ports: *ports,
                by: id,
            }),
            Target::Verbatim(words) => Some(Outcome::Unknown {
                rule: id,
                why: format!("target `{}` is not modelled", words.join(" ")),
            }),
            Target::Jump(name) => self.enter(name, id),
            Target::Goto(name) => {
                // A goto leaves nothing to come back to: RETURN goes to the caller of this chain.
                self.stack.pop();
                self.enter(name, id)
            }
        }
    }

    /// Puts the packet into a zone, unless an earlier rule settled that (`xt_ct_target` in net/netfilter/xt_CT.c).
    /// The packet is taken for one of the connection's original direction; the zone of a mark is its low 16 bits.
    fn assign(&mut self, zone: ZoneId, direction: Option<ZoneDirection>) {
        let Packet {
            zone: known,
            state,
            mark,
            ..
        } = &mut self.packet;
        if known.is_some() || *state == CtState::Untracked {
            return;
        }
        let [_, _, high, low] = mark.to_be_bytes();
        *known = Some(match (zone, direction) {
            (_, Some(ZoneDirection::Reply)) => 0,
            (ZoneId::Number(number), _) => number,
            (ZoneId::FromMark, _) => u16::from_be_bytes([high, low]),
        });
    }

    fn enter(&mut self, name: &str, id: RuleId) -> Option<Outcome> {
        let unknown = |why: String| Some(Outcome::Unknown { rule: id, why });
        let Some(chain) = self.chains.chain(name) else {
            return unknown(format!("chain `{name}` does not exist"));
        };
        if self.stack.iter().any(|frame| frame.chain.name == name) {
            return unknown(format!(
                "chain `{name}` calls itself; the kernel refuses such rules"
            ));
        }
        if self.tried.len() >= PATIENCE {
            return unknown(format!("gave up after {PATIENCE} rules"));
        }
        self.stack.push(Frame { chain, next: 0 });
        None
    }
}
