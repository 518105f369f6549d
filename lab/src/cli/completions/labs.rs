//! What running labs have to offer: their names, pods and rules. A lab that can't be read offers nothing: a person who
//! types is told nothing of errors.

use std::{collections::BTreeSet, ffi::OsStr};

use clap_complete::CompletionCandidate;

use super::that_begin;
use crate::{
    live::{self, Registry, RunningLab, Standing},
    rules::{Family, RuleSet},
};

pub(super) fn running_labs(typed: &OsStr) -> Vec<CompletionCandidate> {
    let Ok(registry) = Registry::of_user() else {
        return Vec::new();
    };
    let names = registry.names().unwrap_or_default().into_iter();
    let labs = names.filter_map(|name| {
        let about = match registry.standing(&name).ok()?? {
            Standing::Up(_) => "up",
            Standing::Stale(_) => "stale",
            Standing::Unsettled => "unsettled",
            Standing::Other(..) => "other version",
            Standing::Foreign(_) => return None,
        };
        Some((name, about.to_owned()))
    });
    that_begin(typed, labs)
}

/// Pods of the lab that `--lab` names among the words typed so far; without it, of all that are up.
pub(super) fn pods(typed: &OsStr) -> Vec<CompletionCandidate> {
    let labs = meant();
    let pods = labs.iter().flat_map(|lab| {
        let about = format!("lab {}", lab.name());
        let pods = lab.state().pods.iter();
        pods.map(move |pod| (pod.name.clone(), about.clone()))
    });
    that_begin(typed, pods)
}

/// `CHAIN` and `CHAIN:N` of the rules of those labs.
pub(super) fn rules(typed: &OsStr) -> Vec<CompletionCandidate> {
    let files = meant();
    let files = files.iter().filter_map(|lab| lab.lab_file().ok());
    let sets: Vec<RuleSet> = files
        .flat_map(|file| [Family::V4, Family::V6].map(|family| file.reference(family)))
        .flatten()
        .collect();
    let ids = sets.iter().flat_map(|set| {
        let tables = set.tables.keys();
        tables.flat_map(|table| set.rules(*table).map(|(id, _)| id))
    });
    // A name of both, so that none is offered twice.
    let names: BTreeSet<String> = ids
        .flat_map(|id| [id.chain.clone(), format!("{}:{}", id.chain, id.ordinal)])
        .collect();
    that_begin(typed, names.into_iter().map(|name| (name, String::new())))
}

/// The running labs that the words typed so far are about.
fn meant() -> Vec<RunningLab> {
    let mut words = std::env::args().skip_while(|word| word != "--");
    let named = words.find_map(|word| word.strip_prefix("--lab").map(str::to_owned));
    let named = match named {
        // Bash makes three words of --lab=NAME.
        Some(rest) if rest.is_empty() => words.find(|word| word != "="),
        Some(rest) => rest.strip_prefix('=').map(str::to_owned),
        None => None,
    };
    let names = match named {
        Some(name) => vec![name],
        None => Registry::of_user()
            .and_then(|it| it.names())
            .unwrap_or_default(),
    };
    let labs = names.iter().filter_map(|name| live::find(Some(name)).ok());
    labs.collect()
}
