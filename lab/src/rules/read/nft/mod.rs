//! Reads rules of nftables: the text of `nft list ruleset`, its JSON, and a transaction for `nft -f` as Istio's native
//! nft mode writes it. Owns the choice of what they mean in the model of iptables.
//!
//! **One table, two views.** A table of the family `inet` is for both families, so it gives an IPv4 and an IPv6 rule
//! set. Both hold every rule: a place in a chain is the place nft has it at, in both. A rule with `ip daddr` is in the
//! IPv6 one too, as one that asks for the other family ([`Match::OtherFamily`](crate::rules::Match)); a rule without
//! an address is for both. Each rule has one counter in the kernel, which counts packets of both families: both views
//! carry it.
//!
//! **Chains.** A base chain is a built-in chain of iptables, found by type, hook and priority: `type nat hook output`
//! is nat OUTPUT. [`NftBase`](crate::rules::NftBase) remembers what nft calls it. Other chains keep their names.
//!
//! **What differs from iptables** and is in the rules read here: `skuid != X` also asks for a socket. `return` in a
//! base chain ends that chain only, which is what a policy does here, as there is one table of each kind. TPROXY of
//! nft does not match without a listener; the model takes it that there is one.

use super::{Dump, Form};
use crate::diagnostic::Diagnostic;
use crate::rules::id::Family;
use crate::rules::words::Line;

mod condition;
mod effect;
mod json;
mod operands;
mod ruleset;
mod statement;
mod steps_json;
mod text;
mod text_lines;
mod text_rule;
mod tokens;
mod view;
mod words;

pub(super) use text::starts;

/// The rules of one listing or transaction, per family, and what of it is not read as rules.
pub(super) fn read(form: Form, lines: &[Line<'_>]) -> (Vec<Dump>, Vec<Diagnostic>) {
    let joined: String;
    let ruleset = match form {
        Form::NftJson => {
            let texts: Vec<&str> = lines.iter().map(|line| line.text).collect();
            joined = texts.join("\n");
            json::read(lines, &joined)
        }
        _ => text::read(lines),
    };
    let dump = |family, rules| Dump {
        form,
        line: lines.first().map_or(1, |line| line.number),
        last_line: lines.last().map_or(1, |line| line.number),
        family,
        rules,
    };
    match ruleset {
        Err(error) => (vec![dump(Family::V4, Err(error))], Vec::new()),
        Ok(set) => {
            let families = [Family::V4, Family::V6].into_iter();
            let views = families.filter_map(|family| Some(dump(family, view::view(&set, family)?)));
            (views.collect(), view::remarks(&set))
        }
    }
}
