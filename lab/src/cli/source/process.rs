//! The rules in the network namespace of a process.

use super::{Source, Text};
use crate::{
    failure::Failure,
    netfilter::{self, Held},
    rules::Holder,
};

impl Source {
    pub(super) fn of_process(&self, pid: u32, only: Option<Holder>) -> Result<Vec<Text>, Failure> {
        let mut held = netfilter::rules_of_process(pid)?;
        let holders: Vec<Holder> = held.iter().map(|it| it.by).collect();
        held.retain(|it| only.is_none_or(|only| only == it.by));
        if held.is_empty() {
            anstream::eprintln!("note: the network namespace of {self} has no rules");
        }
        if let (Some(words), None) = (side_by_side(&holders), only) {
            anstream::eprintln!("note: pid:{pid} has rules of {words}");
        }
        let text = |Held { by, text }| Text {
            origin: format!("pid:{pid}/{by}"),
            text,
            profile: None,
        };
        Ok(held.into_iter().map(text).collect())
    }
}

/// What several holders in one namespace do to a packet.
fn side_by_side(holders: &[Holder]) -> Option<String> {
    let has = |holder| holders.contains(&holder);
    let legacy = has(Holder::IptablesLegacy);
    if holders.len() < 2 {
        return None;
    }
    let names: Vec<String> = holders.iter().map(ToString::to_string).collect();
    let effect = match legacy {
        true => "where both translate addresses, nft decides at PREROUTING; at OUTPUT both count",
        false => "each is asked at its hooks, the lower priority first",
    };
    Some(format!("{}: {effect}", names.join(" and ")))
}
