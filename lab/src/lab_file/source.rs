//! A lab's own rules, from where its file says, with all that goes with them.

use std::{collections::BTreeMap, path::Path};

use super::{Expect, Families, LabFile, RuleText, complaint, read};
use crate::{
    builtin,
    diagnostic::Diagnostic,
    failure::{Class, Failure},
    interception::Interception,
    profiles,
    rules::{self, Edit, Family, RuleSet, Table, Written},
    topology::RuleSource,
};

impl LabFile {
    /// The same lab with these rules for its own.
    ///
    /// # Errors
    /// A file that can't be read, rules that do not parse, a profile that no lab plays.
    pub(super) fn ruled(mut self, source: &RuleSource) -> Result<Self, Failure> {
        let none: &[String] = &[];
        let (name, options) = match source {
            RuleSource::Profile(name) if builtin::rule_text(name, Family::V4).is_some() => {
                let texts = [Family::V4, Family::V6].into_iter().filter_map(|family| {
                    let text = builtin::rule_text(name, family)?.to_owned();
                    let origin = format!("profile {name} ({family})");
                    Some((family, RuleText { origin, text }))
                });
                self.texts = Written::Iptables(texts.collect());
                self.interception = Interception::default();
                self.rules_from = format!("{name}, the lab's own");
                return Ok(self);
            }
            RuleSource::Files { v4, v6 } => {
                let mut texts = BTreeMap::new();
                for (family, file) in [(Family::V4, Some(v4)), (Family::V6, v6.as_ref())] {
                    if let Some(file) = file {
                        texts.insert(family, self.beside(file)?);
                    }
                }
                self.texts = Written::Iptables(texts);
                self.parsed()?;
                self.rules_from = "the lab's own".to_owned();
                return Ok(self);
            }
            RuleSource::Text { v4, v6 } => {
                let texts = [(Family::V4, Some(v4)), (Family::V6, v6.as_ref())];
                let texts = texts.into_iter().filter_map(|(family, text)| {
                    let origin = format!("{} ({family} rules in it)", self.origin);
                    let text = text?.clone();
                    Some((family, RuleText { origin, text }))
                });
                self.texts = Written::Iptables(texts.collect());
                self.interception = Interception::of_rules(&self.parsed()?);
                self.rules_from = format!("the lab's own, {}", self.interception);
                return Ok(self);
            }
            RuleSource::Profile(name) => (name, none),
            RuleSource::Options { profile, options } => (profile, options.as_slice()),
        };
        let servers = self.host(Families::Dual).dns_servers;
        let bad = |why| Failure::new(Class::Input, format!("{}: {why}", self.origin));
        let profile = profiles::with_options(name, options, &servers).map_err(bad)?;
        let mut lab = self.with_profile(&profile, Expect::Rules)?;
        lab.expect = Expect::File;
        lab.own_rules = true;
        lab.rules_from = format!("{source}, the lab's own");
        Ok(lab)
    }

    /// The lab's own rules, those of each family that has some.
    fn parsed(&self) -> Result<Vec<rules::RuleSet>, Failure> {
        let mut sets = Vec::new();
        for family in [Family::V4, Family::V6] {
            sets.extend(super::parse_rules(&self.texts, family)?);
        }
        Ok(sets)
    }

    /// The same lab with its own rules changed.
    ///
    /// # Errors
    /// The first change that can't be made, with its place in the lab file.
    pub(super) fn edited(mut self, edits: &[Edit]) -> Result<Self, Failure> {
        if edits.is_empty() {
            return Ok(self);
        }
        self.texts = self.after_edits(&self.texts, edits)?;
        self.rules_from = format!("{}, edited", self.rules_from);
        self.variables = None;
        Ok(self)
    }

    /// Texts after edits.
    ///
    /// # Errors
    /// The first change that can't be made, with its place in the lab file.
    pub(super) fn after_edits(
        &self,
        texts: &Written<RuleText>,
        edits: &[Edit],
    ) -> Result<Written<RuleText>, Failure> {
        let texts = match texts {
            Written::Iptables(texts) => texts,
            Written::Nft { nft } => return self.nft_after_edits(nft, edits),
        };
        let mut changed = texts.clone();
        for (family, text) in &mut changed {
            let set = rules::parse(&text.text, *family, &text.origin).map_err(complaint)?;
            let mut set = set.without_counters();
            for edit in edits {
                set = self.after_edit(&set, edit)?;
            }
            text.text = rules::to_restore(&set);
            text.origin = format!("{}, edited", text.origin);
        }
        Ok(Written::Iptables(changed))
    }

    fn after_edit(&self, set: &RuleSet, edit: &Edit) -> Result<RuleSet, Failure> {
        rules::edited(set, std::slice::from_ref(edit)).map_err(|bad| {
            let failure = self.about(edit, &bad.message);
            match bad.help {
                Some(help) => failure.hint(help),
                None => failure,
            }
        })
    }

    /// One text has the rules of both families: it is read, changed, and written again. A family without the table is
    /// left alone.
    fn nft_after_edits(
        &self,
        text: &RuleText,
        edits: &[Edit],
    ) -> Result<Written<RuleText>, Failure> {
        let mut text = text.clone();
        for edit in edits {
            let mut sets = rules::of_nft(&text.text, &text.origin).map_err(complaint)?;
            let has_table = |set: &RuleSet| edit.is_of(set.family) && edit.has_table(set);
            if !sets.iter().any(has_table) {
                let what = format!("there is no table `{}` to change", edit.table());
                return Err(self.about(edit, &what));
            }
            for set in sets.iter_mut().filter(|set| has_table(set)) {
                *set = self.after_edit(set, edit)?;
            }
            let whole: Vec<&RuleSet> = sets.iter().collect();
            let no_words = |why| self.about(edit, &format!("nothing writes {why} for nft"));
            text.text = rules::to_nft(&whole).map_err(no_words)?;
            let again = rules::of_nft(&text.text, "what is written for nft").map_err(complaint)?;
            let says_the_same = |set: &&RuleSet| {
                let mut again = again.iter().filter(|it| it.family == set.family);
                again.any(|it| rules::diff(set, it, &Table::ALL).is_empty())
            };
            if !whole.iter().all(says_the_same) {
                let what = "one table of nft has the rules of both families, and this changes one";
                return Err(self.about(edit, what).hint("leave out -4 and -6"));
            }
        }
        text.origin = format!("{}, edited", text.origin);
        Ok(Written::Nft { nft: text })
    }

    /// A complaint about a change of rules that the lab file asks for.
    fn about(&self, edit: &Edit, message: &str) -> Failure {
        let words = edit.to_string();
        let at = self.text.find(&words).unwrap_or(0);
        let place = at..at + words.len();
        complaint(Diagnostic::at(&self.origin, &self.text, place, message))
    }

    /// A restore file beside the lab file.
    fn beside(&self, file: &str) -> Result<RuleText, Failure> {
        let lab = &self.origin;
        let path = Path::new(lab).parent().unwrap_or(Path::new("")).join(file);
        let text = read(&path).map_err(|failure| {
            failure.hint(format!(
                "{lab} names it in [rules]; the path is relative to that file"
            ))
        })?;
        Ok(RuleText {
            origin: path.display().to_string(),
            text,
        })
    }
}
