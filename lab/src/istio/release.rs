//! Istio releases, and the generation of the rule set each of them writes.

use std::{fmt, str::FromStr};

use thiserror::Error;

/// A release line of Istio: the `24` of 1.24.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Release(u8);

impl Release {
    /// The oldest line whose rules are known.
    pub const OLDEST: Self = Self(12);
    /// The newest line whose rules are known, and what is taken when none is asked for.
    pub const NEWEST: Self = Self(32);

    /// The rule set this line writes.
    pub fn generation(self) -> Generation {
        match self.0 {
            ..=12 => Generation::G0,
            13..=17 => Generation::G1,
            18..=19 => Generation::G2,
            20..=22 => Generation::G3,
            23 => Generation::G4,
            24 => Generation::G5,
            25.. => Generation::G6,
        }
    }

    /// ISTIO_OUTBOUND_OWNER_GROUPS and its EXCLUDE twin exist.
    pub fn has_owner_groups(self) -> bool {
        self.0 >= 14
    }

    /// What is there is looked at before rules are applied; `--reconcile`, `--force-apply` and `--cleanup-only` exist.
    pub fn looks_before_it_applies(self) -> bool {
        self.0 >= 24
    }

    /// Ambient pods are captured with REDIRECT; before, it was done another way.
    pub fn has_ambient_redirect(self) -> bool {
        self.0 >= 24
    }

    /// The host's POSTROUTING jump of ambient mode is inserted first, not appended.
    pub fn inserts_host_jump(self) -> bool {
        self.0 >= 27
    }

    /// `--native-nftables` exists for sidecars.
    pub fn has_sidecar_nftables(self) -> bool {
        self.0 >= 27
    }

    /// `--native-nftables` exists for ambient mode.
    pub fn has_ambient_nftables(self) -> bool {
        self.0 >= 28
    }
}

impl Default for Release {
    fn default() -> Self {
        Self::NEWEST
    }
}

impl fmt::Display for Release {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "1.{}", self.0)
    }
}

/// The text names no release whose rules are known.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("`{0}` is no known Istio release: {oldest} to {newest} are", oldest = Release::OLDEST, newest = Release::NEWEST)]
pub struct UnknownRelease(String);

impl FromStr for Release {
    type Err = UnknownRelease;

    /// Reads `1.24`; a patch level (`1.24.3`) and a leading `v` change nothing.
    fn from_str(text: &str) -> Result<Self, UnknownRelease> {
        let unknown = || UnknownRelease(text.to_owned());
        let mut numbers = text.strip_prefix('v').unwrap_or(text).split('.');
        let (Some("1"), Some(minor)) = (numbers.next(), numbers.next()) else {
            return Err(unknown());
        };
        let patch_is_number = numbers
            .next()
            .is_none_or(|patch| patch.parse::<u16>().is_ok());
        let release = minor.parse().map(Self).map_err(|_| unknown())?;
        let known = (Self::OLDEST..=Self::NEWEST).contains(&release);
        if known && patch_is_number && numbers.next().is_none() {
            Ok(release)
        } else {
            Err(unknown())
        }
    }
}

/// A generation of the sidecar's iptables rules: releases of one generation write the same rules for the same input.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Generation {
    /// Up to 1.12: port 22 is never captured.
    G0,
    /// 1.13 to 1.17.
    G1,
    /// 1.18 and 1.19: the self-call rules leave the tunnel port alone.
    G2,
    /// 1.20 to 1.22: replies of DNS servers are told by where they come from.
    G3,
    /// 1.23: DNS over UDP passes through ISTIO_OUTPUT.
    G4,
    /// 1.24: invalid packets are dropped in a chain of their own.
    G5,
    /// Since 1.25: ISTIO_OUTPUT sees every protocol, DNS has its own chain.
    G6,
}

impl Generation {
    /// Every generation, oldest first.
    pub const ALL: [Self; 7] = [
        Self::G0,
        Self::G1,
        Self::G2,
        Self::G3,
        Self::G4,
        Self::G5,
        Self::G6,
    ];

    /// The first and the last release line that writes this generation.
    pub fn releases(self) -> (Release, Release) {
        let of = |minor: &u8| Release(*minor).generation() == self;
        let mut lines = (Release::OLDEST.0..=Release::NEWEST.0).filter(of);
        let first = lines.next().unwrap_or(Release::NEWEST.0);
        (Release(first), Release(lines.next_back().unwrap_or(first)))
    }

    /// Port 22 is exempt from inbound capture.
    pub(super) fn exempts_ssh(self) -> bool {
        self == Self::G0
    }

    /// The rules for a proxy calling its own pod are TCP only, and leave the tunnel port alone.
    pub(super) fn guards_self_calls(self) -> bool {
        self >= Self::G2
    }

    /// The raw rule for replies of a DNS server asks for the server as source (before: as destination).
    pub(super) fn knows_dns_replies_by_source(self) -> bool {
        self >= Self::G3
    }

    /// DNS over UDP is handled in ISTIO_OUTPUT, not in OUTPUT itself.
    pub(super) fn takes_dns_udp_into_its_chain(self) -> bool {
        self >= Self::G4
    }

    /// A list of included CIDRs ends with a RETURN for everything else.
    pub(super) fn ends_cidr_lists_with_return(self) -> bool {
        self < Self::G4
    }

    /// Invalid packets are dropped in ISTIO_DROP, not in PREROUTING itself.
    pub(super) fn drops_in_a_chain(self) -> bool {
        self >= Self::G5
    }

    /// OUTPUT jumps to ISTIO_OUTPUT for all protocols, and DNS has chains of its own.
    pub(super) fn has_dns_chains(self) -> bool {
        self >= Self::G6
    }
}
