//! Reads chains and rules over netlink: names, hooks, handles, in order. It loads no table and runs no program.

use std::io;

use super::{
    ChainName, Hook, TableFamily, TraceError,
    netlink::{Asking, NFTABLES, message_type},
    rulebook::{ChainEntry, Generation},
    wire::{Malformed, NFNL_HEADER, attributes, be32, be64, nfnl_family, text},
};
use crate::traced::OBSERVER_TABLES;

// Message types of nftables, from linux/netfilter/nf_tables.h; a report of a change has the type of the request.
pub(super) const NEW_TABLE: u8 = 0;
const GET_TABLE: u8 = 1;
pub(super) const DELETE_TABLE: u8 = 2;
pub(super) const NEW_CHAIN: u8 = 3;
const GET_CHAIN: u8 = 4;
pub(super) const DELETE_CHAIN: u8 = 5;
pub(super) const NEW_RULE: u8 = 6;
const GET_RULE: u8 = 7;
pub(super) const DELETE_RULE: u8 = 8;
pub(super) const NEW_GENERATION: u8 = 15;
const GET_GENERATION: u8 = 16;
pub(super) const TRACE: u8 = 17;

const TRIES: u32 = 16;
const READ: &str = "read the rules of this namespace";

/// Number of the rule set's generation.
pub(super) fn generation(kernel: &mut Asking) -> Result<u32, TraceError> {
    let mut id = None;
    let get = message_type(NFTABLES, GET_GENERATION);
    let read = kernel.get(get, 0, &mut |message| {
        id = Some(generation_of(message.body)?);
        Ok(())
    });
    read.map_err(TraceError::netlink(READ))?;
    let nothing = || io::Error::other("the kernel gave no generation");
    id.ok_or_else(|| TraceError::netlink(READ)(nothing()))
}

/// Number in a report of a new generation.
pub(super) fn generation_of(body: &[u8]) -> Result<u32, Malformed> {
    const WHAT: &str = "generation";
    const ID: u16 = 1;
    let body = body.get(NFNL_HEADER..).unwrap_or(&[]);
    let id = attributes(body, WHAT)?.into_iter().find(|it| it.0 == ID);
    let id = id.ok_or_else(|| Malformed::new(WHAT, "it has no number"))?;
    be32(id.1, WHAT)
}

/// All chains and rules of one generation.
///
/// # Errors
/// netlink fails, or the rule set changes again and again.
pub(super) fn read(kernel: &mut Asking) -> Result<Generation, TraceError> {
    for _ in 0..TRIES {
        let id = generation(kernel)?;
        let mut found = Generation {
            id,
            ..Generation::default()
        };
        let chains = kernel.dump(message_type(NFTABLES, GET_CHAIN), 0, &mut |message| {
            let (name, entry) = chain(message.body)?;
            found.chains.insert(name, entry);
            Ok(())
        });
        let mut consistent = chains.map_err(TraceError::netlink(READ))?;
        let rules = kernel.dump(message_type(NFTABLES, GET_RULE), 0, &mut |message| {
            let (chain, handle) = rule(message.body)?;
            found.chains.entry(chain).or_default().rules.push(handle);
            Ok(())
        });
        consistent &= rules.map_err(TraceError::netlink(READ))?;
        if consistent && generation(kernel)? == id {
            return Ok(found);
        }
    }
    Err(TraceError::Restless(TRIES))
}

/// A chain, without its rules.
pub(super) fn chain(body: &[u8]) -> Result<(ChainName, ChainEntry), Malformed> {
    const WHAT: &str = "chain";
    let family = TableFamily::from_number(nfnl_family(body)?);
    let (mut table, mut name, mut entry) = (None, None, ChainEntry::default());
    for (kind, value) in attributes(&body[NFNL_HEADER..], WHAT)? {
        match kind {
            1 => table = Some(text(value, WHAT)?),
            3 => name = Some(text(value, WHAT)?),
            // The hooks of other families (ingress, bridge) have the same numbers and see other packets.
            4 if !matches!(family, TableFamily::Other(_)) => entry.base = hook(value)?,
            7 => entry.nat = text(value, WHAT)? == "nat",
            _ => {}
        }
    }
    let missing = |what| Malformed::new(WHAT, format!("it has no {what}"));
    let name = ChainName {
        family,
        table: table.ok_or_else(|| missing("table"))?,
        chain: name.ok_or_else(|| missing("name"))?,
    };
    Ok((name, entry))
}

fn hook(value: &[u8]) -> Result<Option<(Hook, i32)>, Malformed> {
    const WHAT: &str = "hook of a chain";
    let (mut number, mut priority) = (None, None);
    for (kind, value) in attributes(value, WHAT)? {
        match kind {
            1 => number = Some(be32(value, WHAT)?),
            2 => priority = Some(be32(value, WHAT)? as i32),
            _ => {}
        }
    }
    let hook = number.and_then(|number| Hook::from_number(u8::try_from(number).ok()?));
    Ok(hook.zip(priority))
}

/// Chain and handle of a rule; what it says is not read, so no expression is too new.
pub(super) fn rule(body: &[u8]) -> Result<(ChainName, u64), Malformed> {
    const WHAT: &str = "rule";
    let family = TableFamily::from_number(nfnl_family(body)?);
    let (mut table, mut chain, mut handle) = (None, None, None);
    for (kind, value) in attributes(&body[NFNL_HEADER..], WHAT)? {
        match kind {
            1 => table = Some(text(value, WHAT)?),
            2 => chain = Some(text(value, WHAT)?),
            3 => handle = Some(be64(value, WHAT)?),
            _ => {}
        }
    }
    let missing = |what| Malformed::new(WHAT, format!("it has no {what}"));
    let chain = ChainName {
        family,
        table: table.ok_or_else(|| missing("table"))?,
        chain: chain.ok_or_else(|| missing("chain"))?,
    };
    Ok((chain, handle.ok_or_else(|| missing("handle"))?))
}

/// Name of a table.
pub(super) fn table(body: &[u8]) -> Result<(TableFamily, String), Malformed> {
    const WHAT: &str = "table";
    let family = TableFamily::from_number(nfnl_family(body)?);
    let attributes = attributes(&body[NFNL_HEADER..], WHAT)?;
    let name = attributes.into_iter().find(|it| it.0 == 1);
    let name = name.ok_or_else(|| Malformed::new(WHAT, "it has no name"))?;
    Ok((family, text(name.1, WHAT)?))
}

/// Tables of observers in the namespace the calling thread is in: this program's, or another's. There is none once
/// every watch is gone.
///
/// # Errors
/// netlink fails.
pub fn observer_tables() -> Result<Vec<String>, TraceError> {
    let mut kernel = Asking::open().map_err(TraceError::netlink(READ))?;
    let mut found = Vec::new();
    let tables = kernel.dump(message_type(NFTABLES, GET_TABLE), 0, &mut |message| {
        let (_, name) = table(message.body)?;
        if name.starts_with(OBSERVER_TABLES) {
            found.push(name);
        }
        Ok(())
    });
    tables.map_err(TraceError::netlink(READ))?;
    Ok(found)
}
