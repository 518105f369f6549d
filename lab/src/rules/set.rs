//! A rule set: tables, chains and rules in order, with the counters a dump may carry.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};

use super::id::{Family, RuleId, Table};
use super::matches::RuleSpec;
use super::render;
use super::rounded::Rounded;

/// Packets and bytes counted by a rule or a policy. In the nat table a packet is a connection: nat is asked for the
/// first packet only.
#[derive(
    Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
pub struct Counter {
    /// Packets.
    pub packets: u64,
    /// Bytes, IP headers included.
    pub bytes: u64,
}

/// What a built-in chain does with a packet none of its rules decided.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Policy {
    /// The packet goes on.
    Accept,
    /// The packet is gone.
    Drop,
}

impl fmt::Display for Policy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Accept => "ACCEPT",
            Self::Drop => "DROP",
        })
    }
}

/// One rule in its place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rule {
    /// What it says.
    pub spec: RuleSpec,
    /// What it counted, when the text tells exactly.
    pub counters: Option<Counter>,
    /// What it counted, when the text rounds it.
    pub rounded: Option<Rounded>,
}

impl Rule {
    /// A rule that was not counted.
    pub fn new(spec: RuleSpec) -> Self {
        Self {
            spec,
            counters: None,
            rounded: None,
        }
    }
}

/// A chain of rules.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Chain {
    /// The name; never holds white space.
    pub name: String,
    /// The policy of a built-in chain, `None` for a user chain.
    pub policy: Option<Policy>,
    /// What the policy counted, when the text tells exactly.
    pub policy_counters: Option<Counter>,
    /// What the policy counted, when the text rounds it.
    pub policy_rounded: Option<Rounded>,
    /// The rules; ordinals count from 1.
    pub rules: Vec<Rule>,
    /// Where nft has a built-in chain, when the rules are nft's own.
    pub nft: Option<NftBase>,
    /// The packets of both families meet these very rules, and one counter counts them: a chain of an inet table.
    pub both_families: bool,
}

/// A base chain of nft, which stands at a hook as a built-in chain of iptables does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NftBase {
    /// Family and name of its table: `inet istio-proxy-nat`.
    pub table: String,
    /// Its name: `prerouting`.
    pub chain: String,
    /// Its type: `nat`, `filter` or `route`.
    pub kind: String,
    /// When it is asked at its hook; lower is earlier.
    pub priority: i32,
}

impl fmt::Display for NftBase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            table,
            chain,
            kind,
            priority,
        } = self;
        write!(f, "{table} {chain}, type {kind}, priority {priority}")
    }
}

impl Chain {
    /// A user chain without rules.
    pub fn user(name: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            policy: None,
            policy_counters: None,
            policy_rounded: None,
            rules: Vec::new(),
            nft: None,
            both_families: false,
        }
    }
}

/// The chains of one table: every built-in chain in the order of `iptables -L`, then the user chains by name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TableRules {
    chains: Vec<Chain>,
    builtin: usize,
}

impl TableRules {
    /// The table with its built-in chains, accepting everything.
    pub fn empty(table: Table) -> Self {
        let builtin = table.builtin_chains();
        let chains = builtin.iter().map(|name| Chain {
            policy: Some(Policy::Accept),
            ..Chain::user(*name)
        });
        Self {
            chains: chains.collect(),
            builtin: builtin.len(),
        }
    }

    /// The chains, in canonical order.
    pub fn chains(&self) -> &[Chain] {
        &self.chains
    }

    /// The chain of this name.
    pub fn chain(&self, name: &str) -> Option<&Chain> {
        self.position(name).ok().map(|at| &self.chains[at])
    }

    /// The chain of this name, to change it.
    pub fn chain_mut(&mut self, name: &str) -> Option<&mut Chain> {
        self.position(name).ok().map(|at| &mut self.chains[at])
    }

    /// The user chain of this name, made when it is not there; a built-in chain of this name is itself returned.
    pub fn chain_or_new(&mut self, name: &str) -> &mut Chain {
        let at = match self.position(name) {
            Ok(at) => at,
            Err(at) => {
                self.chains.insert(at, Chain::user(name));
                at
            }
        };
        &mut self.chains[at]
    }

    /// The index of the chain, or where one of this name belongs. A node's nat table has ten thousand chains.
    fn position(&self, name: &str) -> Result<usize, usize> {
        let (builtin, user) = self.chains.split_at(self.builtin);
        if let Some(at) = builtin.iter().position(|chain| chain.name == name) {
            return Ok(at);
        }
        let found = user.binary_search_by(|chain| chain.name.as_str().cmp(name));
        found
            .map(|at| at + self.builtin)
            .map_err(|at| at + self.builtin)
    }

    /// The rules of all chains that enter the chain, jumps and gotos.
    pub fn references(&self, chain: &str) -> usize {
        let rules = self.chains.iter().flat_map(|it| &it.rules);
        rules
            .filter(|rule| rule.spec.target.chain() == Some(chain))
            .count()
    }
}

/// Everything one family's tables hold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RuleSet {
    /// IPv4 or IPv6.
    pub family: Family,
    /// The tables the text names; absent is as good as empty.
    pub tables: BTreeMap<Table, TableRules>,
}

impl RuleSet {
    /// A rule set without tables.
    pub fn empty(family: Family) -> Self {
        Self {
            family,
            tables: BTreeMap::new(),
        }
    }

    /// The rules of a table, chain by chain; none when the table is absent.
    pub fn rules(&self, table: Table) -> impl Iterator<Item = (RuleId, &Rule)> {
        let chains = self
            .tables
            .get(&table)
            .map(TableRules::chains)
            .unwrap_or_default();
        chains.iter().flat_map(move |chain| {
            let numbered = (1..).zip(&chain.rules);
            numbered.map(move |(ordinal, rule)| {
                (RuleId::new(self.family, table, &chain.name, ordinal), rule)
            })
        })
    }

    /// Every rule of every table, to change it.
    pub(super) fn rules_mut(&mut self) -> impl Iterator<Item = &mut Rule> {
        let tables = self.tables.values_mut();
        tables.flat_map(|table| table.chains.iter_mut().flat_map(|chain| &mut chain.rules))
    }

    /// The rule an id names.
    pub fn rule(&self, id: &RuleId) -> Option<&Rule> {
        let table = self
            .tables
            .get(&id.table)
            .filter(|_| id.family == self.family)?;
        let index = usize::try_from(id.ordinal.checked_sub(1)?).ok()?;
        table.chain(&id.chain)?.rules.get(index)
    }

    /// Whether the counter of a rule counts the packets of both families.
    pub fn counts_both_families(&self, id: &RuleId) -> bool {
        let table = self.tables.get(&id.table);
        let chain = table.and_then(|it| it.chain(&id.chain));
        chain.is_some_and(|it| it.both_families)
    }

    /// Whether all of its rules are met by the other family as well.
    pub fn is_shared(&self) -> bool {
        let mut chains = self.tables.values().flat_map(TableRules::chains);
        chains.all(|chain| chain.both_families || chain.rules.is_empty())
    }

    /// The table and the built-in chain that a base chain of nft stands for; `table` has its family before it.
    pub fn builtin_of_nft(&self, table: &str, chain: &str) -> Option<(Table, &str)> {
        let is = |it: &&Chain| {
            let base = it.nft.as_ref();
            base.is_some_and(|base| base.table == table && base.chain == chain)
        };
        self.tables.iter().find_map(|(kind, rules)| {
            let found = rules.chains.iter().find(is)?;
            Some((*kind, found.name.as_str()))
        })
    }

    /// The number of rules in all tables.
    pub fn len(&self) -> usize {
        let chains = self.tables.values().flat_map(TableRules::chains);
        chains.map(|chain| chain.rules.len()).sum()
    }

    /// Whether no table holds a rule.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The same rules with one left out, for a control that must fail. Later rules of the chain move up by one.
    /// An id that names no rule changes nothing.
    pub fn without(&self, id: &RuleId) -> Self {
        let mut rest = self.clone();
        let exists = self.rule(id).is_some();
        let chain = rest
            .tables
            .get_mut(&id.table)
            .and_then(|table| table.chain_mut(&id.chain));
        if let (true, Some(chain), Ok(index)) = (exists, chain, usize::try_from(id.ordinal - 1)) {
            chain.rules.remove(index);
        }
        rest
    }

    /// True when a listing rounded what a rule or a policy counted.
    pub fn has_rounded_counters(&self) -> bool {
        let mut chains = self.tables.values().flat_map(|table| &table.chains);
        chains.any(|chain| {
            chain.policy_rounded.is_some() || chain.rules.iter().any(|it| it.rounded.is_some())
        })
    }

    /// The same rules, not counted yet.
    pub fn without_counters(&self) -> Self {
        let mut bare = self.clone();
        for chain in bare.tables.values_mut().flat_map(|table| &mut table.chains) {
            (chain.policy_counters, chain.policy_rounded) = (None, None);
            for rule in &mut chain.rules {
                (rule.counters, rule.rounded) = (None, None);
            }
        }
        bare
    }

    /// A hash of what the rules say: 16 hex digits, equal for equal rules whatever their text, counters or the
    /// empty tables a dump lists. FNV-1a, 64 bit, over the canonical rendering: stable across versions of Rust,
    /// not proof against someone who wants a collision.
    pub fn fingerprint(&self) -> String {
        let mut bare = self.without_counters();
        bare.tables
            .retain(|table, rules| *rules != TableRules::empty(*table));
        let text = format!("{}\n{}", self.family, render::to_restore(&bare));
        let hash = text.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
            (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
        });
        format!("{hash:016x}")
    }

    /// The fingerprint of one table.
    pub fn table_fingerprint(&self, table: Table) -> String {
        let mut one = Self::empty(self.family);
        if let Some(rules) = self.tables.get(&table) {
            one.tables.insert(table, rules.clone());
        }
        one.fingerprint()
    }
}
