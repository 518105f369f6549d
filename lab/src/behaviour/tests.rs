//! What the model makes of flows, and what is called different.

use std::collections::BTreeSet;
use std::net::SocketAddr;

use rstest::rstest;

use super::{
    Arrival, Choice, Comparison, End, Entry, Expected, Flow, Met, Mutant, Place, Ran, Reach,
    Sampling, Seen, SeenEnd, Snapshot, Stage, Subject, Verified, blind_spots, choose, compare,
    course, cover, expected, mutants,
};
use crate::profiles::{self, Rules};
use crate::rules::{Family, RuleSet, parse};

fn subject(name: &str, text: &str) -> Subject {
    let set = parse(text, Family::V4, name).expect("valid rules");
    Subject::new(name, [set], |_| None)
}

fn profile(name: &str) -> Subject {
    let profile = profiles::find(name).expect("a profile");
    match profile.rules {
        Rules::Iptables { v4, .. } => subject(name, &v4),
        Rules::Nft(text) => {
            let read = crate::rules::read(&text, name, Family::V4).expect("valid rules");
            let sets: Vec<RuleSet> = read.rules().expect("valid rules");
            let v4 = sets.into_iter().filter(|it| it.family == Family::V4);
            Subject::new(name, v4, |_| None)
        }
    }
}

const NO_SAMPLE: Sampling = Sampling { flows: 0, seed: 1 };

fn chosen(a: &Subject, b: &Subject) -> (Stage, Choice) {
    let stage = Stage::away_from(a.sets().chain(b.sets()));
    let choice = choose(&[a, b], &stage, NO_SAMPLE).expect("few enough");
    (stage, choice)
}

/// A comparison in a kernel that does what the model says.
fn compared(a: &Subject, b: &Subject) -> Comparison {
    let (stage, choice) = chosen(a, b);
    let ran = |of: &Subject, flow: &Flow| obedient(course(of, &stage, flow));
    let both = choice.flows.iter().map(|flow| (ran(a, flow), ran(b, flow)));
    compare(a, b, &choice.flows, &both.collect::<Vec<_>>())
}

fn obedient(course: super::Course) -> Ran {
    let end = match &course.end {
        End::Reached(arrival) => SeenEnd::Reached(*arrival),
        End::Unanswered { .. } | End::Unknown { .. } => SeenEnd::Silent { last: None },
        End::Dropped => SeenEnd::Dropped {
            by: "a rule".into(),
        },
        End::Rejected { .. } => SeenEnd::Refused {
            error: "refused".into(),
        },
    };
    let seen = Seen {
        hops: course.hops.clone(),
        end,
        doubts: Vec::new(),
    };
    Ran { course, seen }
}

fn words(comparison: &Comparison) -> Vec<String> {
    let groups = comparison.groups.iter();
    groups
        .flat_map(|it| std::iter::once(&it.shown.flow).chain(&it.others))
        .map(ToString::to_string)
        .collect()
}

#[test]
fn the_proxy_of_linkerd_1_calling_its_own_pod_is_all_that_differs() {
    let found = compared(&profile("linkerd"), &profile("linkerd-1"));
    assert_eq!(found.groups.len(), 1, "{found:#?}");
    for flow in words(&found) {
        assert!(flow.starts_with("tcp uid=2102 gid="), "{flow}");
        assert!(flow.contains(" src=192.0.2.2 dst=192.0.2.2:"), "{flow}");
    }
    let decided = found.groups[0].shown.b.decided.as_ref().expect("a rule");
    assert_eq!(decided.rule.to_string(), "nat PROXY_INIT_OUTPUT 1");
    assert!(
        decided.text.contains(" -j PROXY_INIT_REDIRECT"),
        "{}",
        decided.text
    );
}

#[test]
fn since_istio_1_18_the_proxy_calls_the_tunnel_port_of_its_own_pod_directly() {
    let found = compared(&profile("istio-1.13"), &profile("istio"));
    assert_eq!(found.groups.len(), 1, "{found:#?}");
    for flow in words(&found) {
        assert!(flow.starts_with("tcp uid=1337 gid="), "{flow}");
        assert!(
            flow.ends_with(" src=192.0.2.2 dst=192.0.2.2:15008"),
            "{flow}"
        );
    }
    let Arrival { place, port, .. } = match found.groups[0].shown.a.end {
        SeenEnd::Reached(arrival) => arrival,
        ref other => panic!("{other}"),
    };
    assert_eq!((place, port), (Place::Pod, 15006));
}

#[rstest]
#[case::native_nft("istio", "istio-nft")]
#[case::generations_without_a_difference_by_default("istio-1.25", "istio-1.18")]
#[case::itself("istio-tproxy", "istio-tproxy")]
fn sets_that_do_the_same_are_alike(#[case] a: &str, #[case] b: &str) {
    let found = compared(&profile(a), &profile(b));
    assert_eq!(words(&found), Vec::<String>::new());
    assert!(found.flows > 20, "{} flows", found.flows);
}

#[rstest]
#[case::a_port("-p tcp --dport 22", "-p tcp --dport 23")]
#[case::the_end_of_a_range("-p tcp --dport 100:200", "-p tcp --dport 100:199")]
#[case::a_list(
    "-p tcp -m multiport --dports 1,2,3",
    "-p tcp -m multiport --dports 1,2"
)]
#[case::a_network("-d 10.0.0.0/8 -p tcp", "-d 10.0.0.0/9 -p tcp")]
#[case::the_other_side_of_it("! -d 10.0.0.0/8 -p tcp", "-d 10.0.0.0/8 -p tcp")]
#[case::a_source("-s 127.0.0.6/32 -p tcp", "-s 127.0.0.7/32 -p tcp")]
#[case::a_user("-p tcp -m owner --uid-owner 7", "-p tcp -m owner --uid-owner 8")]
#[case::users("-p tcp -m owner --uid-owner 7-9", "-p tcp -m owner --uid-owner 7-10")]
#[case::a_group("-p tcp -m owner --gid-owner 7", "-p tcp -m owner ! --gid-owner 7")]
#[case::an_interface_to_leave_by("-o lo -p tcp", "! -o lo -p tcp")]
#[case::a_mark("-p tcp -m mark --mark 0x1", "-p tcp -m mark --mark 0x2")]
#[case::a_protocol("-p tcp", "-p udp")]
#[case::nothing_at_all("-p tcp", "-p icmp")]
fn a_rule_that_asks_for_something_else_is_found(#[case] one: &str, #[case] other: &str) {
    let set = |asks: &str| {
        let text = format!(
            "*nat\n-A OUTPUT {asks} -j RETURN\n-A OUTPUT -p tcp -j REDIRECT --to-ports 15001\n-A OUTPUT -p udp -j REDIRECT --to-ports 15053\nCOMMIT\n"
        );
        subject(asks, &text)
    };
    let found = compared(&set(one), &set(other));
    assert!(!found.groups.is_empty(), "{one} against {other}");
    let same = compared(&set(one), &set(one));
    assert!(same.groups.is_empty(), "{same:#?}");
}

#[test]
fn every_edge_of_what_rules_name_is_tried_on_both_sides() {
    let text = "*nat\n-A OUTPUT -d 10.1.0.0/16 -p tcp --dport 100:200 -m owner --uid-owner 7 -j RETURN\nCOMMIT\n";
    let rules = subject("edges", text);
    let (_, choice) = chosen(&rules, &rules);
    let sample = Sampling {
        flows: usize::MAX,
        seed: 1,
    };
    let stage = Stage::away_from(rules.sets());
    let all = choose(&[&rules], &stage, sample).expect("few enough").flows;
    let ports: BTreeSet<u16> = all.iter().map(|it| it.to.port()).collect();
    for port in [99, 100, 200, 201] {
        assert!(ports.contains(&port), "{port} of {ports:?}");
    }
    let to: BTreeSet<String> = all.iter().map(|it| it.to.ip().to_string()).collect();
    for address in ["10.0.255.255", "10.1.0.0", "10.1.255.255", "10.2.0.0"] {
        assert!(to.contains(address), "{address} of {to:?}");
    }
    assert!(choice.flows.len() < all.len(), "some are alike");
}

#[test]
fn a_kernel_that_does_something_else_is_a_disagreement() {
    let rules = profile("istio");
    let (stage, choice) = chosen(&rules, &rules);
    let flow = &choice.flows[0];
    let right = obedient(course(&rules, &stage, flow));
    assert_eq!(right.disagreement(), None);

    let mut elsewhere = right.clone();
    elsewhere.seen.end = SeenEnd::Reached(Arrival {
        place: Place::Pod,
        port: 1,
        local: SocketAddr::new(flow.to.ip(), 1),
        original: Some(flow.to),
    });
    assert!(elsewhere.disagreement().is_some());

    let mut another_way = right.clone();
    another_way.seen.hops.pop();
    another_way.seen.hops.retain(|hop| hop.rules.is_empty());
    let (model, kernel) = another_way.disagreement().expect("no rule matched");
    assert_eq!(kernel, "no rule matched");
    assert_ne!(model, kernel);
}

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
    let without = whole.with_rules("without the restore", restore.without(&lost[1]));
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
fn a_flow_reads_as_it_is_written() {
    let rules = profile("istio-tproxy");
    let (_, choice) = chosen(&rules, &rules);
    for flow in &choice.flows {
        assert_eq!(flow.to_string().parse().as_ref(), Ok(flow));
    }
}

#[rstest]
#[case::protocol(
    "icmp in=eth0 src=192.0.2.3 dst=192.0.2.2:1",
    "`icmp` is not tcp or udp"
)]
#[case::nobody(
    "tcp src=192.0.2.3 dst=192.0.2.2:1",
    "it needs either `in=`, or `uid=` and `gid=`"
)]
#[case::both(
    "tcp in=eth0 uid=1 gid=1 src=192.0.2.3 dst=192.0.2.2:1",
    "it needs either `in=`, or `uid=` and `gid=`"
)]
#[case::no_port(
    "tcp in=eth0 src=192.0.2.3 dst=192.0.2.2",
    "`192.0.2.2` is no address with a port"
)]
#[case::nowhere("tcp in=eth0 src=192.0.2.3", "it needs `src=` and `dst=`")]
fn words_that_are_no_flow_are_refused(#[case] words: &str, #[case] why: &str) {
    assert_eq!(words.parse::<Flow>(), Err(why.to_owned()));
}

#[test]
fn a_snapshot_reads_as_it_is_written() {
    let rules = profile("istio-tproxy");
    let (stage, choice) = chosen(&rules, &rules);
    let entries = choice.flows.iter().map(|flow| {
        let ran = obedient(course(&rules, &stage, flow));
        Entry::of(&rules, flow, &ran)
    });
    let snapshot = Snapshot {
        stage,
        entries: entries.collect(),
    };
    let text = snapshot.text(&["a remark".to_owned()]);
    assert_eq!(Snapshot::read(&text, "a test"), Ok(snapshot), "{text}");
}

#[test]
fn a_rule_more_that_changes_nothing_changes_no_snapshot() {
    let before = subject(
        "before",
        "*nat\n-A OUTPUT -p tcp -j REDIRECT --to-ports 15001\nCOMMIT\n",
    );
    let after = subject(
        "after",
        "*nat\n-A OUTPUT -p tcp -m comment --comment counted\n-A OUTPUT -p tcp -j REDIRECT --to-ports 15001\nCOMMIT\n",
    );
    let (stage, choice) = chosen(&before, &after);
    for flow in &choice.flows {
        let entry = |of: &Subject| Entry::of(of, flow, &obedient(course(of, &stage, flow)));
        assert_eq!(
            entry(&before).verify(&entry(&after)),
            Verified::Same,
            "{flow}"
        );
    }
}

#[test]
fn the_mutants_of_a_rule_are_those_that_people_make() {
    let text = "*nat\n-A OUTPUT ! -d 127.0.0.1/32 -o lo -p tcp --dport 22 -m owner --uid-owner 7 -j RETURN\n\
                -A OUTPUT -p tcp -j REDIRECT --to-ports 15001\nCOMMIT\n";
    let set = parse(text, Family::V4, "a test").expect("valid rules");
    let words: Vec<String> = mutants(&set).iter().map(|it| it.what.clone()).collect();
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
    let set = whole.rules(Family::V4).expect("IPv4");
    let rule = crate::rules::RuleId::new(Family::V4, crate::rules::Table::Nat, chain, place);
    let of_rule = |it: &Mutant| it.rule == rule && it.what.starts_with("deleted");
    let mutant = mutants(set).into_iter().find(of_rule).expect("a mutant");
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

#[rstest]
#[case::a_source_port("-A PREROUTING -p udp --sport 53 -j RETURN", "a source port")]
#[case::a_state(
    "-A PREROUTING -m conntrack --ctstate INVALID -j RETURN",
    "the state of a connection"
)]
#[case::another_protocol("-A PREROUTING -p icmp -j RETURN", "another protocol")]
#[case::an_extension(
    "-A PREROUTING -m length --length 1:2 -j RETURN",
    "what is not modelled"
)]
fn what_no_flow_varies_is_named_where_one_side_has_it(#[case] rule: &str, #[case] asks: &str) {
    let set = |rule: &str| {
        subject(
            "a set",
            &format!("*nat\n{rule}\n-A PREROUTING -p tcp -j REDIRECT --to-ports 1\nCOMMIT\n"),
        )
    };
    let (with, without) = (set(rule), set(""));
    let found = blind_spots(&without, &with);
    assert_eq!(found.len(), 1);
    assert!(found[0].asks.starts_with(asks), "{}", found[0]);
    assert_eq!(blind_spots(&with, &with), []);
}

#[test]
fn no_mutant_is_one_that_iptables_can_not_say() {
    let text = "*nat\n-A OUTPUT -p tcp -j REDIRECT --to-ports 15001\nCOMMIT\n";
    let set = parse(text, Family::V4, "a test").expect("valid rules");
    for mutant in mutants(&set) {
        let text = crate::rules::to_restore(&mutant.set);
        assert!(
            parse(&text, Family::V4, "a mutant").is_ok(),
            "{mutant}: {text}"
        );
    }
}

#[test]
fn what_comes_in_by_an_interface_that_rules_name_is_tried() {
    let set = |rule: &str| {
        subject(
            "a set",
            &format!("*nat\n{rule}\n-A PREROUTING -p tcp -j REDIRECT --to-ports 1\nCOMMIT\n"),
        )
    };
    let found = compared(&set(""), &set("-A PREROUTING -i net+ -j RETURN"));
    let flows = words(&found);
    assert!(!flows.is_empty());
    for flow in flows {
        assert!(
            flow.starts_with("tcp in=net0 src=198.19.0.3 dst=192.0.2.2:"),
            "{flow}"
        );
    }
}

#[test]
fn an_answer_that_marks_its_connection_turns_what_follows() {
    let whole = profile("ztunnel");
    let set = whole.rules(Family::V4).expect("IPv4");
    let of = |it: &Mutant| it.what.contains("became `-A ISTIO_PRERT -j CONNMARK");
    let mutant = mutants(set).into_iter().find(of).expect("a mutant");
    let broken = whole.with_rules("marks every connection", mutant.set);
    let stage = Stage::away_from(whole.sets());
    let flow = "tcp uid=1000 gid=1000 mark=0x539 src=192.0.2.2 dst=192.0.2.3:9080";
    let flow: Flow = flow.parse().expect("a flow");
    assert!(matches!(course(&whole, &stage, &flow).end, End::Reached(_)));
    assert!(matches!(
        course(&broken, &stage, &flow).end,
        End::Unanswered { .. }
    ));
}
