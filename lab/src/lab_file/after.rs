//! A lab as it stands after some of its steps.

use super::{LabFile, RuleText, complaint, texts::without_leftovers};
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
        match &step.action {
            Action::Init { .. } if self.is_native_nft() => {
                let why = "init is not run again with rules of nft's own";
                return Err(self.about_step(&step, why));
            }
            Action::Edit(edits) => {
                let (texts, given) = self.rules_of(&step);
                let texts = self.after_edits(texts, edits)?;
                let given = match given.is_empty() {
                    true => Written::default(),
                    false => self.after_edits(given, edits)?,
                };
                self.set_rules_of(&step, texts, given);
            }
            Action::Apply { rules, edit } => {
                let (mut texts, interception) = self.other_rules(rules, edit)?;
                let own = step.pod.as_ref().and_then(|pod| self.own.get(pod));
                let now = own.map_or(&self.interception, |it| &it.interception);
                if !same_proxy(now, &interception) {
                    let why = "these rules need another proxy than the one that runs";
                    return Err(self.about_step(&step, why));
                }
                if texts.is_nft() != self.is_native_nft() {
                    let why = "these rules are for another program than those that are there";
                    return Err(self.about_step(&step, why));
                }
                let origin = |family| format!("no {family} rules in step {}", step.name);
                without_leftovers(self.rules_of(&step).0, &mut texts, origin);
                self.set_rules_of(&step, texts, Written::default());
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

    /// The rules that a step changes: those that expectations name, and those given in place of them.
    fn rules_of(&self, step: &Step) -> (&Written<RuleText>, &Written<RuleText>) {
        let own = step.pod.as_ref().and_then(|pod| self.own.get(pod));
        own.map_or((&self.texts, &self.given), |it| (&it.texts, &it.given))
    }

    fn set_rules_of(&mut self, step: &Step, texts: Written<RuleText>, given: Written<RuleText>) {
        let own = step.pod.as_ref().and_then(|pod| self.own.get_mut(pod));
        match own {
            Some(own) => (own.texts, own.given) = (texts, given),
            None => (self.texts, self.given) = (texts, given),
        }
    }

    /// The pods whose rules a step changes.
    pub(crate) fn pods_of_step(&self, step: &Step) -> Vec<String> {
        let lab = || {
            let sidecars = self.topology.sidecars();
            sidecars.filter(|it| !self.own.contains_key(*it))
        };
        match &step.pod {
            Some(pod) => vec![pod.clone()],
            None => lab().map(str::to_owned).collect(),
        }
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
        self.about_entry("[[step]]", &step.name, message)
    }

    /// A complaint about an entry of the file, by its name.
    pub(super) fn about_entry(&self, header: &str, name: &str, message: &str) -> Failure {
        let words = format!("\"{name}\"");
        let entries = self.text.find(header).unwrap_or(0);
        let at = self.text[entries..]
            .find(&words)
            .map_or(0, |at| entries + at);
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
