//! Reads the targets that mark packets and connections, and choose conntrack zones.

use std::net::IpAddr;

use super::{Given, value};
use crate::diagnostic::Diagnostic;
use crate::rules::id::Family;
use crate::rules::marks::{ConnmarkAction, MarkChange};
use crate::rules::target::{Target, ZoneDirection, ZoneId};

/// Makes a change of the value and mask given.
type Change = fn(u32, u32) -> MarkChange;

/// The words for a change of a mark, with what each makes of value and mask.
const CHANGES: [(&str, Change); 5] = [
    ("--set-xmark", MarkChange::set_xmark),
    ("--set-mark", MarkChange::set_mark),
    ("--and-mark", |bits, _| MarkChange::and_mark(bits)),
    ("--or-mark", |bits, _| MarkChange::or_mark(bits)),
    ("--xor-mark", |bits, _| MarkChange::xor_mark(bits)),
];

fn change(given: &mut Given<'_>) -> Result<Option<MarkChange>, Diagnostic> {
    for (name, make) in CHANGES {
        if let Some(word) = given.value(&[name])? {
            let mark = value::mark(given.line, word)?;
            return Ok(Some(make(mark.value, mark.mask)));
        }
    }
    Ok(None)
}

pub(super) fn mark(given: &mut Given<'_>) -> Result<Option<Target>, Diagnostic> {
    Ok(change(given)?.map(Target::Mark))
}

pub(super) fn connmark(given: &mut Given<'_>) -> Result<Option<Target>, Diagnostic> {
    if let Some(change) = change(given)? {
        return Ok(Some(Target::Connmark(ConnmarkAction::Set(change))));
    }
    let (save, restore) = (given.flag("--save-mark")?, given.flag("--restore-mark")?);
    let both = mask(given, "--mask")?;
    let nfmask = mask(given, "--nfmask")?.or(both).unwrap_or(u32::MAX);
    let ctmask = mask(given, "--ctmask")?.or(both).unwrap_or(u32::MAX);
    Ok(match (save, restore) {
        (true, false) => Some(Target::Connmark(ConnmarkAction::Save { nfmask, ctmask })),
        (false, true) => Some(Target::Connmark(ConnmarkAction::Restore { nfmask, ctmask })),
        _ => None,
    })
}

fn mask(given: &mut Given<'_>, name: &str) -> Result<Option<u32>, Diagnostic> {
    let Some(word) = given.value(&[name])? else {
        return Ok(None);
    };
    let message = || format!("`{}` is not a mask such as 0xff", word.text);
    let mask = value::number(&word.text).ok_or_else(|| given.line.error(word, message()))?;
    Ok(Some(mask))
}

pub(super) fn tproxy(given: &mut Given<'_>) -> Result<Option<Target>, Diagnostic> {
    let Some(port) = given.number(&["--on-port"])? else {
        let message = "`TPROXY` needs `--on-port`";
        return Err(given.line.error(given.target, message));
    };
    let address = match given.value(&["--on-ip"])? {
        None => None,
        Some(word) => {
            let parsed = word.text.parse::<IpAddr>().ok();
            let fits = parsed.filter(|it| Family::of(*it) == given.family);
            let message = || format!("`{}` is not an address of {}", word.text, given.family);
            fits.ok_or_else(|| given.line.error(word, message()))
                .map(|it| Some(it).filter(|it| !it.is_unspecified()))?
        }
    };
    let mark = match given.value(&["--tproxy-mark"])? {
        None => MarkChange::set_xmark(0, 0),
        Some(word) => {
            let mark = value::mark(given.line, word)?;
            MarkChange::set_xmark(mark.value, mark.mask)
        }
    };
    Ok(Some(Target::Tproxy {
        port,
        address,
        mark,
    }))
}

pub(super) fn ct(given: &mut Given<'_>) -> Result<Option<Target>, Diagnostic> {
    if given.flag("--notrack")? {
        return Ok(Some(Target::Notrack));
    }
    let options = [
        ("--zone", None),
        ("--zone-orig", Some(ZoneDirection::Original)),
        ("--zone-reply", Some(ZoneDirection::Reply)),
    ];
    for (name, direction) in options {
        let Some(word) = given.value(&[name])? else {
            continue;
        };
        let zone = match word.text.as_str() {
            "mark" => ZoneId::FromMark,
            text => {
                let number = value::number(text).and_then(|it| u16::try_from(it).ok());
                let message = || format!("`{text}` is not a zone from 0 to 65535");
                ZoneId::Number(number.ok_or_else(|| given.line.error(word, message()))?)
            }
        };
        return Ok(Some(Target::Zone { zone, direction }));
    }
    Ok(None)
}
