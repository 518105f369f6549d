//! Reads the targets that tell someone of a packet: the log, a netlink group, the sender.

use super::Given;
use crate::diagnostic::{Diagnostic, did_you_mean};
use crate::rules::id::Family;
use crate::rules::logging::{Log, LogDetail, Nflog};
use crate::rules::target::Target;

pub(super) fn log(given: &mut Given<'_>) -> Result<Option<Target>, Diagnostic> {
    let mut log = Log::default();
    if let Some(word) = given.value(&["--log-level"])? {
        let message = || format!("`{}` is not a log level from 0 to 7", word.text);
        log.level = Log::level(&word.text).ok_or_else(|| given.line.error(word, message()))?;
    }
    if let Some(word) = given.value(&["--log-prefix"])? {
        log.prefix.clone_from(&word.text);
    }
    for (detail, _) in LogDetail::ALL {
        if given.flag(&format!("--{}", detail.name()))? {
            log.details.insert(detail);
        }
    }
    Ok(Some(Target::Log(log)))
}

pub(super) fn nflog(given: &mut Given<'_>) -> Result<Option<Target>, Diagnostic> {
    let plain = Nflog::default();
    let prefix = given.value(&["--nflog-prefix"])?;
    Ok(Some(Target::Nflog(Nflog {
        group: given.number(&["--nflog-group"])?.unwrap_or(plain.group),
        prefix: prefix.map(|word| word.text.clone()).unwrap_or_default(),
        size: given.number(&["--nflog-size"])?,
        threshold: given
            .number(&["--nflog-threshold"])?
            .unwrap_or(plain.threshold),
    })))
}

/// The answers of REJECT: the name `iptables-save` prints, then its aliases (`reject_table` of libipt_REJECT and
/// libip6t_REJECT).
const ANSWERS_V4: [&[&str]; 8] = [
    &["icmp-net-unreachable", "net-unreach"],
    &["icmp-host-unreachable", "host-unreach"],
    &["icmp-proto-unreachable", "proto-unreach"],
    &["icmp-port-unreachable", "port-unreach"],
    &["icmp-net-prohibited", "net-prohib"],
    &["icmp-host-prohibited", "host-prohib"],
    &["tcp-reset", "tcp-rst"],
    &["icmp-admin-prohibited", "admin-prohib"],
];
const ANSWERS_V6: [&[&str]; 7] = [
    &["icmp6-no-route", "no-route"],
    &["icmp6-adm-prohibited", "adm-prohibited"],
    &["icmp6-addr-unreachable", "addr-unreach"],
    &["icmp6-port-unreachable", "port-unreach"],
    &["tcp-reset", "tcp-rst"],
    &["icmp6-policy-fail", "policy-fail"],
    &["icmp6-reject-route", "reject-route"],
];

pub(super) fn reject(given: &mut Given<'_>) -> Result<Option<Target>, Diagnostic> {
    let (answers, default): (&[&[&str]], &str) = match given.family {
        Family::V4 => (&ANSWERS_V4, "icmp-port-unreachable"),
        Family::V6 => (&ANSWERS_V6, "icmp6-port-unreachable"),
    };
    let Some(word) = given.value(&["--reject-with"])? else {
        let with = default.to_owned();
        return Ok(Some(Target::Reject { with }));
    };
    let known = answers
        .iter()
        .find(|names| names.contains(&word.text.as_str()));
    match known.and_then(|names| names.first()) {
        Some(name) => Ok(Some(Target::Reject {
            with: (*name).to_owned(),
        })),
        None => {
            let names = answers.iter().flat_map(|names| names.iter().copied());
            let message = format!("`{}` is not an answer REJECT can give", word.text);
            let help = did_you_mean(&word.text, names);
            Err(given.line.error_with(word, message, help))
        }
    }
}
