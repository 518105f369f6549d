//! A packet at one hook: every table asked there, in the order of the kernel.

use serde::{Deserialize, Serialize};

use super::evaluate::evaluate;
use super::known::Known;
use super::packet::Packet;
use super::traversal::{Outcome, Traversal};
use crate::rules::Hook;
use crate::rules::{CtState, RuleSet, Table};

/// What a hook did to a packet.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Passage {
    /// Where.
    pub hook: Hook,
    /// Each table asked, in order.
    pub tables: Vec<(Table, Traversal)>,
    /// Why nat was not asked at a hook where it has a chain.
    pub without_nat: Option<WithoutNat>,
    /// The packet as it came to the hook.
    pub came: Packet,
    /// The packet as it left the hook, translation included.
    pub left: Packet,
}

/// Why the nat table is not asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum WithoutNat {
    /// nat is asked for the first packet of a connection only.
    NotFirst,
    /// An earlier hook asked nat about this end of the connection.
    Settled,
    /// conntrack does not follow the packet: no rule needs it, or one keeps the packet from it.
    Untracked,
}

impl Passage {
    /// The outcome that matters: the one that ended the packet or turned it, else the last; `None` when no table is
    /// asked at the hook.
    pub fn decided(&self) -> Option<&Outcome> {
        let outcomes = || self.tables.iter().map(|(_, traversal)| &traversal.decided);
        let turned = outcomes().find(|it| !matches!(it, Outcome::Accepted { .. }));
        turned.or_else(|| outcomes().next_back())
    }
}

/// The tables a hook asks, in the order of their priorities (`NF_IP_PRI_*`); conntrack stands after raw.
pub(super) fn tables(hook: Hook) -> &'static [Table] {
    match hook {
        Hook::Prerouting => &[Table::Raw, Table::Mangle, Table::Nat],
        Hook::Input => &[Table::Mangle, Table::Filter, Table::Nat],
        Hook::Forward => &[Table::Mangle, Table::Filter],
        Hook::Output => &[Table::Raw, Table::Mangle, Table::Nat, Table::Filter],
        Hook::Postrouting => &[Table::Mangle, Table::Nat],
    }
}

/// Asks every table of the hook. nat is asked only of a packet that opens a connection, and only while the
/// connection has no translation of this kind yet: pass `translated` when an earlier hook asked nat about the same
/// end (`nf_nat_inet_fn` in net/netfilter/nf_nat_core.c).
///
/// The tables after one that did not let the packet go on are not asked.
pub fn pass(rules: &RuleSet, hook: Hook, packet: &Packet, translated: bool) -> Passage {
    pass_known(rules, hook, packet.clone(), translated, None).0
}

/// [`pass`], for a packet whose connection may be known already; gives the packet as it leaves the hook, too.
pub(super) fn pass_known(
    rules: &RuleSet,
    hook: Hook,
    mut packet: Packet,
    translated: bool,
    known: Option<Known>,
) -> (Passage, Packet) {
    let mut tables = Vec::new();
    let mut without_nat = None;
    let came = packet.clone();
    for table in self::tables(hook) {
        let opens = matches!(packet.state, CtState::New | CtState::Related);
        if *table == Table::Nat && (translated || !opens || known.is_some()) {
            if let Some(known) = known {
                known.apply(hook, &mut packet);
            }
            without_nat = Some(match packet.state {
                CtState::Untracked => WithoutNat::Untracked,
                _ if opens => WithoutNat::Settled,
                _ => WithoutNat::NotFirst,
            });
            continue;
        }
        let traversal = evaluate(rules, *table, hook, &packet);
        packet = traversal.left.clone();
        let ends = matches!(
            traversal.decided,
            Outcome::Dropped { .. } | Outcome::Rejected { .. } | Outcome::Unknown { .. }
        );
        // What nat turned, filter sees turned: the rest of the way is the journey's.
        let turned = *table == Table::Nat && !matches!(traversal.decided, Outcome::Accepted { .. });
        tables.push((*table, traversal));
        if ends || turned {
            break;
        }
    }
    let passage = Passage {
        hook,
        tables,
        without_nat,
        came,
        left: packet.clone(),
    };
    (passage, packet)
}
