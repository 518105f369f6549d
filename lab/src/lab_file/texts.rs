//! The rule texts that a lab applies: what a person gave, else its own.

use super::{Families, LabFile, RuleText, parse_rules};
use crate::{
    builtin,
    failure::{Class, Failure},
    istio::routes,
    plan::{HostRules, RuleTexts},
    rules::{Family, Written},
    topology::RuleSource,
};

impl LabFile {
    /// The texts that are applied where both have one.
    pub(super) fn applied(&self) -> &Written<RuleText> {
        match self.given.is_empty() {
            true => &self.texts,
            false => &self.given,
        }
    }

    /// Texts to apply: what was given, else the lab's own; IPv6 where flows run over it or a person gave some.
    ///
    /// # Errors
    /// There is none for a family that flows run over.
    pub fn texts_to_apply(&self, families: Families) -> Result<RuleTexts, Failure> {
        for family in families.iter() {
            // Expectations name these rules: without them there is nothing to judge by.
            self.reference(family)?;
            let given = parse_rules(&self.given, family)?;
            if !self.given.is_empty() && given.is_none() {
                return Err(self.no_rules(family));
            }
        }
        let v6 = families.has(Family::V6)
            || matches!(&self.given, Written::Iptables(given) if given.contains_key(&Family::V6));
        let own = || match &self.topology.rules {
            RuleSource::Profile(name) if self.own_rules => profile_variables(name, v6),
            _ => None,
        };
        let tproxy = self.interception.tproxy;
        let routes = || match self.interception.ztunnel {
            Some(ztunnel) => routes::ambient_with(v6, ztunnel.routed),
            None => routes::sidecar_with(v6, tproxy.map(|it| (it.mark, it.route_table))),
        };
        Ok(RuleTexts {
            written: self.written(v6),
            names: self.names(),
            host: self.host_rules(),
            routes: match &self.routes {
                Some(steps) => {
                    let of_families = steps.iter().filter(|it| v6 || it.family() == Family::V4);
                    of_families.cloned().collect()
                }
                None => routes(),
            },
            variables: self.variables.clone().or_else(own),
        })
    }

    fn host_rules(&self) -> Option<HostRules> {
        let pods = self.topology.pods.iter().filter(|pod| pod.is_sidecar());
        (!self.host.is_empty()).then(|| HostRules {
            written: self.host.clone(),
            pods: pods
                .flat_map(|pod| [pod.addr.v4.into(), pod.addr.v6.into()])
                .collect(),
        })
    }

    /// The texts to apply: of iptables each family for itself, so that one may be given and the other the lab's own.
    fn written(&self, v6: bool) -> Written {
        let applied = self.applied().map(|it| it.text.clone());
        let (Written::Iptables(mut texts), Written::Iptables(own)) = (applied.clone(), &self.texts)
        else {
            return applied;
        };
        for (family, text) in own {
            texts.entry(*family).or_insert_with(|| text.text.clone());
        }
        texts.retain(|family, _| *family == Family::V4 || v6);
        // istio-init writes an IPv4 file even where it is empty.
        texts.entry(Family::V4).or_default();
        Written::Iptables(texts)
    }

    pub(super) fn no_rules(&self, family: Family) -> Failure {
        let mut given = [Family::V4, Family::V6].iter();
        let brought = if self.own_rules {
            &self.given
        } else {
            &self.texts
        };
        let given = given.find_map(|family| self.given.of(*family).or(brought.of(*family)));
        let (what, hint) = match given {
            Some(text) => (
                format!("{} has no {family} rules", text.origin),
                "flows run over the families of --family or --dual-stack: choose those the file has",
            ),
            None => (
                format!("lab `{}` has no {family} rules", self.topology.name),
                "name them with `file_ipv6` in [rules]",
            ),
        };
        Failure::new(Class::Input, what).hint(hint)
    }
}

/// Rules in place of others: a family that only the former have is one whose rules are empty from then on.
pub(super) fn without_leftovers(
    former: &Written<RuleText>,
    rules: &mut Written<RuleText>,
    origin: impl Fn(Family) -> String,
) {
    let (Written::Iptables(former), Written::Iptables(rules)) = (former, rules) else {
        return;
    };
    for family in former.keys() {
        rules.entry(*family).or_insert_with(|| RuleText {
            origin: origin(*family),
            text: String::new(),
        });
    }
}

fn profile_variables(profile: &str, v6: bool) -> Option<Vec<(String, String)>> {
    let lines = builtin::variables(profile)?.iter();
    let value = |name: &str, value: &str| match name {
        "ENABLE_INBOUND_IPV6" => v6.to_string(),
        _ => value.to_owned(),
    };
    Some(
        lines
            .map(|(name, it)| ((*name).to_owned(), value(name, it)))
            .collect(),
    )
}
