//! Rules and processes of a pod that stays.

use std::collections::BTreeMap;

use hoplab_proxies::{
    record::Role,
    wire::{Command, Part},
};

use super::{
    super::{counters::held_here, lasting, live::no_such_pod, replace},
    work::Work,
};
use crate::{
    failure::{Class, Failure},
    net::Inside,
    plan::{NODE, PodPlan, RuleTexts},
    rules::{self, Family, Written},
};

impl Work<'_> {
    /// Whole or not at all.
    pub(super) fn rules(&mut self, name: &str) -> Result<(), Failure> {
        let plan = self.wanted.pod(name).ok_or_else(|| no_such_pod(name))?;
        let texts = self
            .wanted
            .rules_of(plan)
            .ok_or_else(|| no_such_pod(name))?;
        replace::replace(self.live, name, numbered(texts)?)?;
        let (tool, families, pod) = (self.tool, self.live.families.clone(), name.to_owned());
        let place = self
            .live
            .pods
            .get_mut(name)
            .ok_or_else(|| no_such_pod(name))?;
        let read = move |_: &mut Inside| held_here(tool, &families, &pod);
        place.applied = Some(place.namespace.job(read).wait()??.rules);
        if let Some(stands) = self.planned(name) {
            stands.rules = Some(texts.clone());
        }
        Ok(())
    }

    /// The pod in the plan that stands.
    fn planned(&mut self, name: &str) -> Option<&mut PodPlan> {
        self.live.plan.pods.iter_mut().find(|it| it.name == name)
    }

    /// As the plan that is wanted has it.
    pub(super) fn start(&mut self, pod: &str, role: Role) -> Result<(), Failure> {
        self.take_over(pod, role)?;
        lasting::start(self.live, pod, role, self.queue)
    }

    /// What it is told goes before whatever is asked of it next.
    pub(super) fn routes(&mut self, pod: &str, role: Role) -> Result<(), Failure> {
        self.take_over(pod, role)?;
        let plan = self.live.plan_of(pod, role);
        let Some(Part::Proxy(proxy)) = plan.map(|it| &it.config.part) else {
            return Err(no_such_pod(pod));
        };
        let order = Command::Routes {
            services: proxy.services.clone(),
        };
        let stub = self.live.stub_of(pod, role);
        let input = stub.and_then(|it| self.live.stubs[it].input.as_mut());
        let told = input.map(|it| it.send(&order));
        match told {
            Some(Ok(())) => Ok(()),
            _ => Err(Failure::new(
                Class::State,
                format!("{role} of pod `{pod}` does not listen to the lab any more"),
            )),
        }
    }

    /// The process in the plan that stands is the one that is wanted.
    fn take_over(&mut self, pod: &str, role: Role) -> Result<(), Failure> {
        let wanted = match pod {
            NODE => Some(&self.wanted.node.processes),
            pod => self.wanted.pod(pod).map(|it| &it.processes),
        };
        let wanted = wanted.ok_or_else(|| no_such_pod(pod))?.clone();
        let stands = match pod {
            NODE => &mut self.live.plan.node.processes,
            pod => match self.live.plan.pods.iter_mut().find(|it| it.name == pod) {
                Some(found) => &mut found.processes,
                None => return Err(no_such_pod(pod)),
            },
        };
        stands.retain(|it| it.role() != role);
        stands.extend(wanted.into_iter().filter(|it| it.role() == role));
        Ok(())
    }
}

/// Rules as they are given to iptables-restore, users and groups as numbers; rules of nft as they are.
fn numbered(texts: &RuleTexts) -> Result<Written, Failure> {
    if texts.written.is_nft() {
        return Ok(texts.written.clone());
    }
    let mut numbers = BTreeMap::new();
    for family in [Family::V4, Family::V6] {
        let set = texts.written.rules(family, "the rules");
        if let Some(set) = set.map_err(|it| Failure::new(Class::Input, it.to_string()))? {
            let set = texts.names.resolve(&set.without_counters());
            numbers.insert(family, rules::to_restore(&set));
        }
    }
    Ok(Written::Iptables(numbers))
}
