//! Networks behind an interface of this machine: `interface:CIDR`, as virtual machines and Docker bridges have them.

use std::str::FromStr;

use crate::mesh::{Subnet, Wrong};

/// One of them: what comes in there and is not for the network itself counts as outbound.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Vnet {
    /// The interface; a `+` at its end stands for any rest.
    pub interface: String,
    /// Its network.
    pub network: Subnet,
}

const FORM: &str = "give interface:CIDR, like docker0:172.17.0.0/16 or br+:172.18.0.0/16";

impl FromStr for Vnet {
    type Err = Wrong;

    fn from_str(text: &str) -> Result<Self, Wrong> {
        let (interface, network) = text
            .split_once(':')
            .ok_or_else(|| Wrong::new(text, "there is no `:`", FORM))?;
        let stem = interface.strip_suffix('+').unwrap_or(interface);
        let plain = |c: char| c.is_ascii_alphanumeric() || "_.-@".contains(c);
        let starts = stem.starts_with(|c: char| c.is_ascii_alphanumeric() || c == '_');
        if interface.len() > 15 || !starts || !stem.chars().all(plain) {
            return Err(Wrong::new(interface, "it is no interface", FORM));
        }
        Ok(Self {
            interface: interface.to_owned(),
            network: Subnet::with_prefix(network)?,
        })
    }
}

/// All of them. Which of two networks of one interface Kuma keeps is not known here, so that is refused.
pub(super) fn all(values: &[&str]) -> Result<Vec<Vnet>, Wrong> {
    let mut vnets: Vec<Vnet> = Vec::new();
    for value in values {
        let vnet: Vnet = value.parse()?;
        let same = |it: &&Vnet| {
            it.interface == vnet.interface && it.network.family() == vnet.network.family()
        };
        if vnets.iter().any(|it| same(&it)) {
            return Err(Wrong::new(
                value,
                "its interface has a network of that family already",
                "give one network for each interface and family",
            ));
        }
        vnets.push(vnet);
    }
    Ok(vnets)
}
