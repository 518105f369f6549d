//! Bookinfo under Istio's rules in nft's own language, applied by nft: what the rules do, what reads them, and what is
//! left of iptables in the pods. `every_configuration.rs` has the configurations.

use hoplab::{
    Expect, Families, GivenRules,
    istio::Release,
    judge::Verdict,
    netfilter::{BackendChoice, rules_of_process},
    rules::{Holder, RuleId, Written},
};
use hoplab_scenarios::{
    Backend, Family, INJECTED, Lab, LabFile, Observed, Options, bookinfo_file, configured,
    outer_pid, up,
};
use rstest::rstest;

fn native(lab: LabFile, words: &str, families: Families) -> LabFile {
    let words = format!("{INJECTED} --native-nftables {words}");
    configured(lab, &words, Release::NEWEST, families)
}

fn options(families: Families) -> Options {
    Options {
        families,
        ..Options::default()
    }
}

/// The transaction that a pod gets.
fn transaction(file: &LabFile, families: Families) -> String {
    let texts = file.texts_to_apply(families).expect("it has rules");
    match texts.written {
        Written::Nft { nft } => nft,
        Written::Iptables(_) => panic!("these are rules of iptables"),
    }
}

/// What nft printed of the rules in a pod.
fn listing(lab: &Lab, pod: &str) -> String {
    let mut pods = lab.came_up().pods.iter();
    let pod = pods
        .find(|it| it.name == pod)
        .expect("the pod is in the lab");
    match &pod.rules {
        Written::Nft { nft } => nft.clone(),
        Written::Iptables(_) => panic!("these are rules of iptables"),
    }
}

#[rstest]
fn only_nft_holds_rules_in_a_pod_when_all_flows_have_run(bookinfo_file: LabFile) {
    let families = Families::One(Family::V4);
    let mut lab = up(native(bookinfo_file, "", families), options(families));
    Observed::of_all_flows(&mut lab).holds();
    assert_eq!(lab.machine().backend.backend, Holder::Nft);
    assert!(lab.machine().iptables.starts_with("nftables v"));
    for pod in lab
        .came_up()
        .pods
        .iter()
        .filter(|pod| !pod.rules.is_empty())
    {
        let process = outer_pid(&lab, pod.processes[0].pid);
        let pid = u32::try_from(process).expect("a process id");
        let held = rules_of_process(pid).expect("root may look");
        let holders: Vec<Holder> = held.iter().map(|it| it.by).collect();
        assert_eq!(holders, [Holder::Nft], "{}", pod.name);
    }
}

#[rstest]
#[case::v4(Families::One(Family::V4))]
#[case::v6(Families::One(Family::V6))]
#[case::both(Families::Dual)]
fn rules_of_a_file_in_the_words_of_a_transaction_or_a_listing_are_applied_by_nft(
    #[case] families: Families,
    bookinfo_file: LabFile,
) {
    let istio = native(bookinfo_file.clone(), "--redirect-dns", families);
    let written = transaction(&istio, families);
    let read = |text: &str| GivenRules::read(text, "a.nft", Family::V4).expect("rules");
    let first = bookinfo_file
        .clone()
        .with_rules(read(&written), Expect::Rules);
    let mut lab = up(first, options(families));
    Observed::of_all_flows(&mut lab).holds();
    let listed = listing(&lab, "reviews-v1");
    assert!(
        listed.starts_with("table inet istio-proxy-nat {"),
        "{listed}"
    );
    let second = bookinfo_file.with_rules(read(&listed), Expect::Rules);
    assert!(second.interception.dns.is_some());
    Observed::of_all_flows(&mut up(second, options(families))).holds();
}

/// A rule of an inet table counts the packets of both families in one counter: over which family each moved is told by
/// the windows, whatever their order.
#[rstest]
fn one_counter_for_both_families_is_read_family_by_family(bookinfo_file: LabFile) {
    let mut lab = up(
        native(bookinfo_file, "", Families::Dual),
        options(Families::Dual),
    );
    for family in [Family::V6, Family::V4, Family::V4, Family::V6] {
        let sent = lab.drive_over("outside-to-reviews", family);
        sent.unwrap_or_else(|failure| panic!("{failure}"));
    }
    let observed = Observed::of(&mut lab, &[] as &[&str]);
    observed.holds();
    for window in &observed.evidence.windows {
        let read = &window.counters["reviews-v1"];
        let delta = read.after.since(&read.before).expect("one lab");
        let moved: Vec<u64> = delta.moved().map(|(_, it)| it.packets).collect();
        // In: PREROUTING, istio-inbound, istio-in-redirect; from the proxy: OUTPUT and istio-output.
        assert_eq!(moved, [1; 5], "{}", window.family);
        assert_eq!(delta.family(), window.family);
    }
    let totals = &observed.evidence.totals["reviews-v1"];
    let captured = |family: Family| {
        let rule = RuleId::new(family, hoplab::rules::Table::Nat, "istio-in-redirect", 1);
        let read = totals.iter().find(|it| it.family == family);
        read.expect("both are read").rules[&rule].packets
    };
    assert_eq!([captured(Family::V4), captured(Family::V6)], [4, 4]);
}

/// Control for the sums of both families.
#[rstest]
fn a_packet_that_no_flow_explains_is_found_in_a_counter_of_both_families(bookinfo_file: LabFile) {
    let file = native(bookinfo_file, "", Families::Dual);
    let mut lab = up(file.clone(), options(Families::Dual));
    let mut evidence = Observed::of_all_flows_over_both(&mut lab).evidence;
    let rule: RuleId = "ipv6 nat istio-in-redirect 1".parse().expect("a rule");
    let totals = evidence.totals.get_mut("reviews-v1").expect("counted");
    let last = totals.iter_mut().find(|it| it.family == Family::V6);
    let counter = last.and_then(|it| it.rules.get_mut(&rule));
    counter.expect("it has a counter").packets += 1;
    let observed = Observed::judge(file, evidence);
    observed.is(Verdict::Refuted);
    observed.contradicted("counters reviews-v1: wanted nat istio-in-redirect 1 +");
}

#[rstest]
fn a_rule_without_a_counter_is_no_witness_and_the_report_says_so(bookinfo_file: LabFile) {
    let families = Families::One(Family::V4);
    let written = transaction(&native(bookinfo_file.clone(), "", families), families);
    let silent = written.replace(
        "output counter jump istio-output",
        "output jump istio-output",
    );
    assert_ne!(silent, written);
    let given = GivenRules::read(&silent, "a.nft", Family::V4).expect("rules");
    let mut lab = up(
        bookinfo_file.with_rules(given, Expect::Rules),
        options(families),
    );
    let observed = Observed::of_all_flows(&mut lab);
    observed.holds();
    let rule: RuleId = "ipv4 nat OUTPUT 1".parse().expect("a rule");
    let window = observed.window("app-to-outside");
    assert!(
        !window.counters["details-v1"]
            .after
            .rules
            .contains_key(&rule)
    );
    let report = observed.report();
    let words = "1 of the rules have no counter, so none is a witness for them: nat OUTPUT 1";
    assert!(report.contains(words), "{report}");
}

#[rstest]
fn a_backend_of_iptables_does_not_go_with_rules_of_nft(bookinfo_file: LabFile) {
    let families = Families::One(Family::V4);
    let options = Options {
        backend: BackendChoice::Fixed(Backend::Legacy),
        ..options(families)
    };
    let refused = Lab::up(native(bookinfo_file, "", families), options);
    let failure = refused.expect_err("refused");
    assert_eq!(failure.class.exit_code(), 2, "{failure}");
}
