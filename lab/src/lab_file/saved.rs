//! A lab with its rules as one value that needs no other file: what an evidence file says of it.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{Expect, LabFile, RuleText, complaint, parse_rules};
use crate::{
    failure::Failure, interception::Interception, istio::routes::Step, rules::Family,
    topology::Topology,
};

/// Everything a [`LabFile`] is made of, the contents of the files it names included.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SavedLab {
    /// Path of the lab file, for complaints.
    origin: String,
    /// Text of the lab file.
    text: String,
    /// Rules that expectations name, per family.
    rules: BTreeMap<Family, RuleText>,
    /// Rules that were applied in place of those, per family.
    given: BTreeMap<Family, RuleText>,
    /// Where the rules in the pods come from, for people.
    rules_from: String,
    /// How the sidecars intercept.
    interception: Interception,
    /// What the flows are judged by.
    expect: Expect,
    /// What Istio sets beside the rules of a configuration.
    routes: Option<Vec<Step>>,
}

impl LabFile {
    /// This lab as one value; [`LabFile::restore`] gives it back.
    pub fn save(&self) -> SavedLab {
        SavedLab {
            origin: self.origin.clone(),
            text: self.text.clone(),
            rules: self.texts.clone(),
            given: self.given.clone(),
            rules_from: self.rules_from.clone(),
            interception: self.interception.clone(),
            expect: self.expect,
            routes: self.routes.clone(),
        }
    }

    /// The lab that was saved. Reads no file.
    ///
    /// # Errors
    /// A complaint about the lab file's text or about the rules, with its place there.
    pub fn restore(saved: SavedLab) -> Result<Self, Failure> {
        let topology = Topology::parse(&saved.text, &saved.origin).map_err(complaint)?;
        for (family, text) in saved.rules.iter().chain(&saved.given) {
            parse_rules(text, *family)?;
        }
        Ok(Self {
            origin: saved.origin,
            text: saved.text,
            topology,
            interception: saved.interception,
            expect: saved.expect,
            rules_from: saved.rules_from,
            texts: saved.rules,
            given: saved.given,
            routes: saved.routes,
        })
    }
}
