//! Rules of a person's own, in any form that can be read, as texts that iptables-restore or nft takes.

use std::collections::BTreeMap;

use super::RuleText;
use crate::{
    failure::{Class, Failure},
    rules::{self, Document, Family, Form, RuleSet, Written},
};

/// Rules to apply in place of a lab's own.
#[derive(Debug, Clone)]
pub struct GivenRules {
    /// File name, for complaints and reports.
    pub(super) origin: String,
    /// The texts.
    pub(super) texts: Written<RuleText>,
    /// The same, parsed.
    pub(super) sets: Vec<RuleSet>,
}

impl GivenRules {
    /// Reads a restore file, a dump, a listing, a log of istio-init or rules of nft, of one family or of both. Restore
    /// text goes to iptables-restore word for word, and so do rules of nft to nft; of any other form, what it means
    /// goes to iptables-restore. `family` is taken where the text does not tell.
    ///
    /// # Errors
    /// The first complaint about the text, with its place; rules of iptables and of nft in one text.
    pub fn read(text: &str, origin: &str, family: Family) -> Result<Self, Failure> {
        let complaint =
            |e: crate::diagnostic::Diagnostic| Failure::new(Class::Input, e.to_string());
        let document = rules::read(text, origin, family).map_err(complaint)?;
        let sets = document.rules().map_err(complaint)?;
        let texts = match nft_text(text, origin, &document)? {
            Some(text) => super::one_text(origin.to_owned(), text),
            None => restore_texts(text, origin, &sets),
        };
        Ok(Self {
            origin: origin.to_owned(),
            texts,
            sets,
        })
    }

    /// Whether they are nft's own.
    pub fn is_nft(&self) -> bool {
        self.texts.is_nft()
    }

    /// The texts alone.
    pub fn into_texts(self) -> Written {
        self.texts.map(|it| it.text.clone())
    }

    /// The rules of one family as a value, such as a lab's own with one left out.
    pub fn of(set: RuleSet, origin: &str) -> Self {
        Self::of_all(vec![set], origin)
    }

    /// The rules of iptables as values, one set a family.
    pub fn of_all(sets: Vec<RuleSet>, origin: &str) -> Self {
        let text = |set: &RuleSet| {
            let text = rules::to_restore(&set.without_counters());
            let origin = origin.to_owned();
            (set.family, RuleText { origin, text })
        };
        Self {
            origin: origin.to_owned(),
            texts: Written::Iptables(sets.iter().map(text).collect()),
            sets,
        }
    }
}

fn restore_texts(text: &str, origin: &str, sets: &[RuleSet]) -> Written<RuleText> {
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
    Written::Iptables(sets.iter().map(rule_text).collect())
}

/// The lines of a text that are rules of nft's own; none where the rules are those of iptables.
fn nft_text(text: &str, origin: &str, document: &Document) -> Result<Option<String>, Failure> {
    let is_nft = |form: Form| matches!(form, Form::Nft | Form::NftJson);
    let dumps = &document.dumps;
    let Some(first) = dumps.iter().find(|dump| is_nft(dump.form)) else {
        return Ok(None);
    };
    if let Some(other) = dumps.iter().find(|dump| dump.form != first.form) {
        let what = format!("{origin} holds rules for more than one program");
        return Err(Failure::new(Class::Input, what)
            .cause(format!(
                "{:?} from line {}, {:?} from line {}",
                first.form, first.line, other.form, other.line
            ))
            .hint("leave the rules of one of them: a pod of the lab has one"));
    }
    // Both views of a block have its lines.
    let blocks: BTreeMap<usize, usize> = dumps.iter().map(|it| (it.line, it.last_line)).collect();
    let lines: Vec<&str> = text.lines().collect();
    let block = |(first, last): (usize, usize)| lines[first - 1..last].join("\n") + "\n";
    Ok(Some(blocks.into_iter().map(block).collect()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(text: &str, family: Family) -> Vec<(Family, String)> {
        let given = GivenRules::read(text, "my.rules", family).expect("readable");
        assert!(!given.is_nft());
        match given.into_texts() {
            Written::Iptables(texts) => texts.into_iter().collect(),
            Written::Nft { .. } => panic!("these are rules of iptables"),
        }
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

    const NFT: &str = "table inet mine {\n\tchain output {\n\t\ttype nat hook output priority dstnat; policy accept;\n\
                       \t\ttcp dport 80 counter redirect to :15001\n\t}\n}\n";

    #[test]
    fn rules_of_nft_are_kept_word_for_word_without_the_words_around_them() {
        let page = format!("What nft printed:\n\n```\n{NFT}```\n");
        let given = GivenRules::read(&page, "page.md", Family::V4).expect("readable");
        let text = given.texts.of(Family::V6).map(|it| it.text.as_str());
        assert_eq!((given.is_nft(), text), (true, Some(NFT)));
        assert_eq!(given.sets.len(), 2, "inet is for both families");
    }

    #[test]
    fn rules_for_two_programs_in_one_text_are_refused() {
        let both = format!("{NFT}{RESTORE}");
        let failure = GivenRules::read(&both, "both.txt", Family::V4).expect_err("refused");
        assert_eq!(
            failure.what,
            "both.txt holds rules for more than one program"
        );
        assert_eq!(failure.causes, ["Nft from line 1, Restore from line 7"]);
    }
}
