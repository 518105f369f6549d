//! Applies rules the way istio-init does, and writes the log it would have written.
//!
//! Shape and wording follow the istio-init log of Istio 1.13: environment, variables, rules file, commands, final
//! save. The commands are the ones really run, so their names carry the backend.

use std::{fmt::Write as _, fs, path::Path, time::SystemTime};

use super::{
    NetfilterError,
    backend::{Backend, Tool},
    tables::{Ended, Ran, run, stdout_of},
};
use crate::{
    plan::RuleTexts,
    rules::{self, Difference, Family, OwnerNames, RuleSet},
    sandbox::RUN_DIR,
};

/// What an apply left behind.
pub struct Applied {
    /// The istio-init log.
    pub log: String,
    /// Per family: the rules as the kernel holds them, with their first counters.
    pub saved: Vec<RuleSet>,
}

/// Applies the rules in the namespace the calling thread is in, then reads them back and compares.
///
/// # Errors
/// iptables is missing, refuses the file (its words and the line), or the kernel holds something else afterwards.
pub fn apply(backend: Backend, texts: &RuleTexts, pod: &str) -> Result<Applied, NetfilterError> {
    let mut log = Log::default();
    log.environment();
    log.variables(texts);
    for family in [Family::V4, Family::V6] {
        let text = texts.of(family).unwrap_or("");
        restore_logged(&mut log, backend, family, text, pod)?;
    }
    let mut saved = Vec::new();
    for family in [Family::V4, Family::V6] {
        if let Some(text) = texts.of(family) {
            let ran = run(backend, family, Tool::Save, &["-c"], pod)?;
            log.line(&format!("Running command: {}", ran.command));
            let (command, printed) = stdout_of(ran, pod)?;
            log.line(&format!("Command output: \n{printed}"));
            let meant = Meant {
                text,
                names: &texts.names,
            };
            saved.push(as_meant(&meant, &printed, family, &command, pod)?);
        }
    }
    Ok(Applied {
        log: log.text,
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

/// What a save must hold: the text, and what the names in it stand for here.
struct Meant<'a> {
    text: &'a str,
    names: &'a OwnerNames,
}

fn as_meant(
    meant: &Meant<'_>,
    printed: &str,
    family: Family,
    command: &str,
    pod: &str,
) -> Result<RuleSet, NetfilterError> {
    let unreadable = |source| NetfilterError::Unreadable {
        command: command.to_string(),
        pod: pod.to_string(),
        source: Box::new(source),
    };
    let set = rules::parse(meant.text, family, "the rules file").map_err(unreadable)?;
    let meant = meant.names.resolve(&set);
    let found = rules::parse(printed, family, command).map_err(unreadable)?;
    let tables: Vec<_> = meant.tables.keys().copied().collect();
    let mut differences = rules::diff(&meant, &found, &tables);
    differences.retain(|d| !only_spelling(d, &meant, &found));
    if differences.is_empty() {
        return Ok(found);
    }
    let lines: Vec<String> = differences.iter().map(|d| format!("  {d}")).collect();
    Err(NetfilterError::NotAsMeant {
        pod: pod.to_string(),
        differences: lines.join("\n"),
    })
}

/// The kernel spells some options in its own way (`--probability 0.5` comes back as `0.50000000000`). Where the rules
/// at one place are both not modelled, their words can't be compared, and a difference of words proves nothing.
fn only_spelling(difference: &Difference, meant: &RuleSet, found: &RuleSet) -> bool {
    let (Difference::Missing { rule, .. } | Difference::Extra { rule, .. }) = difference else {
        return false;
    };
    let unmodelled = |set: &RuleSet| set.rule(rule).is_some_and(|r| !r.spec.is_modelled());
    unmodelled(meant) && unmodelled(found)
}

#[derive(Default)]
struct Log {
    text: String,
}

impl Log {
    fn line(&mut self, message: &str) {
        let _ = writeln!(self.text, "{}\tinfo\t{message}", timestamp());
    }

    /// istio-init prints the variables it was given; the lab's pods are given none.
    fn environment(&mut self) {
        const NAMES: &[&str] = &[
            "ENVOY_PORT",
            "INBOUND_CAPTURE_PORT",
            "ISTIO_INBOUND_INTERCEPTION_MODE",
            "ISTIO_INBOUND_TPROXY_ROUTE_TABLE",
            "ISTIO_INBOUND_PORTS",
            "ISTIO_OUTBOUND_PORTS",
            "ISTIO_LOCAL_EXCLUDE_PORTS",
            "ISTIO_EXCLUDE_INTERFACES",
            "ISTIO_SERVICE_CIDR",
            "ISTIO_SERVICE_EXCLUDE_CIDR",
            "ISTIO_META_DNS_CAPTURE",
            "INVALID_DROP",
        ];
        let lines: String = NAMES.iter().map(|n| format!("{n}=\n")).collect();
        self.line(&format!("Istio iptables environment:\n{lines}"));
    }

    /// A rules file of a person's own was not made from variables, and the log doesn't pretend so.
    fn variables(&mut self, texts: &RuleTexts) {
        let Some(known) = &texts.variables else {
            self.line("Istio iptables variables: none, the rules come from a file\n");
            return;
        };
        let lines: String = known
            .iter()
            .map(|(name, value)| format!("{name}={value}\n"))
            .collect();
        self.line(&format!("Istio iptables variables:\n{lines}"));
    }
}

/// RFC 3339 in UTC with microseconds, as Istio logs it.
fn timestamp() -> String {
    let now = SystemTime::now()
        .duration_since(SystemTime::UNIX_EPOCH)
        .unwrap_or_default();
    let (seconds, micros) = (now.as_secs(), now.subsec_micros());
    let (year, month, day) = civil(seconds / 86_400);
    let rest = seconds % 86_400;
    format!(
        "{year:04}-{month:02}-{day:02}T{:02}:{:02}:{:02}.{micros:06}Z",
        rest / 3600,
        rest / 60 % 60,
        rest % 60
    )
}

/// Days since 1970-01-01 to year, month, day.
fn civil(days: u64) -> (u64, u64, u64) {
    let z = days + 719_468;
    let (era, doe) = (z / 146_097, z % 146_097);
    let yoe = (doe - doe / 1460 + doe / 36_524 - doe / 146_096) / 365;
    let doy = doe - (365 * yoe + yoe / 4 - yoe / 100);
    let mp = (5 * doy + 2) / 153;
    let day = doy - (153 * mp + 2) / 5 + 1;
    let month = if mp < 10 { mp + 3 } else { mp - 9 };
    (yoe + era * 400 + u64::from(month <= 2), month, day)
}

#[cfg(test)]
mod tests {
    use super::civil;

    #[test]
    fn days_become_dates() {
        assert_eq!(civil(0), (1970, 1, 1));
        assert_eq!(civil(19_103), (2022, 4, 21));
        assert_eq!(civil(11_016), (2000, 2, 29));
    }
}
