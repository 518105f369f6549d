//! What the lab's rules are made of, one rule each: every match and every target, and the module that brings it.

use crate::{netfilter::Backend, rules::Family};

/// One piece of the rule language.
pub(super) struct Piece {
    /// In kebab-case.
    pub id: &'static str,
    /// Its rule. `SOURCE` and `LOOPBACK` stand for addresses of the family.
    rule: &'static str,
    /// Words of the rule that matter, for people.
    pub words: &'static str,
    /// Extension of iptables that reads it, `libxt_NAME.so`; none is built in.
    extension: Option<&'static str>,
    /// Module of the kernel, where it is not part of the table itself.
    module: Option<&'static str>,
}

const fn piece(id: &'static str, rule: &'static str, words: &'static str) -> Piece {
    Piece {
        id,
        rule,
        words,
        extension: None,
        module: None,
    }
}

impl Piece {
    const fn of(self, extension: &'static str, module: &'static str) -> Self {
        Self {
            extension: Some(extension),
            module: Some(module),
            ..self
        }
    }

    /// The rule for a family.
    pub fn rule(&self, family: Family) -> String {
        let (source, loopback) = match family {
            Family::V4 => ("127.0.0.6/32", "127.0.0.1/32"),
            Family::V6 => ("::6/128", "::1/128"),
        };
        self.rule
            .replace("SOURCE", source)
            .replace("LOOPBACK", loopback)
    }

    /// How to get it, after iptables said `words`.
    pub fn fix(&self, backend: Backend, family: Family, words: &str) -> String {
        match (self.extension, self.module) {
            (Some(extension), _)
                if words.contains("Couldn't load") || words.contains("unknown option") =>
            {
                format!(
                    "this iptables lacks its extension libxt_{extension}.so: reinstall the package `iptables` (OpenWrt: opkg \
                 install iptables-mod-extra iptables-mod-nat-extra), and unset XTABLES_LIBDIR if it is set"
                )
            }
            (_, Some(module)) => {
                let unmapped = if module == "xt_owner" {
                    "\nin a user namespace, 1337 must be mapped (cat /proc/self/uid_map /proc/self/gid_map)"
                } else {
                    ""
                };
                format!(
                    "as root: modprobe {module}; a kernel without modules needs it built in (CONFIG_{}){unmapped}",
                    option(module)
                )
            }
            _ => table_fix(backend, family),
        }
    }
}

/// Name of the kernel option of an xt module.
fn option(module: &str) -> &'static str {
    match module {
        "xt_owner" => "NETFILTER_XT_MATCH_OWNER",
        "xt_REDIRECT" => "NETFILTER_XT_TARGET_REDIRECT",
        _ => "NETFILTER_XTABLES",
    }
}

/// How to get a nat table.
pub(super) fn table_fix(backend: Backend, family: Family) -> String {
    match (backend, family) {
        (Backend::Nft, _) => {
            "as root: modprobe -a nf_tables nft_compat nft_chain_nat nf_nat; a kernel without modules needs them built \
             in (CONFIG_NF_TABLES, CONFIG_NFT_COMPAT, CONFIG_NFT_NAT)"
        }
        (Backend::Legacy, Family::V4) => {
            "as root: modprobe -a ip_tables iptable_nat; a kernel without modules needs them built in \
             (CONFIG_IP_NF_NAT; since Linux 6.17 also CONFIG_NETFILTER_XTABLES_LEGACY)"
        }
        (Backend::Legacy, Family::V6) => {
            "as root: modprobe -a ip6_tables ip6table_nat; a kernel without modules needs them built in \
             (CONFIG_IP6_NF_NAT; since Linux 6.17 also CONFIG_NETFILTER_XTABLES_LEGACY)"
        }
    }
    .into()
}

/// A chain of our own, which every file has.
pub(super) const CHAIN: &str = "HOPLAB";

/// All pieces of the rule set of a lab.
pub(super) const PIECES: &[Piece] = &[
    piece(
        "jump",
        "-A OUTPUT -p tcp -j HOPLAB",
        "OUTPUT -p tcp -j CHAIN",
    )
    .of("tcp", "xt_tcpudp"),
    piece("prerouting", "-A PREROUTING -p tcp -j HOPLAB", "PREROUTING"),
    piece("return", "-A HOPLAB -j RETURN", "RETURN"),
    piece(
        "dport",
        "-A HOPLAB -p tcp --dport 15008 -j RETURN",
        "--dport",
    )
    .of("tcp", "xt_tcpudp"),
    piece("source", "-A HOPLAB -s SOURCE -j RETURN", "-s"),
    piece("destination", "-A HOPLAB -d LOOPBACK -j RETURN", "-d"),
    piece(
        "not-destination",
        "-A HOPLAB ! -d LOOPBACK -j RETURN",
        "! -d",
    ),
    piece("out-interface", "-A OUTPUT -o lo -j HOPLAB", "-o lo"),
    piece(
        "uid-owner",
        "-A OUTPUT -m owner --uid-owner 1337 -j HOPLAB",
        "owner --uid-owner 1337",
    )
    .of("owner", "xt_owner"),
    piece(
        "not-uid-owner",
        "-A OUTPUT -m owner ! --uid-owner 1337 -j HOPLAB",
        "owner ! --uid-owner 1337",
    )
    .of("owner", "xt_owner"),
    piece(
        "gid-owner",
        "-A OUTPUT -m owner --gid-owner 1337 -j HOPLAB",
        "owner --gid-owner 1337",
    )
    .of("owner", "xt_owner"),
    piece(
        "not-gid-owner",
        "-A OUTPUT -m owner ! --gid-owner 1337 -j HOPLAB",
        "owner ! --gid-owner 1337",
    )
    .of("owner", "xt_owner"),
    piece(
        "redirect",
        "-A OUTPUT -p tcp -j REDIRECT --to-ports 15001",
        "REDIRECT --to-ports",
    )
    .of("REDIRECT", "xt_REDIRECT"),
];

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::builtin;

    /// Options with their negation, and targets; `CHAIN` for any chain.
    fn features(rule: &str) -> BTreeSet<String> {
        let words: Vec<&str> = rule.split_whitespace().collect();
        let mut found = BTreeSet::new();
        for (i, word) in words.iter().enumerate() {
            let next = words.get(i + 1).copied().unwrap_or_default();
            let not = if i > 0 && words[i - 1] == "!" {
                "! "
            } else {
                ""
            };
            match *word {
                "-A" if next == "PREROUTING" || next == "OUTPUT" => found.insert(next.into()),
                "-A" => found.insert("a rule in a chain".into()),
                "-j" if next == "RETURN" || next == "REDIRECT" => found.insert(next.into()),
                "-j" => found.insert("a jump to a chain".into()),
                "-m" | "-p" | "-o" => found.insert(format!("{not}{word} {next}")),
                _ if word.starts_with('-') => found.insert(format!("{not}{word}")),
                _ => continue,
            };
        }
        found
    }

    #[test]
    fn every_match_and_target_of_the_rules_that_travel_in_the_binary_is_a_piece() {
        for family in [Family::V4, Family::V6] {
            let pieces: BTreeSet<String> = PIECES
                .iter()
                .flat_map(|p| features(&p.rule(family)))
                .collect();
            let rules = builtin::PROFILES
                .iter()
                .filter_map(|profile| builtin::rule_text(profile, family));
            for line in rules.flat_map(str::lines).filter(|l| l.starts_with("-A")) {
                let missing: Vec<_> = features(line).difference(&pieces).cloned().collect();
                assert!(missing.is_empty(), "{missing:?} of {line}");
            }
        }
    }
}
