//! A lab as one of its variants: its own expectations, with something changed in the pods.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{Expect, LabFile, texts::without_leftovers};
use crate::{
    diagnostic::did_you_mean,
    failure::{Class, Failure},
    rules::{Edit, Family, Written},
    topology::{Proxy, Topology},
};

/// User and group.
type Ids = (u32, u32);

/// Users and groups of apps and proxies, by pod: what a variant changes of a topology.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Owners(BTreeMap<String, (Option<Ids>, Option<Ids>)>);

impl Owners {
    /// Those of a lab.
    pub fn of(topology: &Topology) -> Self {
        let pods = topology.pods.iter().map(|pod| {
            let app = pod.app.as_ref().map(|app| (app.uid, app.gid));
            let proxy = pod.proxy.as_ref().map(Proxy::owner);
            (pod.name.clone(), (app, proxy))
        });
        Self(pods.collect())
    }

    /// Makes them those of a lab.
    pub fn take_over(&self, topology: &mut Topology) {
        for pod in &mut topology.pods {
            let (of_app, of_proxy) = self.0.get(&pod.name).copied().unwrap_or_default();
            if let (Some(app), Some((uid, gid))) = (&mut pod.app, of_app) {
                (app.uid, app.gid) = (uid, gid);
            }
            if let (Some(Proxy::Sidecar { uid, gid }), Some(ids)) = (&mut pod.proxy, of_proxy) {
                (*uid, *gid) = ids;
            }
        }
    }
}

impl LabFile {
    /// This lab as a variant of it. What flows are judged by stays.
    ///
    /// # Errors
    /// There is no such variant, or its rules can't be had.
    pub fn variant(mut self, name: &str) -> Result<Self, Failure> {
        let Some(variant) = self.topology.variant(name).cloned() else {
            let known: Vec<&str> = self.topology.variants.iter().map(|it| &*it.name).collect();
            let what = format!("lab `{}` has no variant `{name}`", self.topology.name);
            let near = did_you_mean(name, known.iter().copied());
            let all = || match known.is_empty() {
                true => "it has none at all".to_owned(),
                false => format!("its variants: {}", known.join(", ")),
            };
            return Err(Failure::new(Class::Input, what).hint(near.unwrap_or_else(all)));
        };
        if let Some(pod) = &variant.pod {
            self.changed_in_pod(pod, variant.rules.as_ref(), &variant.edit)?;
        }
        let of_lab = variant.pod.is_none();
        let rules = variant.rules.as_ref().filter(|_| of_lab);
        let edit: &[Edit] = if of_lab { &variant.edit } else { &[] };
        let other = match rules {
            Some(source) => {
                let mut bare = self.clone();
                bare.texts = Written::default();
                bare.ruled(source)?
            }
            None => self.clone(),
        };
        let other = other.edited(edit)?;
        if rules.is_some() || !edit.is_empty() {
            let mut texts = other.texts;
            let origin = |family| format!("no {family} rules in variant {name}");
            without_leftovers(&self.texts, &mut texts, origin);
            // Other rules that are to do the same have other places.
            if rules.is_some() && variant.holds {
                (self.texts, self.given) = (texts, Written::default());
                self.expect = Expect::Outcome;
            } else {
                self.given = texts;
            }
            self.host = other.host;
            self.interception = other.interception;
            self.routes = other.routes;
            self.variables = None;
            self.own_rules = false;
        }
        let all = self
            .interception
            .owner
            .filter(|_| !variant.proxies.is_empty());
        let pods = self.topology.pods.iter().map(|pod| {
            let app = variant.apps.get(&pod.name).copied();
            let proxy = variant.proxies.get(&pod.name).copied().or(all);
            (pod.name.clone(), (app, proxy))
        });
        Owners(pods.collect()).take_over(&mut self.topology);
        if !variant.proxies.is_empty() {
            // Each pod says who its proxy is.
            self.interception.owner = None;
        }
        self.rules_from = format!("variant {name} of {}", self.rules_from);
        self.variant = Some(name.to_owned());
        Ok(self)
    }

    /// Families that this lab's flows make sense over: those its file names, else those it has rules for.
    pub fn families(&self) -> Vec<Family> {
        let named = &self.topology.families;
        let has = |family: &Family| {
            let own = || self.own.values().all(|it| it.texts.of(*family).is_some());
            (named.is_empty() || named.contains(family)) && self.reference(*family).is_ok() && own()
        };
        [Family::V4, Family::V6].into_iter().filter(has).collect()
    }
}
