//! What a trace is, as data: one packet's way through the hooks of one namespace.
//!
//! The types go into the evidence file as they are; a change of their shape is a new evidence schema.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::{ChainName, Header, Hook, Verdict};
use crate::rules::{Family, RuleId};

/// One packet, from the first hook it was seen at to the last.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct TracedPacket {
    /// Base chains it went through, in the order it met them.
    pub stations: Vec<Station>,
    /// conntrack's entry for it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub conntrack: Option<PacketConntrack>,
    /// Owner of the socket that sent it.
    pub owner: Owner,
    /// What makes parts of this uncertain, in words; empty as a rule.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub doubts: Vec<String>,
}

/// One base chain that a packet went through.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Station {
    /// The hook.
    pub hook: Hook,
    /// Priority of the chain at the hook; lower is earlier.
    pub priority: i32,
    /// The base chain.
    pub chain: ChainName,
    /// Who says so.
    pub source: Source,
    /// The packet as it came here.
    pub header: Header,
    /// Index of the interface it came in by.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub input: Option<u32>,
    /// Index of the interface it leaves by.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub output: Option<u32>,
    /// The packet's mark as it came here; `None` when the first report is from after a rule that may have set it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mark: Option<u32>,
    /// conntrack's view of it here, where the kernel tells.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub conntrack: Option<ConntrackSeen>,
    /// Rules that matched, ends of chains, and the policy, in order; empty at an observer. What is not named did not
    /// match.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub steps: Vec<Step>,
}

/// Which of the kernel's reports an observation comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Source {
    /// nftables' trace, about a chain under test.
    NftTrace,
    /// The TRACE of legacy iptables, through nflog.
    LegacyTrace,
    /// nftables' trace, about an empty chain of our own: it shows the packet, and no rule was asked.
    Observer,
}

/// One thing that happened in a base chain.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "step")]
pub enum Step {
    /// A rule matched.
    Rule {
        /// Which.
        place: RulePlace,
        /// What it decided.
        verdict: Verdict,
        /// How the verdict is known.
        told: Told,
        /// The packet's mark when the kernel reported it: after the rule (nft), before it (legacy).
        mark: u32,
    },
    /// A chain ended, and the packet goes back to the chain that called it; at a base chain, on to the policy.
    End {
        /// The chain.
        chain: ChainName,
        /// How many rules it has, where known.
        rules: Option<u32>,
    },
    /// The policy of the base chain decided.
    Policy {
        /// The base chain.
        chain: ChainName,
        /// The policy.
        verdict: Verdict,
    },
}

/// How a verdict is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Told {
    /// The kernel's report has it.
    Kernel,
    /// The report names the rule only; the rule's target says it.
    Target,
    /// The report names the rule only, nothing else in the chain was asked after it, and the packet was seen later.
    WentOn,
}

/// A rule that matched.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct RulePlace {
    /// The chain.
    pub chain: ChainName,
    /// Its place in the chain.
    pub ordinal: Ordinal,
    /// nftables' handle of the rule: it stays when the place changes, and when another rule takes its place.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub handle: Option<u64>,
}

/// Place of a rule in its chain.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Ordinal {
    /// Counted from 1, as `iptables --line-numbers` does.
    Known(u32),
    /// The rules changed around the packet; why it can't be said.
    Unknown(String),
}

/// conntrack's entry of a packet, and what the last report says of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct PacketConntrack {
    /// Id of the entry.
    pub id: u32,
    /// True for a packet in the direction of the answer.
    pub reply: bool,
    /// `IPS_*` bits, as they were last.
    pub status: u32,
    /// Bits of the state, as they were last.
    pub state: u32,
    /// Zone; the trace does not tell it, conntrack's own netlink does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub zone: Option<u16>,
}

/// conntrack's view of a packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct ConntrackSeen {
    /// Id of the entry, the one conntrack's own netlink prints; none for a packet without an entry.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<u32>,
    /// True for a packet in the direction of the answer.
    pub reply: bool,
    /// `IPS_*` bits of the entry.
    pub status: u32,
    /// State as `ct state` compares it: invalid 1, established 2, related 4, new 8, untracked 64.
    pub state: u32,
}

/// Who sent a packet.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Owner {
    /// Ids the socket was made with, as seen from the namespace of the reader.
    Socket {
        /// User.
        uid: u32,
        /// Group.
        gid: u32,
    },
    /// Not known, and why.
    Missing(String),
}

/// A header field or mark that is another one than before.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Change {
    /// `source`, `destination`, `mark` or `hops-left`.
    pub field: ChangedField,
    /// Value before.
    pub before: String,
    /// Value after.
    pub after: String,
    /// Number of the station that shows it first, counted from 0; it happened after the station before began.
    pub station: usize,
}

/// What can change on the way.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ChangedField {
    /// Source address and port.
    Source,
    /// Destination address and port.
    Destination,
    /// Mark.
    Mark,
    /// TTL or hop limit.
    HopsLeft,
}

impl RulePlace {
    /// The key of the rule in the rest of the program; none in native nftables tables, or where the place is unknown.
    pub fn rule_id(&self) -> Option<RuleId> {
        let (family, table) = self.chain.iptables()?;
        match self.ordinal {
            Ordinal::Known(ordinal) => Some(RuleId::new(
                family,
                table,
                self.chain.chain.clone(),
                ordinal,
            )),
            Ordinal::Unknown(_) => None,
        }
    }
}

impl Step {
    /// Whether the packet is gone after it.
    pub fn drops(&self) -> bool {
        match self {
            Self::Rule { verdict, .. } | Self::Policy { verdict, .. } => {
                matches!(verdict, Verdict::Drop | Verdict::Stolen)
            }
            Self::End { .. } => false,
        }
    }
}

impl TracedPacket {
    /// The packet as it was first seen.
    pub fn first(&self) -> &Header {
        &self.stations[0].header
    }

    /// The packet as it was last seen.
    pub fn last(&self) -> &Header {
        &self.stations[self.stations.len() - 1].header
    }

    /// Address family.
    pub fn family(&self) -> Family {
        self.first().family()
    }

    /// Hooks in the order the packet met them.
    pub fn hooks(&self) -> Vec<Hook> {
        let mut hooks: Vec<Hook> = self.stations.iter().map(|it| it.hook).collect();
        hooks.dedup();
        hooks
    }

    /// The rule or policy that dropped it.
    pub fn dropped(&self) -> Option<&Step> {
        let mut steps = self.stations.iter().flat_map(|it| &it.steps);
        steps.find(|step| step.drops())
    }

    /// Rules that matched, with the hook.
    pub fn rules(&self) -> impl Iterator<Item = (Hook, &RulePlace, &Verdict)> {
        self.stations.iter().flat_map(|station| {
            station.steps.iter().filter_map(|step| match step {
                Step::Rule { place, verdict, .. } => Some((station.hook, place, verdict)),
                _ => None,
            })
        })
    }

    /// Addresses, ports and marks that are other ones than at the station before.
    pub fn changes(&self) -> Vec<Change> {
        let mut changes = Vec::new();
        for (station, pair) in self.stations.windows(2).enumerate() {
            let [before, after] = pair else { continue };
            let mut note = |field, was: String, is: String| {
                if was != is {
                    changes.push(Change {
                        field,
                        before: was,
                        after: is,
                        station: station + 1,
                    });
                }
            };
            let (was, is) = (&before.header, &after.header);
            let ends = |h: &Header| (h.source_end().to_string(), h.destination_end().to_string());
            let ((was_source, was_destination), (source, destination)) = (ends(was), ends(is));
            note(ChangedField::Source, was_source, source);
            note(ChangedField::Destination, was_destination, destination);
            note(
                ChangedField::HopsLeft,
                was.hops_left.to_string(),
                is.hops_left.to_string(),
            );
            if let (Some(was), Some(is)) = (before.mark, after.mark) {
                note(ChangedField::Mark, format!("{was:#x}"), format!("{is:#x}"));
            }
        }
        changes
    }

    /// One line for each thing that happened in chains under test:
    /// `OUTPUT ip nat ISTIO_OUTPUT 4: return`, `OUTPUT ip nat OUTPUT policy: accept`.
    pub fn lines(&self) -> Vec<String> {
        let steps = |station: &Station| {
            let hook = station.hook;
            let lines = station
                .steps
                .iter()
                .map(move |step| format!("{hook} {step}"));
            lines.collect::<Vec<_>>()
        };
        self.stations.iter().flat_map(steps).collect()
    }
}

impl fmt::Display for RulePlace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.ordinal {
            Ordinal::Known(ordinal) => write!(f, "{} {ordinal}", self.chain),
            Ordinal::Unknown(why) => write!(f, "{} ? ({why})", self.chain),
        }
    }
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Rule { place, verdict, .. } => write!(f, "{place}: {verdict}"),
            Self::End { chain, .. } => write!(f, "{chain} end"),
            Self::Policy { chain, verdict } => write!(f, "{chain} policy: {verdict}"),
        }
    }
}
