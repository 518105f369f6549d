//! The iptables rule language: a typed model of rule sets, the parser for what `istio-init` writes and
//! `iptables-save` prints, the renderers, and the comparisons built on them.
//!
//! Pure: nothing here opens a file or runs a command. Two texts that mean the same rules give equal values,
//! whatever order or spelling they use, and nothing a text says is ever dropped: what is not modelled is kept
//! word for word and says so ([`RuleSpec::is_modelled`]).

mod address_kind;
mod align;
mod annotate;
mod backend;
mod changes;
mod conntrack;
mod conservation;
mod counters;
mod diff;
mod edit;
mod fate;
mod hook;
mod id;
mod json;
mod list;
mod logging;
mod marks;
mod matches;
mod nat;
mod options;
mod owners;
mod parse;
mod read;
mod render;
mod rounded;
mod set;
mod target;
mod tcp_flags;
mod values;
mod words;
mod written;

pub use address_kind::{AddressKind, End};
pub use align::{Alignment, align};
pub use annotate::{annotated, effect};
pub use backend::{Backend, BackendChoice, Chosen, Holder};
pub use changes::{changes, changes_to_written};
pub use conservation::{Imbalance, balance, conservation};
pub use counters::{CounterDelta, CounterError, CounterSnapshot, packets};
pub use diff::{Difference, diff};
pub use edit::{Edit, edited};
pub(crate) use fate::{Fate, Shape};
pub use hook::Hook;
pub use id::{Family, ParseRuleIdError, RuleId, Table};
pub use json::to_json;
pub use list::list_verbose;
pub use logging::{Log, LogDetail, Nflog};
pub use marks::{ConnmarkAction, MarkChange, MarkValue};
pub use matches::{Match, Matches, RuleSpec};
pub use nat::{NatPick, NatRange};
pub use owners::OwnerNames;
pub use parse::parse;
pub use read::{Document, Dump, Form, read};
pub use render::{nft_text, spec_text, to_commands, to_nft, to_restore, to_save};
pub use rounded::{CountRange, Rounded};
pub use set::{Chain, Counter, NftBase, Policy, Rule, RuleSet, TableRules};
pub use target::{Flow, Target, ZoneDirection, ZoneId};
pub use tcp_flags::{TcpFlagTest, TcpFlags};
pub use values::{CtState, Interface, Negatable, OwnerId, PortRange, Protocol};
pub use written::{Written, of_nft};

#[cfg(test)]
pub(crate) mod tests;
