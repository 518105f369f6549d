//! What hoplab writes for nft, what the kernel makes of it and what nft prints of that are the same rules.

mod command;

use hoplab::rules::{Family, Form, RuleSet, read};
use rstest::rstest;

use self::command::{hoplab, netns::Netns, run};

/// The transaction of Istio's native nft mode for these flags.
fn transaction(flags: &str) -> String {
    let mut words = vec!["rules", "render", "--native-nftables"];
    words.extend(flags.split_whitespace());
    let ended = run(&mut hoplab(&words));
    assert!(ended.status.success(), "{}", ended.stderr);
    ended.stdout
}

fn sets(text: &str, form: Form) -> Vec<RuleSet> {
    let document = read(text, "nft", Family::V4).unwrap_or_else(|error| panic!("{error}"));
    assert!(document.remarks.is_empty(), "{:#?}", document.remarks);
    assert!(document.dumps.iter().all(|dump| dump.form == form));
    document.rules().unwrap_or_else(|error| panic!("{error}"))
}

fn bare(sets: &[RuleSet]) -> Vec<RuleSet> {
    sets.iter().map(RuleSet::without_counters).collect()
}

#[rstest]
#[case::nothing_captured("")]
#[case::everything("-b * -i * -d 15090,15021,15020")]
#[case::tproxy("-b * -i * -d 15090 -m TPROXY")]
#[case::tproxy_dual_stack("-b * -i * -m TPROXY --ipv6 -c nic0")]
#[case::tproxy_ports("-b 80,443 -m TPROXY --ipv6 -t 4660 -z 16006")]
#[case::dns_of_all("-b * -i * --redirect-dns --capture-all-dns --ipv6")]
#[case::dns_of_servers("-i * --redirect-dns --dns-servers 10.96.0.10,fd00::a --ipv6")]
#[case::exclusions("-b * -i * -x 1.1.0.0/16,fd00::/8 -o 5432,53 -c nic0,nic1 --ipv6")]
#[case::inclusions("-b 80,8080 -i 10.0.0.0/8,2001:db8::/32 -q 443 --ipv6")]
#[case::several_owners("-b * -i * -u 3,4 -g 1,2 --ipv6")]
#[case::virtual_interfaces("-b * -i 10.0.0.0/8,fd00::/8 -k eth1,eth2 --ipv6")]
#[case::drop_invalid("-b * -i * --drop-invalid")]
#[case::everything_at_once(
    "-b * -i 10.0.0.0/8,fd00::/8 -d 15090 -m TPROXY --redirect-dns --capture-all-dns --ipv6 --drop-invalid -c nic0 \
     -o 5432 -q 80 -k eth1"
)]
#[case::ambient("--ambient")]
#[case::ambient_dns_dual_stack("--ambient --redirect-dns --ipv6 -k v0")]
fn transaction_listing_and_json_are_the_same_rules(#[case] flags: &str) {
    let text = transaction(flags);
    let netns = Netns::new();
    netns.output(&["nft", "-f", "-"], &text);
    let listing = netns.output(&["nft", "list", "ruleset"], "");
    let json = netns.output(&["nft", "-j", "list", "ruleset"], "");

    let (written, listed) = (sets(&text, Form::Nft), sets(&listing, Form::Nft));
    assert_eq!(bare(&written), bare(&listed), "{text}\n{listing}");
    assert_eq!(listed, sets(&json, Form::NftJson), "{listing}\n{json}");

    let lines = text.lines().filter(|line| line.contains(" rule inet "));
    let (lines, counted) = (
        lines.clone().count(),
        lines.filter(|it| it.contains(" counter")).count(),
    );
    assert_eq!(listed.len(), 2, "inet is for both families");
    for set in &listed {
        let rules = set.tables.keys().flat_map(|table| set.rules(*table));
        let rules: Vec<_> = rules.map(|(_, rule)| rule).collect();
        assert_eq!(rules.len(), lines);
        assert!(rules.iter().all(|it| it.spec.is_modelled()));
        assert_eq!(
            rules.iter().filter(|it| it.counters.is_some()).count(),
            counted
        );
    }
}
