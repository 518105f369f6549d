//! The rules of a namespace at one moment, with the tools that hold them.

use std::process::{Command, Stdio};

use super::super::{TraceError, netlink::Asking, ruleset};
use crate::{
    diagnostic::Diagnostic,
    netfilter::{Held, NetfilterError, find_program, rules_here},
    rules::{self, Family, Holder, RuleSet},
};

/// The rules of a namespace at one moment.
pub(super) struct Rules {
    /// Of nft; the same before and after, or none of these generations.
    pub generation: u32,
    pub held: Vec<Held>,
    pub legacy: Vec<RuleSet>,
    /// Of iptables-nft.
    pub nft: Vec<RuleSet>,
    /// Of native nft: `nft -s -a list ruleset`.
    pub listing: Option<String>,
    pub unread: Vec<Diagnostic>,
}

impl Rules {
    /// In the namespace the calling thread is in.
    pub fn here(pid: u32) -> Result<Self, TraceError> {
        let place = format!("process {pid}");
        let mut kernel = Asking::open().map_err(TraceError::netlink("read the rules"))?;
        let generation = ruleset::generation(&mut kernel)?;
        let held = rules_here(&place)?;
        let (mut legacy, mut nft, mut listing, mut unread) = Default::default();
        for Held { by, text } in &held {
            let read = || rules::read(text, &format!("pid:{pid}/{by}"), Family::V4)?.rules();
            match by {
                Holder::IptablesLegacy => {
                    legacy = read().map_err(|it| TraceError::Legacy(Box::new(it)))?;
                }
                Holder::IptablesNft => match read() {
                    Ok(sets) => nft = sets,
                    Err(complaint) => unread = vec![complaint],
                },
                Holder::Nft => listing = Some(nft_listing(&place)?),
            }
        }
        Ok(Self {
            generation,
            held,
            legacy,
            nft,
            listing,
            unread,
        })
    }
}

fn nft_listing(place: &str) -> Result<String, NetfilterError> {
    let arguments = ["-s", "-a", "list", "ruleset"];
    let command = format!("nft {}", arguments.join(" "));
    let run = Command::new(find_program("nft")?)
        .args(arguments)
        .stdin(Stdio::null())
        .output();
    match run {
        Ok(ran) if ran.status.success() => Ok(String::from_utf8_lossy(&ran.stdout).into_owned()),
        Ok(ran) => Err(NetfilterError::Failed {
            command,
            pod: place.to_owned(),
            status: ran.status.to_string(),
            words: String::from_utf8_lossy(&ran.stderr).trim_end().to_owned(),
        }),
        Err(source) => Err(NetfilterError::Run {
            command,
            pod: place.to_owned(),
            source,
        }),
    }
}
