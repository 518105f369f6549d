//! What the rules of a namespace say, by the place a trace names.

use std::collections::{BTreeMap, HashMap};

use super::{ChainName, Ordinal, RulePlace, TableFamily};
use crate::rules::{Matches, RuleId, RuleSet, RuleSpec, Target, spec_text};

/// Texts of rules: of legacy iptables by their place, of nft and iptables-nft by their handle, since a rule that was
/// removed has a place that another one may have by now.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RuleTexts {
    legacy: BTreeMap<RuleId, String>,
    nft: HashMap<(ChainName, u64), String>,
}

impl RuleTexts {
    /// Adds the rules of legacy iptables.
    pub fn add_legacy(&mut self, rules: &RuleSet) {
        self.legacy.extend(texts(rules));
    }

    /// Adds the rules of iptables-nft; `handle` gives the handle that the kernel has for the rule at a place.
    pub fn add_iptables_nft(
        &mut self,
        rules: &RuleSet,
        handle: impl Fn(&ChainName, u32) -> Option<u64>,
    ) {
        let keyed = texts(rules).filter_map(|(id, text)| {
            let chain = ChainName {
                family: TableFamily::of(id.family),
                table: id.table.name().to_owned(),
                chain: id.chain.clone(),
            };
            let handle = handle(&chain, id.ordinal)?;
            Some(((chain, handle), text))
        });
        self.nft.extend(keyed);
    }

    /// Adds the rules that `nft -s -a list ruleset` prints. Lines without a handle, and tables of families that see no IP
    /// hook, are left out.
    pub fn add_nft_listing(&mut self, listing: &str) {
        let mut table: Option<(TableFamily, &str)> = None;
        let mut chain = None;
        for line in listing.lines() {
            let words: Vec<&str> = line.split_whitespace().collect();
            match words[..] {
                ["table", family, name, "{", ..] => {
                    let family = [TableFamily::Ip, TableFamily::Ip6, TableFamily::Inet]
                        .into_iter()
                        .find(|it| it.to_string() == family);
                    table = family.map(|family| (family, name));
                    chain = None;
                }
                ["chain", name, "{", ..] => {
                    chain = table.map(|(family, table)| ChainName {
                        family,
                        table: table.to_owned(),
                        chain: name.to_owned(),
                    });
                }
                // A set, a map, or the like.
                [_, _, "{", ..] if !line.starts_with("\t\t") => chain = None,
                _ => {
                    let rule = line.rsplit_once(" # handle ");
                    let rule = rule.and_then(|(text, handle)| Some((text, handle.parse().ok()?)));
                    if let (Some(chain), Some((text, handle))) = (&chain, rule) {
                        let key = (chain.clone(), handle);
                        self.nft.insert(key, text.trim().to_owned());
                    }
                }
            }
        }
    }

    /// What a rule says, without its chain: `-p tcp -j REDIRECT --to-ports 15006`, or the words of nft. None where the
    /// rules were not read, or changed meanwhile.
    pub fn of(&self, place: &RulePlace) -> Option<&str> {
        if let Ordinal::Unknown(_) = place.ordinal {
            return None;
        }
        // Legacy rules have no handle.
        let text = match place.handle {
            None => self.legacy.get(&place.rule_id()?),
            Some(handle) => self.nft.get(&(place.chain.clone(), handle)),
        };
        text.map(String::as_str)
    }

    /// Whether a chain of this name holds rules.
    pub fn has_chain(&self, name: &str) -> bool {
        let legacy = self.legacy.keys().map(|it| &it.chain);
        let mut chains = legacy.chain(self.nft.keys().map(|(it, _)| &it.chain));
        chains.any(|it| it == name)
    }

    /// Every text.
    pub fn texts(&self) -> impl Iterator<Item = &str> {
        let all = self.legacy.values().chain(self.nft.values());
        all.map(String::as_str)
    }
}

fn texts(rules: &RuleSet) -> impl Iterator<Item = (RuleId, String)> {
    let all = rules.tables.keys().flat_map(|table| rules.rules(*table));
    all.map(|(id, rule)| {
        let text = spec_text(&id.chain, &rule.spec);
        let nothing = RuleSpec {
            matches: Matches::default(),
            target: Target::None,
        };
        let chain = spec_text(&id.chain, &nothing);
        let text = text.strip_prefix(&chain).unwrap_or(&text).trim();
        let text = text.to_owned();
        (id, text)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rules::{Family, parse};

    fn place(family: TableFamily, table: &str, chain: &str, handle: Option<u64>) -> RulePlace {
        let (table, chain) = (table.to_owned(), chain.to_owned());
        RulePlace {
            chain: ChainName {
                family,
                table,
                chain,
            },
            ordinal: Ordinal::Known(1),
            handle,
        }
    }

    #[test]
    fn rules_of_iptables_are_told_by_place_and_of_each_backend_by_itself() {
        let parsed = |text| parse(text, Family::V4, "here").expect("it is readable");
        let mut texts = RuleTexts::default();
        texts.add_legacy(&parsed(
            "*nat\n-A OUTPUT -p tcp -j REDIRECT --to-ports 1\nCOMMIT\n",
        ));
        let nft = parsed("*nat\n-A OUTPUT -p udp -j RETURN\n-A OUTPUT -p tcp\nCOMMIT\n");
        texts.add_iptables_nft(&nft, |chain, ordinal| {
            assert_eq!(chain.to_string(), "ip nat OUTPUT");
            Some(u64::from(ordinal) + 8)
        });
        let at = |handle| place(TableFamily::Ip, "nat", "OUTPUT", handle);
        let redirect = "-p tcp -j REDIRECT --to-ports 1";
        assert_eq!(texts.of(&at(None)), Some(redirect));
        assert_eq!(texts.of(&at(Some(9))), Some("-p udp -j RETURN"));
        assert_eq!(texts.of(&at(Some(10))), Some("-p tcp"));
        assert_eq!(texts.of(&at(Some(1))), None);
        let changed = RulePlace {
            ordinal: Ordinal::Unknown("it was replaced".into()),
            ..at(Some(9))
        };
        assert_eq!(texts.of(&changed), None);
        let elsewhere = place(TableFamily::Ip6, "nat", "OUTPUT", None);
        assert_eq!(texts.of(&elsewhere), None);
        assert!(texts.has_chain("OUTPUT") && !texts.has_chain("INPUT"));
        assert_eq!(texts.texts().filter(|it| it.contains("tcp")).count(), 2);
    }

    // As nft 1.0.6 prints it.
    const LISTING: &str = "table inet istio-proxy-nat { # handle 4
\tset ports { # handle 9
\t\ttype inet_service
\t\telements = { 80, 443 }
\t}

\tchain output { # handle 1
\t\ttype nat hook output priority dstnat; policy accept;
\t\tmeta skuid != 1337 counter jump istio-redirect # handle 3
\t\ttcp dport { 80, 443 } return # handle 4
\t}

\tchain istio-redirect { # handle 2
\t\tmeta l4proto tcp counter redirect to :15001 comment \"# handle 7\" # handle 5
\t}
}
table bridge odd { # handle 5
\tchain output { # handle 1
\t\taccept # handle 3
\t}
}
";

    #[test]
    fn rules_of_native_nft_are_told_by_handle() {
        let mut texts = RuleTexts::default();
        texts.add_nft_listing(LISTING);
        let of = |chain, handle| {
            texts.of(&place(
                TableFamily::Inet,
                "istio-proxy-nat",
                chain,
                Some(handle),
            ))
        };
        let jump = "meta skuid != 1337 counter jump istio-redirect";
        assert_eq!(of("output", 3), Some(jump));
        assert_eq!(of("output", 4), Some("tcp dport { 80, 443 } return"));
        let redirect = "meta l4proto tcp counter redirect to :15001 comment \"# handle 7\"";
        assert_eq!(of("istio-redirect", 5), Some(redirect));
        assert_eq!((of("output", 1), of("output", 5)), (None, None));
        assert_eq!(texts.texts().count(), 3);
    }
}
