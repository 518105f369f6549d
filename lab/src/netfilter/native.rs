//! Applies rules of nft's own with the real nft, and reads them back. Owns what a lab does in a pod that no iptables
//! enters: even reading with iptables-nft could add tables there.
//!
//! The transaction goes to `nft -f -`, as Istio hands its own over; each table in it is added, flushed and filled, so
//! all of it takes effect at once. The log has the shape of istio-init's for iptables: what Istio prints in this mode
//! was not at hand.

use std::{
    io::Write as _,
    process::{Command, Output, Stdio},
};

use serde_json::Value;

use super::{
    Applied, NetfilterError,
    backend::find_program,
    init_log::Log,
    istio_init::as_meant,
    tables::{Ended, Ran, stdout_of},
};
use crate::{
    plan::RuleTexts,
    rules::{CounterSnapshot, Family, OwnerNames, RuleSet, Written, of_nft},
    traced::OBSERVER_TABLES,
};

const NFT: &str = "nft";
const FAMILIES: [Family; 2] = [Family::V4, Family::V6];

/// Applies a transaction or a listing in the namespace the calling thread is in, then reads the rules back and compares.
///
/// # Errors
/// nft is missing, refuses the text (its words), or the kernel holds something else afterwards.
pub fn apply(text: &str, texts: &RuleTexts, pod: &str) -> Result<Applied, NetfilterError> {
    let mut log = Log::default();
    log.environment();
    log.variables(texts);
    let ran = load(text, pod)?;
    log.line(&format!(
        "Running command: {} with the following input:\n{}",
        ran.command,
        text.trim_end()
    ));
    stdout_of(ran, pod)?;
    let ran = run(&["list", "ruleset"], "", pod)?;
    log.line(&format!("Running command: {}", ran.command));
    let (command, listing) = stdout_of(ran, pod)?;
    log.line(&format!("Command output: \n{listing}"));
    let meant = Written::Nft { nft: text };
    let held = Written::Nft { nft: listing };
    let mut saved = Vec::new();
    for family in FAMILIES {
        let unreadable = |source| unreadable(&command, pod, source);
        let found = held.rules(family, &command).map_err(unreadable)?;
        let meant = meant.rules(family, "the transaction").map_err(unreadable)?;
        let (Some(found), Some(meant)) = (found, meant) else {
            continue;
        };
        as_meant(&meant, &found, &texts.names, pod)?;
        saved.push(found);
    }
    Ok(Applied {
        log: log.text,
        counters: saved.iter().map(CounterSnapshot::of_nft).collect(),
        saved,
        held,
    })
}

/// Gives commands to `nft -f -`.
pub(super) fn nft(text: &str, pod: &str) -> Result<(), NetfilterError> {
    stdout_of(load(text, pod)?, pod).map(drop)
}

/// Gives commands to `nft -f -` in the namespace the calling thread is in, whatever comes of it.
///
/// # Errors
/// nft is missing or can't run.
pub fn transaction(text: &str, pod: &str) -> Result<Ended, NetfilterError> {
    load(text, pod).map(Ended::from)
}

fn load(text: &str, pod: &str) -> Result<Ran, NetfilterError> {
    let args: &[&str] = match text.trim_start().starts_with('{') {
        true => &["-j", "-f", "-"],
        false => &["-f", "-"],
    };
    let ran = run(args, text, pod)?;
    tracing::debug!(pod, command = ran.command, status = %ran.output.status);
    Ok(ran)
}

/// The rules in the namespace the calling thread is in, as each family meets them. Observers of this lab are not
/// among them.
///
/// # Errors
/// nft is missing, fails, or prints what can't be read.
pub fn native_rules(pod: &str) -> Result<Vec<RuleSet>, NetfilterError> {
    native_held(pod).map(|(_, sets)| sets)
}

/// The same, and the text they were read from.
///
/// # Errors
/// As [`native_rules`].
pub fn native_held(pod: &str) -> Result<(Written, Vec<RuleSet>), NetfilterError> {
    let (command, text) = stdout_of(run(&["-j", "list", "ruleset"], "", pod)?, pod)?;
    let no_json = |source| NetfilterError::Json {
        command: command.clone(),
        source,
    };
    let mut value: Value = serde_json::from_str(&text).map_err(no_json)?;
    if let Some(objects) = value.get_mut("nftables").and_then(Value::as_array_mut) {
        objects.retain(|it| !is_of_observers(it));
    }
    let nft = value.to_string();
    let sets = of_nft(&nft, &command).map_err(|source| unreadable(&command, pod, source))?;
    Ok((Written::Nft { nft }, sets))
}

/// Replaces every table in the namespace the calling thread is in by those of a text, in one transaction. Tables of
/// observers stay.
///
/// # Errors
/// nft is missing, refuses the text (its words), or the kernel holds something else afterwards; then what was there is
/// there again.
pub fn replace(text: &str, pod: &str) -> Result<(), NetfilterError> {
    let (held, _) = native_held(pod)?;
    let Written::Nft { nft: listing } = &held else {
        unreachable!("nft lists rules of nft")
    };
    let meant = of_nft(text, "the rules").map_err(|it| unreadable("the rules", pod, it))?;
    nft(&(deleted(listing) + text), pod)?;
    let (now, found) = native_held(pod)?;
    let differs = meant.iter().find_map(|meant| {
        let none = || RuleSet::empty(meant.family);
        let found = found.iter().find(|it| it.family == meant.family);
        let found = found.cloned().unwrap_or_else(none);
        as_meant(meant, &found, &OwnerNames::default(), pod).err()
    });
    match (differs, now) {
        (Some(error), Written::Nft { nft: now }) => {
            // JSON and commands do not go into one transaction.
            nft(&deleted(&now), pod)?;
            nft(listing, pod)?;
            Err(error)
        }
        _ => Ok(()),
    }
}

/// Commands that delete every table of a listing as JSON.
fn deleted(listing: &str) -> String {
    let value: Value = serde_json::from_str(listing).unwrap_or_default();
    let objects = value.get("nftables").and_then(Value::as_array);
    let tables = objects
        .into_iter()
        .flatten()
        .filter_map(|it| it.get("table"));
    let names =
        tables.filter_map(|it| Some((it.get("family")?.as_str()?, it.get("name")?.as_str()?)));
    names
        .map(|(family, name)| format!("delete table {family} {name}\n"))
        .collect()
}

/// Whether an object of a listing is a table of [`trace`](crate::trace), or in one.
fn is_of_observers(object: &Value) -> bool {
    let Some((kind, body)) = object.as_object().and_then(|it| it.iter().next()) else {
        return false;
    };
    let key = if kind == "table" { "name" } else { "table" };
    let name = body.get(key).and_then(Value::as_str);
    name.is_some_and(|it| it.starts_with(OBSERVER_TABLES))
}

/// Version line, such as `nftables v1.0.6 (Lester Gooch #5)`.
///
/// # Errors
/// The program is missing or can't run.
pub fn nft_version() -> Result<String, NetfilterError> {
    let (_, text) = stdout_of(run(&["--version"], "", "the node")?, "the node")?;
    Ok(text.trim_end().to_owned())
}

fn run(args: &[&str], input: &str, pod: &str) -> Result<Ran, NetfilterError> {
    let command = format!("{NFT} {}", args.join(" "));
    let output = piped(args, input)?;
    let output = output.map_err(|source| NetfilterError::Run {
        command: command.clone(),
        pod: pod.to_owned(),
        source,
    })?;
    Ok(Ran { command, output })
}

/// nft reads all of its input before it writes anything, so nobody waits for the other.
fn piped(args: &[&str], input: &str) -> Result<std::io::Result<Output>, NetfilterError> {
    let child = Command::new(find_program(NFT)?)
        .args(args)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn();
    Ok(child.and_then(|mut child| {
        let written = child
            .stdin
            .take()
            .map(|mut pipe| pipe.write_all(input.as_bytes()));
        let output = child.wait_with_output()?;
        // A program that failed before it read everything has said why.
        match written.transpose() {
            Err(error) if output.status.success() => Err(error),
            _ => Ok(output),
        }
    }))
}

fn unreadable(command: &str, pod: &str, source: crate::diagnostic::Diagnostic) -> NetfilterError {
    NetfilterError::Unreadable {
        command: command.to_owned(),
        pod: pod.to_owned(),
        source: Box::new(source),
    }
}
