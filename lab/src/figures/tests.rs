use rstest::rstest;

use super::*;
use crate::rules::tests::documents::LISTING;
use crate::rules::{Family, read};

fn read_sets(text: &str) -> Vec<RuleSet> {
    let document = read(text, "x", Family::V4).unwrap_or_else(|error| panic!("{error}"));
    document.rules().unwrap_or_else(|error| panic!("{error}"))
}

fn nat(text: &str) -> Figures {
    let sets = read_sets(text);
    let mut all = figures(&sets[0]).unwrap_or_else(|error| panic!("{error}"));
    assert_eq!(all.len(), 1);
    all.remove(0)
}

fn sum(figures: &Figures, what: &str) -> Sum {
    let sum = figures.sums.iter().find(|it| it.what.starts_with(what));
    sum.unwrap_or_else(|| panic!("no sum of {what}")).clone()
}

#[rstest]
#[case::captured(Kind::InboundCaptured, 52)]
#[case::probes(Kind::InboundLeftAlone, 85_821)]
#[case::outbound(Kind::OutboundCaptured, 57_202)]
#[case::to_the_app(Kind::ProxyToApp, 61)]
#[case::to_itself(Kind::ProxyToItself, 0)]
#[case::proxys_own(Kind::ProxyOut, 57_374)]
#[case::local(Kind::Local, 22_906)]
#[case::not_tcp(Kind::PastTheRules, 6_380)]
#[case::dns(Kind::Dns, 0)]
fn the_production_listing_tells_connections_per_kind(#[case] kind: Kind, #[case] count: u64) {
    assert_eq!(nat(LISTING).of(kind), CountRange::exactly(count));
}

#[test]
fn the_production_listing_adds_up_and_sums_narrow_what_is_rounded() {
    let figures = nat(LISTING);
    assert!(figures.add_up());
    let output = sum(&figures, "ISTIO_OUTPUT");
    assert_eq!(output.sum, CountRange::exactly(137_543));
    assert_eq!(
        output.count,
        CountRange {
            least: 137_500,
            most: 138_499
        }
    );
    let postrouting = sum(&figures, "the policy of OUTPUT");
    assert_eq!(postrouting.sum, CountRange::exactly(86_721 + 57_202));
    let inbound = sum(&figures, "ISTIO_INBOUND");
    assert_eq!(
        (inbound.sum, inbound.relation),
        (CountRange::exactly(85_873), Relation::Equal)
    );
}

#[test]
fn the_production_listing_names_the_rules_never_hit_and_the_size_of_syns() {
    let figures = nat(LISTING);
    let never: Vec<String> = figures.never_hit.iter().map(RuleId::short).collect();
    let expected = [
        "ISTIO_INBOUND 1",
        "ISTIO_INBOUND 2",
        "ISTIO_OUTPUT 2",
        "ISTIO_OUTPUT 5",
        "ISTIO_OUTPUT 6",
        "ISTIO_OUTPUT 7",
        "ISTIO_OUTPUT 8",
    ];
    assert_eq!(never, expected);
    let of = |size| {
        let rules = figures.bytes.iter().filter(|it| it.syns == Some(size));
        rules.map(|it| it.rule.short()).collect::<Vec<_>>()
    };
    assert_eq!(of(52), ["ISTIO_INBOUND 5", "ISTIO_IN_REDIRECT 1"]);
    assert_eq!(of(60).len(), figures.bytes.len() - 2);
}

#[rstest]
#[case::a_probe_is_lost("85820 5149K RETURN", "85819 5149K RETURN", "ISTIO_INBOUND")]
#[case::too_many("57202 3432K REDIRECT", "57203 3432K REDIRECT", "ISTIO_REDIRECT")]
#[case::beyond_rounding(" 138K 8253K", " 137K 8253K", "ISTIO_OUTPUT")]
#[case::policy("ACCEPT 144K packets", "ACCEPT 142K packets", "the policy of OUTPUT")]
#[case::input(
    "INPUT (policy ACCEPT 85873",
    "INPUT (policy ACCEPT 85874",
    "the policy of INPUT"
)]
fn a_figure_that_does_not_add_up_is_noticed(
    #[case] from: &str,
    #[case] to: &str,
    #[case] what: &str,
) {
    assert!(LISTING.contains(from));
    let figures = nat(&LISTING.replacen(from, to, 1));
    assert!(!figures.add_up());
    assert!(!sum(&figures, what).holds());
}

#[test]
fn what_is_rounded_stays_a_range() {
    let listing = LISTING.replace("57202 3432K", " 157K 9432K");
    let captured = nat(&listing).of(Kind::OutboundCaptured);
    assert_eq!(
        captured,
        CountRange {
            least: 156_500,
            most: 157_499
        }
    );
}

/// Another mesh: one owner let past, lo let past, a set of ports left alone, all in chains of other names.
const OTHER_MESH: &str = "\
*nat
:PREROUTING ACCEPT [0:0]
:OUTPUT ACCEPT [10:600]
:MESH_IN - [0:0]
:MESH_OUT - [0:0]
[20:1200] -A PREROUTING -j MESH_IN
[30:1800] -A OUTPUT -j MESH_OUT
[5:300] -A MESH_IN -p tcp -m multiport --dports 4190,4191 -j RETURN
[15:900] -A MESH_IN -p tcp -j REDIRECT --to-ports 4143
[7:420] -A MESH_OUT -m owner --uid-owner 2102 -j RETURN
[3:180] -A MESH_OUT -o lo -j RETURN
[20:1200] -A MESH_OUT -p tcp -j REDIRECT --to-ports 4140
COMMIT
";

#[rstest]
#[case(Kind::InboundCaptured, 15)]
#[case(Kind::InboundLeftAlone, 5)]
#[case(Kind::ProxyOut, 7)]
#[case(Kind::Local, 3)]
#[case(Kind::OutboundCaptured, 20)]
fn kinds_are_told_by_meaning_not_by_names(#[case] kind: Kind, #[case] count: u64) {
    assert_eq!(nat(OTHER_MESH).of(kind), CountRange::exactly(count));
}

#[test]
fn dns_and_virtual_machines_are_told_apart() {
    let figures = nat("*nat\n:OUTPUT ACCEPT [0:0]\n:VM - [0:0]\n\
        [4:240] -A PREROUTING -i eth1 -p tcp -j VM\n[6:360] -A OUTPUT -p udp --dport 53 -j REDIRECT --to-ports 15053\n\
        [2:120] -A OUTPUT -p tcp -j VM\n[6:360] -A VM -p tcp -j REDIRECT --to-ports 15001\nCOMMIT\n");
    assert_eq!(figures.of(Kind::Dns), CountRange::exactly(6));
    assert_eq!(figures.of(Kind::OutboundCaptured), CountRange::exactly(6));
}

#[test]
fn a_chain_many_enter_and_a_target_nobody_knows_are_not_guessed() {
    let figures = nat("*nat\n:OUTPUT ACCEPT [0:0]\n:SUB - [0:0]\n[4:240] -A OUTPUT -o a -j SUB\n\
        [5:300] -A OUTPUT -o b -j SUB\n[3:180] -A SUB -o a -j ACCEPT\n[6:360] -A SUB -p tcp -j REDIRECT --to-ports 1\n\
        [2:120] -A OUTPUT -j FANCY\nCOMMIT\n".replace("-j FANCY", "-j NETMAP --to 10.0.0.0/8").as_str());
    let untold = figures.exits.iter().filter(|it| it.kind == Kind::Untold);
    assert_eq!(untold.count(), 3);
    assert_eq!(figures.of(Kind::Untold).most, 4 + 5 + 2);
}

#[test]
fn other_tables_count_packets_and_tell_no_connections() {
    let sets = read_sets(
        "*mangle\n:PREROUTING ACCEPT [9:9]\n:A - [0:0]\n[9:900] -A PREROUTING -p tcp -j A\n\
        [8:800] -A A -p tcp -j DROP\nCOMMIT\n",
    );
    let figures = figures(&sets[0])
        .unwrap_or_else(|error| panic!("{error}"))
        .remove(0);
    assert_eq!((figures.table, figures.exits.len()), (Table::Mangle, 0));
    assert!(!figures.add_up());
}

#[test]
fn rules_without_counters_are_refused_by_name() {
    let sets = read_sets("*nat\n:OUTPUT ACCEPT [3:180]\n-A OUTPUT -o lo -j ACCEPT\nCOMMIT\n");
    let error = figures(&sets[0]).expect_err("it is not counted");
    assert_eq!(error.to_string(), "nat OUTPUT 1 carries no counters");
}

#[rstest]
#[case::ipv4("0.0.0.0/0", 60, Some(60))]
#[case::no_timestamps("0.0.0.0/0", 52, Some(52))]
#[case::ipv6("::/0", 80, Some(80))]
#[case::a_query("0.0.0.0/0", 71, None)]
fn the_size_of_a_syn_is_told(#[case] any: &str, #[case] size: u64, #[case] syn: Option<u64>) {
    let family = if any.contains(':') {
        Family::V6
    } else {
        Family::V4
    };
    let text = format!(
        "*nat\n[10:{}] -A OUTPUT -d {any} -j ACCEPT\nCOMMIT\n",
        size * 10
    );
    let set = crate::rules::parse(&text, family, "x").unwrap_or_else(|error| panic!("{error}"));
    let figures = figures(&set).unwrap_or_else(|error| panic!("{error}"));
    assert_eq!(figures[0].bytes[0].syns, syn);
}
