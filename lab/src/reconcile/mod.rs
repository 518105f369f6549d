//! What has to change in a running lab so that it is as its file says: which pods come, go or are replaced and why, which
//! rules differ from what was applied, which processes do not run as they should. Decides, and does nothing. Pure.

mod in_place;
mod words;

use std::collections::BTreeMap;

use hoplab_proxies::record::Role;
use serde::{Deserialize, Serialize};

pub use words::{Row, lines, row};

use crate::{
    failure::{Class, Failure},
    plan::{NODE, NodePlan, Plan, PodPlan},
    rules::{Family, Holder, RuleSet, Written},
};

/// One change. The pod `node` is the lab's node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "change", rename_all = "kebab-case")]
pub enum Change {
    /// A pod that is not there yet.
    AddPod {
        /// Its name.
        pod: String,
    },
    /// A pod that the file has no more.
    RemovePod {
        /// Its name.
        pod: String,
    },
    /// A pod that is taken down and built anew: in place it can't be changed.
    ReplacePod {
        /// Its name.
        pod: String,
        /// What differs.
        why: String,
    },
    /// The rules in a pod.
    Rules {
        /// Its name.
        pod: String,
        /// Who is at the bottom of it.
        cause: RulesDiffer,
        /// What becomes of them, a line each: `- IPv4 nat ISTIO_INBOUND 3: -A …`.
        rules: Vec<String>,
    },
    /// A process that does not run, and is to.
    Start {
        /// Its pod.
        pod: String,
        /// What it plays.
        process: Role,
        /// Why it does not run.
        why: String,
    },
    /// A process that is ended and started.
    Restart {
        /// Its pod.
        pod: String,
        /// What it plays.
        process: Role,
        /// What differs.
        why: String,
    },
    /// A proxy that is told of the services as they are now, and goes on.
    Routes {
        /// Its pod.
        pod: String,
        /// What it plays.
        process: Role,
    },
    /// A process that the file has no more.
    End {
        /// Its pod.
        pod: String,
        /// What it plays.
        process: Role,
    },
    /// Addresses of the node beside its bridge: those of the DNS server.
    Addresses {
        /// `node`.
        pod: String,
        /// All of them, as they are to be.
        addresses: Vec<String>,
    },
    /// Files of /etc, which all pods share.
    Files {
        /// Their names: `hosts`.
        files: Vec<String>,
    },
    /// What the lab file says otherwise than the one that was brought up, in words.
    File {
        /// Where it differs.
        what: String,
    },
}

/// Why the rules in a pod are not those of the file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum RulesDiffer {
    /// Somebody changed them in the running pod.
    ByHand,
    /// The file, or a flag, asks for others.
    File,
}

/// What was seen of the running lab.
#[derive(Debug, Clone, PartialEq)]
pub struct Observed {
    /// What holds the rules in the pods.
    pub holder: Holder,
    /// What is to hold them.
    pub wanted_holder: Holder,
    /// Rules, by pod.
    pub rules: BTreeMap<String, RulesSeen>,
    /// Processes that do not run, and why: `was stopped`; by pod and role.
    pub ended: BTreeMap<(String, Role), String>,
}

/// The rules of a pod.
#[derive(Debug, Clone, PartialEq)]
pub struct RulesSeen {
    /// What the kernel holds.
    pub held: Written,
    /// What the kernel held when the lab had applied its own last; none where that is not known.
    pub applied: Option<Written>,
}

/// The changes that lead from a lab as it was built (`now`, with what was `observed` of it) to the one that is `wanted`, in
/// the order of the file; what goes comes first.
///
/// # Errors
/// The node differs in what can't be changed in a running lab, or rules can't be read.
pub fn reconcile(now: &Plan, wanted: &Plan, observed: &Observed) -> Result<Vec<Change>, Failure> {
    node_stays(now, wanted)?;
    let gone = now.pods.iter().filter(|it| wanted.pod(&it.name).is_none());
    let mut changes: Vec<Change> = gone
        .map(|it| Change::RemovePod {
            pod: it.name.clone(),
        })
        .collect();
    changes.extend(in_place::files(&now.files, &wanted.files));
    changes.extend(in_place::node(now, wanted, observed));
    let replaced = replaced(now, wanted, observed);
    for pod in &wanted.pods {
        let name = || pod.name.clone();
        match (now.pod(&pod.name), replaced.get(&pod.name)) {
            (None, _) => changes.push(Change::AddPod { pod: name() }),
            (Some(_), Some(why)) => changes.push(Change::ReplacePod {
                pod: name(),
                why: why.clone(),
            }),
            (Some(was), None) => {
                changes.extend(in_place::pod((now, was), (wanted, pod), observed)?)
            }
        }
    }
    Ok(changes)
}

/// Pods that are built anew, and why. Who is behind a pod goes with it.
fn replaced(now: &Plan, wanted: &Plan, observed: &Observed) -> BTreeMap<String, String> {
    let mut found = BTreeMap::new();
    for pod in &wanted.pods {
        let Some(was) = now.pod(&pod.name) else {
            continue;
        };
        if let Some(why) = why_anew((now, was), (wanted, pod), observed) {
            found.insert(pod.name.clone(), why);
        }
    }
    for pod in &wanted.pods {
        let (Some(relay), Some(_)) = (&pod.link.behind, now.pod(&pod.name)) else {
            continue;
        };
        let stays = now.pod(&relay.pod).is_some() && !found.contains_key(&relay.pod);
        if !stays {
            let why = format!("the pod it is behind, {}, is built anew", relay.pod);
            found.entry(pod.name.clone()).or_insert(why);
        }
    }
    found
}

/// Why a pod can't stay as it is.
fn why_anew(
    (now, was): (&Plan, &PodPlan),
    (wanted, pod): (&Plan, &PodPlan),
    observed: &Observed,
) -> Option<String> {
    match (was.intercepted, pod.intercepted) {
        (false, true) => return Some("it has a sidecar now".to_owned()),
        (true, false) => return Some("it has no sidecar any more".to_owned()),
        (true, true) if observed.holder != observed.wanted_holder => {
            let (is, was) = (observed.wanted_holder, observed.holder);
            return Some(format!(
                "its rules are held by {is} now, they were by {was}"
            ));
        }
        _ => {}
    }
    let families = |plan: &Plan, pod: &PodPlan| {
        let written = plan.rules_of(pod).map(|it| &it.written);
        let has = |family: &Family| written.is_some_and(|it| it.of(*family).is_some());
        let all = [Family::V4, Family::V6].into_iter().filter(has);
        all.map(|it| it.to_string()).collect::<Vec<_>>()
    };
    let (before, after) = (families(now, was), families(wanted, pod));
    if before != after {
        let (is, was) = (after.join(" and "), before.join(" and "));
        return Some(format!("it has rules of {is} now, it had of {was}"));
    }
    let addresses = |it: &PodPlan| {
        let all = it.link.addresses.iter();
        all.map(|(ip, _)| ip.to_string()).collect::<Vec<_>>()
    };
    let (before, after) = (addresses(was), addresses(pod));
    if before != after {
        let changed = after.iter().filter(|it| !before.contains(it));
        let of_it: Vec<&str> = changed.map(String::as_str).collect();
        return Some(format!("its address is {} now", of_it.join(" and ")));
    }
    let link = |it: &PodPlan| {
        let mut link = it.link.clone();
        link.neighbours.clear();
        link
    };
    if link(was) != link(pod) {
        return Some(match (&was.link.behind, &pod.link.behind) {
            (None, Some(relay)) => format!("it is behind {} now", relay.pod),
            (Some(relay), None) => format!("it is not behind {} any more", relay.pod),
            _ => "its link is another one".to_owned(),
        });
    }
    if was.plugged != pod.plugged {
        return Some(match pod.plugged {
            true => "its link is to be there".to_owned(),
            false => "its link is to come later, in a step".to_owned(),
        });
    }
    let beside = |it: &PodPlan| (it.loopback.clone(), it.routes.clone());
    if beside(was) != beside(pod) {
        return Some("the routes that go with its rules are others".to_owned());
    }
    let sysctls = |it: &PodPlan| (it.sysctls.clone(), it.conntrack_sysctls.clone());
    (sysctls(was) != sysctls(pod)).then(|| "its sysctls are others".to_owned())
}

/// What of the node no running lab can change.
fn node_stays(now: &Plan, wanted: &Plan) -> Result<(), Failure> {
    let base = |node: &NodePlan| NodePlan {
        // Those can be changed.
        loopback: Vec::new(),
        processes: Vec::new(),
        rules: None,
        ..node.clone()
    };
    let what = if now.node.rules != wanted.node.rules {
        "the rules of its node, those of kube-proxy, are others: a service or the pods behind it"
    } else if base(&now.node) != base(&wanted.node) {
        "its network (addresses of the node, bridge) is another one"
    } else if now.rules.host != wanted.rules.host {
        "the rules of its node, those of ambient mode, are others"
    } else {
        return Ok(());
    };
    let failure = Failure::new(
        Class::State,
        format!("lab `{}` can't be changed while it is up", wanted.lab),
    );
    Err(failure
        .cause(what)
        .hint("take it down first with hoplab down, or give this one another name with --name"))
}

/// Rules of every family that a text has any of, names of users in numbers.
fn sets(written: &Written, origin: &str) -> Result<Vec<RuleSet>, Failure> {
    let mut sets = Vec::new();
    for family in [Family::V4, Family::V6] {
        let set = written.rules(family, origin);
        sets.extend(set.map_err(|it| Failure::new(Class::Input, it.to_string()))?);
    }
    Ok(sets)
}

#[cfg(test)]
mod tests;
