//! What is wrong with a rule set before any traffic: rules that can never match, jumps to nowhere, loops, a proxy
//! turned to itself, a family left open. Pure; every finding names the rule, why, and a packet that shows it.

use std::fmt;

use crate::model::{Hook, Packet, TryResult, evaluate, interesting_packets};
use crate::rules::{MarkValue, RuleId, RuleSet, Table, spec_text};

mod capture;
mod dead;
mod refused;
mod shape;

pub use refused::refused;

/// Who the proxy is, and the pod's addresses the packets shown are made of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Proxy {
    /// Its user.
    pub uid: u32,
    /// Its group.
    pub gid: u32,
    /// The mark on what it sends, where rules know it by one.
    pub mark: Option<MarkValue>,
}

impl Proxy {
    /// Istio's: user and group 1337.
    pub const ISTIO: Self = Self {
        uid: 1337,
        gid: 1337,
        mark: None,
    };
}

/// What kind of mistake.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Mistake {
    /// No packet can match the rule.
    NeverMatches,
    /// A rule for everything stands before the one that lets the proxy out.
    Order,
    /// The rule enters a chain that does not exist.
    JumpToNowhere,
    /// Chains that enter each other in a circle.
    Loop,
    /// The proxy's own connections are turned to the proxy.
    ProxyToItself,
    /// One family is captured, the other is not.
    FamilyLeftOpen,
    /// A backend refuses the rule.
    Refused,
}

impl Mistake {
    /// The name in reports and settings.
    pub fn name(self) -> &'static str {
        match self {
            Self::NeverMatches => "never-matches",
            Self::Order => "order",
            Self::JumpToNowhere => "jump-to-nowhere",
            Self::Loop => "loop",
            Self::ProxyToItself => "proxy-to-itself",
            Self::FamilyLeftOpen => "family-left-open",
            Self::Refused => "refused",
        }
    }
}

/// One finding. `Display` is two or three lines for people.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// What kind.
    pub mistake: Mistake,
    /// The rule.
    pub rule: RuleId,
    /// Its text.
    pub text: String,
    /// The rule or fact that makes it so.
    pub because: String,
    /// A packet that shows it, and the hook it is at.
    pub packet: Option<(Hook, Packet)>,
}

impl Finding {
    fn new(mistake: Mistake, rules: &RuleSet, rule: RuleId, because: String) -> Self {
        let found = rules.rule(&rule);
        Self {
            mistake,
            text: found.map_or_else(String::new, |it| spec_text(&rule.chain, &it.spec)),
            rule,
            because,
            packet: None,
        }
    }

    fn shown_by(self, hook: Hook, packet: Packet) -> Self {
        Self {
            packet: Some((hook, packet)),
            ..self
        }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { rule, text, .. } = self;
        let (name, because) = (self.mistake.name(), &self.because);
        write!(f, "{} {rule}: {name}: {because}\n  {text}", rule.family)?;
        let Some((hook, packet)) = &self.packet else {
            return Ok(());
        };
        write!(
            f,
            "\n  shown by {} {} -> {}",
            packet.protocol, packet.src, packet.dst
        )?;
        if let Some((uid, gid)) = packet.owner {
            write!(f, " of {uid}:{gid}")?;
        }
        for (word, interface) in [("in", &packet.in_iface), ("out", &packet.out_iface)] {
            if let Some(interface) = interface {
                write!(f, " {word} by {interface}")?;
            }
        }
        write!(f, " at {hook}")
    }
}

/// Checks the rule sets of a pod, one per family it has.
///
/// Silent where it cannot be sure: a rule that asks for something the packets tried do not vary (marks, connection
/// states, source ports, other interfaces), or stands behind one, is not called dead. What a backend refuses,
/// [`refused`] says.
pub fn lint(rules: &[RuleSet], proxy: Proxy) -> Vec<Finding> {
    let mut findings = Vec::new();
    for set in rules {
        let broken = shape::check(set);
        let sound = broken.is_empty();
        findings.extend(broken.into_iter().map(|it| met(set, it)));
        // Nothing more can be told of rules the kernel refuses.
        if sound {
            findings.extend(dead::check(set));
            findings.extend(capture::proxy_to_itself(set, proxy));
        }
    }
    findings.extend(capture::family_left_open(rules));
    findings
}

/// The tables of a rule set that name too many addresses and ports to search them for rules that can never match.
pub fn not_searched(set: &RuleSet) -> Vec<Table> {
    let tables = set.tables.keys().copied();
    let addresses = capture::addresses(set.family);
    tables
        .filter(|table| interesting_packets(set, *table, addresses).is_none())
        .collect()
}

/// The finding with a packet that meets the rule, where there is one and it has none yet.
fn met(set: &RuleSet, finding: Finding) -> Finding {
    let id = &finding.rule;
    if finding.packet.is_some() {
        return finding;
    }
    let packets = interesting_packets(set, id.table, capture::addresses(set.family));
    let meets = |(hook, packet): &(Hook, Packet)| {
        let tried = evaluate(set, id.table, *hook, packet).tried;
        tried
            .iter()
            .any(|it| it.rule == *id && it.result == TryResult::Matched)
    };
    match packets.unwrap_or_default().into_iter().find(meets) {
        Some((hook, packet)) => finding.shown_by(hook, packet),
        None => finding,
    }
}

#[cfg(test)]
mod tests;
