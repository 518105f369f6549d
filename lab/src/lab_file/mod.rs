//! A lab file with its rules: read, checked against each other, ready to be brought up or judged by.

mod after;
mod configured;
mod families;
mod given;
mod own;
mod places;
mod profiled;
mod rule_places;
mod saved;
mod source;
mod texts;
mod variant;

use std::{collections::BTreeMap, fs, path::Path};

use serde::{Deserialize, Serialize};

use crate::{
    builtin,
    diagnostic::Diagnostic,
    failure::{Class, Failure},
    interception::Interception,
    istio::{
        self, Config, DnsServers, Emitted, Release, Settings,
        ambient::{self, Ambient},
        nft,
        routes::{self, Step},
    },
    rules::{BackendChoice, Family, OwnerNames, RuleSet, Written},
    topology::{Flow, Topology},
};

/// JSON schema of lab files, for editors.
pub const SCHEMA: &str = include_str!("../../../scenarios/lab.schema.json");

pub use families::Families;
pub use given::GivenRules;
pub use own::OwnRules;
pub use saved::SavedLab;

/// A text of rules and where it comes from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RuleText {
    /// File name, for complaints.
    pub origin: String,
    /// The text.
    pub text: String,
}

impl AsRef<str> for RuleText {
    fn as_ref(&self) -> &str {
        &self.text
    }
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
    /// The rules that expectations name.
    texts: Written<RuleText>,
    /// Applied in place of those; none where it is empty.
    given: Written<RuleText>,
    /// Pods with rules of their own: the others have those above.
    own: BTreeMap<String, OwnRules>,
    /// What ambient mode sets on the host; else empty.
    host: Written,
    /// What a mesh sets beside the rules of a configuration or profile; none: what goes with rules as such.
    routes: Option<Vec<Step>>,
    /// The rules are the lab's own.
    own_rules: bool,
    /// What istio-init prints of the configuration.
    variables: Option<Vec<(String, String)>>,
    /// Name of the variant it is, where it is one.
    variant: Option<String>,
}

/// Number of the first user and of the first group that rules name; the others follow in alphabetical order. Flows
/// are sent as numbers.
pub const FIRST_NAMED_ID: u32 = 3000;

/// User that sends what the node sends, kubelet's probes among them.
const KUBELET: u32 = 0;

/// What flows are judged by, beside what the kernel did.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Expect {
    /// Answers and paths of the lab file, which a person wrote for the lab's own rules.
    File,
    /// What the model reads from the rules that were meant to be applied: for rules the file was not written for.
    Rules,
    /// Answers of the lab file, and who sees what; which rules move, the model reads from those that were meant: for
    /// other rules that are to do the same.
    Outcome,
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
            texts: Written::default(),
            given: Written::default(),
            own: BTreeMap::new(),
            host: Written::default(),
            routes: None,
            own_rules: true,
            variables: None,
            variant: None,
        };
        let lab = bare.ruled(&rules)?.edited(&edit)?.with_rules_of_pods()?;
        let before = lab.steps_before_flows();
        for steps in 0..=lab.topology.steps.len() {
            let now = lab.after(steps)?;
            let flows = lab.topology.flows.iter().zip(&before);
            let flows = flows.filter(|(_, before)| **before == steps);
            let flows: Vec<&Flow> = flows.map(|(flow, _)| flow).collect();
            let places = rule_places::named(&lab.topology, &flows, steps);
            for family in [Family::V4, Family::V6] {
                // What does not parse is told, whether a flow names a place in it or not.
                let own = now.own.values().map(|it| &it.texts);
                for texts in [&now.texts].into_iter().chain(own) {
                    parse_rules(texts, family)?;
                }
                for (pod, place) in &places {
                    if let Some(rules) = parse_rules(now.texts_of(pod), family)? {
                        rule_places::known(place, &rules, text, origin)?;
                    }
                }
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
    /// `settings` are those the configuration was made of: istio-init's log shows them, and they say whether the rules
    /// are nft's own.
    pub fn configured(mut self, settings: &Settings, config: &Config, release: Release) -> Self {
        self.texts = if settings.native_nftables {
            let (layout, rules) = nft::sidecar(config);
            one_text(
                format!("Istio {release} (nft)"),
                nft::transaction(layout, &rules),
            )
        } else {
            restore_texts(&istio::iptables(config, release), release)
        };
        self.given = Written::default();
        self.host = Written::default();
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
        self.rules_from = format!("Istio {release}, {}{}", self.interception, self.by_nft());
        self
    }

    /// The same lab in ambient mode: what Istio's CNI agent puts into a captured pod, with ztunnel in place of a sidecar
    /// in every pod that has one. `native_nftables` writes it in nft's own language. Flows are to do what the rules say.
    pub fn ambient(mut self, config: &Ambient, native_nftables: bool, release: Release) -> Self {
        let written = |(layout, rules): (nft::Layout, nft::Rules)| {
            let text = nft::transaction(layout, &rules);
            one_text(format!("Istio {release} (nft)"), text)
        };
        let (pod, host) = match native_nftables {
            true => (
                written(nft::ambient_pod(config)),
                written(nft::ambient_host(config, KUBELET)),
            ),
            false => (
                restore_texts(&ambient::pod(config), release),
                restore_texts(&ambient::host(config, release), release),
            ),
        };
        self.texts = pod;
        self.host = host.map(|it| it.text.clone());
        self.given = Written::default();
        self.routes = Some(routes::ambient(config));
        self.variables = None;
        self.interception = Interception::of_ambient(config);
        self.expect = Expect::Rules;
        self.own_rules = false;
        self.rules_from = format!("Istio {release}, {}{}", self.interception, self.by_nft());
        self
    }

    /// What the way rules are written adds to where they come from.
    fn by_nft(&self) -> &'static str {
        match self.applied().is_nft() {
            true => ", native nft",
            false => "",
        }
    }

    /// The same lab with other rules in its pods. The lab's own stay what expectations name, unless `expect` is
    /// [`Expect::Rules`].
    pub fn with_rules(mut self, given: GivenRules, expect: Expect) -> Self {
        self.interception = Interception::of_rules(&given.sets);
        let origin = given.origin;
        self.routes = None;
        self.variables = None;
        self.host = Written::default();
        self.expect = expect;
        self.own_rules = false;
        match expect {
            Expect::File => self.given = given.texts,
            Expect::Rules | Expect::Outcome => self.texts = given.texts,
        }
        self.rules_from = format!("{origin}, {}{}", self.interception, self.by_nft());
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
        let set = parse_rules(&self.texts, family)?;
        let set = set.ok_or_else(|| self.no_rules(family))?;
        Ok(self.names().resolve(&set))
    }

    /// What users and groups that the rules name are in the pods, whatever the machine calls them.
    pub fn names(&self) -> OwnerNames {
        let families = [Family::V4, Family::V6].into_iter();
        let own = self.own.values().flat_map(|it| [&it.texts, &it.given]);
        let all: Vec<_> = [&self.texts, &self.given].into_iter().chain(own).collect();
        let both = families.flat_map(|family| all.iter().map(move |texts| (*texts, family)));
        // A text that does not parse is told where it is read.
        let sets = both.filter_map(|(texts, family)| parse_rules(texts, family).ok().flatten());
        OwnerNames::of(&sets.collect::<Vec<_>>(), FIRST_NAMED_ID)
    }

    /// Whether the pods get rules of nft's own. No iptables of either backend runs there then.
    pub fn is_native_nft(&self) -> bool {
        self.applied().is_nft()
    }

    /// Does a backend go with the rules?
    ///
    /// # Errors
    /// One of iptables was asked for, and the rules are nft's own.
    pub fn allows(&self, backend: BackendChoice) -> Result<(), Failure> {
        let BackendChoice::Fixed(asked) = backend else {
            return Ok(());
        };
        if !self.is_native_nft() {
            return Ok(());
        }
        let what = format!("the backend {asked} of iptables does not go with rules of nft's own");
        Err(Failure::new(Class::Input, what)
            .cause("nft applies them, and no iptables runs in the pods")
            .hint("leave --backend out"))
    }

    /// The same lab, judged by something else. Paths of the lab file name the lab's own rules, so [`Expect::File`]
    /// makes sense where these, or rules like them, are applied.
    pub fn expecting(mut self, expect: Expect) -> Self {
        self.expect = expect;
        self
    }
}

fn complaint(diagnostic: Diagnostic) -> Failure {
    Failure::new(Class::Input, diagnostic.to_string())
}

fn parse_rules(texts: &Written<RuleText>, family: Family) -> Result<Option<RuleSet>, Failure> {
    let origin = texts.of(family).map_or("", |it| it.origin.as_str());
    texts.rules(family, origin).map_err(complaint)
}

fn one_text(origin: String, text: String) -> Written<RuleText> {
    let nft = RuleText { origin, text };
    Written::Nft { nft }
}

/// A restore text for each family that has rules.
fn restore_texts(rules: &[Emitted], release: Release) -> Written<RuleText> {
    let text = |family| {
        let text = istio::restore(rules, family);
        let origin = format!("Istio {release} ({family})");
        (!text.is_empty()).then_some((family, RuleText { origin, text }))
    };
    let families = [Family::V4, Family::V6].into_iter();
    Written::Iptables(families.filter_map(text).collect())
}

fn read(path: &Path) -> Result<String, Failure> {
    fs::read_to_string(path).map_err(|error| {
        Failure::new(Class::Input, format!("could not read {}", path.display()))
            .cause(error.to_string())
    })
}

#[cfg(test)]
mod own_tests;
#[cfg(test)]
mod step_tests;
