//! Controls for native nft: with one rule less in the pods, the run is refuted and the rule is named. The rules that can
//! be left out without any change of Bookinfo's traffic are those of the iptables rules, for the same reasons.

use hoplab::{
    Families, GivenRules,
    istio::Release,
    judge::Verdict,
    rules::{RuleId, Table},
};
use hoplab_scenarios::{
    Family, INJECTED, LabFile, Observed, Options, bookinfo_file, configured, nft_without, up,
};
use rstest::rstest;

/// A flow without a rule it needs may never end: what is not over by then is not going to be.
const DEADLINE_MS: u64 = 1_000;

/// Sends all flows through pods that lack one rule of a configuration. The report names the rules that were meant.
fn without(rule: &str, mode: &str, family: Family, file: LabFile) -> (RuleId, Observed) {
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
    let mut lab = up(meant.applying(given), options);
    (rule, Observed::of_all_flows(&mut lab))
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
fn without_a_rule_of_redirect_mode_the_run_is_refuted_and_the_rule_is_named(
    #[values(
        "nat PREROUTING 1",
        "nat OUTPUT 1",
        "nat istio-inbound 1",
        "nat istio-inbound 2",
        "nat istio-inbound 3",
        "nat istio-inbound 4",
        "nat istio-inbound 5",
        "nat istio-in-redirect 1",
        "nat istio-redirect 1",
        "nat istio-output 1",
        "nat istio-output 2",
        "nat istio-output 3",
        "nat istio-output 4",
        "nat istio-output 7",
        "nat istio-output 9"
    )]
    rule: &str,
    bookinfo_file: LabFile,
) {
    let (rule, observed) = without(rule, "", Family::V4, bookinfo_file);
    names(&rule, &observed);
}

/// With IPv6 on, rules with an address are there once per family: 127.0.0.6 before `::6`, and so on.
#[rstest]
fn over_ipv6_the_rules_with_its_addresses_are_the_ones_that_count(
    #[values(
        "nat PREROUTING 1",
        "nat istio-output 2",
        "nat istio-output 4",
        "nat istio-output 5",
        "nat istio-output 6",
        "nat istio-output 13"
    )]
    rule: &str,
    bookinfo_file: LabFile,
) {
    let (rule, observed) = without(rule, "", Family::V6, bookinfo_file);
    names(&rule, &observed);
}

#[rstest]
fn without_a_rule_of_tproxy_mode_the_run_is_refuted_and_the_rule_is_named(
    #[values(
        "mangle PREROUTING 1",
        "mangle PREROUTING 2",
        "mangle OUTPUT 1",
        "mangle OUTPUT 3",
        "mangle OUTPUT 4",
        "mangle istio-divert 1",
        "mangle istio-divert 2",
        "mangle istio-inbound 1",
        "mangle istio-inbound 3",
        "mangle istio-inbound 4",
        "mangle istio-inbound 5",
        "mangle istio-inbound 6",
        "mangle istio-inbound 7",
        "mangle istio-inbound 8",
        "mangle istio-tproxy 1",
        "nat OUTPUT 1",
        "nat istio-output 3",
        "nat istio-output 4",
        "nat istio-output 7",
        "nat istio-output 9",
        "nat istio-redirect 1"
    )]
    rule: &str,
    bookinfo_file: LabFile,
) {
    let (rule, observed) = without(rule, "-m TPROXY", Family::V4, bookinfo_file);
    names(&rule, &observed);
}

#[rstest]
fn without_a_rule_of_dns_capture_the_run_is_refuted_and_the_rule_is_named(
    #[values(
        "raw PREROUTING 1",
        "raw OUTPUT 1",
        "raw istio-inbound 1",
        "raw istio-output-dns 1",
        "raw istio-output-dns 2",
        "raw istio-output-dns 3",
        "raw istio-output-dns 4",
        "raw istio-output-dns 5",
        "nat istio-output 8",
        "nat istio-output-dns 1",
        "nat istio-output-dns 2"
    )]
    rule: &str,
    bookinfo_file: LabFile,
) {
    let (rule, observed) = without(rule, "--redirect-dns", Family::V4, bookinfo_file);
    names(&rule, &observed);
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
    let (_, observed) = without(rule, mode, Family::V4, bookinfo_file);
    let bad = observed
        .claims()
        .find(|claim| claim.verdict() != Verdict::Holds);
    assert!(bad.is_none(), "{observed}");
}
