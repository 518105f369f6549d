//! Whether rules keep conntrack awake: in a namespace it works only while something there asks for it.

use super::{Match, Rule, RuleSet, Table, Target};

/// Match extensions that are not modelled and ask conntrack.
const MATCHES: [&str; 8] = [
    "cluster",
    "connbytes",
    "connlabel",
    "connlimit",
    "conntrack",
    "ct",
    "helper",
    "state",
];

/// Targets that are not modelled and need conntrack.
const TARGETS: [&str; 5] = ["CONNSECMARK", "CT", "NETMAP", "SYNPROXY", "ct"];

impl RuleSet {
    /// Whether a rule of the set needs conntrack, met or not. Where none does, conntrack sleeps for packets of this
    /// family: it makes no entry, `SO_ORIGINAL_DST` fails with ENOENT, and nat asks no rule. What wakes it is
    /// `nf_ct_netns_get`, which targets and matches call when their rule is added; a table or chain of nat does not.
    pub fn wakes_conntrack(&self) -> bool {
        let mut rules = Table::ALL.into_iter().flat_map(|table| self.rules(table));
        rules.any(|(_, rule)| wakes(rule))
    }
}

fn wakes(rule: &Rule) -> bool {
    let by_target = match &rule.spec.target {
        Target::Redirect { .. }
        | Target::Dnat(_)
        | Target::Snat(_)
        | Target::Masquerade(_)
        | Target::Connmark(_)
        | Target::Zone { .. } => true,
        Target::Verbatim(words) => words
            .first()
            .is_some_and(|name| TARGETS.contains(&name.as_str())),
        _ => false,
    };
    let asks = |condition: &Match| match condition {
        Match::CtState(_) | Match::ConnMark(_) => true,
        Match::Verbatim { module, words } => {
            let nft = || words.iter().any(|word| word == "ct");
            let named = module.as_deref();
            named.map_or_else(nft, |module| MATCHES.contains(&module))
        }
        _ => false,
    };
    by_target || rule.spec.matches.extensions().iter().any(asks)
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use crate::rules::{Family, parse};

    #[rstest]
    #[case::no_table("", false)]
    #[case::an_empty_table("*nat\nCOMMIT\n", false)]
    #[case::a_rule_that_only_lets_go("*nat\n-A OUTPUT -p tcp -j RETURN\nCOMMIT\n", false)]
    #[case::a_redirect("*nat\n-A OUTPUT -p tcp -j REDIRECT --to-ports 15001\nCOMMIT\n", true)]
    #[case::a_redirect_that_nothing_reaches(
        "*nat\n-N C\n-A C -p tcp -j REDIRECT --to-ports 15001\nCOMMIT\n",
        true
    )]
    #[case::a_state("*mangle\n-A INPUT -m conntrack --ctstate NEW\nCOMMIT\n", true)]
    #[case::a_mark_of_the_connection(
        "*mangle\n-A OUTPUT -m connmark --mark 0x111 -j ACCEPT\nCOMMIT\n",
        true
    )]
    #[case::a_mark_of_the_packet("*mangle\n-A OUTPUT -j MARK --set-mark 1\nCOMMIT\n", false)]
    #[case::a_zone("*raw\n-A OUTPUT -p udp -j CT --zone 1\nCOMMIT\n", true)]
    #[case::what_keeps_conntrack_off("*raw\n-A OUTPUT -p udp -j CT --notrack\nCOMMIT\n", false)]
    #[case::not_modelled(
        "*filter\n-A INPUT -p tcp -m connlimit --connlimit-above 2 -j DROP\nCOMMIT\n",
        true
    )]
    #[case::not_modelled_and_does_not_ask(
        "*filter\n-A INPUT -m limit --limit 1/sec -j DROP\nCOMMIT\n",
        false
    )]
    fn conntrack_is_awake_where_a_rule_needs_it(#[case] text: &str, #[case] awake: bool) {
        let set = parse(text, Family::V4, "test").expect("it parses");
        assert_eq!(set.wakes_conntrack(), awake);
    }
}
