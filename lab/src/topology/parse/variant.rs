//! Variants: the same lab with something changed.

use std::collections::{BTreeMap, BTreeSet};

use toml::Spanned;

use super::{
    super::{NODE, Pod, Topology, Variant, check, schema, source::Source},
    rules,
};
use crate::diagnostic::{Diagnostic, did_you_mean};

pub(super) fn variants(
    source: &Source,
    topology: &Topology,
    file: &schema::LabFile,
) -> Result<Vec<Variant>, Diagnostic> {
    let mut names = BTreeSet::new();
    for raw in &file.variant {
        check::named(source, &raw.name, "variant")?;
        if !names.insert(raw.name.get_ref()) {
            let message = format!("variant `{}` stands here twice", raw.name.get_ref());
            let help = "variant names must differ: results are found by them";
            return Err(source.complain(&raw.name, message).help(help));
        }
    }
    let all = file.variant.iter();
    all.map(|raw| variant(source, topology, raw)).collect()
}

fn variant(
    source: &Source,
    topology: &Topology,
    raw: &schema::Variant,
) -> Result<Variant, Diagnostic> {
    let (given, mut edit) = match &raw.rules {
        None => (None, Vec::new()),
        Some(given) => {
            let (given, edit) = rules::rules(source, given)?;
            (Some(given), edit)
        }
    };
    edit.extend(rules::edits(source, &raw.edit)?);
    let apps = owners(source, topology, &raw.app, "app", |pod| pod.app.is_some())?;
    let proxies = owners(source, topology, &raw.proxy, "proxy", |pod| {
        pod.proxy.is_some()
    })?;
    if given.is_none() && edit.is_empty() && apps.is_empty() && proxies.is_empty() {
        return Err(source
            .complain(
                &raw.name,
                format!("variant `{}` changes nothing", raw.name.get_ref()),
            )
            .help("give it `edit`, `rules`, `app` or `proxy`"));
    }
    let pod = raw.pod.as_ref().map(|it| whose(source, topology, it));
    let pod = pod.transpose()?;
    let holds = match raw.verdict.as_ref().map(|it| (it, it.get_ref().as_str())) {
        None | Some((_, "refuted")) => false,
        Some((_, "holds")) => true,
        Some((place, other)) => {
            return Err(source
                .complain(place, format!("`{other}` is not a verdict"))
                .help("write \"refuted\" or \"holds\""));
        }
    };
    let named = raw.flows.first().map(Spanned::span);
    let named = named.or_else(|| raw.rule.as_ref().map(Spanned::span));
    match (holds, named) {
        (true, Some(span)) => {
            return Err(source
                .complain(
                    &Spanned::new(span, ()),
                    "a variant that holds refutes nothing",
                )
                .help("leave `flows` and `rule` out"));
        }
        (false, _) if raw.flows.is_empty() => {
            return Err(source
                .complain(
                    &raw.name,
                    "a variant that is refuted names the flows that are",
                )
                .help("add flows = [\"…\"]: exactly these are refuted, and all others hold"));
        }
        _ => {}
    }
    for flow in &raw.flows {
        if topology.flow(flow.get_ref()).is_none() {
            let names = topology.flows.iter().map(|it| it.name.as_str());
            let help = did_you_mean(flow.get_ref(), names);
            return Err(source
                .complain(flow, format!("there is no flow `{}`", flow.get_ref()))
                .help(help.unwrap_or_else(|| "name one of the [[flow]] entries".into())));
        }
    }
    Ok(Variant {
        name: raw.name.get_ref().clone(),
        about: raw.about.clone(),
        pod,
        rules: given,
        edit,
        apps,
        proxies,
        holds,
        flows: raw.flows.iter().map(|it| it.get_ref().clone()).collect(),
        rule: raw.rule.as_ref().map(|it| it.get_ref().clone()),
    })
}

/// Users and groups by pod.
fn owners(
    source: &Source,
    topology: &Topology,
    raw: &BTreeMap<Spanned<String>, schema::Ids>,
    what: &str,
    has: fn(&Pod) -> bool,
) -> Result<BTreeMap<String, (u32, u32)>, Diagnostic> {
    let one = |(name, ids): (&Spanned<String>, &schema::Ids)| {
        let pod = check::known_pod(source, topology, name, name.get_ref())?;
        if !has(pod) {
            return Err(source
                .complain(name, format!("pod `{}` has no {what}", pod.name))
                .help("name a pod that has one"));
        }
        let uid = check::id(source, &ids.uid, *ids.uid.get_ref())?;
        let gid = check::id(source, &ids.gid, *ids.gid.get_ref())?;
        Ok((pod.name.clone(), (uid, gid)))
    };
    raw.iter().map(one).collect()
}

/// The pod whose own rules a variant or a step changes; or the node, of a lab whose node has some.
pub(super) fn whose(
    source: &Source,
    topology: &Topology,
    raw: &Spanned<String>,
) -> Result<String, Diagnostic> {
    if raw.get_ref() == NODE && topology.kube_proxy {
        return Ok(NODE.to_owned());
    }
    let pod = check::known_pod(source, topology, raw, raw.get_ref())?;
    match pod.rules {
        Some(_) => Ok(pod.name.clone()),
        None => Err(source
            .complain(raw, format!("pod `{}` has the lab's rules", pod.name))
            .help("leave `pod` out, or give the pod rules of its own")),
    }
}
