//! Whether rules make the kernel track connections: what does not track them asks no nat.

use crate::rules::{Match, Rule, RuleSet, TableRules, Target};

/// Match extensions that are kept verbatim and need conntrack.
const MATCHES: [&str; 5] = ["connbytes", "connlabel", "connlimit", "helper", "cluster"];
/// Targets that are kept verbatim and need conntrack.
const TARGETS: [&str; 4] = ["CONNSECMARK", "CT", "NETMAP", "SYNPROXY"];

/// Whether a rule of the set needs conntrack, met or not: loading it switches conntrack on in its namespace and family
/// (`nf_ct_netns_get`, called by `redirect_tg4_check`, `connmark_tg_check`, `conntrack_mt_check`, `nft_redir_init`,
/// `nft_ct_get_init` and their like). Where nothing does, packets have no connection, and no rule of the nat table is
/// asked, not even one that only returns (`nf_nat_inet_fn` in net/netfilter/nf_nat_core.c accepts what has none).
pub fn needs_conntrack(set: &RuleSet) -> bool {
    let chains = set.tables.values().flat_map(TableRules::chains);
    chains.flat_map(|it| &it.rules).any(rule)
}

fn rule(rule: &Rule) -> bool {
    let asks = rule.spec.matches.extensions().iter().any(|it| match it {
        Match::CtState(_) | Match::ConnMark(_) => true,
        Match::Verbatim { module, words } => {
            let module = module.as_deref().unwrap_or_default();
            // `ct` of nft: `ct count over 10`.
            MATCHES.contains(&module) || module == "nft" && words.join(" ").contains("ct ")
        }
        _ => false,
    });
    asks || match &rule.spec.target {
        Target::Redirect { .. }
        | Target::Dnat(_)
        | Target::Snat(_)
        | Target::Masquerade(_)
        | Target::Connmark(_)
        | Target::Zone { .. } => true,
        target @ Target::Verbatim(words) => {
            TARGETS.contains(&target.name()) || words.join(" ").contains("ct ")
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::needs_conntrack;
    use crate::rules::{Family, parse};

    #[rstest]
    #[case::only_a_return("*nat\n-A OUTPUT -p tcp -j RETURN\nCOMMIT\n", false)]
    #[case::notrack("*raw\n-A OUTPUT -j NOTRACK\nCOMMIT\n", false)]
    #[case::a_redirect("*nat\n-A OUTPUT -p tcp -j REDIRECT --to-ports 1\nCOMMIT\n", true)]
    #[case::one_that_nothing_leads_to(
        "*nat\n-N MINE\n-A MINE -p tcp -j REDIRECT --to-ports 1\nCOMMIT\n",
        true
    )]
    #[case::a_state(
        "*mangle\n-A INPUT -m conntrack --ctstate INVALID -j DROP\nCOMMIT\n",
        true
    )]
    #[case::a_zone("*raw\n-A OUTPUT -p udp -j CT --zone 1\nCOMMIT\n", true)]
    #[case::a_mark_of_connections("*mangle\n-A OUTPUT -j CONNMARK --restore-mark\nCOMMIT\n", true)]
    #[case::a_limit_of_connections(
        "*filter\n-A INPUT -p tcp -m connlimit --connlimit-above 3 -j DROP\nCOMMIT\n",
        true
    )]
    fn rules_need_conntrack_or_do_not(#[case] text: &str, #[case] needs: bool) {
        let set = parse(text, Family::V4, "a test").expect("valid rules");
        assert_eq!(needs_conntrack(&set), needs);
    }
}
