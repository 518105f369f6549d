//! Where rules come from, and changes of them.

use toml::Spanned;

use super::super::{RuleSource, schema, source::Source};
use crate::{
    diagnostic::{Diagnostic, did_you_mean},
    profiles,
    rules::Edit,
};

/// A source of rules with the changes of what it gives.
pub(super) fn rules(
    source: &Source,
    raw: &Spanned<schema::Rules>,
) -> Result<(RuleSource, Vec<Edit>), Diagnostic> {
    let rules = raw.get_ref();
    let edit = edits(source, &rules.edit)?;
    let misplaced = |what: &str, goes_with: &str, help: &str| {
        let message = format!("`{what}` goes with `{goes_with}`");
        Err(source.complain(raw, message).help(help))
    };
    if rules.file_ipv6.is_some() && rules.file.is_none() {
        return misplaced(
            "file_ipv6",
            "file",
            "a profile brings its IPv6 rules itself",
        );
    }
    if rules.text_ipv6.is_some() && rules.text.is_none() {
        return misplaced(
            "text_ipv6",
            "text",
            "a profile brings its IPv6 rules itself",
        );
    }
    if rules.options.is_some() && rules.profile.is_none() {
        return misplaced(
            "options",
            "profile",
            "they are flags of the mesh's own installer",
        );
    }
    let found = match (&rules.profile, &rules.file, &rules.text) {
        (Some(profile), None, None) => self::profile(source, profile, rules.options.as_ref())?,
        (None, Some(file), None) => RuleSource::Files {
            v4: file.clone(),
            v6: rules.file_ipv6.clone(),
        },
        (None, None, Some(text)) => RuleSource::Text {
            v4: text.clone(),
            v6: rules.text_ipv6.clone(),
        },
        _ => {
            return Err(source
                .complain(raw, "`rules` needs one of `profile`, `file` and `text`")
                .help("for the rules of the notes: profile = \"istio-1.13\""));
        }
    };
    Ok((found, edit))
}

fn profile(
    source: &Source,
    raw: &Spanned<String>,
    options: Option<&Spanned<Vec<String>>>,
) -> Result<RuleSource, Diagnostic> {
    let name = raw.get_ref();
    if profiles::find(name).is_none() {
        let known: Vec<String> = profiles::all().into_iter().map(|it| it.name).collect();
        let help = did_you_mean(name, known.iter().map(String::as_str)).unwrap_or_else(|| {
            format!(
                "known profiles: `{}`; or name a restore file with `file`",
                known.join("`, `")
            )
        });
        return Err(source
            .complain(raw, format!("there is no rule profile `{name}`"))
            .help(help));
    }
    let Some(options) = options else {
        return Ok(RuleSource::Profile(name.clone()));
    };
    // The servers of the pods' resolv.conf change no flag's meaning.
    profiles::with_options(name, options.get_ref(), &Default::default())
        .map_err(|why| source.complain(options, why))?;
    Ok(RuleSource::Options {
        profile: name.clone(),
        options: options.get_ref().clone(),
    })
}

/// Changes in the words of iptables.
pub(super) fn edits(source: &Source, raw: &[Spanned<String>]) -> Result<Vec<Edit>, Diagnostic> {
    let edit = |raw: &Spanned<String>| {
        Edit::parse(raw.get_ref()).map_err(|why| {
            source
                .complain(raw, why)
                .help("write \"-D ISTIO_OUTPUT 1\" or \"-t mangle -I PREROUTING 1 …\", as iptables takes it")
        })
    };
    raw.iter().map(edit).collect()
}
