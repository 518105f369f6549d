//! The name that a rule set has for a chain or a rule of a trace.
//!
//! The kernel names chains of iptables as rule sets do. Native nft has tables and base chains of any name: there the rule
//! set knows which built-in chain stands for each base chain. A chain without a hook is in the table of the base chain
//! that the packet came by, so one that two hooks lead to is told apart as well.

use super::{ChainName, Ordinal, RulePlace, Station};
use crate::rules::{Family, RuleId, RuleSet, Table};

impl Station {
    /// The built-in chain that stands here in `rules`, with family and table; `None` where they know of none.
    pub fn builtin_in(&self, rules: &RuleSet) -> Option<(Family, Table, String)> {
        let ChainName {
            family,
            table,
            chain,
        } = &self.chain;
        if let Some((table, builtin)) = rules.builtin_of_nft(&format!("{family} {table}"), chain) {
            return Some((rules.family, table, builtin.to_owned()));
        }
        let (family, table) = self.chain.iptables()?;
        Some((family, table, chain.clone()))
    }

    /// The key in `rules` of a rule that matched here.
    ///
    /// # Errors
    /// What is missing for it: its place or a name.
    pub fn rule_id(&self, place: &RulePlace, rules: &RuleSet) -> Result<RuleId, String> {
        let ordinal = match &place.ordinal {
            Ordinal::Known(ordinal) => *ordinal,
            Ordinal::Unknown(why) => {
                return Err(format!("the place of a rule of {}: {why}", place.chain));
            }
        };
        let builtin = self.builtin_in(rules);
        let (family, table, builtin) = builtin.ok_or_else(|| format!("a name for {place}"))?;
        let chain = match place.chain == self.chain {
            true => builtin,
            false => place.chain.chain.clone(),
        };
        Ok(RuleId::new(family, table, chain, ordinal))
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;
    use crate::{
        rules::{Hook, Written},
        traced::{Header, Source, TableFamily},
    };

    // `both` has a chain that two hooks lead to, and a base chain by the name that iptables has for another hook.
    const NFT: &str = "
table inet both {
	chain first {
		type filter hook output priority raw; policy accept;
		jump shared
	}
	chain INPUT {
		type nat hook output priority dstnat; policy accept;
		jump shared
	}
	chain shared {
		counter return
	}
}
";

    // Version and length, protocol 17 at byte 9; a UDP header.
    const IPV4_UDP: [u8; 28] = [
        0x45, 0, 0, 28, 0, 0, 0, 0, 64, 17, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2, 0, 53, 0, 53, 0, 8, 0,
        0,
    ];

    fn chain(family: TableFamily, table: &str, chain: &str) -> ChainName {
        let (table, chain) = (table.to_owned(), chain.to_owned());
        ChainName {
            family,
            table,
            chain,
        }
    }

    fn station(chain: ChainName) -> Station {
        Station {
            hook: Hook::Output,
            priority: 0,
            chain,
            source: Source::NftTrace,
            header: Header::from_packet(&IPV4_UDP).expect("readable"),
            input: None,
            output: None,
            mark: None,
            conntrack: None,
            steps: Vec::new(),
        }
    }

    #[rstest]
    #[case::native(TableFamily::Inet, "both", "first", "first", Ok("ipv6 raw OUTPUT 1"))]
    #[case::by_its_hook(TableFamily::Inet, "both", "INPUT", "INPUT", Ok("ipv6 nat OUTPUT 1"))]
    #[case::from_raw(TableFamily::Inet, "both", "first", "shared", Ok("ipv6 raw shared 1"))]
    #[case::from_nat(TableFamily::Inet, "both", "INPUT", "shared", Ok("ipv6 nat shared 1"))]
    #[case::iptables(TableFamily::Ip6, "nat", "OUTPUT", "MESH", Ok("ipv6 nat MESH 1"))]
    #[case::not_read(
        TableFamily::Inet,
        "other",
        "output",
        "output",
        Err("a name for inet other output 1")
    )]
    fn a_rule_has_the_name_that_the_rule_set_has_for_it(
        #[case] family: TableFamily,
        #[case] table: &str,
        #[case] base: &str,
        #[case] of: &str,
        #[case] wanted: Result<&str, &str>,
    ) {
        let written = Written::Nft { nft: NFT };
        let rules = written.rules(Family::V6, "a test").expect("readable");
        let place = RulePlace {
            chain: chain(family, table, of),
            ordinal: Ordinal::Known(1),
            handle: Some(7),
        };
        let found = station(chain(family, table, base));
        let found = found.rule_id(&place, &rules.expect("inet is for both"));
        let found = found.map(|it| it.key());
        assert_eq!(found.as_deref().map_err(String::as_str), wanted);
    }
}
