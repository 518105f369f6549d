//! Rules by the name of their profile.

use std::path::Path;

use super::Text;
use crate::{
    diagnostic::did_you_mean,
    failure::{Class, Failure},
    istio::routes::{Mark, Step},
    lint::Proxy,
    model::mark_value,
    profiles::{self, Profile, Rules},
    rules::{Family, MarkValue},
};

impl Text {
    /// The rules of a profile, both families, with the command in front that tells which is which.
    pub(super) fn of_profile(profile: Profile) -> Self {
        let text = match &profile.rules {
            Rules::Nft(text) => text.clone(),
            Rules::Iptables { v4, v6 } => {
                let v6 = v6.iter().map(|text| format!("# ip6tables-restore\n{text}"));
                format!("# iptables-restore\n{v4}") + &v6.collect::<String>()
            }
        };
        Self {
            origin: format!("profile:{}", profile.name),
            text,
            profile: Some(Box::new(profile)),
        }
    }
}

impl Text {
    /// Who the proxy of these rules is: their profile says, else it is Istio's.
    pub(in crate::cli) fn proxy(&self) -> Proxy {
        let Some(profile) = &self.profile else {
            return Proxy::ISTIO;
        };
        let proxy = &profile.proxy;
        match (proxy.owner(), &proxy.marks.sent) {
            (Some((uid, gid)), _) => Proxy {
                uid,
                gid,
                mark: None,
            },
            (None, mark) => Proxy {
                mark: mark.as_ref().and_then(|mark| mark_value(mark)),
                ..Proxy::ISTIO
            },
        }
    }

    /// Marks whose packets stay on the machine: those the profile's mesh adds `ip rule` for; none leaves it to the
    /// rules.
    pub(in crate::cli) fn local_marks(&self, family: Family) -> Option<Vec<MarkValue>> {
        let steps = self.profile.as_ref()?.steps.iter();
        let marks = steps.filter_map(|step| match step {
            Step::Rule {
                family: of, mark, ..
            } if *of == family => Some(match *mark {
                Mark::Whole(value) => MarkValue {
                    value,
                    mask: u32::MAX,
                },
                Mark::Masked(value, mask) => MarkValue { value, mask },
            }),
            _ => None,
        });
        Some(marks.collect())
    }
}

/// The profile of this name.
///
/// # Errors
/// There is none; the hint has the nearest one, or all.
pub(in crate::cli) fn find(name: &str) -> Result<Profile, Failure> {
    profiles::find(name).ok_or_else(|| {
        let what = format!("there is no profile `{name}`");
        Failure::new(Class::Input, what).hint(nearest(name).unwrap_or_else(all_names))
    })
}

/// The profile that an argument means which could be a path: a single word that no file has for a name.
///
/// # Errors
/// It is a single word, and neither a file nor a profile.
pub(super) fn meant_by(path: &Path) -> Result<Option<Profile>, Failure> {
    let Some(word) = path.to_str().filter(|it| !it.contains('/')) else {
        return Ok(None);
    };
    let profile = profiles::find(word);
    // A link that leads nowhere is a file that can't be read, and is told as one.
    let there = path.symlink_metadata().is_ok_and(|it| !it.is_dir());
    match (profile, there) {
        (Some(profile), false) => Ok(Some(profile)),
        (Some(_), true) => {
            anstream::eprintln!("note: `{word}` is the file; the profile is `profile:{word}`");
            Ok(None)
        }
        (None, false) if !path.is_dir() => Err(neither(word)),
        (None, _) => Ok(None),
    }
}

fn neither(word: &str) -> Failure {
    let failure = Failure::new(Class::Input, format!("could not read {word}"))
        .cause("there is no file and no profile of this name");
    failure.hint(nearest(word).unwrap_or_else(|| "`hoplab profiles` lists the profiles".to_owned()))
}

fn nearest(name: &str) -> Option<String> {
    let names = names();
    did_you_mean(name, names.iter().map(String::as_str))
}

fn all_names() -> String {
    format!("known are {}", names().join(", "))
}

fn names() -> Vec<String> {
    let all = profiles::all().into_iter();
    all.flat_map(|it| [vec![it.name], it.aliases].concat())
        .collect()
}
