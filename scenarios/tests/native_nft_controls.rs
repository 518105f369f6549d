//! Controls for native nft: with one rule less in the pods, a flow that needs it is refuted and the rule is named. The rules that can
//! be left out without any change of Bookinfo's traffic are those of the iptables rules, for the same reasons.

use hoplab::{
    Families, GivenRules,
    istio::Release,
    judge::Verdict,
    rules::{RuleId, Table},
};
use hoplab_scenarios::{
    Family, INJECTED, Lab, LabFile, Observed, Options, bookinfo_file, configured, nft_without, up,
};
use rstest::rstest;

/// A flow without a rule it needs may never end: what is not over by then is not going to be.
const DEADLINE_MS: u64 = 1_000;

/// Pods that lack one rule of a configuration. The report names the rules that were meant.
fn without(rule: &str, mode: &str, family: Family, file: LabFile) -> (RuleId, Lab) {
    let rule: RuleId = format!(
        "{} {rule}",
        if family == Family::V4 { "ipv4" } else { "ipv6" }
    )
    .parse()
    .expect("table, chain and place");
    let families = Families::One(family);
    let words = format!("{INJECTED} --native-nftables {mode}");
    let meant = configured(file, &words, Release::NEWEST, families);
    let texts = meant.texts_to_apply(families).expect("it has rules");
    let text = texts.written.of(family).expect("both families are in it");
    let rest = nft_without(text, &rule);
    let given = GivenRules::read(&rest, &format!("all but {rule}"), family).expect("rules");
    let options = Options {
        families,
        deadline_ms: DEADLINE_MS,
        ..Options::default()
    };
    (rule, up(meant.applying(given), options))
}

#[track_caller]
fn names(rule: &RuleId, observed: &Observed) {
    observed.is(Verdict::Refuted);
    let name = match rule.table {
        Table::Nat => rule.short(),
        _ => rule.to_string(),
    };
    observed.contradicted(&format!("wanted {name} `"));
    observed.contradicted("had no such rule in the pod");
}

#[rstest]
#[case("nat PREROUTING 1", "outside-to-reviews")]
#[case("nat OUTPUT 1", "app-to-outside")]
#[case("nat istio-inbound 1", "probe-15008")]
#[case("nat istio-inbound 2", "probe-15090")]
#[case("nat istio-inbound 3", "probe-15021")]
#[case("nat istio-inbound 4", "probe-15020")]
#[case("nat istio-inbound 5", "outside-to-reviews")]
#[case("nat istio-in-redirect 1", "outside-to-reviews")]
#[case("nat istio-redirect 1", "app-to-outside")]
#[case("nat istio-output 1", "outside-to-reviews")]
#[case("nat istio-output 2", "proxy-to-own-ip")]
#[case("nat istio-output 3", "app-to-own-ip")]
#[case("nat istio-output 4", "uid-1337-to-pod")]
#[case("nat istio-output 7", "gid-1337-to-pod")]
#[case("nat istio-output 9", "app-to-outside")]
fn without_a_rule_of_redirect_mode_a_flow_that_needs_it_is_refuted_and_the_rule_is_named(
    #[case] rule: &str,
    #[case] flow: &str,
    bookinfo_file: LabFile,
) {
    let (rule, mut lab) = without(rule, "", Family::V4, bookinfo_file);
    names(&rule, &Observed::of(&mut lab, &[flow]));
}

/// With IPv6 on, rules with an address are there once per family: 127.0.0.6 before `::6`, and so on.
#[rstest]
#[case("nat PREROUTING 1", "outside-to-reviews")]
#[case("nat istio-output 2", "outside-to-reviews")]
#[case("nat istio-output 4", "proxy-to-own-ip")]
#[case("nat istio-output 5", "app-to-own-ip")]
#[case("nat istio-output 6", "uid-1337-to-pod")]
#[case("nat istio-output 13", "app-to-outside")]
fn over_ipv6_the_rules_with_its_addresses_are_the_ones_that_count(
    #[case] rule: &str,
    #[case] flow: &str,
    bookinfo_file: LabFile,
) {
    let (rule, mut lab) = without(rule, "", Family::V6, bookinfo_file);
    names(&rule, &Observed::of(&mut lab, &[flow]));
}

#[rstest]
#[case("mangle PREROUTING 1", "outside-to-reviews")]
#[case("mangle PREROUTING 2", "outside-to-reviews")]
#[case("mangle OUTPUT 1", "outside-to-reviews")]
#[case("mangle OUTPUT 3", "proxy-to-own-ip")]
#[case("mangle OUTPUT 4", "outside-to-reviews")]
#[case("mangle istio-divert 1", "outside-to-reviews")]
#[case("mangle istio-divert 2", "outside-to-reviews")]
#[case("mangle istio-inbound 1", "outside-to-reviews")]
#[case("mangle istio-inbound 3", "app-to-own-ip")]
#[case("mangle istio-inbound 4", "probe-15090")]
#[case("mangle istio-inbound 5", "probe-15021")]
#[case("mangle istio-inbound 6", "probe-15020")]
#[case("mangle istio-inbound 7", "outside-to-reviews")]
#[case("mangle istio-inbound 8", "outside-to-reviews")]
#[case("mangle istio-tproxy 1", "outside-to-reviews")]
#[case("nat OUTPUT 1", "app-to-outside")]
#[case("nat istio-output 3", "app-to-own-ip")]
#[case("nat istio-output 4", "uid-1337-to-pod")]
#[case("nat istio-output 7", "gid-1337-to-pod")]
#[case("nat istio-output 9", "app-to-outside")]
#[case("nat istio-redirect 1", "app-to-outside")]
fn without_a_rule_of_tproxy_mode_a_flow_that_needs_it_is_refuted_and_the_rule_is_named(
    #[case] rule: &str,
    #[case] flow: &str,
    bookinfo_file: LabFile,
) {
    let (rule, mut lab) = without(rule, "-m TPROXY", Family::V4, bookinfo_file);
    names(&rule, &Observed::of(&mut lab, &[flow]));
}

#[rstest]
#[case("raw PREROUTING 1", "outside-to-reviews")]
#[case("raw OUTPUT 1", "outside-to-reviews")]
#[case("raw istio-inbound 1", "lookup-over-udp")]
#[case("raw istio-output-dns 1", "lookup-outside-name")]
#[case("raw istio-output-dns 2", "lookup-over-udp")]
#[case("raw istio-output-dns 3", "lookup-outside-name")]
#[case("raw istio-output-dns 4", "lookup-over-udp")]
#[case("raw istio-output-dns 5", "lookup-over-udp")]
#[case("nat istio-output 8", "lookup-over-udp")]
#[case("nat istio-output-dns 1", "lookup-over-tcp")]
#[case("nat istio-output-dns 2", "lookup-over-udp")]
fn without_a_rule_of_dns_capture_a_flow_that_needs_it_is_refuted_and_the_rule_is_named(
    #[case] rule: &str,
    #[case] flow: &str,
    bookinfo_file: LabFile,
) {
    let (rule, mut lab) = without(rule, "--redirect-dns", Family::V4, bookinfo_file);
    names(&rule, &Observed::of(&mut lab, &[flow]));
}

/// REDIRECT: 5 and 6 ask on lo for what 3 and 4 decided, and nothing goes to 127.0.0.1 elsewhere than by lo.
/// TPROXY: user 1337 calls nothing over lo but what the group decides, nobody has 127.0.0.6, and nat PREROUTING is empty.
#[rstest]
#[case("nat istio-output 5", "")]
#[case("nat istio-output 6", "")]
#[case("nat istio-output 8", "")]
#[case("mangle OUTPUT 2", "-m TPROXY")]
#[case("mangle istio-inbound 2", "-m TPROXY")]
#[case("nat istio-inbound 1", "-m TPROXY")]
#[case("nat istio-in-redirect 1", "-m TPROXY")]
fn without_a_rule_that_nothing_meets_nothing_changes(
    #[case] rule: &str,
    #[case] mode: &str,
    bookinfo_file: LabFile,
) {
    let (_, mut lab) = without(rule, mode, Family::V4, bookinfo_file);
    let observed = Observed::of_all_flows(&mut lab);
    let bad = observed
        .claims()
        .find(|claim| claim.verdict() != Verdict::Holds);
    assert!(bad.is_none(), "{observed}");
}
