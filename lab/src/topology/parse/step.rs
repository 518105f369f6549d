//! Steps, and their order among the flows.

mod links;

use std::collections::{BTreeMap, BTreeSet};

use toml::Spanned;

use self::links::Links;
use super::{
    super::{
        Action, Entry, Flow, Process, RulePlace, Step, Topology, check, schema, source::Source,
    },
    rules, seen, variant,
};
use crate::diagnostic::{Diagnostic, did_you_mean};

/// The steps of a file, and the order of flows and steps.
pub(super) fn steps(
    source: &Source,
    file: &schema::LabFile,
    topology: &mut Topology,
) -> Result<(), Diagnostic> {
    let mut names = BTreeSet::new();
    for raw in &file.step {
        check::named(source, &raw.name, "step")?;
        if !names.insert(raw.name.get_ref()) {
            return Err(source
                .complain(
                    &raw.name,
                    format!("step `{}` stands here twice", raw.name.get_ref()),
                )
                .help("step names must differ: results are found by them"));
        }
        topology.steps.push(step(source, topology, raw)?);
    }
    let flows = file.flow.iter().enumerate();
    let flows = flows.map(|(at, flow)| (flow.name.span().start, Entry::Flow(at)));
    let steps = file.step.iter().enumerate();
    let steps = steps.map(|(at, step)| (step.name.span().start, Entry::Step(at)));
    let mut script: Vec<(usize, Entry)> = flows.chain(steps).collect();
    script.sort_by_key(|(at, _)| *at);
    topology.script = script.into_iter().map(|(_, entry)| entry).collect();
    fits(source, file, topology)
}

fn step(source: &Source, topology: &Topology, raw: &schema::Step) -> Result<Step, Diagnostic> {
    let mut actions = Vec::new();
    if let Some(edits) = &raw.edit {
        actions.push((
            edits.span(),
            Action::Edit(rules::edits(source, edits.get_ref())?),
        ));
    }
    if let Some(apply) = &raw.apply {
        let (rules, edit) = rules::rules(source, apply)?;
        actions.push((apply.span(), Action::Apply { rules, edit }));
    }
    if let Some(init) = &raw.init {
        let refused = match init.get_ref().as_str() {
            "applied" => false,
            "refused" => true,
            other => {
                return Err(source
                    .complain(init, format!("`{other}` is not what comes of init"))
                    .help("write what must come of running it again: \"applied\" or \"refused\""));
            }
        };
        actions.push((init.span(), Action::Init { refused }));
    }
    let process = |raw: &Spanned<String>| seen::process(source, topology, raw);
    type Of = fn(Process) -> Action;
    let of_processes: [(_, Of); 3] = [
        (&raw.stop, Action::Stop),
        (&raw.start, Action::Start),
        (&raw.restart, Action::Restart),
    ];
    for (raw, action) in of_processes {
        if let Some(raw) = raw {
            actions.push((raw.span(), action(process(raw)?)));
        }
    }
    if let Some(flush) = &raw.flush {
        let pod = check::known_pod(source, topology, flush, flush.get_ref())?;
        if !pod.is_sidecar() {
            return Err(source
                .complain(flush, format!("conntrack sleeps in pod `{}`", pod.name))
                .help("name a pod with a sidecar: only rules wake it"));
        }
        let pod = pod.name.clone();
        actions.push((flush.span(), Action::Flush { pod }));
    }
    type OfPod = fn(String) -> Action;
    let of_links: [(_, OfPod); 2] = [
        (&raw.plug, |pod| Action::Plug { pod }),
        (&raw.unplug, |pod| Action::Unplug { pod }),
    ];
    for (raw, action) in of_links {
        if let Some(raw) = raw {
            let pod = check::known_pod(source, topology, raw, raw.get_ref())?;
            if pod.behind.is_none() {
                return Err(source
                    .complain(raw, format!("pod `{}` is behind no other", pod.name))
                    .help(
                        "name one with `behind`: its link is an interface of the pod it is behind",
                    ));
            }
            actions.push((raw.span(), action(pod.name.clone())));
        }
    }
    if let Some(held) = &raw.release {
        let action = Action::Release {
            held: held.get_ref().clone(),
        };
        actions.push((held.span(), action));
    }
    if let Some(held) = &raw.invalid {
        let action = Action::Invalid {
            held: held.get_ref().clone(),
        };
        actions.push((held.span(), action));
    }
    let mut actions = actions.into_iter();
    let (first, more) = (actions.next(), actions.next());
    match (first, more) {
        (Some((_, action)), None) => Ok(Step {
            name: raw.name.get_ref().clone(),
            about: raw.about.clone(),
            pod: match &raw.pod {
                Some(pod) if !action.changes_rules() => {
                    return Err(source
                        .complain(pod, "this step changes no rules")
                        .help("`pod` goes with edit, apply and init: leave it out"));
                }
                Some(pod) => Some(variant::whose(source, topology, pod)?),
                None => None,
            },
            moves: match &raw.moves {
                Some(moves) if !action.is_over_at_once() => {
                    return Err(source
                        .complain(moves, "which rules this step moves is not judged")
                        .help("`moves` goes with flush, invalid, plug and unplug: leave it out"));
                }
                Some(moves) => Some(self::moves(source, topology, moves.get_ref())?),
                None => None,
            },
            action,
        }),
        (Some(_), Some((span, _))) => Err(source
            .complain(&Spanned::new(span, ()), "a step does one thing")
            .help("write a step of its own for this")),
        (None, _) => Err(source
            .complain(
                &raw.name,
                format!("step `{}` does nothing", raw.name.get_ref()),
            )
            .help("say what: edit, apply, init, stop, start, restart, flush, plug, unplug, release or invalid")),
    }
}

/// Rules that a step moves, by pod.
fn moves(
    source: &Source,
    topology: &Topology,
    raw: &schema::ByPod,
) -> Result<BTreeMap<String, Vec<RulePlace>>, Diagnostic> {
    let mut moves = BTreeMap::new();
    for (name, rules) in raw {
        let pod = check::known_pod(source, topology, name, name.get_ref())?;
        if !pod.is_sidecar() {
            return Err(source
                .complain(
                    name,
                    format!("pod `{}` has no rules that could move", pod.name),
                )
                .help("leave it out: a pod that is not named moves none"));
        }
        let place = |raw: &Spanned<String>| {
            let read = raw.get_ref().parse::<RulePlace>();
            let placed = read.map(|it| RulePlace {
                at: raw.span(),
                ..it
            });
            placed.map_err(|why| {
                source.complain(raw, why).help(
                    "write chain and place, such as \"ISTIO_OUTPUT 4\" or \"mangle PREROUTING 1\"",
                )
            })
        };
        let rules = rules.iter().map(place).collect::<Result<_, _>>()?;
        moves.insert(pod.name.clone(), rules);
    }
    Ok(moves)
}

/// What one entry of the script needs of those before it.
fn fits(source: &Source, file: &schema::LabFile, topology: &Topology) -> Result<(), Diagnostic> {
    let mut held: BTreeSet<&str> = BTreeSet::new();
    let mut stopped: BTreeMap<&Process, bool> = BTreeMap::new();
    let mut links = Links::of(topology);
    let unknown = |place: &Spanned<String>, held: &BTreeSet<&str>| {
        let name = place.get_ref();
        let help = did_you_mean(name, held.iter().copied())
            .unwrap_or_else(|| "a flow above has to hold it: hold = \"NAME\"".into());
        let message = format!("no connection `{name}` is held here");
        Err(source.complain(place, message).help(help))
    };
    for entry in &topology.script {
        match entry {
            Entry::Flow(at) => {
                let raw = &file.flow[*at];
                links.reached(source, raw, &topology.flows[*at])?;
                if let Some(name) = &raw.hold {
                    links.hold(name.get_ref(), &topology.flows[*at]);
                }
                if let Some(name) = &raw.hold
                    && !held.insert(name.get_ref())
                {
                    let message = format!("connection `{}` is held already", name.get_ref());
                    let help = "release it in a step, or choose another name";
                    return Err(source.complain(name, message).help(help));
                }
                if let Some(name) = &raw.resume {
                    if !held.contains(name.get_ref().as_str()) {
                        return unknown(name, &held);
                    }
                    same_ends(source, topology, *at, name)?;
                }
            }
            Entry::Step(at) => {
                let raw = &file.step[*at];
                if let Some(name) = raw.release.as_ref().or(raw.invalid.as_ref())
                    && !held.contains(name.get_ref().as_str())
                {
                    return unknown(name, &held);
                }
                match &topology.steps[*at].action {
                    Action::Release { held: name } => {
                        held.remove(name.as_str());
                        links.release(name);
                    }
                    Action::Plug { pod } => {
                        links.plug(source, raw.plug.as_ref().unwrap_or(&raw.name), pod)?;
                    }
                    Action::Unplug { pod } => {
                        links.unplug(source, raw.unplug.as_ref().unwrap_or(&raw.name), pod)?;
                    }
                    Action::Stop(process) => {
                        let was = stopped.insert(process, true);
                        if was == Some(true) {
                            let place = raw.stop.as_ref().unwrap_or(&raw.name);
                            return Err(source
                                .complain(place, format!("{process} is stopped already"))
                                .help("start it in a step before"));
                        }
                    }
                    Action::Start(process) | Action::Restart(process) => {
                        let was = stopped.insert(process, false) == Some(true);
                        let place = raw.start.as_ref().or(raw.restart.as_ref());
                        let place = place.unwrap_or(&raw.name);
                        let starts = raw.start.is_some();
                        if starts != was {
                            let (message, help) = match starts {
                                true => ("runs already", "stop it in a step before, or restart it"),
                                false => ("is stopped", "start it"),
                            };
                            let complaint = source.complain(place, format!("{process} {message}"));
                            return Err(complaint.help(help));
                        }
                    }
                    _ => {}
                }
            }
        }
    }
    Ok(())
}

/// A held connection has its ends already.
fn same_ends(
    source: &Source,
    topology: &Topology,
    at: usize,
    name: &Spanned<String>,
) -> Result<(), Diagnostic> {
    let flow = &topology.flows[at];
    let holds = |it: &&Flow| it.connection.hold.as_ref() == Some(name.get_ref());
    let holder = topology.flows[..at].iter().rfind(holds);
    match holder {
        Some(holder) if (&holder.from, &holder.to) != (&flow.from, &flow.to) => Err(source
            .complain(
                name,
                format!(
                    "connection `{}` goes from {} to {}",
                    name.get_ref(),
                    holder.from,
                    holder.to
                ),
            )
            .help("give this flow the same `from` and `to`")),
        _ => Ok(()),
    }
}
