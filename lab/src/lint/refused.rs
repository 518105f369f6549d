//! Rules an iptables backend does not load. Everything here was measured with iptables 1.8.9 on kernel 6.18, and a
//! test holds it against the programs (lab/tests/lint_backends.rs). What is refused by its words alone (a port range
//! upside down, a name too long) the reader of rules refuses already.

use std::collections::{BTreeMap, BTreeSet};

use super::{Finding, Mistake, met};
use crate::rules::Hook;
use crate::rules::{
    Backend, Interface, Match, Matches, Negatable, OwnerId, Protocol, RuleSet, RuleSpec, Table,
    TableRules, Target,
};

/// What every one of the backends refuses, and why. Asked about one, also the users and groups that the machine must
/// have: a rule that names another loads nowhere.
pub fn refused(set: &RuleSet, backends: &[Backend]) -> Vec<Finding> {
    let who = match backends {
        [one] => format!("iptables-{one} refuses it"),
        _ => "iptables refuses it".to_owned(),
    };
    let mut findings = Vec::new();
    for (table, chains) in &set.tables {
        let reached = reached(chains);
        for (id, rule) in set.rules(*table) {
            let place = Place {
                table: *table,
                chain: &id.chain,
                hooks: reached.get(&*id.chain).cloned().unwrap_or_default(),
            };
            let mut reasons = backends.iter().map(|it| place.reasons(&rule.spec, *it));
            let mut common = reasons.next().unwrap_or_default();
            reasons.for_each(|other| common.retain(|it| other.contains(it)));
            if backends.len() == 1 {
                common.extend(owner_names(&rule.spec.matches));
            }
            for reason in common {
                let because = format!("{who}: {reason}");
                let finding = Finding::new(Mistake::Refused, set, id.clone(), because);
                findings.push(met(set, finding));
            }
        }
    }
    findings
}

/// The hooks each chain can be entered from. The kernel checks a rule against these, not against its chain's name.
fn reached(chains: &TableRules) -> BTreeMap<&str, BTreeSet<Hook>> {
    let mut reached: BTreeMap<&str, BTreeSet<Hook>> = BTreeMap::new();
    for hook in Hook::ALL {
        let mut open: Vec<&str> = chains
            .chain(hook.chain())
            .map(|it| it.name.as_str())
            .into_iter()
            .collect();
        while let Some(name) = open.pop() {
            if reached.entry(name).or_default().insert(hook) {
                let rules = chains.chain(name).into_iter().flat_map(|it| &it.rules);
                open.extend(rules.filter_map(|it| it.spec.target.chain()));
            }
        }
    }
    reached
}

/// Where a rule stands.
struct Place<'a> {
    table: Table,
    chain: &'a str,
    hooks: BTreeSet<Hook>,
}

impl Place<'_> {
    fn reasons(&self, spec: &RuleSpec, backend: Backend) -> Vec<String> {
        let mut reasons = Vec::new();
        reasons.extend(self.interfaces(&spec.matches));
        reasons.extend(self.owner(&spec.matches));
        reasons.extend(nobody(&spec.matches).filter(|_| backend == Backend::Nft));
        reasons.extend(self.target(spec, backend));
        reasons
    }

    /// iptables itself looks at the chain's name here: the same rule loads in a user chain, and matches nothing.
    fn interfaces(&self, matches: &Matches) -> Option<String> {
        let (option, condition): (&str, &Option<Negatable<Interface>>) = match self.chain {
            "OUTPUT" | "POSTROUTING" => ("-i", &matches.in_interface),
            "PREROUTING" | "INPUT" => ("-o", &matches.out_interface),
            _ => return None,
        };
        condition.as_ref()?;
        Some(format!("`{option}` does not go with {}", self.chain))
    }

    /// `xt_owner` has `.hooks` LOCAL_OUT and POST_ROUTING: elsewhere a packet has no sending socket.
    fn owner(&self, matches: &Matches) -> Option<String> {
        let asks = matches.extensions().iter().any(|it| {
            matches!(
                it,
                Match::OwnerUid(_) | Match::OwnerGid(_) | Match::SocketExists(_)
            )
        });
        let allowed = [Hook::Output, Hook::Postrouting];
        asks.then(|| self.elsewhere("`-m owner`", &allowed))
            .flatten()
    }

    /// A complaint when the chain can be entered from another hook than these.
    fn elsewhere(&self, what: &str, allowed: &[Hook]) -> Option<String> {
        let wrong = self.hooks.iter().find(|it| !allowed.contains(it))?;
        let allowed: Vec<&str> = allowed.iter().map(|it| it.chain()).collect();
        let from = match wrong.chain() == self.chain {
            true => format!("this is {wrong}"),
            false => format!("{} is entered from {wrong}", self.chain),
        };
        Some(format!(
            "{what} works in {} only, and {from}",
            allowed.join(" and ")
        ))
    }

    fn target(&self, spec: &RuleSpec, backend: Backend) -> Option<String> {
        let target = &spec.target;
        let name = target.name();
        if (target, self.table) == (&Target::Drop, Table::Nat) {
            return Some("the nat table is not for filtering, DROP is inhibited there".to_owned());
        }
        let (table, hooks): (Table, &[Hook]) = match name {
            "REDIRECT" | "DNAT" => (Table::Nat, &[Hook::Prerouting, Hook::Output]),
            "SNAT" => (Table::Nat, &[Hook::Postrouting, Hook::Input]),
            "MASQUERADE" => (Table::Nat, &[Hook::Postrouting]),
            "TPROXY" => (Table::Mangle, &[Hook::Prerouting]),
            "REJECT" => (Table::Filter, &[Hook::Input, Hook::Forward, Hook::Output]),
            "CT" => (Table::Raw, &Hook::ALL),
            "TRACE" if backend == Backend::Legacy => (Table::Raw, &Hook::ALL),
            "DSCP" | "ECN" | "TOS" | "TTL" | "CHECKSUM" => (Table::Mangle, &Hook::ALL),
            _ => return None,
        };
        if self.table != table {
            return Some(format!("{name} works in the {table} table only"));
        }
        self.elsewhere(name, hooks).or_else(|| protocol(spec))
    }
}

/// Targets that ask for a protocol in their own rule: what leads to the chain does not count.
fn protocol(spec: &RuleSpec) -> Option<String> {
    let only = spec.matches.only_protocol();
    match &spec.target {
        Target::Tproxy { .. } if !matches!(only, Some(Protocol::Tcp | Protocol::Udp)) => {
            Some("TPROXY needs `-p tcp` or `-p udp` in its own rule".to_owned())
        }
        Target::Reject { with } if with == "tcp-reset" && only != Some(Protocol::Tcp) => {
            Some("`--reject-with tcp-reset` needs `-p tcp` in its own rule".to_owned())
        }
        _ => None,
    }
}

/// iptables asks the machine for the number of a name, and gives up when there is none.
fn owner_names(matches: &Matches) -> impl Iterator<Item = String> {
    matches.extensions().iter().filter_map(|it| {
        let (what, name) = match it {
            Match::OwnerUid(Negatable {
                value: OwnerId::Name(name),
                ..
            }) => ("user", name),
            Match::OwnerGid(Negatable {
                value: OwnerId::Name(name),
                ..
            }) => ("group", name),
            _ => return None,
        };
        Some(format!("on a machine without a {what} `{name}`"))
    })
}

/// `! -s 0.0.0.0/0` matches nothing; the nft backend has no expression for it.
fn nobody(matches: &Matches) -> impl Iterator<Item = String> {
    let ends = [("-s", &matches.source), ("-d", &matches.destination)];
    ends.into_iter().filter_map(|(option, condition)| {
        let condition = condition.as_ref()?;
        let everything = condition.negated && condition.value.prefix_len() == 0;
        everything.then(|| format!("`! {option} {}` is no address at all", condition.value))
    })
}
