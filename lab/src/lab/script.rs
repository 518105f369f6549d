//! Plays a lab file: its flows, with its steps among them.

use std::collections::BTreeMap;

use super::{Lab, unexpected};
use crate::{
    evidence::Taken,
    failure::{Class, Failure},
    rules::{Edit, Family, RuleSet, TableRules, to_restore},
    sandbox::protocol::{Message, Request, StepOrder, StepWhat},
    topology::{Action, Entry},
};

impl Lab {
    /// Plays the lab file: its flows, over each family, with its steps among them, in the order of the file.
    ///
    /// # Errors
    /// As [`Self::drive_over`] and [`Self::step`].
    pub fn play(&mut self) -> Result<(), Failure> {
        self.play_while(|_| Ok(true))
    }

    /// The same, and `on` is asked after each flow whether to go on.
    ///
    /// # Errors
    /// As [`Self::play`], and those of `on`.
    pub fn play_while(
        &mut self,
        mut on: impl FnMut(&mut Self) -> Result<bool, Failure>,
    ) -> Result<(), Failure> {
        self.file.goes_over(self.options.families)?;
        for family in self.options.families.iter() {
            for entry in self.file.topology.script.clone() {
                match entry {
                    Entry::Flow(at) => {
                        let flow = self.file.topology.flows[at].clone();
                        self.drive_flow(&flow, family)?;
                        if !on(self)? {
                            return Ok(());
                        }
                    }
                    Entry::Step(at) => {
                        self.step(at)?;
                    }
                }
            }
        }
        Ok(())
    }

    /// Takes a step of the lab file, by its place there. Steps are taken in their order.
    ///
    /// # Errors
    /// It is not the next one, its rules can't be had, or something of the lab broke.
    pub fn step(&mut self, at: usize) -> Result<&Taken, Failure> {
        if at != self.steps.len() {
            return Err(Failure::new(
                Class::Input,
                "steps are taken in the order of the file",
            ));
        }
        let step = self.file.topology.steps[at].clone();
        let what = self.step_what(at, &step.action)?;
        let totals = self.totals()?;
        let order = StepOrder {
            step: step.name.clone(),
            what,
        };
        self.supervisor.send(&Request::Step(Box::new(order)))?;
        let stepped = match self.supervisor.receive()? {
            Message::Stepped(stepped) => *stepped,
            other => return Err(unexpected(other)),
        };
        self.steps.push(Taken {
            step: step.name,
            after_flows: self.windows.len(),
            said: stepped.said,
            totals,
            pods: stepped.up.pods,
        });
        Ok(&self.steps[at])
    }

    /// A step with the texts it needs.
    fn step_what(&self, at: usize, action: &Action) -> Result<StepWhat, Failure> {
        Ok(match action.clone() {
            Action::Edit(edits) => StepWhat::Restore {
                texts: self.texts(|family| Ok(Edit::restore_text(&edits, family)))?,
                flush: false,
                but: self.pods_with_own_rules(),
            },
            Action::Apply { .. } => {
                let (before, after) = (self.file.after(at)?, self.file.after(at + 1)?);
                let text = |family| {
                    let (old, new) = (before.meant_in_pods(family)?, after.meant_in_pods(family)?);
                    let tables = old.iter().flat_map(|it| it.tables.keys());
                    let mut whole = new.unwrap_or_else(|| RuleSet::empty(family));
                    for table in tables {
                        let empty = || TableRules::empty(*table);
                        whole.tables.entry(*table).or_insert_with(empty);
                    }
                    Ok(Some(to_restore(&whole)))
                };
                StepWhat::Restore {
                    texts: self.texts(text)?,
                    flush: true,
                    but: self.pods_with_own_rules(),
                }
            }
            Action::Init { .. } => {
                let now = self.file.after(at)?;
                let texts = now.texts_to_apply(self.options.families)?;
                StepWhat::Restore {
                    texts: self.texts(|family| Ok(texts.written.of(family).cloned()))?,
                    flush: false,
                    but: self.pods_with_own_rules(),
                }
            }
            Action::Stop(process) => StepWhat::Stop(process),
            Action::Start(process) => StepWhat::Start(process),
            Action::Restart(process) => StepWhat::Restart(process),
            Action::Flush { pod } => StepWhat::Flush { pod },
            Action::Release { held } => StepWhat::Release { held },
            Action::Invalid { held } => StepWhat::Invalid { held },
        })
    }

    /// Steps are about the lab's rules.
    fn pods_with_own_rules(&self) -> Vec<String> {
        self.file.own().keys().cloned().collect()
    }

    /// A text for each family that the pods have rules of.
    fn texts(
        &self,
        text: impl Fn(Family) -> Result<Option<String>, Failure>,
    ) -> Result<BTreeMap<Family, String>, Failure> {
        let v6 = self.options.families.has(Family::V6);
        let families = [Family::V4, Family::V6].into_iter();
        let mut texts = BTreeMap::new();
        for family in families.filter(|it| *it == Family::V4 || v6) {
            if let Some(text) = text(family)? {
                texts.insert(family, text);
            }
        }
        Ok(texts)
    }
}
