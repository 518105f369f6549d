//! The words of a target in a listing, as each extension's `print` function writes them with `-n`.

use crate::rules::id::Family;
use crate::rules::logging::{Log, LogDetail, Nflog};
use crate::rules::marks::{ConnmarkAction, MarkChange};
use crate::rules::nat::NatPick;
use crate::rules::target::{Target, ZoneDirection, ZoneId};

/// What a listing says of a target beside its name.
pub(super) fn words(target: &Target, family: Family) -> Option<String> {
    Some(match target {
        Target::Redirect { ports: Some(ports) } => format!("redir ports {}", ports.dashed()),
        Target::Reject { with } => format!("reject-with {with}"),
        Target::Dnat(range) | Target::Snat(range) => format!("to:{range}{}", pick(range.pick)),
        Target::Masquerade(range) => {
            let ports = range.ports.map(|it| format!("masq ports: {}", it.dashed()));
            let words = ports.unwrap_or_default() + &pick(range.pick);
            words.trim_start().to_owned()
        }
        Target::Tproxy {
            port,
            address,
            mark,
        } => {
            let nowhere = match family {
                Family::V4 => "0.0.0.0",
                Family::V6 => "::",
            };
            let address = address.map_or(nowhere.to_owned(), |it| it.to_string());
            format!("TPROXY redirect {address}:{port} mark {mark}")
        }
        Target::Mark(mark) => format!("MARK {}", change(*mark)),
        Target::Connmark(action) => format!("CONNMARK {}", connmark(*action)),
        Target::Zone { zone, direction } => {
            let option = match direction {
                None => "zone",
                Some(ZoneDirection::Original) => "zone-orig",
                Some(ZoneDirection::Reply) => "zone-reply",
            };
            match zone {
                ZoneId::Number(number) => format!("CT {option} {number}"),
                ZoneId::FromMark => format!("CT {option} mark"),
            }
        }
        Target::Notrack => "CT notrack".to_owned(),
        Target::Log(it) => log(it),
        Target::Nflog(it) => nflog(it),
        Target::Verbatim(words) if words.len() > 1 => words[1..].join(" "),
        _ => return None,
    })
    .filter(|words| !words.is_empty())
}

fn pick(pick: NatPick) -> String {
    let options = pick.options().map(|it| it.replacen("--", " ", 1));
    options.collect()
}

/// `mark_tg_print` of libxt_MARK, which tries the forms in this order.
fn change(MarkChange { value, mask }: MarkChange) -> String {
    match (value, mask) {
        (0, mask) => format!("and {:#x}", !mask),
        (value, mask) if value == mask => format!("or {value:#x}"),
        (value, 0) => format!("xor {value:#x}"),
        (value, u32::MAX) => format!("set {value:#x}"),
        (value, mask) => format!("xset {value:#x}/{mask:#x}"),
    }
}

fn connmark(action: ConnmarkAction) -> String {
    let masks = |nfmask: u32, ctmask: u32| match (nfmask, ctmask) {
        (u32::MAX, u32::MAX) => String::new(),
        (nfmask, ctmask) if nfmask == ctmask => format!(" mask {ctmask:#x}"),
        (nfmask, ctmask) => format!(" ctmask {ctmask:#x} nfmask {nfmask:#x}"),
    };
    match action {
        ConnmarkAction::Set(mark) => change(mark),
        ConnmarkAction::Save { nfmask, ctmask } => format!("save{}", masks(nfmask, ctmask)),
        ConnmarkAction::Restore { nfmask, ctmask } => format!("restore{}", masks(nfmask, ctmask)),
    }
}

fn log(log: &Log) -> String {
    let bits = LogDetail::ALL.iter();
    let bits = bits.filter(|(detail, _)| log.details.contains(detail));
    let flags = bits.fold(0, |flags, (_, bit)| flags | bit);
    let prefix = match log.prefix.as_str() {
        "" => String::new(),
        prefix => format!(" prefix \"{prefix}\""),
    };
    format!("LOG flags {flags} level {}{prefix}", log.level)
}

fn nflog(log: &Nflog) -> String {
    let plain = Nflog::default();
    let mut words = Vec::new();
    if log.prefix != plain.prefix {
        words.push(format!("nflog-prefix \"{}\"", log.prefix));
    }
    if log.group != plain.group {
        words.push(format!("nflog-group {}", log.group));
    }
    words.extend(log.size.map(|size| format!("nflog-size {size}")));
    if log.threshold != plain.threshold {
        words.push(format!("nflog-threshold {}", log.threshold));
    }
    words.join(" ")
}
