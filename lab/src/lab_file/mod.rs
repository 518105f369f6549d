//! A lab file with its rules: read, checked against each other, ready to be brought up or judged by.

mod given;
mod profiled;
mod saved;
mod source;
mod variant;

use std::{
    collections::BTreeMap,
    fs,
    path::Path,
};

use serde::{Deserialize, Serialize};

use crate::{
    builtin,
    diagnostic::{Diagnostic, did_you_mean},
    failure::{Class, Failure},
    interception::Interception,
    istio::{
        self, Config, DnsServers, Release, Settings,
        routes::{self, Step},
    },
    plan::RuleTexts,
    rules::{self, Family, OwnerNames, RuleSet, Table},
    topology::{Expected, RuleSource, Topology},
};

/// JSON schema of lab files, for editors.
pub const SCHEMA: &str = include_str!("../../../scenarios/lab.schema.json");

pub use given::GivenRules;
pub use saved::SavedLab;

/// A restore text and where it comes from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RuleText {
    /// File name, for complaints.
    pub origin: String,
    /// The text.
    pub text: String,
}

/// A lab file with its rules, not running yet.
#[derive(Debug, Clone, PartialEq)]
pub struct LabFile {
    /// Its path, for complaints.
    origin: String,
    /// What it says.
    text: String,
    /// What the file describes.
    pub topology: Topology,
    /// How its sidecars intercept.
    pub interception: Interception,
    /// What the flows are judged by.
    pub expect: Expect,
    /// Where the rules in the pods come from, for people.
    pub rules_from: String,
    /// The rules that expectations name, per family.
    texts: BTreeMap<Family, RuleText>,
    /// Applied in place of those, per family.
    given: BTreeMap<Family, RuleText>,
    /// What a mesh sets beside the rules of a configuration or profile; none: what goes with rules as such.
    routes: Option<Vec<Step>>,
    /// The rules are the lab's own.
    own_rules: bool,
    /// What istio-init prints of the configuration.
    variables: Option<Vec<(String, String)>>,
    /// Name of the variant it is, where it is one.
    variant: Option<String>,
}

/// Families that the flows of a run go over: one, or each flow over both.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Families {
    /// One. IPv6 has the IPv4 rules beside it, as in a pod whose first address is an IPv6 one.
    One(Family),
    /// Both.
    Dual,
}

impl Families {
    /// The families, IPv4 first.
    pub fn iter(self) -> impl Iterator<Item = Family> {
        let all = [Family::V4, Family::V6].into_iter();
        all.filter(move |family| self.has(*family))
    }

    /// True when flows go over this family.
    pub fn has(self, family: Family) -> bool {
        self == Self::Dual || self == Self::One(family)
    }

    /// The one a flow goes over when nobody says which.
    pub fn first(self) -> Family {
        match self {
            Self::One(family) => family,
            Self::Dual => Family::V4,
        }
    }
}

impl From<Family> for Families {
    fn from(family: Family) -> Self {
        Self::One(family)
    }
}

/// Number of the first user and of the first group that rules name; the others follow in alphabetical order. Flows
/// are sent as numbers.
pub const FIRST_NAMED_ID: u32 = 3000;

/// What flows are judged by, beside what the kernel did.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Expect {
    /// Answers and paths of the lab file, which a person wrote for the lab's own rules.
    File,
    /// What the model reads from the rules that were meant to be applied: for rules the file was not written for.
    Rules,
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
        let (rules, edit) = (topology.rules.clone(), topology.edit.clone());
        let bare = Self {
            origin: origin.to_owned(),
            text: text.to_owned(),
            topology,
            interception: Interception::default(),
            expect: Expect::File,
            rules_from: String::new(),
            texts: BTreeMap::new(),
            given: BTreeMap::new(),
            routes: None,
            own_rules: true,
            variables: None,
            variant: None,
        };
        let lab = bare.ruled(&rules)?.edited(&edit)?;
        for family in lab.texts.keys() {
            let own = lab.reference(*family)?;
            let flows = lab.topology.flows.iter();
            for traversal in flows.flat_map(|f| f.nat.values().flatten()) {
                known_places(traversal, &own, text, origin)?;
            }
        }
        Ok(lab)
    }

    /// What istio-init finds out in a pod of this lab: its DNS servers, and whether it has IPv6.
    pub fn host(&self, families: Families) -> istio::Host {
        let mut dns_servers = DnsServers::default();
        for family in [Family::V4, Family::V6] {
            let server = self.topology.dns.as_ref().map(|dns| dns.addr.of(family));
            // An address is always taken.
            let _ = server.is_some_and(|server| dns_servers.push(&server.to_string()));
        }
        istio::Host {
            envoy_user_uid: None,
            dns_servers,
            ipv6: families.has(Family::V6),
        }
    }

    /// The same lab under the rules that Istio writes for a configuration. What flows are to do is then what these
    /// rules say: the paths of the lab file are about the lab's own.
    /// `settings` are those the configuration was made of: istio-init's log shows them.
    pub fn configured(mut self, settings: &Settings, config: &Config, release: Release) -> Self {
        let rules = istio::iptables(config, release);
        let text = |family| {
            let text = istio::restore(&rules, family);
            let origin = format!("Istio {release} ({family})");
            (!text.is_empty()).then_some((family, RuleText { origin, text }))
        };
        self.texts = [Family::V4, Family::V6]
            .into_iter()
            .filter_map(text)
            .collect();
        self.given.clear();
        self.routes = Some(routes::sidecar(config));
        let variables = istio::variables(settings, config, release).into_iter();
        self.variables = Some(
            variables
                .map(|(name, value)| (name.to_owned(), value))
                .collect(),
        );
        self.interception = Interception::of(config);
        self.expect = Expect::Rules;
        self.own_rules = false;
        self.rules_from = format!("Istio {release}, {}", self.interception);
        self
    }

    /// The same lab with other rules in its pods. The lab's own stay what expectations name, unless `expect` is
    /// [`Expect::Rules`].
    pub fn with_rules(mut self, given: GivenRules, expect: Expect) -> Self {
        self.interception = Interception::of_rules(&given.sets);
        self.routes = None;
        self.variables = None;
        self.rules_from = format!("{}, {}", given.origin, self.interception);
        self.expect = expect;
        self.own_rules = false;
        match expect {
            Expect::File => self.given = given.texts,
            Expect::Rules => self.texts = given.texts,
        }
        self
    }

    /// The same lab with other rules in its pods and nothing else changed: what flows are judged by, and what goes beside
    /// the rules, stays. For controls, which must fail.
    pub fn applying(mut self, given: GivenRules) -> Self {
        self.rules_from = format!("{}, in place of {}", given.origin, self.rules_from);
        self.given = given.texts;
        self
    }

    /// The lab's own rules of a family, parsed: what expectations name.
    ///
    /// # Errors
    /// The lab has none for this family, or the file does not parse.
    pub fn reference(&self, family: Family) -> Result<RuleSet, Failure> {
        let text = self
            .texts
            .get(&family)
            .ok_or_else(|| self.no_rules(family))?;
        parse_rules(text, family).map(|set| self.names().resolve(&set))
    }

    /// What users and groups that the rules name are in the pods, whatever the machine calls them.
    pub fn names(&self) -> OwnerNames {
        let texts = self.texts.iter().chain(&self.given);
        // A text that does not parse is told where it is read.
        let sets = texts.filter_map(|(family, text)| parse_rules(text, *family).ok());
        OwnerNames::of(&sets.collect::<Vec<_>>(), FIRST_NAMED_ID)
    }

    /// The same lab, judged by something else. Paths of the lab file name the lab's own rules, so [`Expect::File`]
    /// makes sense where these, or rules like them, are applied.
    pub fn expecting(mut self, expect: Expect) -> Self {
        self.expect = expect;
        self
    }

    /// Texts to apply: what was given, else the lab's own; IPv6 where flows run over it or a person gave some.
    ///
    /// # Errors
    /// There is none for a family that flows run over.
    pub fn texts_to_apply(&self, families: Families) -> Result<RuleTexts, Failure> {
        for family in families.iter() {
            // Expectations name these rules: without them there is nothing to judge by.
            self.reference(family)?;
            if !self.given.is_empty() && !self.given.contains_key(&family) {
                return Err(self.no_rules(family));
            }
        }
        let text = |family: &Family| {
            let text = self.given.get(family).or(self.texts.get(family));
            text.map(|it| it.text.clone())
        };
        let v6 = families.has(Family::V6) || self.given.contains_key(&Family::V6);
        let own = || match &self.topology.rules {
            RuleSource::Profile(name) if self.own_rules => profile_variables(name, v6),
            _ => None,
        };
        let tproxy = self.interception.tproxy;
        let routes = || routes::sidecar_with(v6, tproxy.map(|it| (it.mark, it.route_table)));
        Ok(RuleTexts {
            v4: text(&Family::V4).unwrap_or_default(),
            v6: text(&Family::V6).filter(|_| v6),
            names: self.names(),
            routes: match &self.routes {
                Some(steps) => {
                    let of_families = steps.iter().filter(|it| v6 || it.family() == Family::V4);
                    of_families.cloned().collect()
                }
                None => routes(),
            },
            variables: self.variables.clone().or_else(own),
        })
    }

    fn no_rules(&self, family: Family) -> Failure {
        let given = self.given.values().next();
        let (what, hint) = match given {
            Some(text) => (
                format!("{} has no {family} rules", text.origin),
                "flows run over the families of --family or --dual-stack: choose those the file has",
            ),
            None => (
                format!("lab `{}` has no {family} rules", self.topology.name),
                "name them with `file_ipv6` in [rules]",
            ),
        };
        Failure::new(Class::Input, what).hint(hint)
    }
}

fn profile_variables(profile: &str, v6: bool) -> Option<Vec<(String, String)>> {
    let lines = builtin::variables(profile)?.iter();
    let value = |name: &str, value: &str| match name {
        "ENABLE_INBOUND_IPV6" => v6.to_string(),
        _ => value.to_owned(),
    };
    Some(
        lines
            .map(|(name, it)| ((*name).to_owned(), value(name, it)))
            .collect(),
    )
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

fn read(path: &Path) -> Result<String, Failure> {
    fs::read_to_string(path).map_err(|error| {
        Failure::new(Class::Input, format!("could not read {}", path.display()))
            .cause(error.to_string())
    })
}
