//! Writes the target of a rule.

use super::quoted;
use crate::rules::logging::{Log, LogDetail, Nflog};
use crate::rules::nat::NatRange;
use crate::rules::target::{Target, ZoneDirection, ZoneId};

/// Adds `-j` with its options, or nothing for a rule that only counts.
pub(super) fn words(target: &Target, words: &mut Vec<String>) {
    match target {
        Target::None => return,
        Target::Goto(_) => words.push("-g".to_owned()),
        _ => words.push("-j".to_owned()),
    }
    match target {
        Target::Verbatim(kept) => words.extend(kept.iter().cloned()),
        other => words.push(quoted(other.name())),
    }
    words.extend(options(target));
}

fn options(target: &Target) -> Vec<String> {
    match target {
        Target::Redirect { ports: Some(ports) } => vec!["--to-ports".to_owned(), ports.dashed()],
        Target::Reject { with } => vec!["--reject-with".to_owned(), with.clone()],
        Target::Dnat(range) => nat("--to-destination", range),
        Target::Snat(range) => nat("--to-source", range),
        Target::Masquerade(range) => {
            let ports = range
                .ports
                .map(|ports| format!("--to-ports {}", ports.dashed()));
            let pick = range.pick.options().map(str::to_owned);
            ports.into_iter().chain(pick).collect()
        }
        Target::Tproxy {
            port,
            address,
            mark,
        } => {
            let address = address.map(|it| format!("--on-ip {it}")).into_iter();
            let port = format!("--on-port {port}");
            let mark = format!("--tproxy-mark {mark}");
            std::iter::once(port).chain(address).chain([mark]).collect()
        }
        Target::Mark(change) => vec![format!("--set-xmark {change}")],
        Target::Connmark(action) => vec![action.to_string()],
        Target::Zone { zone, direction } => {
            let option = match direction {
                None => "--zone",
                Some(ZoneDirection::Original) => "--zone-orig",
                Some(ZoneDirection::Reply) => "--zone-reply",
            };
            let zone = match zone {
                ZoneId::Number(number) => number.to_string(),
                ZoneId::FromMark => "mark".to_owned(),
            };
            vec![option.to_owned(), zone]
        }
        Target::Notrack => vec!["--notrack".to_owned()],
        Target::Log(log) => self::log(log),
        Target::Nflog(log) => nflog(log),
        _ => Vec::new(),
    }
}

fn nat(option: &str, range: &NatRange) -> Vec<String> {
    let value = format!("{option} {range}");
    let pick = range.pick.options().map(str::to_owned);
    std::iter::once(value).chain(pick).collect()
}

fn log(log: &Log) -> Vec<String> {
    let mut words = Vec::new();
    if !log.prefix.is_empty() {
        words.push(format!("--log-prefix {}", quoted(&log.prefix)));
    }
    if log.level != Log::WARNING {
        words.push(format!("--log-level {}", log.level));
    }
    let details = LogDetail::ALL.iter().map(|(detail, _)| detail);
    let details = details.filter(|detail| log.details.contains(detail));
    words.extend(details.map(|detail| format!("--{}", detail.name())));
    words
}

fn nflog(log: &Nflog) -> Vec<String> {
    let plain = Nflog::default();
    let mut words = Vec::new();
    if log.prefix != plain.prefix {
        words.push(format!("--nflog-prefix {}", quoted(&log.prefix)));
    }
    if log.group != plain.group {
        words.push(format!("--nflog-group {}", log.group));
    }
    words.extend(log.size.map(|size| format!("--nflog-size {size}")));
    if log.threshold != plain.threshold {
        words.push(format!("--nflog-threshold {}", log.threshold));
    }
    words
}
