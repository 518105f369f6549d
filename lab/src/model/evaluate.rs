//! Walks one table at one hook as the kernel does.

use super::condition::ask;
use super::packet::{Hook, Packet};
use super::traversal::{By, Outcome, Traversal, Try, TryResult};
use crate::rules::{Chain, Policy, RuleId, RuleSet, Table, TableRules, Target};

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
    };
    let decided = walk.run(packet).unwrap_or_else(|| policy(start));
    Traversal {
        hook,
        tried: walk.tried,
        decided,
    }
}

fn policy(chain: &Chain) -> Outcome {
    let by = By::Policy(chain.name.clone());
    match chain.policy {
        Some(Policy::Drop) => Outcome::Dropped { by },
        Some(Policy::Accept) | None => Outcome::Accepted { by },
    }
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
}

impl<'a> Walk<'a> {
    /// The decision of a rule; `None` when the built-in chain ends or returns.
    fn run(&mut self, packet: &Packet) -> Option<Outcome> {
        while let Some(frame) = self.stack.last_mut() {
            let Some(rule) = frame.chain.rules.get(frame.next) else {
                self.stack.pop();
                continue;
            };
            frame.next += 1;
            let ordinal = u32::try_from(frame.next).unwrap_or(u32::MAX);
            let id = RuleId::new(self.rules.family, self.table, &frame.chain.name, ordinal);
            let result = ask(&rule.spec.matches, packet);
            self.tried.push(Try {
                rule: id.clone(),
                result: result.clone(),
            });
            match result {
                TryResult::Failed(_) => {}
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
            Target::None => None,
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
