//! Reads the rules of the network namespace a process is in, with the tools that hold them there, and changes nothing.
//!
//! A tool of legacy iptables that names a table makes it, and with it a second set of rules that packets meet. So what
//! is in use is found out first, by looking: legacy tables in /proc/net/ip_tables_names, tables of nft over netlink.
//! Then only tools run whose tables are there. `iptables-legacy-save` without a table reads the same file, and makes
//! none.

use std::{collections::BTreeSet, fs, io, process::Command, process::Stdio};

use serde_json::Value;

use super::{
    NetfilterError,
    backend::{Backend, Tool, find_program},
    nft_tables::{NftTable, nft_tables},
    tables::{Ran, run, stdout_of},
};
use crate::{
    net::in_namespace_of,
    rules::{self, Family, Holder, Policy, RuleSet, TableRules},
};

/// The rules that one of them holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Held {
    /// Who.
    pub by: Holder,
    /// What its tool printed, for [`rules::read`].
    pub text: String,
}

/// Everything that holds rules in the network namespace of a process; nothing where there are none.
///
/// # Errors
/// There is no such process, the kernel lets the caller not look, or a tool that is needed is missing or fails.
pub fn rules_of_process(pid: u32) -> Result<Vec<Held>, NetfilterError> {
    let read = in_namespace_of(pid, || rules_here(&format!("process {pid}")));
    read.map_err(NetfilterError::Namespace)?
}

/// The rules in the namespace the calling thread is in; `place` names it in complaints.
///
/// # Errors
/// The kernel lets the caller not look, or a tool that is needed is missing or fails.
pub fn rules_here(place: &str) -> Result<Vec<Held>, NetfilterError> {
    let mut held = Vec::new();
    let mut legacy = String::new();
    for family in [Family::V4, Family::V6] {
        if has_legacy_tables(family)? {
            legacy += &saved(Backend::Legacy, family, place)?;
        }
    }
    // A legacy table that was once looked at stays, empty.
    if says_something(&legacy) {
        let by = Holder::IptablesLegacy;
        held.push(Held { by, text: legacy });
    }
    let mut tables = nft_tables()?;
    // Those of a trace hold nothing that decides.
    tables.retain(|it| !it.is_of_observers());
    let mut of_iptables = String::new();
    for family in [Family::V4, Family::V6] {
        let there = |it: &NftTable| it.is_of_iptables() && it.family == Some(family);
        if tables.iter().any(there) {
            of_iptables += &saved(Backend::Nft, family, place)?;
        }
    }
    let foreign = not_of_iptables(&of_iptables);
    if says_something(&of_iptables) {
        let by = Holder::IptablesNft;
        held.push(Held {
            by,
            text: of_iptables,
        });
    }
    let native = |it: &NftTable| !it.is_of_iptables() || foreign.contains(&it.name);
    if tables.iter().any(native) {
        let text = native_ruleset(place, &foreign)?;
        held.push(Held {
            by: Holder::Nft,
            text,
        });
    }
    Ok(held)
}

/// Whether the kernel has legacy tables in this namespace. A kernel without legacy iptables has no such file.
fn has_legacy_tables(family: Family) -> Result<bool, NetfilterError> {
    let name = match family {
        Family::V4 => "ip_tables_names",
        Family::V6 => "ip6_tables_names",
    };
    match fs::read_to_string(format!("/proc/thread-self/net/{name}")) {
        Ok(names) => Ok(!names.trim().is_empty()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(source) => Err(NetfilterError::Tables {
            what: "read which legacy tables there are",
            source,
        }),
    }
}

/// All tables of a family, under the command that printed them.
fn saved(backend: Backend, family: Family, place: &str) -> Result<String, NetfilterError> {
    let (command, text) = stdout_of(run(backend, family, Tool::Save, &["-c"], place)?, place)?;
    Ok(format!("# {command}\n{text}"))
}

/// Whether a save holds more than empty chains that accept. One that can't be read may.
fn says_something(text: &str) -> bool {
    let policies = |table: &TableRules| {
        let mut chains = table.chains().iter();
        chains.any(|it| it.policy.is_none() || it.policy == Some(Policy::Drop))
    };
    let something = |set: &RuleSet| !set.is_empty() || set.tables.values().any(policies);
    let spoken = |line: &str| !line.trim().is_empty() && !line.starts_with('#');
    match rules::read(text, "", Family::V4).and_then(|it| it.rules()) {
        Ok(sets) => sets.iter().any(something),
        Err(_) => text.lines().any(spoken),
    }
}

/// The tables iptables-nft-save says are not its own, though they have the names:
/// "# Table `nat' is incompatible, use 'nft' tool." and the like.
fn not_of_iptables(text: &str) -> BTreeSet<String> {
    let names = text.lines().filter_map(|line| {
        let (name, rest) = line.strip_prefix("# Table `")?.split_once('\'')?;
        rest.contains("incompatible").then(|| name.to_owned())
    });
    names.collect()
}

/// What `nft -j list ruleset` prints, without the tables of observers and of iptables: nft shows the rules of these
/// only in part.
fn native_ruleset(place: &str, foreign: &BTreeSet<String>) -> Result<String, NetfilterError> {
    let arguments = ["-j", "list", "ruleset"];
    let command = format!("nft {}", arguments.join(" "));
    let output = Command::new(find_program("nft")?)
        .args(arguments)
        .stdin(Stdio::null())
        .output()
        .map_err(|source| NetfilterError::Run {
            command: command.clone(),
            pod: place.to_owned(),
            source,
        })?;
    let (command, text) = stdout_of(Ran { command, output }, place)?;
    let unreadable = |source| NetfilterError::Json { command, source };
    let mut value: Value = serde_json::from_str(&text).map_err(unreadable)?;
    if let Some(objects) = value.get_mut("nftables").and_then(Value::as_array_mut) {
        objects.retain(|it| !is_of_another(it, foreign));
    }
    Ok(format!("{value}\n"))
}

/// Whether an object is a table of iptables or of observers, or in one.
fn is_of_another(object: &Value, foreign: &BTreeSet<String>) -> bool {
    let Some((kind, body)) = object.as_object().and_then(|it| it.iter().next()) else {
        return false;
    };
    let text = |key: &str| body.get(key).and_then(Value::as_str).unwrap_or_default();
    let name = text(if kind == "table" { "name" } else { "table" }).to_owned();
    let family = match text("family") {
        "ip" => Some(Family::V4),
        "ip6" => Some(Family::V6),
        _ => None,
    };
    let foreign = foreign.contains(&name);
    let table = NftTable { family, name };
    table.is_of_observers() || (!foreign && table.is_of_iptables())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tables_that_only_have_the_names_of_iptables_are_told_by_its_words() {
        let text = "# Table `nat' is incompatible, use 'nft' tool.\n\
            # Table `filter' contains incompatible base-chains, use 'nft' tool to list them.\n*mangle\nCOMMIT\n";
        let names: Vec<String> = not_of_iptables(text).into_iter().collect();
        assert_eq!(names, ["filter", "nat"]);
    }

    #[test]
    fn a_table_that_was_only_looked_at_says_nothing() {
        let looked_at = "# iptables-legacy-save -c\n*nat\n:PREROUTING ACCEPT [0:0]\n:OUTPUT ACCEPT [3:180]\nCOMMIT\n";
        assert!(!says_something(looked_at));
        assert!(!says_something(""));
        assert!(says_something(
            &looked_at.replace("OUTPUT ACCEPT", "OUTPUT DROP")
        ));
        assert!(says_something(
            &looked_at.replace("COMMIT", "-A OUTPUT -j ACCEPT\nCOMMIT")
        ));
    }
}
