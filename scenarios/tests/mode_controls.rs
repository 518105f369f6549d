//! Controls for the rules of TPROXY mode and of DNS capture: with one rule less, the run is refuted and the rule is
//! named. The rules that can be left out without any change of Bookinfo's traffic are listed, with the reason.

use hoplab::{
    Expect, Families, GivenRules,
    istio::Release,
    judge::Verdict,
    netfilter::BackendChoice,
    rules::{RuleId, Table},
};
use hoplab_scenarios::{
    Backend, INJECTED, LabFile, Observed, Options, bookinfo_file, configured, up,
};
use rstest::rstest;

/// A flow without a rule it needs may never end: what is not over by then is not going to be.
const DEADLINE_MS: u64 = 1_000;

/// Sends all flows through pods that lack one rule of a configuration. The report names the rules that were meant.
fn run_without(rule: &RuleId, mode: &str, file: LabFile, backend: Backend) -> Observed {
    let families = Families::One(rule.family);
    let words = format!("{INJECTED} {mode}");
    let meant = configured(file, &words, Release::NEWEST, families);
    assert_eq!(meant.expect, Expect::Rules);
    let whole = meant.reference(rule.family).expect("the lab has rules");
    assert!(whole.rule(rule).is_some(), "there is no rule {rule}");
    let given = GivenRules::of(whole.without(rule), &format!("all but {rule}"));
    let options = Options {
        backend: BackendChoice::Fixed(backend),
        families,
        deadline_ms: DEADLINE_MS,
        ..Options::default()
    };
    let mut lab = up(meant.applying(given), options);
    Observed::of_all_flows(&mut lab)
}

fn without(rule: &str, mode: &str, lab: LabFile, backend: Backend) -> (RuleId, Observed) {
    let rule: RuleId = format!("ipv4 {rule}")
        .parse()
        .expect("table, chain and place");
    let observed = run_without(&rule, mode, lab, backend);
    (rule, observed)
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

#[track_caller]
fn holds_but_for_the_rule(observed: &Observed) {
    let bad = observed
        .claims()
        .find(|claim| claim.verdict() != Verdict::Holds);
    assert!(bad.is_none(), "{observed}");
}

#[rstest]
fn without_a_rule_of_tproxy_mode_the_run_is_refuted_and_the_rule_is_named(
    #[values(
        "mangle PREROUTING 1",
        "mangle PREROUTING 2",
        "mangle OUTPUT 1",
        "mangle OUTPUT 3",
        "mangle OUTPUT 4",
        "mangle ISTIO_DIVERT 1",
        "mangle ISTIO_DIVERT 2",
        "mangle ISTIO_INBOUND 1",
        "mangle ISTIO_INBOUND 3",
        "mangle ISTIO_INBOUND 4",
        "mangle ISTIO_INBOUND 5",
        "mangle ISTIO_INBOUND 6",
        "mangle ISTIO_INBOUND 7",
        "mangle ISTIO_INBOUND 8",
        "mangle ISTIO_TPROXY 1",
        "nat OUTPUT 1",
        "nat ISTIO_OUTPUT 3",
        "nat ISTIO_OUTPUT 4",
        "nat ISTIO_OUTPUT 7",
        "nat ISTIO_OUTPUT 9",
        "nat ISTIO_REDIRECT 1"
    )]
    rule: &str,
    #[values(Backend::Nft, Backend::Legacy)] backend: Backend,
    bookinfo_file: LabFile,
) {
    let (rule, observed) = without(rule, "-m TPROXY", bookinfo_file, backend);
    names(&rule, &observed);
}

/// The proxy is 0:1337 and binds clients' addresses:
/// - `mangle OUTPUT 2` asks for user 1337, who calls nothing over lo but what its group decides in the next rule;
/// - `mangle ISTIO_INBOUND 2` and `nat ISTIO_OUTPUT 1` ask for 127.0.0.6, which nothing has for a source;
/// - `nat ISTIO_INBOUND 1` and `nat ISTIO_IN_REDIRECT 1` have no way in: nat PREROUTING is empty, and `nat ISTIO_OUTPUT
///   2` and 5, which jump there, ask for a proxy on lo that rule 3 has returned, or that is of user 1337;
/// - `nat ISTIO_OUTPUT 6` and 8: what leaves by lo was decided by rule 3.
#[rstest]
fn without_a_rule_that_tproxy_mode_does_not_use_nothing_changes(
    #[values(
        "mangle OUTPUT 2",
        "mangle ISTIO_INBOUND 2",
        "nat ISTIO_INBOUND 1",
        "nat ISTIO_IN_REDIRECT 1",
        "nat ISTIO_OUTPUT 1",
        "nat ISTIO_OUTPUT 2",
        "nat ISTIO_OUTPUT 5",
        "nat ISTIO_OUTPUT 6",
        "nat ISTIO_OUTPUT 8"
    )]
    rule: &str,
    bookinfo_file: LabFile,
) {
    let (_, observed) = without(rule, "-m TPROXY", bookinfo_file, Backend::Nft);
    holds_but_for_the_rule(&observed);
}

/// `raw ISTIO_OUTPUT_DNS` 3 and 4 say for the group what 1 and 2 said for the user: the zone stays the same without
/// them, since the first assignment wins, and the counters show that they are gone.
#[rstest]
fn without_a_rule_of_dns_capture_the_run_is_refuted_and_the_rule_is_named(
    #[values(
        "raw PREROUTING 1",
        "raw OUTPUT 1",
        "raw ISTIO_INBOUND 1",
        "raw ISTIO_OUTPUT_DNS 1",
        "raw ISTIO_OUTPUT_DNS 2",
        "raw ISTIO_OUTPUT_DNS 3",
        "raw ISTIO_OUTPUT_DNS 4",
        "raw ISTIO_OUTPUT_DNS 5",
        "nat ISTIO_OUTPUT 8",
        "nat ISTIO_OUTPUT_DNS 1",
        "nat ISTIO_OUTPUT_DNS 2"
    )]
    rule: &str,
    #[values(Backend::Nft, Backend::Legacy)] backend: Backend,
    bookinfo_file: LabFile,
) {
    let (rule, observed) = without(rule, "--redirect-dns", bookinfo_file, backend);
    names(&rule, &observed);
}
