//! Rules of a person's own, in any form that can be read, as texts that iptables-restore takes.

use std::collections::BTreeMap;

use super::RuleText;
use crate::{
    failure::{Class, Failure},
    rules::{self, Family, RuleSet},
};

/// Rules to apply in place of a lab's own.
#[derive(Debug, Clone)]
pub struct GivenRules {
    /// File name, for complaints and reports.
    pub(super) origin: String,
    /// Per family found.
    pub(super) texts: BTreeMap<Family, RuleText>,
    /// The same, parsed.
    pub(super) sets: Vec<RuleSet>,
}

impl GivenRules {
    /// Reads a restore file, a dump, a listing or a log of istio-init, of one family or of both. Restore text goes to
    /// the kernel word for word; of any other form, what it means does. `family` is taken where the text does not
    /// tell.
    ///
    /// # Errors
    /// The first complaint about the text, with its place.
    pub fn read(text: &str, origin: &str, family: Family) -> Result<Self, Failure> {
        let complaint =
            |e: crate::diagnostic::Diagnostic| Failure::new(Class::Input, e.to_string());
        let document = rules::read(text, origin, family).map_err(complaint)?;
        let sets = document.rules().map_err(complaint)?;
        let rule_text = |set: &RuleSet| {
            let alone = sets.len() == 1;
            let verbatim =
                alone && rules::parse(text, set.family, origin).is_ok_and(|whole| whole == *set);
            let text = if verbatim {
                text.to_owned()
            } else {
                rules::to_restore(set)
            };
            let origin = origin.to_owned();
            (set.family, RuleText { origin, text })
        };
        Ok(Self {
            origin: origin.to_owned(),
            texts: sets.iter().map(rule_text).collect(),
            sets,
        })
    }

    /// The texts alone.
    pub fn into_texts(self) -> BTreeMap<Family, String> {
        let texts = self.texts.into_iter();
        texts.map(|(family, it)| (family, it.text)).collect()
    }

    /// The rules of one family as a value, such as a lab's own with one left out.
    pub fn of(set: RuleSet, origin: &str) -> Self {
        let text = rules::to_restore(&set);
        let origin = origin.to_owned();
        let texts = [(
            set.family,
            RuleText {
                origin: origin.clone(),
                text,
            },
        )];
        Self {
            origin,
            texts: texts.into(),
            sets: vec![set],
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(text: &str, family: Family) -> Vec<(Family, String)> {
        let given = GivenRules::read(text, "my.rules", family).expect("readable");
        let texts = given.texts.into_iter();
        texts.map(|(family, it)| (family, it.text)).collect()
    }

    const RESTORE: &str = "* nat\n# my own words\n-N MINE\n-A OUTPUT -p tcp -j MINE\nCOMMIT\n";

    #[test]
    fn restore_text_is_kept_word_for_word() {
        let kept = [(Family::V6, RESTORE.to_owned())];
        assert_eq!(texts(RESTORE, Family::V6), kept);
    }

    #[test]
    fn a_dump_with_words_around_it_becomes_restore_text() {
        let page = format!("What I saw today:\n\n```\n{RESTORE}```\n");
        let meant = "* nat\n-N MINE\n-A OUTPUT -p tcp -j MINE\nCOMMIT\n";
        assert_eq!(texts(&page, Family::V4), [(Family::V4, meant.to_owned())]);
    }

    #[test]
    fn a_file_with_both_families_gives_both() {
        let v4 = "* nat\n-A OUTPUT -d 127.0.0.1/32 -j RETURN\nCOMMIT\n";
        let v6 = "* nat\n-A OUTPUT -d ::1/128 -j RETURN\nCOMMIT\n";
        let both = [(Family::V4, v4.to_owned()), (Family::V6, v6.to_owned())];
        assert_eq!(texts(&format!("{v4}{v6}"), Family::V4), both);
    }
}
