//! Every profile is what its facts say.

use std::collections::BTreeSet;

use rstest::rstest;

use super::{InboundSource, Profile, Rules, all, find};
use crate::{
    builtin, istio,
    rules::{self, Family, Match, OwnerId, RuleSet, Table, Target},
};

fn sets(profile: &Profile) -> Vec<RuleSet> {
    let parse = |family| {
        let text = profile.rules.iptables(family)?;
        Some(rules::parse(text, family, &profile.name).unwrap())
    };
    [Family::V4, Family::V6]
        .into_iter()
        .filter_map(parse)
        .collect()
}

#[rstest]
fn names_are_found_and_name_one_profile() {
    let profiles = all();
    let names: Vec<&str> = profiles
        .iter()
        .flat_map(|it| it.aliases.iter().chain([&it.name]))
        .map(String::as_str)
        .collect();
    assert_eq!(
        names.iter().collect::<BTreeSet<_>>().len(),
        names.len(),
        "{names:?}"
    );
    for profile in &profiles {
        for name in profile.aliases.iter().chain([&profile.name]) {
            assert_eq!(find(name).as_ref(), Some(profile), "{name}");
        }
    }
    assert_eq!(
        find("kuma ")
            .or(find("istio-1.11"))
            .or(find("istio-"))
            .or(find("")),
        None
    );
}

#[test]
fn every_release_of_istio_has_a_name_and_the_rules_of_its_generation() {
    for minor in 12..=32 {
        let name = format!("istio-1.{minor}");
        let profile = find(&name).expect(&name);
        let release: istio::Release = format!("1.{minor}").parse().unwrap();
        let first = release.generation().releases().0;
        let of_first = find(&format!("istio-{first}")).unwrap();
        for (own, its) in sets(&profile).iter().zip(&sets(&of_first)) {
            assert_eq!(rules::diff(its, own, &Table::ALL), [], "{name}");
        }
    }
    assert_eq!(find("istio").unwrap().name, "istio-1.25");
}

#[rstest]
fn the_given_text_of_1_13_is_kept_and_says_what_the_generator_says(
    #[values(Family::V4, Family::V6)] family: Family,
) {
    let text = |name: &str| {
        find(name)
            .unwrap()
            .rules
            .iptables(family)
            .unwrap()
            .to_owned()
    };
    let (given, generated) = (text("istio-1.13"), text("istio-1.14"));
    assert_eq!(
        Some(given.as_str()),
        builtin::rule_text("istio-1.13", family)
    );
    let parse = |text: &str| rules::parse(text, family, "it").unwrap();
    assert_eq!(
        rules::diff(&parse(&given), &parse(&generated), &Table::ALL),
        []
    );
}

/// Ports rules turn traffic to.
fn redirect_ports(set: &RuleSet) -> BTreeSet<u16> {
    let rules = set.rules(Table::Nat).map(|(_, rule)| rule);
    let port = |target: &Target| match target {
        Target::Redirect { ports } => ports.map(|it| it.first()),
        _ => None,
    };
    rules.filter_map(|rule| port(&rule.spec.target)).collect()
}

#[test]
fn the_ports_of_a_profile_are_those_its_rules_turn_traffic_to() {
    for profile in all().iter().filter(|it| it.name != "istio-tproxy") {
        let ports = profile.ports;
        let stated: BTreeSet<u16> = [ports.inbound, Some(ports.outbound), ports.dns]
            .into_iter()
            .flatten()
            .collect();
        for set in sets(profile) {
            assert_eq!(
                redirect_ports(&set),
                stated,
                "{} {}",
                profile.name,
                set.family
            );
        }
    }
}

#[test]
fn the_owner_of_a_profile_is_the_one_its_rules_ask_for() {
    for profile in all() {
        for set in sets(&profile) {
            let (mut uids, mut gids) = (BTreeSet::new(), BTreeSet::new());
            for (_, rule) in Table::ALL.into_iter().flat_map(|table| set.rules(table)) {
                for condition in rule.spec.matches.extensions() {
                    let one = |owner: &OwnerId| match owner {
                        OwnerId::Range { first, .. } => *first,
                        OwnerId::Name(name) => panic!("{name}"),
                    };
                    match condition {
                        Match::OwnerUid(it) => drop(uids.insert(one(&it.value))),
                        Match::OwnerGid(it) => drop(gids.insert(one(&it.value))),
                        _ => {}
                    }
                }
            }
            assert_eq!(
                uids,
                profile.proxy.uid.into_iter().collect(),
                "{}",
                profile.name
            );
            assert_eq!(
                gids,
                profile.proxy.gid.into_iter().collect(),
                "{}",
                profile.name
            );
        }
    }
}

/// Inbound port, outbound port, user and group.
type Built = (u16, u16, Option<(u32, u32)>);

#[rstest]
#[case("istio-1.24", Some((15006, 15001, Some((1337, 1337)))))]
#[case("istio-tproxy", Some((15006, 15001, Some((0, 1337)))))]
#[case("kuma", Some((15006, 15001, Some((5678, 5678)))))]
#[case::source_is_the_kernels_choice("linkerd", Some((4143, 4140, Some((2102, 2102)))))]
#[case::calls_its_app_at_loopback("linkerd-1", Some((4143, 4140, Some((2102, 2102)))))]
#[case::source_is_the_client("ambient", None)]
fn a_lab_can_build_what_it_has_words_for(#[case] name: &str, #[case] expected: Option<Built>) {
    let interception = find(name).unwrap().interception();
    assert_eq!(
        interception.map(|it| (it.inbound, it.outbound, it.owner)),
        expected
    );
}

#[test]
fn ztunnel_is_known_by_marks_and_its_rules_name_them() {
    let profile = find("ztunnel-0").unwrap();
    assert_eq!(profile.name, "ztunnel");
    let text = profile.rules.iptables(Family::V4).unwrap();
    for mark in [&profile.proxy.marks.sent, &profile.proxy.marks.connection] {
        let mark = mark.as_ref().unwrap();
        assert!(text.contains(&format!("--mark {mark} ")), "{mark}");
    }
    assert_eq!(profile.proxy.inbound_source, InboundSource::Client);
    let steps: Vec<String> = profile.steps.iter().map(ToString::to_string).collect();
    assert_eq!(
        steps[0],
        "ip -4 rule add fwmark 0x111/0xfff pref 32764 lookup 100"
    );
}

/// As ztunnel's own tests have it, read back from a kernel.
const Z0: &str = "\
*mangle
:ISTIO_OUTPUT - [0:0]
:ISTIO_PRERT - [0:0]
-A PREROUTING -j ISTIO_PRERT
-A OUTPUT -j ISTIO_OUTPUT
-A ISTIO_OUTPUT -m connmark --mark 0x111/0xfff -j CONNMARK --restore-mark --nfmask 0xffffffff --ctmask 0xffffffff
-A ISTIO_PRERT -m mark --mark 0x539/0xfff -j CONNMARK --set-xmark 0x111/0xfff
COMMIT
*nat
:ISTIO_OUTPUT - [0:0]
:ISTIO_PRERT - [0:0]
-A OUTPUT -j ISTIO_OUTPUT
-A PREROUTING -j ISTIO_PRERT
-A ISTIO_OUTPUT -d 169.254.7.127/32 -p tcp -m tcp -j ACCEPT
-A ISTIO_OUTPUT ! -o lo -p udp -m mark ! --mark 0x539/0xfff -m udp --dport 53 -j REDIRECT --to-ports 15053
-A ISTIO_OUTPUT ! -d 127.0.0.1/32 -p tcp -m tcp --dport 53 -m mark ! --mark 0x539/0xfff -j REDIRECT --to-ports 15053
-A ISTIO_OUTPUT -p tcp -m mark --mark 0x111/0xfff -j ACCEPT
-A ISTIO_OUTPUT ! -d 127.0.0.1/32 -o lo -j ACCEPT
-A ISTIO_OUTPUT ! -d 127.0.0.1/32 -p tcp -m mark ! --mark 0x539/0xfff -j REDIRECT --to-ports 15001
-A ISTIO_PRERT -s 169.254.7.127/32 -p tcp -m tcp -j ACCEPT
-A ISTIO_PRERT ! -d 127.0.0.1/32 -p tcp -m tcp ! --dport 15008 -m mark ! --mark 0x539/0xfff -j REDIRECT --to-ports 15006
COMMIT
";

const Z1: &str = "\
*nat
-A OUTPUT -p tcp ! -o lo -m mark ! --mark 0x539/0xfff -j REDIRECT --to-ports 15001
COMMIT
";

#[rstest]
#[case::in_pod("ztunnel", Z0)]
#[case::dedicated("ztunnel-dedicated", Z1)]
fn ztunnels_rules_are_those_of_its_own_tests(#[case] name: &str, #[case] expected: &str) {
    let expected = rules::parse(expected, Family::V4, "ztunnel").unwrap();
    let profile = find(name).unwrap();
    let found = rules::parse(
        profile.rules.iptables(Family::V4).unwrap(),
        Family::V4,
        name,
    )
    .unwrap();
    assert_eq!(rules::diff(&expected, &found, &Table::ALL), []);
    assert_eq!(profile.rules.iptables(Family::V6), None);
}

#[rstest]
#[case("istio-nft")]
#[case("ambient-nft")]
fn native_nft_is_one_transaction(#[case] name: &str) {
    let profile = find(name).unwrap();
    let Rules::Nft(text) = &profile.rules else {
        panic!("{name} is iptables");
    };
    assert!(text.contains("add table inet "), "{text}");
    assert_eq!(profile.rules.iptables(Family::V4), None);
}
