//! Mistakes in rules, and which of them flows can tell.

use std::collections::BTreeSet;

use rstest::rstest;

use super::*;
use crate::behaviour::{Expected, Met, Mutant, Reach, cover, expected, mutants};

#[test]
fn the_answer_of_a_tproxy_connection_needs_the_mark_of_its_connection() {
    let whole = profile("istio-tproxy");
    let restore = whole.rules(Family::V4).expect("IPv4").clone();
    let lost: Vec<_> = restore
        .rules(crate::rules::Table::Mangle)
        .filter(|(_, rule)| rule.spec.target.name() == "CONNMARK")
        .map(|(id, _)| id)
        .collect();
    assert_eq!(lost.len(), 2, "save and restore");
    let without = whole.with_rules("without the restore", [restore.without(&lost[1])]);
    let found = compared(&whole, &without);
    assert!(
        words(&found)
            .iter()
            .any(|it| it.contains("mark=0x539 src=192.0.2.3")),
        "{:#?}",
        words(&found)
    );
}

#[test]
fn the_mutants_of_a_rule_are_those_that_people_make() {
    let text = "*nat\n-A OUTPUT ! -d 127.0.0.1/32 -o lo -p tcp --dport 22 -m owner --uid-owner 7 -j RETURN\n\
                -A OUTPUT -p tcp -j REDIRECT --to-ports 15001\nCOMMIT\n";
    let found = mutants(&subject("a test", text)).expect("iptables has words for all");
    let words: Vec<String> = found.iter().map(|it| it.what.clone()).collect();
    let has = |part: &str| words.iter().any(|it| it.contains(part));
    for part in [
        "deleted `-A OUTPUT -p tcp -j REDIRECT",
        "moved to the end `-A OUTPUT ! -d 127.0.0.1/32",
        "became `-A OUTPUT -d 127.0.0.1/32 -o lo",
        "became `-A OUTPUT ! -d 127.0.0.0/32",
        "became `-A OUTPUT ! -d 127.0.0.0/31",
        "! -o lo",
        "-o eth0",
        "--dport 21 ",
        "--dport 23 ",
        "! --dport 22",
        "--uid-owner 8 ",
        "! --uid-owner 7",
        "-j ACCEPT`",
        "--to-ports 15002`",
        "REDIRECT --to-ports 15001` became `-A OUTPUT -p tcp -j RETURN`",
    ] {
        assert!(has(part), "no `{part}` in {words:#?}");
    }
    let all: BTreeSet<&String> = words.iter().collect();
    assert_eq!(all.len(), words.len(), "no mutant twice");
}

#[rstest]
#[case("ISTIO_OUTPUT", 5, "alike")]
#[case("ISTIO_OUTPUT", 6, "alike")]
#[case("ISTIO_OUTPUT", 8, "alike")]
#[case("ISTIO_OUTPUT", 1, "apart")]
#[case("ISTIO_OUTPUT", 7, "apart")]
fn the_model_tells_which_deletions_matter(
    #[case] chain: &str,
    #[case] place: u32,
    #[case] verdict: &str,
) {
    let whole = profile("istio-1.13");
    let rule = crate::rules::RuleId::new(Family::V4, crate::rules::Table::Nat, chain, place);
    let of_rule = |it: &Mutant| it.rule == rule && it.what.starts_with("deleted");
    let all = mutants(&whole).expect("iptables has words for all");
    let mutant = all.into_iter().find(of_rule).expect("a mutant");
    let stage = Stage::away_from(whole.sets());
    let found = match expected(&whole, &mutant, &stage, &[]) {
        Expected::Alike { .. } => "alike",
        Expected::ToldBy(_) => "apart",
        other => panic!("{other:?}"),
    };
    assert_eq!(found, verdict);
}

#[test]
fn what_no_run_met_is_reachable_or_dead() {
    let rules = profile("istio-1.13");
    let stage = Stage::away_from(rules.sets());
    let found = cover(&rules, &stage, "nothing".to_owned(), &Met::new());
    let dead: Vec<String> = found
        .unmet()
        .filter(|(_, _, reach)| matches!(reach, Reach::Never(_)))
        .map(|(rule, ..)| rule.to_string())
        .collect();
    assert_eq!(
        dead,
        [
            "nat ISTIO_OUTPUT 5",
            "nat ISTIO_OUTPUT 6",
            "nat ISTIO_OUTPUT 8"
        ]
    );
    assert!(found.misses());
    assert_eq!(found.unmet().count(), 18);
}

#[test]
fn no_mutant_is_one_that_iptables_can_not_say() {
    let text = "*nat\n-A OUTPUT -p tcp -j REDIRECT --to-ports 15001\nCOMMIT\n";
    for mutant in mutants(&subject("a test", text)).expect("iptables has words for all") {
        let text = crate::rules::to_restore(&mutant.sets[0]);
        assert!(
            parse(&text, Family::V4, "a mutant").is_ok(),
            "{mutant}: {text}"
        );
    }
}

#[test]
fn an_answer_that_marks_its_connection_turns_what_follows() {
    let whole = profile("ztunnel");
    let of = |it: &Mutant| it.what.contains("became `-A ISTIO_PRERT -j CONNMARK");
    let all = mutants(&whole).expect("iptables has words for all");
    let mutant = all.into_iter().find(of).expect("a mutant");
    let broken = whole.with_rules("marks every connection", mutant.sets);
    let stage = Stage::away_from(whole.sets());
    let flow = "tcp uid=1000 gid=1000 mark=0x539 src=192.0.2.2 dst=192.0.2.3:9080";
    let flow: Flow = flow.parse().expect("a flow");
    assert!(matches!(course(&whole, &stage, &flow).end, End::Reached(_)));
    assert!(matches!(
        course(&broken, &stage, &flow).end,
        End::Unanswered { .. }
    ));
}

#[test]
fn a_mistake_in_rules_of_nft_is_made_in_its_words_and_in_both_families() {
    let profile = profiles::find("istio-nft").expect("a profile");
    let Rules::Nft(text) = profile.rules else {
        panic!("rules of nft");
    };
    let sets = crate::rules::of_nft(&text, "a test").expect("valid rules");
    let whole = Subject::new("istio-nft", sets, |_| None);
    let all = mutants(&whole).expect("nft has words for all");
    let find = |words: &str| {
        let found = all.iter().find(|it| it.what == words);
        found.unwrap_or_else(|| {
            let words: Vec<&str> = all.iter().map(|it| it.what.as_str()).collect();
            panic!("{words:#?}")
        })
    };
    let both = find("deleted `counter jump istio-redirect`");
    assert_eq!(both.families(), [Family::V4, Family::V6]);
    // A rule for one family has its place among those of the other.
    let one = find("deleted `oifname \"lo\" ip6 saddr ::6/128 counter return`");
    assert_eq!(one.families(), [Family::V4, Family::V6]);
    // Without its owner the rule asks for no socket either, as no rule of nft could.
    find(
        "`oifname \"lo\" meta skuid != 1337 counter return` became `oifname \"lo\" counter return`",
    );
    for mutant in &all {
        let text = mutant.nft.as_ref().expect("nft takes it");
        let read = crate::rules::of_nft(text, "a mutant").expect("valid rules");
        assert!(mutant.sets.iter().all(|it| read.contains(it)), "{mutant}");
    }
}

#[test]
fn a_set_that_can_not_be_written_for_nft_has_no_mutants() {
    let text = "add table inet t\nadd chain inet t o { type filter hook output priority 0 ; }\n\
                add rule inet t o tcp flags syn / syn,ack drop\n";
    let sets = crate::rules::of_nft(text, "a test").expect("valid rules");
    let why = mutants(&Subject::new("flags", sets, |_| None)).expect_err("no words for it");
    assert!(why.contains("-m protocol"), "{why}");
}

#[rstest]
#[case::a_state("*mangle\n-A PREROUTING -m conntrack --ctstate INVALID -j DROP\nCOMMIT\n")]
#[case::an_interface_to_come_in_by(
    "*nat\n-A PREROUTING -i eth7 -p tcp -j REDIRECT --to-ports 15001\nCOMMIT\n"
)]
#[case::an_interface_to_leave_by(
    "*nat\n-A OUTPUT -o lo -p tcp -j REDIRECT --to-ports 15001\nCOMMIT\n"
)]
#[case::another_interface_to_leave_by("*mangle\n-A POSTROUTING -o eth7 -p tcp -j DROP\nCOMMIT\n")]
#[case::a_source_port("*raw\n-A PREROUTING -p udp --sport 53 -j CT --zone 1\nCOMMIT\n")]
#[case::a_source_of_links("*mangle\n-A PREROUTING -s 169.254.7.127/32 -p tcp -j DROP\nCOMMIT\n")]
fn no_mistake_in_the_one_rule_of_a_set_is_called_equivalent(#[case] text: &str) {
    let whole = subject("one rule", text);
    let stage = Stage::away_from(whole.sets());
    for mutant in mutants(&whole).expect("iptables has words for all") {
        if mutant.what.starts_with("doubled") {
            continue;
        }
        let found = expected(&whole, &mutant, &stage, &[]);
        assert!(matches!(found, Expected::ToldBy(_)), "{mutant}: {found:?}");
    }
}

#[test]
fn an_answer_that_meets_tproxy_goes_to_the_socket_that_waits_for_it() {
    let rules = subject(
        "tproxy",
        "*mangle\n-A PREROUTING -p tcp -j TPROXY --on-port 15006 --tproxy-mark 0x539/0xffffffff\nCOMMIT\n",
    );
    let stage = Stage::away_from(rules.sets());
    let end = |flow: &str| course(&rules, &stage, &flow.parse().expect("a flow")).end;
    let out = end("tcp uid=1000 gid=1000 src=192.0.2.2 dst=192.0.2.3:9080");
    assert_eq!(out.to_string(), "outside 192.0.2.3:9080");
    let inbound = end("tcp in=eth0 src=192.0.2.3 dst=192.0.2.2:9080");
    assert_eq!(inbound.to_string(), "pod 192.0.2.2:9080 at port 15006");
}
