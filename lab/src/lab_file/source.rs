//! A lab's own rules, from where its file says, with all that goes with them.

use std::path::Path;

use super::{Expect, Families, LabFile, RuleText, parse_rules, read};
use crate::{
    builtin,
    failure::{Class, Failure},
    interception::Interception,
    profiles,
    rules::{self, Edit, Family},
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
                self.texts = texts.collect();
                self.interception = Interception::default();
                self.rules_from = format!("{name}, the lab's own");
                return Ok(self);
            }
            RuleSource::Files { v4, v6 } => {
                for (family, file) in [(Family::V4, Some(v4)), (Family::V6, v6.as_ref())] {
                    if let Some(file) = file {
                        let text = self.beside(file)?;
                        parse_rules(&text, family)?;
                        self.texts.insert(family, text);
                    }
                }
                self.rules_from = "the lab's own".to_owned();
                return Ok(self);
            }
            RuleSource::Text { v4, v6 } => {
                let mut sets = Vec::new();
                for (family, text) in [(Family::V4, Some(v4)), (Family::V6, v6.as_ref())] {
                    if let Some(text) = text {
                        let origin = format!("{} ({family} rules in it)", self.origin);
                        let text = text.clone();
                        let text = RuleText { origin, text };
                        sets.push(parse_rules(&text, family)?);
                        self.texts.insert(family, text);
                    }
                }
                self.interception = Interception::of_rules(&sets);
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

    /// The same lab with its own rules changed.
    ///
    /// # Errors
    /// The first change that can't be made.
    pub(super) fn edited(mut self, edits: &[Edit]) -> Result<Self, Failure> {
        if edits.is_empty() {
            return Ok(self);
        }
        for (family, text) in &mut self.texts {
            let set = parse_rules(text, *family)?;
            let edited = rules::edited(&set, edits).map_err(|bad| {
                Failure::new(Class::Input, bad.to_string())
                    .hint(format!("{} says so in `edit`", self.origin))
            })?;
            text.text = rules::to_restore(&edited);
            text.origin = format!("{}, edited", text.origin);
        }
        self.rules_from = format!("{}, edited", self.rules_from);
        self.variables = None;
        Ok(self)
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
