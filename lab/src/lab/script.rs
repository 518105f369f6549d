//! Plays a lab file: its flows, with its steps among them.

use std::collections::BTreeMap;

use super::{Lab, unexpected};
use crate::{
    evidence::Taken,
    failure::{Class, Failure},
    lab_file::LabFile,
    plan::{self, LinkPlan},
    rules::{Edit, Family, RuleSet, TableRules, to_restore},
    sandbox::protocol::{Message, Request, StepOrder, StepWhat},
    topology::{Action, Entry, Step},
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
        let what = self.step_what(at, &step)?;
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
            interfaces: stepped.interfaces,
            totals,
            pods: stepped.up.pods,
        });
        Ok(&self.steps[at])
    }

    /// A step with the texts it needs.
    fn step_what(&self, at: usize, step: &Step) -> Result<StepWhat, Failure> {
        Ok(match step.action.clone() {
            Action::Edit(_) | Action::Apply { .. } if self.file.is_native_nft() => {
                let after = self.file.after(at + 1)?;
                StepWhat::Replace {
                    pods: self.file.pods_of_step(step),
                    rules: after.written_in(step.pod.as_deref()),
                }
            }
            Action::Edit(edits) => StepWhat::Restore {
                texts: self.texts(|family| Ok(Edit::restore_text(&edits, family)))?,
                flush: false,
                pods: self.file.pods_of_step(step),
            },
            Action::Apply { .. } => {
                let (before, after) = (self.file.after(at)?, self.file.after(at + 1)?);
                let meant = |file: &LabFile, family| match &step.pod {
                    Some(pod) => file.meant_in(pod, family),
                    None => file.meant_in_pods(family),
                };
                let text = |family| {
                    let (old, new) = (meant(&before, family)?, meant(&after, family)?);
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
                    pods: self.file.pods_of_step(step),
                }
            }
            Action::Init { .. } => {
                let now = self.file.after(at)?;
                let texts = match &step.pod {
                    Some(pod) => now.own_texts(self.options.families)?.remove(pod),
                    None => Some(now.texts_to_apply(self.options.families)?),
                };
                let texts = texts.unwrap_or_default();
                StepWhat::Restore {
                    texts: self.texts(|family| Ok(texts.written.of(family).cloned()))?,
                    flush: false,
                    pods: self.file.pods_of_step(step),
                }
            }
            Action::Stop(process) => StepWhat::Stop(process),
            Action::Start(process) => StepWhat::Start(process),
            Action::Restart(process) => StepWhat::Restart(process),
            Action::Flush { pod } => StepWhat::Flush { pod },
            Action::Plug { pod } => StepWhat::Plug {
                link: Box::new(self.link_of(&pod)?),
                pod,
            },
            Action::Unplug { pod } => StepWhat::Unplug {
                interface: self.link_of(&pod)?.interface,
                pod,
            },
            Action::Release { held } => StepWhat::Release { held },
            Action::Invalid { held } => StepWhat::Invalid { held },
        })
    }

    fn link_of(&self, pod: &str) -> Result<LinkPlan, Failure> {
        let topology = &self.file.topology;
        let no_such = || Failure::new(Class::Input, format!("the lab has no pod `{pod}`"));
        let pod = topology.pod(pod).ok_or_else(no_such)?;
        Ok(plan::link(topology, pod))
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
