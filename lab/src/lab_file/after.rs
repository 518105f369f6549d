//! A lab as it stands after some of its steps.

use super::{LabFile, complaint, texts::without_leftovers};
use crate::{
    diagnostic::Diagnostic,
    failure::{Class, Failure},
    interception::Interception,
    rules::{Family, RuleSet, Written},
    topology::{Action, Entry, Process, Step},
};

impl LabFile {
    /// This lab after the first steps of its file: with the rules and processes of then.
    ///
    /// # Errors
    /// A step that can't be taken, with its place in the lab file.
    pub fn after(&self, steps: usize) -> Result<Self, Failure> {
        let taken = self.topology.steps.iter().take(steps);
        taken.cloned().try_fold(self.clone(), Self::stepped)
    }

    fn stepped(mut self, step: Step) -> Result<Self, Failure> {
        if self.is_native_nft() && step.action.changes_rules() {
            return Err(self.about_step(&step, "rules of nft's own are not changed in a step"));
        }
        match &step.action {
            Action::Edit(edits) => {
                self.texts = self.after_edits(&self.texts, edits)?;
                if !self.given.is_empty() {
                    self.given = self.after_edits(&self.given, edits)?;
                }
            }
            Action::Apply { rules, edit } => {
                let mut bare = self.clone();
                (bare.texts, bare.given) = (Written::default(), Written::default());
                let other = bare.ruled(rules)?.edited(edit)?;
                if other.is_native_nft() || !same_proxy(&self.interception, &other.interception) {
                    let why = "these rules need another proxy than the one that runs";
                    return Err(self.about_step(&step, why));
                }
                let former = std::mem::replace(&mut self.texts, other.texts);
                let origin = |family| format!("no {family} rules in step {}", step.name);
                without_leftovers(&former, &mut self.texts, origin);
                self.given = Written::default();
            }
            Action::Stop(process) => self.stop(process, true),
            Action::Start(process) => self.stop(process, false),
            Action::Plug { pod } => self.plug(pod, true),
            Action::Unplug { pod } => self.plug(pod, false),
            Action::Init { .. }
            | Action::Restart(_)
            | Action::Flush { .. }
            | Action::Release { .. }
            | Action::Invalid { .. } => {}
        }
        Ok(self)
    }

    fn stop(&mut self, process: &Process, stops: bool) {
        let mut pods = self.topology.pods.iter_mut();
        if let Some(pod) = pods.find(|it| it.name == process.pod) {
            pod.stopped.retain(|it| *it != process.role);
            if stops {
                pod.stopped.push(process.role);
            }
        }
    }

    fn plug(&mut self, name: &str, plugged: bool) {
        let mut pods = self.topology.pods.iter_mut();
        if let Some(pod) = pods.find(|it| it.name == name) {
            pod.plugged = plugged;
        }
    }

    /// How many steps stand before each flow of the file, in the order of the flows.
    pub(super) fn steps_before_flows(&self) -> Vec<usize> {
        let mut steps = 0;
        let mut before = Vec::new();
        for entry in &self.topology.script {
            match entry {
                Entry::Flow(_) => before.push(steps),
                Entry::Step(_) => steps += 1,
            }
        }
        before
    }

    /// The rules that are meant to be in the pods: those given in place of the lab's own, where there are some.
    ///
    /// # Errors
    /// They do not parse.
    pub fn meant_in_pods(&self, family: Family) -> Result<Option<RuleSet>, Failure> {
        let set = super::parse_rules(self.applied(), family)?;
        Ok(set.map(|set| self.names().resolve(&set)))
    }

    /// A complaint about a step.
    fn about_step(&self, step: &Step, message: &str) -> Failure {
        let words = format!("\"{}\"", step.name);
        let steps = self.text.find("[[step]]").unwrap_or(0);
        let at = self.text[steps..].find(&words).map_or(0, |at| steps + at);
        complaint(Diagnostic::at(
            &self.origin,
            &self.text,
            at..at + words.len(),
            message,
        ))
    }

    /// Refuses families that a lab with steps can't go over at once.
    ///
    /// # Errors
    /// It has steps, and flows are to go over both families.
    pub fn goes_over(&self, families: super::Families) -> Result<(), Failure> {
        if self.topology.steps.is_empty() || families != super::Families::Dual {
            return Ok(());
        }
        let what = format!(
            "lab `{}` has steps, and goes over one family at a time",
            self.topology.name
        );
        Err(Failure::new(Class::Input, what)
            .cause("the second time it would begin where the first time ended")
            .hint("choose one with --family"))
    }
}

/// Whether two rule sets are for one and the same proxy.
fn same_proxy(one: &Interception, other: &Interception) -> bool {
    let without_owner = |it: &Interception| Interception {
        owner: None,
        ..it.clone()
    };
    without_owner(one) == without_owner(other)
}
