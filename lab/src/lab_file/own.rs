//! Pods with rules of their own, so that two meshes, or two releases of one, meet in a lab.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{Families, LabFile, RuleText, parse_rules};
use crate::{
    failure::{Class, Failure},
    interception::Interception,
    istio::routes::{self, Step},
    kube_proxy,
    plan::{PodRules, RuleTexts},
    rules::{Edit, Family, RuleSet, Written},
    topology::{NODE, RuleSource},
};

/// The rules of a pod that has its own, and what goes with them.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct OwnRules {
    /// The texts that expectations name.
    pub(super) texts: Written<RuleText>,
    /// Applied in place of those; none where it is empty.
    pub(super) given: Written<RuleText>,
    /// How its sidecar intercepts.
    pub interception: Interception,
    /// What a mesh sets beside the rules; none: what goes with rules as such.
    routes: Option<Vec<Step>>,
}

impl OwnRules {
    fn applied(&self) -> &Written<RuleText> {
        match self.given.is_empty() {
            true => &self.texts,
            false => &self.given,
        }
    }
}

impl LabFile {
    /// The same lab with the rules that its pods have of their own.
    ///
    /// # Errors
    /// They can't be had, or are for another program than the lab's.
    pub(super) fn with_rules_of_pods(mut self) -> Result<Self, Failure> {
        for pod in self.topology.pods.clone() {
            if let Some((source, edit)) = &pod.rules {
                let own = self.rules_of_its_own(source, edit)?;
                if own.texts.is_nft() != self.texts.is_nft() {
                    let what = format!(
                        "pod `{}` has rules for another program than the lab",
                        pod.name
                    );
                    return Err(self
                        .about_entry("[[pod]]", &pod.name, &what)
                        .cause("one kernel interface has a lab: that of iptables, or nft's own")
                        .hint("give all pods rules of the same kind"));
                }
                self.own.insert(pod.name, own);
            }
        }
        if self.topology.kube_proxy {
            let texts = kube_proxy::texts(&self.topology).into_iter();
            let own = texts.map(|(family, text)| {
                let origin = format!("kube-proxy ({family})");
                (family, RuleText { origin, text })
            });
            let node = OwnRules {
                texts: Written::Iptables(own.collect()),
                given: Written::default(),
                interception: self.interception.clone(),
                routes: Some(Vec::new()),
            };
            self.own.insert(NODE.to_owned(), node);
        }
        Ok(self)
    }

    /// Rules as another source has them, and how a sidecar intercepts by them.
    pub(super) fn other_rules(
        &self,
        source: &RuleSource,
        edit: &[Edit],
    ) -> Result<(Written<RuleText>, Interception), Failure> {
        let other = self.rules_of_its_own(source, edit)?;
        Ok((other.texts, other.interception))
    }

    fn rules_of_its_own(&self, source: &RuleSource, edit: &[Edit]) -> Result<OwnRules, Failure> {
        let mut bare = self.clone();
        (bare.texts, bare.given) = (Written::default(), Written::default());
        bare.routes = None;
        let other = bare.ruled(source)?.edited(edit)?;
        Ok(OwnRules {
            texts: other.texts,
            given: Written::default(),
            interception: other.interception,
            routes: other.routes,
        })
    }

    /// The rules of a pod with others in place of its own, or with its own changed: what expectations name stays.
    ///
    /// # Errors
    /// They can't be had, or a change can't be made.
    pub(super) fn changed_in_pod(
        &mut self,
        pod: &str,
        source: Option<&RuleSource>,
        edit: &[Edit],
    ) -> Result<(), Failure> {
        let Some(known) = self.own.get(pod).cloned() else {
            return Ok(());
        };
        let changed = match source {
            Some(source) => {
                let other = self.rules_of_its_own(source, edit)?;
                OwnRules {
                    texts: known.texts,
                    given: other.texts,
                    ..other
                }
            }
            None => OwnRules {
                given: self.after_edits(&known.texts, edit)?,
                ..known
            },
        };
        self.own.insert(pod.to_owned(), changed);
        Ok(())
    }

    /// The texts that expectations name in a pod.
    pub(super) fn texts_of(&self, pod: &str) -> &Written<RuleText> {
        self.own.get(pod).map_or(&self.texts, |it| &it.texts)
    }

    /// Pods with rules of their own.
    pub fn own(&self) -> &BTreeMap<String, OwnRules> {
        &self.own
    }

    /// The rules of a pod that has its own, parsed: what expectations name there; of a family that it has none for, none.
    ///
    /// # Errors
    /// The text does not parse.
    pub fn reference_of(&self, pod: &OwnRules, family: Family) -> Result<RuleSet, Failure> {
        let set = parse_rules(&pod.texts, family)?;
        Ok(set.map_or_else(|| RuleSet::empty(family), |set| self.names().resolve(&set)))
    }

    /// The rules that are meant to be in a pod.
    ///
    /// # Errors
    /// They do not parse.
    pub fn meant_in(&self, pod: &str, family: Family) -> Result<Option<RuleSet>, Failure> {
        let Some(own) = self.own.get(pod) else {
            return self.meant_in_pods(family);
        };
        let set = parse_rules(own.applied(), family)?;
        Ok(set.map(|set| self.names().resolve(&set)))
    }

    /// The texts of the rules that are meant to be in a pod with rules of its own; without one, in the others.
    pub fn written_in(&self, pod: Option<&str>) -> Written {
        let own = pod.and_then(|it| self.own.get(it));
        let texts = own.map_or_else(|| self.applied(), OwnRules::applied);
        texts.map(|it| it.text.clone())
    }

    /// What the plan needs of the pods that have rules of their own.
    ///
    /// # Errors
    /// As [`Self::own_texts`].
    pub fn pod_rules(&self, families: Families) -> Result<PodRules, Failure> {
        let mut texts = self.own_texts(families)?;
        let all = self.own.iter().filter_map(|(pod, own)| {
            let texts = texts.remove(pod)?;
            Some((pod.clone(), (own.interception.clone(), texts)))
        });
        Ok(PodRules(all.collect()))
    }

    /// Texts to apply in the pods that have rules of their own.
    ///
    /// # Errors
    /// One of them has none for a family that flows run over.
    pub fn own_texts(&self, families: Families) -> Result<BTreeMap<String, RuleTexts>, Failure> {
        let v6 = families.has(Family::V6);
        let is_nft = self.applied().is_nft();
        if self.own.contains_key(NODE) && (is_nft || !self.host.is_empty()) {
            let what = "the node of this lab has the rules of kube-proxy (kube_proxy = true)";
            let cause = match is_nft {
                true => "these are rules of iptables, and the pods have rules of nft's own",
                false => "in ambient mode the node has rules of its own",
            };
            return Err(Failure::new(Class::Input, what)
                .cause(cause)
                .hint("take rules of iptables with sidecars"));
        }
        let mut all = BTreeMap::new();
        for (pod, own) in &self.own {
            if let Some(family) = families.iter().find(|it| own.texts.of(*it).is_none()) {
                let what = format!("the rules of pod `{pod}` are not for {family}");
                return Err(Failure::new(Class::Input, what)
                    .hint("flows run over the families of --family or --dual-stack"));
            }
            let tproxy = own.interception.tproxy;
            let usual = || match own.interception.ztunnel {
                Some(ztunnel) => routes::ambient_with(v6, ztunnel.routed),
                None => routes::sidecar_with(v6, tproxy.map(|it| (it.mark, it.route_table))),
            };
            let mut written = own.applied().map(|it| it.text.clone());
            if let Written::Iptables(texts) = &mut written {
                texts.retain(|family, _| *family == Family::V4 || v6);
                texts.entry(Family::V4).or_default();
                if v6 {
                    texts.entry(Family::V6).or_default();
                }
            }
            let texts = RuleTexts {
                written,
                names: self.names(),
                routes: match &own.routes {
                    Some(steps) => {
                        let mine = steps.iter().filter(|it| v6 || it.family() == Family::V4);
                        mine.cloned().collect()
                    }
                    None => usual(),
                },
                host: None,
                variables: None,
            };
            all.insert(pod.clone(), texts);
        }
        Ok(all)
    }
}
