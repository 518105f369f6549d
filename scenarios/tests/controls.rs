//! Controls: with one rule less, or a proxy of another user, the run is refuted and the rule is named. A suite that
//! holds with every rule in place proves little unless it fails without any one of them.

use hoplab::{
    Expect, GivenRules,
    judge::{Claim, Verdict},
    netfilter::BackendChoice,
    rules::{RuleId, Table},
};
use hoplab_scenarios::{
    Backend, Family, LabFile, Observed, Options, bookinfo_file, up, with_pod_setting,
};
use rstest::rstest;

/// A flow without a rule it needs may never end: what is not over by then is not going to be.
const DEADLINE_MS: u64 = 1_000;

fn options(backend: Backend, family: Family) -> Options {
    Options {
        backend: BackendChoice::Fixed(backend),
        families: family.into(),
        deadline_ms: DEADLINE_MS,
        ..Options::default()
    }
}

/// Sends all flows through pods that lack one of the lab's own rules.
fn run_without(rule: &RuleId, file: LabFile, backend: Backend) -> Observed {
    let whole = file.reference(rule.family).expect("the lab has rules");
    assert!(whole.rule(rule).is_some(), "there is no rule {rule}");
    let rest = GivenRules::of(whole.without(rule), &format!("istio-1.13 without {rule}"));
    let file = file.with_rules(rest, Expect::File);
    let mut lab = up(file, options(backend, rule.family));
    for pod in &lab.came_up().pods {
        let held = pod
            .rules
            .of(rule.family)
            .map(|text| text.matches("\n-A ").count());
        assert!(
            held.is_none_or(|it| it == whole.len() - 1),
            "{held:?} rules in {}",
            pod.name
        );
    }
    Observed::of_all_flows(&mut lab)
}

#[rstest]
#[case::nft_ipv4(Backend::Nft, Family::V4)]
#[case::legacy_ipv6(Backend::Legacy, Family::V6)]
fn without_a_rule_that_matters_the_run_is_refuted_and_the_rule_is_named(
    #[values(
        "PREROUTING 1",
        "OUTPUT 1",
        "ISTIO_INBOUND 1",
        "ISTIO_INBOUND 2",
        "ISTIO_INBOUND 3",
        "ISTIO_INBOUND 4",
        "ISTIO_INBOUND 5",
        "ISTIO_IN_REDIRECT 1",
        "ISTIO_OUTPUT 1",
        "ISTIO_OUTPUT 2",
        "ISTIO_OUTPUT 3",
        "ISTIO_OUTPUT 4",
        "ISTIO_OUTPUT 7",
        "ISTIO_OUTPUT 9",
        "ISTIO_REDIRECT 1"
    )]
    rule: &str,
    #[case] backend: Backend,
    #[case] family: Family,
    bookinfo_file: LabFile,
) {
    let rule = nat_rule(family, rule);
    let observed = run_without(&rule, bookinfo_file, backend);
    observed.is(Verdict::Refuted);
    observed.contradicted(&format!("wanted {} `", rule.short()));
    observed.contradicted("had no such rule in the pod");
}

#[rstest]
#[case::nft_ipv4(Backend::Nft, Family::V4)]
#[case::legacy_ipv6(Backend::Legacy, Family::V6)]
fn without_a_rule_that_cannot_matter_nothing_moves(
    #[values("ISTIO_OUTPUT 5", "ISTIO_OUTPUT 6", "ISTIO_OUTPUT 8")] rule: &str,
    #[case] backend: Backend,
    #[case] family: Family,
    bookinfo_file: LabFile,
) {
    let rule = nat_rule(family, rule);
    let observed = run_without(&rule, bookinfo_file, backend);
    let bad = observed
        .claims()
        .find(|claim| claim.verdict() != Verdict::Holds);
    assert_eq!(bad.map(|claim: &Claim| &claim.text), None, "{observed}");
}

fn nat_rule(family: Family, short: &str) -> RuleId {
    let (chain, ordinal) = short.split_once(' ').expect("chain and place");
    RuleId::new(family, Table::Nat, chain, ordinal.parse().expect("a place"))
}

#[rstest]
#[case::user("proxy_uid = 1338")]
#[case::user_and_group("proxy_uid = 1338\nproxy_gid = 1338")]
fn a_proxy_that_runs_as_another_user_is_refuted_and_the_rule_that_looks_for_it_is_named(
    #[case] setting: &str,
    #[values(Backend::Nft, Backend::Legacy)] backend: Backend,
    #[values(Family::V4, Family::V6)] family: Family,
) {
    let file = with_pod_setting("reviews-v2", setting);
    let mut lab = up(file, options(backend, family));
    let observed = Observed::of_all_flows(&mut lab);
    observed.is(Verdict::Refuted);
    observed.contradicted("wanted ISTIO_OUTPUT 4 `");
}
