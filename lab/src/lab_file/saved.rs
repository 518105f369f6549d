//! A lab with its rules as one value that needs no other file: what an evidence file says of it.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{Expect, LabFile, OwnRules, RuleText, complaint, parse_rules, variant::Owners};
use crate::{
    failure::Failure,
    interception::Interception,
    istio::routes::Step,
    rules::{Family, Written},
    topology::Topology,
};

/// Everything a [`LabFile`] is made of, the contents of the files it names included.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SavedLab {
    /// Path of the lab file, for complaints.
    origin: String,
    /// Text of the lab file.
    text: String,
    /// Rules that expectations name.
    rules: Written<RuleText>,
    /// Rules that were applied in place of those.
    given: Written<RuleText>,
    /// Pods with rules of their own.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    own: BTreeMap<String, OwnRules>,
    /// What ambient mode sets on the host.
    #[serde(default, skip_serializing_if = "Written::is_empty")]
    host: Written,
    /// Where the rules in the pods come from, for people.
    rules_from: String,
    /// How the sidecars intercept.
    interception: Interception,
    /// What the flows are judged by.
    expect: Expect,
    /// What Istio sets beside the rules of a configuration.
    routes: Option<Vec<Step>>,
    /// True when the pods have the lab's own rules.
    own_rules: bool,
    /// Variables that istio-init's log shows, of a configuration.
    variables: Option<Vec<(String, String)>>,
    /// Name of the variant it is, and who runs there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    variant: Option<(String, Owners)>,
}

impl SavedLab {
    /// Path of the lab file, as it was given.
    pub fn origin(&self) -> &str {
        &self.origin
    }

    /// Where the rules in the pods come from, for people.
    pub fn rules_from(&self) -> &str {
        &self.rules_from
    }

    /// What this lab has that another, which runs, has not, in words; empty when they are the same. The same text from
    /// another path is the same.
    pub fn differences(&self, running: &Self) -> Vec<String> {
        let mut found = Vec::new();
        if let Some(line) = first_difference(&self.text, &running.text) {
            found.push(format!(
                "its file differs from line {line}: {}",
                self.origin
            ));
        }
        if self.rules_from != running.rules_from {
            let (now, then) = (&self.rules_from, &running.rules_from);
            found.push(format!(
                "its rules come from {now}; those that run, from {then}"
            ));
        }
        for family in [Family::V4, Family::V6] {
            let of = |lab: &Self| {
                let text = lab.given.of(family).or(lab.rules.of(family));
                text.map(|it| it.text.clone()).unwrap_or_default()
            };
            if let Some(line) = first_difference(&of(self), &of(running)) {
                found.push(format!("its {family} rules differ from line {line}"));
            }
        }
        let beside = |lab: &Self| {
            (
                lab.interception.clone(),
                lab.routes.clone(),
                lab.variables.clone(),
            )
        };
        if found.is_empty() && self.own != running.own {
            found.push("the rules of a pod of its own differ".to_owned());
        }
        if found.is_empty() && beside(self) != beside(running) {
            found.push("what goes with its rules differs".to_owned());
        }
        if self.expect != running.expect {
            found.push("its flows are judged by something else (--expect)".to_owned());
        }
        found
    }
}

/// Number of the first line in which two texts differ.
fn first_difference(one: &str, other: &str) -> Option<usize> {
    if one == other {
        return None;
    }
    let same = one.lines().zip(other.lines());
    Some(same.take_while(|(one, other)| one == other).count() + 1)
}

impl LabFile {
    /// This lab as one value; [`LabFile::restore`] gives it back.
    pub fn save(&self) -> SavedLab {
        SavedLab {
            origin: self.origin.clone(),
            text: self.text.clone(),
            rules: self.texts.clone(),
            given: self.given.clone(),
            own: self.own.clone(),
            host: self.host.clone(),
            rules_from: self.rules_from.clone(),
            interception: self.interception.clone(),
            expect: self.expect,
            routes: self.routes.clone(),
            own_rules: self.own_rules,
            variables: self.variables.clone(),
            variant: self
                .variant
                .clone()
                .map(|it| (it, Owners::of(&self.topology))),
        }
    }

    /// The lab that was saved. Reads no file.
    ///
    /// # Errors
    /// A complaint about the lab file's text or about the rules, with its place there.
    pub fn restore(saved: SavedLab) -> Result<Self, Failure> {
        let mut topology = Topology::parse(&saved.text, &saved.origin).map_err(complaint)?;
        let variant = saved.variant.map(|(name, owners)| {
            owners.take_over(&mut topology);
            name
        });
        for family in [Family::V4, Family::V6] {
            parse_rules(&saved.rules, family)?;
            parse_rules(&saved.given, family)?;
            for own in saved.own.values() {
                parse_rules(&own.texts, family)?;
                parse_rules(&own.given, family)?;
            }
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
            own: saved.own,
            host: saved.host,
            routes: saved.routes,
            own_rules: saved.own_rules,
            variables: saved.variables,
            variant,
        })
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;
    use crate::{
        Families, GivenRules,
        istio::{Config, Release, Settings},
    };

    fn bookinfo() -> LabFile {
        LabFile::open("bookinfo").expect("the lab is in the binary")
    }

    /// Everything that a configuration can change of a lab.
    fn configured() -> LabFile {
        let lab = bookinfo();
        let settings = Settings {
            inbound_interception_mode: "TPROXY".into(),
            dual_stack: true,
            redirect_dns: true,
            ..Settings::default()
        };
        let host = lab.host(Families::Dual);
        let config = Config::new(&settings, &host, &mut Vec::new()).expect("a configuration");
        lab.configured(&settings, &config, Release::default())
    }

    fn native_nft() -> LabFile {
        let lab = bookinfo();
        let settings = Settings {
            native_nftables: true,
            ..Settings::default()
        };
        let host = lab.host(Families::Dual);
        let config = Config::new(&settings, &host, &mut Vec::new()).expect("a configuration");
        lab.configured(&settings, &config, Release::default())
    }

    fn with_rules() -> LabFile {
        let text = "* nat\n# of my own\n-A OUTPUT -p tcp -j ACCEPT\nCOMMIT\n";
        let given = GivenRules::read(text, "my.rules", Family::V4).expect("rules");
        bookinfo().with_rules(given, Expect::File)
    }

    #[rstest]
    #[case::its_own_rules(bookinfo())]
    #[case::an_istio_configuration(configured())]
    #[case::native_nft(native_nft())]
    #[case::rules_of_a_file(with_rules())]
    fn a_lab_that_was_saved_as_json_is_restored_whole(#[case] lab: LabFile) {
        let json = serde_json::to_string(&lab.save()).expect("it has a JSON form");
        let saved = serde_json::from_str(&json).expect("as written");
        assert_eq!(LabFile::restore(saved).expect("as saved"), lab);
    }

    #[rstest]
    #[case::an_istio_configuration(configured(), "its rules come from Istio 1.")]
    #[case::rules_of_a_file(with_rules(), "its IPv4 rules differ from line 2")]
    #[case::other_expectations(bookinfo().expecting(Expect::Rules), "judged by something else")]
    fn what_differs_between_two_labs_is_named(#[case] lab: LabFile, #[case] words: &str) {
        let found = lab.save().differences(&bookinfo().save());
        assert!(found.iter().any(|it| it.contains(words)), "{found:#?}");
    }

    #[test]
    fn the_same_file_under_another_path_is_the_same_lab() {
        let mut moved = bookinfo().save();
        moved.origin = "/elsewhere/bookinfo.toml".to_owned();
        assert_eq!(moved.differences(&bookinfo().save()), [""; 0]);
    }

    #[test]
    fn a_change_of_the_file_is_found_with_its_line() {
        let mut changed = bookinfo().save();
        changed.text = changed.text.replacen("\n\n", "\n# more\n\n", 1);
        let found = changed.differences(&bookinfo().save());
        let line = changed.text.lines().position(|line| line == "# more");
        let line = line.expect("just written") + 1;
        let words = format!("its file differs from line {line}: bookinfo.toml");
        assert_eq!(found, [words]);
    }

    #[test]
    fn rules_that_cannot_be_read_are_refused_with_their_place() {
        let mut saved = bookinfo().save();
        saved.rules = saved.rules.map(|rules| RuleText {
            text: "* nat\n-A OUTPUT -j\nCOMMIT\n".to_owned(),
            ..rules.clone()
        });
        let failure = LabFile::restore(saved).expect_err("not rules");
        assert!(
            failure.what.contains("profile istio-1.13 (IPv4):2:"),
            "{failure}"
        );
    }
}
