//! The changes under way, in the order in which they can be made.

use std::{collections::BTreeSet, sync::mpsc::Receiver};

use super::super::{Event, lasting, live::Live, up};
use crate::{
    evidence::Up,
    failure::Failure,
    netfilter::RuleTool,
    plan::{NODE, Plan},
    reconcile::Change,
    sandbox::renew_files,
};

/// The changes under way.
pub(super) struct Work<'a> {
    pub(super) live: &'a mut Live,
    pub(super) wanted: &'a Plan,
    pub(super) tool: RuleTool,
    /// What stands.
    pub(super) up: Up,
    pub(super) queue: &'a Receiver<Event>,
}

impl Work<'_> {
    /// Moves each change from `left` to `done` as it is made. What goes is first, and what needs others last.
    pub(super) fn all(
        &mut self,
        left: &mut Vec<Change>,
        done: &mut Vec<Change>,
    ) -> Result<(), Failure> {
        self.remove_pods(left, done)?;
        self.live.tool = self.tool;
        self.live.families = up::families(self.wanted);
        self.neighbours()?;
        self.live.plan.rules = self.wanted.rules.clone();
        let adds: fn(&Change) -> bool =
            |it| matches!(it, Change::AddPod { .. } | Change::ReplacePod { .. });
        let node: fn(&Change) -> bool = |it| pod_of(it).is_none_or(|pod| pod == NODE);
        let rules: fn(&Change) -> bool = |it| matches!(it, Change::Rules { .. });
        for phase in [node, adds, rules, |_| true] {
            while let Some(at) = self.next(left, phase) {
                self.one(&left[at])?;
                done.push(left.remove(at));
            }
        }
        // What no change shows, the order of pods among it.
        self.live.plan = self.wanted.clone();
        let place = |name: &str| self.wanted.pods.iter().position(|it| it.name == name);
        self.up.pods.sort_by_key(|pod| place(&pod.name));
        Ok(())
    }

    /// The next change of a kind; pods that others are behind come before those.
    fn next(&self, left: &[Change], is_due: fn(&Change) -> bool) -> Option<usize> {
        let due = left.iter().enumerate().filter(|(_, it)| is_due(it));
        let is_behind = |it: &Change| {
            let pod = pod_of(it).and_then(|it| self.wanted.pod(it));
            pod.is_some_and(|it| it.link.behind.is_some())
        };
        due.min_by_key(|(at, it)| (is_behind(it), *at))
            .map(|it| it.0)
    }

    fn one(&mut self, change: &Change) -> Result<(), Failure> {
        match change {
            Change::AddPod { pod } | Change::ReplacePod { pod, .. } => self.add_pod(pod),
            Change::RemovePod { pod } => self.remove_pod(pod),
            Change::Rules { pod, .. } => self.rules(pod),
            Change::Start { pod, process, .. } => self.start(pod, *process),
            Change::Restart { pod, process, .. } => {
                lasting::end(self.live, pod, *process, self.queue)?;
                self.start(pod, *process)
            }
            Change::Routes { pod, process } => self.routes(pod, *process),
            Change::End { pod, process } => lasting::end(self.live, pod, *process, self.queue),
            Change::Addresses { .. } => self.addresses(),
            Change::Files { .. } => {
                renew_files(&self.live.plan.files, &self.wanted.files)?;
                self.live.plan.files = self.wanted.files.clone();
                Ok(())
            }
            Change::File { .. } => Ok(()),
        }
    }

    /// Those behind others first. What is replaced is left to be added.
    fn remove_pods(
        &mut self,
        left: &mut Vec<Change>,
        done: &mut Vec<Change>,
    ) -> Result<(), Failure> {
        let goes = |it: &Change| matches!(it, Change::RemovePod { .. } | Change::ReplacePod { .. });
        let mut going: Vec<Change> = left.iter().filter(|it| goes(it)).cloned().collect();
        let plan = &self.live.plan;
        let outer: BTreeSet<String> = plan
            .pods
            .iter()
            .filter_map(|it| Some(it.link.behind.as_ref()?.pod.clone()))
            .collect();
        going.sort_by_key(|it| pod_of(it).is_some_and(|pod| outer.contains(pod)));
        for change in going {
            if let Some(pod) = pod_of(&change) {
                self.remove_pod(pod)?;
            }
            if matches!(change, Change::RemovePod { .. }) {
                left.retain(|it| *it != change);
                done.push(change);
            }
        }
        Ok(())
    }

    /// A pod that was to be replaced and was only removed.
    pub(super) fn tell_what_is_gone(&self, left: &mut [Change], done: &mut Vec<Change>) {
        for change in left {
            if let Change::ReplacePod { pod, .. } = change
                && !self.live.pods.contains_key(pod)
            {
                let pod = pod.clone();
                done.push(Change::RemovePod { pod: pod.clone() });
                *change = Change::AddPod { pod };
            }
        }
    }
}

/// The pod that a change is in.
fn pod_of(change: &Change) -> Option<&str> {
    match change {
        Change::AddPod { pod }
        | Change::RemovePod { pod }
        | Change::ReplacePod { pod, .. }
        | Change::Rules { pod, .. }
        | Change::Start { pod, .. }
        | Change::Restart { pod, .. }
        | Change::Routes { pod, .. }
        | Change::End { pod, .. }
        | Change::Addresses { pod, .. } => Some(pod),
        Change::Files { .. } | Change::File { .. } => None,
    }
}
