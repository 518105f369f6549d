//! Applies rules the way istio-init does, and writes the log it would have written.
//!
//! Shape and wording follow the istio-init log of Istio 1.13: environment, variables, rules file, commands, final
//! save. The commands are the ones really run, so their names carry the backend.

use std::{fmt::Write as _, fs, path::Path};

use super::{
    Applied, NetfilterError,
    backend::{Backend, Tool},
    init_log::Log,
    tables::{self, Ended, Ran, run, stdout_of},
};
use crate::{
    plan::RuleTexts,
    rules::{self, Family, OwnerNames, RuleSet, Written},
    sandbox::RUN_DIR,
};

/// Applies the rules in the namespace the calling thread is in, then reads them back and compares.
///
/// # Errors
/// iptables is missing, refuses the file (its words and the line), or the kernel holds something else afterwards.
pub fn apply(backend: Backend, texts: &RuleTexts, pod: &str) -> Result<Applied, NetfilterError> {
    let mut log = Log::default();
    log.environment();
    log.variables(texts);
    for family in [Family::V4, Family::V6] {
        let text = texts.written.of(family).map_or("", String::as_str);
        restore_logged(&mut log, backend, family, text, pod)?;
    }
    let mut saved = Vec::new();
    for family in [Family::V4, Family::V6] {
        if let Some(text) = texts.written.of(family) {
            let ran = run(backend, family, Tool::Save, &["-c"], pod)?;
            log.line(&format!("Running command: {}", ran.command));
            let (command, printed) = stdout_of(ran, pod)?;
            log.line(&format!("Command output: \n{printed}"));
            let unreadable = |source| NetfilterError::Unreadable {
                command: command.clone(),
                pod: pod.to_string(),
                source: Box::new(source),
            };
            let meant = rules::parse(text, family, "the rules file").map_err(unreadable)?;
            let found = rules::parse(&printed, family, &command).map_err(unreadable)?;
            as_meant(&meant, &found, &texts.names, pod)?;
            saved.push(found);
        }
    }
    let counters = saved.iter().map(|set| tables::counters(set, pod));
    let held = saved.iter().map(|set| (set.family, rules::to_restore(set)));
    Ok(Applied {
        log: log.text,
        counters: counters.collect::<Result<_, _>>()?,
        held: Written::Iptables(held.collect()),
        saved,
    })
}

fn restore_logged(
    log: &mut Log,
    backend: Backend,
    family: Family,
    text: &str,
    pod: &str,
) -> Result<(), NetfilterError> {
    let path = rules_file(family, text, pod)?;
    log.line(&format!(
        "Writing following contents to rules file: {path}\n{}",
        text.trim_end()
    ));
    let ran = run(backend, family, Tool::Restore, &["--noflush", &path], pod)?;
    log.line(&format!("Running command: {}", ran.command));
    tracing::debug!(pod, command = ran.command, status = %ran.output.status);
    if ran.output.status.success() {
        return Ok(());
    }
    Err(refusal(ran, text, pod))
}

/// Writes the file that is given to iptables-restore.
fn rules_file(family: Family, text: &str, pod: &str) -> Result<String, NetfilterError> {
    let prefix = match family {
        Family::V4 => "iptables",
        Family::V6 => "ip6tables",
    };
    let path = Path::new(RUN_DIR).join(format!("{prefix}-rules-{pod}.txt"));
    let path = path.to_string_lossy().into_owned();
    fs::write(&path, text).map_err(|source| NetfilterError::RulesFile {
        path: path.clone(),
        source,
    })?;
    Ok(path)
}

/// Restores a text in the namespace the calling thread is in, whatever comes of it.
///
/// # Errors
/// The program is missing or can't run.
pub fn restore(
    backend: Backend,
    family: Family,
    text: &str,
    pod: &str,
) -> Result<Ended, NetfilterError> {
    let path = rules_file(family, text, pod)?;
    let ran = run(backend, family, Tool::Restore, &["--noflush", &path], pod)?;
    Ok(ran.into())
}

/// As [`restore`]; with `flush` the tables that the text names are emptied first, in the same transaction.
///
/// # Errors
/// The program is missing or can't run.
pub fn restore_step(
    backend: Backend,
    family: Family,
    text: &str,
    flush: bool,
    pod: &str,
) -> Result<Ended, NetfilterError> {
    if !flush {
        return restore(backend, family, text, pod);
    }
    let path = rules_file(family, text, pod)?;
    let ran = run(backend, family, Tool::Restore, &[&path], pod)?;
    Ok(ran.into())
}

/// Replaces what the tables hold that a text names, all at once, in the namespace the calling thread is in. With `test`
/// nothing is changed: it is only asked whether it could be.
///
/// # Errors
/// The program is missing, can't run, or refuses the text (its words and the line).
pub fn replace(
    backend: Backend,
    family: Family,
    text: &str,
    test: bool,
    pod: &str,
) -> Result<(), NetfilterError> {
    let path = rules_file(family, text, pod)?;
    let flags: &[&str] = match test {
        true => &["--test", "--counters", &path],
        false => &["--counters", &path],
    };
    let ran = run(backend, family, Tool::Restore, flags, pod)?;
    match ran.output.status.success() {
        true => Ok(()),
        false => Err(refusal(ran, text, pod)),
    }
}

/// Whether the kernel holds these rules in the tables they have.
///
/// # Errors
/// The differences, or the rules can't be read.
pub fn holds(backend: Backend, meant: &RuleSet, pod: &str) -> Result<(), NetfilterError> {
    let found = tables::save(backend, meant.family, pod)?;
    as_meant(meant, &found, &OwnerNames::default(), pod)
}

/// iptables-restore names the line it stumbles over ("line 7 failed"); show that line.
fn refusal(ran: Ran, text: &str, pod: &str) -> NetfilterError {
    let mut words = String::from_utf8_lossy(&ran.output.stderr)
        .trim_end()
        .to_string();
    let number = words
        .split_whitespace()
        .zip(words.split_whitespace().skip(1))
        .filter(|(word, _)| word.trim_end_matches(':') == "line")
        .find_map(|(_, n)| {
            n.trim_matches(|c: char| !c.is_ascii_digit())
                .parse::<usize>()
                .ok()
        });
    if let Some((n, line)) = number.and_then(|n| Some((n, text.lines().nth(n.checked_sub(1)?)?))) {
        let _ = write!(words, "\n{n:>4} | {line}");
    }
    NetfilterError::Failed {
        command: ran.command,
        pod: pod.to_string(),
        status: ran.output.status.to_string(),
        words,
    }
}

/// Compares what the kernel holds with what was meant, in the tables that were meant.
///
/// # Errors
/// The differences.
pub(super) fn as_meant(
    meant: &RuleSet,
    found: &RuleSet,
    names: &OwnerNames,
    pod: &str,
) -> Result<(), NetfilterError> {
    let meant = names.resolve(meant);
    let tables: Vec<_> = meant.tables.keys().copied().collect();
    let mut differences = rules::diff(&meant, found, &tables);
    // The kernel spells some options in its own way (`--probability 0.5` comes back as `0.50000000000`).
    differences.retain(|d| !d.is_only_spelling(&meant, found));
    if differences.is_empty() {
        return Ok(());
    }
    let lines: Vec<String> = differences.iter().map(|d| format!("  {d}")).collect();
    Err(NetfilterError::NotAsMeant {
        pod: pod.to_string(),
        differences: lines.join("\n"),
    })
}
