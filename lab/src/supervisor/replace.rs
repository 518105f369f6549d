//! Replaces the rules of one pod of a kept lab: whole or not at all.

use std::collections::BTreeMap;

use super::live::{Live, no_such_pod};
use crate::{
    failure::{Class, Failure},
    net::Inside,
    netfilter::{self, Backend, NetfilterError, RuleTool},
    rules::{self, Family, RuleSet, TableRules, Written},
};

/// Replaces what the tables of a pod hold. Processes, routes and connections stay as they are.
pub(super) fn replace(live: &Live, pod: &str, new: Written) -> Result<(), Failure> {
    let bad = |what: String| Failure::new(Class::Input, what);
    let place = live.pods.get(pod).ok_or_else(|| no_such_pod(pod))?;
    if !place.intercepted {
        let what = format!("pod `{pod}` has no sidecar, and so no rules that the lab watches");
        return Err(bad(what));
    }
    let name = pod.to_owned();
    let job = match (live.tool, new) {
        (RuleTool::Iptables(backend), Written::Iptables(texts)) => {
            let families = live.families.clone();
            let all = move |_: &mut Inside| of_iptables(backend, &families, &texts, &name);
            place.namespace.job(all)
        }
        (RuleTool::Nft, Written::Nft { nft }) => {
            let all = move |_: &mut Inside| netfilter::replace_native(&nft, &name);
            place.namespace.job(all)
        }
        (RuleTool::Iptables(backend), Written::Nft { .. }) => {
            let what =
                format!("pod `{pod}` has rules of iptables ({backend}), and these are nft's own");
            return Err(
                bad(what).hint("hoplab up --native-nftables brings up a lab with rules of nft")
            );
        }
        (RuleTool::Nft, Written::Iptables(_)) => {
            let what = format!("pod `{pod}` has rules of nft's own, and these are for iptables");
            return Err(bad(what).hint("give an nft listing or transaction"));
        }
    };
    // What iptables or nft refuse is wrong with the rules, and the pod is as it was.
    job.wait()?.map_err(|error| match error {
        NetfilterError::Failed { .. } | NetfilterError::Unreadable { .. } => {
            let failure = Failure::from(error);
            Failure {
                class: Class::Input,
                ..failure
            }
            .hint("nothing was changed in the pod")
        }
        other => other.into(),
    })
}

/// Runs on a pod's thread. Every family is tried before the first one is changed, and put back where a later one fails.
fn of_iptables(
    backend: Backend,
    families: &[Family],
    texts: &BTreeMap<Family, String>,
    pod: &str,
) -> Result<(), NetfilterError> {
    let (mut before, mut after) = (Vec::new(), Vec::new());
    for family in families {
        let held = netfilter::save(backend, *family, pod)?;
        let text = texts.get(family).map_or("", String::as_str);
        let mut set = rules::parse(text, *family, "the rules").map_err(|source| {
            NetfilterError::Unreadable {
                command: "the rules".to_owned(),
                pod: pod.to_owned(),
                source: Box::new(source),
            }
        })?;
        for table in held.tables.keys() {
            let empty = || TableRules::empty(*table);
            set.tables.entry(*table).or_insert_with(empty);
        }
        before.push((*family, held));
        after.push((*family, set));
    }
    // With every built-in chain and its policy: without them a policy that was changed would stay.
    let text = |set: &RuleSet| rules::to_save(&set.without_counters());
    for (family, set) in &after {
        netfilter::replace(backend, *family, &text(set), true, pod)?;
    }
    let applied = after.iter().try_for_each(|(family, set)| {
        netfilter::replace(backend, *family, &text(set), false, pod)?;
        netfilter::holds(backend, set, pod)
    });
    if applied.is_err() {
        for (family, held) in &before {
            // The first error says what is wrong.
            let _ = netfilter::replace(backend, *family, &rules::to_save(held), false, pod);
        }
    }
    applied
}
