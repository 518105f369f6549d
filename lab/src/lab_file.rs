//! A lab file with its rules: read, checked against each other, ready to be brought up or judged by.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

use crate::{
    builtin,
    diagnostic::{Diagnostic, did_you_mean},
    failure::{Class, Failure},
    plan::RuleTexts,
    rules::{self, Family, RuleSet, Table},
    topology::{Expected, RuleSource, Topology},
};

/// A restore text and where it comes from.
#[derive(Debug, Clone)]
pub struct RuleText {
    /// File name, for complaints.
    pub origin: String,
    /// The text.
    pub text: String,
}

/// A lab file with its rules, not running yet.
#[derive(Debug, Clone)]
pub struct LabFile {
    /// What the file describes.
    pub topology: Topology,
    /// The lab's own rules, per family.
    texts: BTreeMap<Family, RuleText>,
}

impl LabFile {
    /// Reads a lab by name (one that travels in the binary) or by path (it has a `/` or ends in `.toml`).
    ///
    /// # Errors
    /// No such lab, an unreadable file, or a complaint with its place in the file.
    pub fn open(name: &str) -> Result<Self, Failure> {
        if name.contains('/') || name.ends_with(".toml") {
            let text = read(Path::new(name))?;
            return Self::parse(&text, name);
        }
        let text = builtin::lab_text(name).ok_or_else(|| {
            Failure::new(Class::Input, format!("there is no lab `{name}`")).hint(format!(
                "labs that hoplab carries: {}; a file of your own is named by its path, such as ./{name}.toml",
                builtin::LABS.join(", ")
            ))
        })?;
        Self::parse(text, &format!("{name}.toml"))
    }

    /// Reads a lab from text; `origin` is its path, for complaints and for rule files beside it.
    ///
    /// # Errors
    /// A complaint with its place, or an unreadable rules file.
    pub fn parse(text: &str, origin: &str) -> Result<Self, Failure> {
        let topology = Topology::parse(text, origin).map_err(complaint)?;
        let mut texts = BTreeMap::new();
        for family in [Family::V4, Family::V6] {
            if let Some(rules) = rule_text(&topology.rules, family, origin)? {
                let parsed = parse_rules(&rules, family)?;
                let expected = topology.flows.iter().flat_map(|f| f.nat.values().flatten());
                for traversal in expected {
                    known_places(traversal, &parsed, text, origin)?;
                }
                texts.insert(family, rules);
            }
        }
        Ok(Self { topology, texts })
    }

    /// The lab's own rules of a family, parsed: what expectations name.
    ///
    /// # Errors
    /// The lab has none for this family, or the file does not parse.
    pub fn reference(&self, family: Family) -> Result<RuleSet, Failure> {
        let text = self.texts.get(&family).ok_or_else(|| {
            Failure::new(
                Class::Input,
                format!("lab `{}` has no {family} rules", self.topology.name),
            )
            .hint("name them with `file_ipv6` in [rules]")
        })?;
        parse_rules(text, family)
    }

    /// Texts to apply: the lab's own or the one given, and IPv6 only when flows run over it.
    ///
    /// # Errors
    /// There is none for the family, or the text given does not parse.
    pub fn texts_to_apply(
        &self,
        family: Family,
        given: Option<&RuleText>,
    ) -> Result<RuleTexts, Failure> {
        // Expectations name the lab's own rules: without them there is nothing to judge by.
        self.reference(family)?;
        let mut texts = self.texts.clone();
        if let Some(given) = given {
            parse_rules(given, family)?;
            texts.insert(family, given.clone());
        }
        if family == Family::V4 {
            texts.remove(&Family::V6);
        }
        Ok(RuleTexts {
            v4: texts
                .remove(&Family::V4)
                .map(|t| t.text)
                .unwrap_or_default(),
            v6: texts.remove(&Family::V6).map(|t| t.text),
            profile: match &self.topology.rules {
                RuleSource::Profile(name) if given.is_none() => Some(name.clone()),
                _ => None,
            },
        })
    }
}

fn complaint(diagnostic: Diagnostic) -> Failure {
    Failure::new(Class::Input, diagnostic.to_string())
}

/// Every rule that an expected traversal names must be one of the lab's own.
fn known_places(
    traversal: &Expected,
    rules: &RuleSet,
    text: &str,
    origin: &str,
) -> Result<(), Failure> {
    let Some(nat) = rules.tables.get(&Table::Nat) else {
        return Ok(());
    };
    for (name, place) in &traversal.rules {
        let complain =
            |message: String| Diagnostic::at(origin, text, traversal.at.clone(), message);
        let Some(chain) = nat.chain(name) else {
            let known = nat.chains().iter().map(|c| c.name.as_str());
            let diagnostic = complain(format!("the lab's rules have no chain `{name}`"));
            let help = did_you_mean(name, known).unwrap_or_else(|| "name a chain of nat".into());
            return Err(complaint(diagnostic.help(help)));
        };
        let rules = chain.rules.len();
        if usize::try_from(*place).is_ok_and(|place| place > rules) {
            let diagnostic = complain(format!(
                "`{name} {place}` is no rule: the chain has {rules}"
            ));
            return Err(complaint(
                diagnostic.help("places count from 1, in the order of the rules file"),
            ));
        }
    }
    Ok(())
}

fn parse_rules(text: &RuleText, family: Family) -> Result<RuleSet, Failure> {
    rules::parse(&text.text, family, &text.origin)
        .map_err(|e| Failure::new(Class::Input, e.to_string()))
}

fn rule_text(source: &RuleSource, family: Family, lab: &str) -> Result<Option<RuleText>, Failure> {
    match source {
        RuleSource::Profile(name) => Ok(builtin::rule_text(name, family).map(|text| RuleText {
            origin: format!("profile {name} ({family})"),
            text: text.to_string(),
        })),
        RuleSource::Files { v4, v6 } => {
            let file = match family {
                Family::V4 => Some(v4),
                Family::V6 => v6.as_ref(),
            };
            let Some(file) = file else { return Ok(None) };
            let path: PathBuf = Path::new(lab).parent().unwrap_or(Path::new("")).join(file);
            let text = read(&path).map_err(|failure| {
                failure.hint(format!(
                    "{lab} names it in [rules]; the path is relative to that file"
                ))
            })?;
            Ok(Some(RuleText {
                origin: path.display().to_string(),
                text,
            }))
        }
    }
}

fn read(path: &Path) -> Result<String, Failure> {
    fs::read_to_string(path).map_err(|error| {
        Failure::new(Class::Input, format!("could not read {}", path.display()))
            .cause(error.to_string())
    })
}
