//! Bookinfo under the rules of other meshes, with their proxies: what is expected is what their rules say.

use hoplab::{
    Expect, Families, GivenRules, judge::Verdict, netfilter::BackendChoice, profiles, rules::RuleId,
};
use hoplab_scenarios::{Backend, LabFile, Observed, Options, bookinfo_file, up};
use rstest::rstest;

/// A flow without a rule it needs may never end: what is not over by then is not going to be.
const DEADLINE_MS: u64 = 1_000;

fn under(profile: &str, lab: LabFile) -> LabFile {
    let profile = profiles::find(profile).expect("it is known");
    let lab = lab.with_profile(&profile, Expect::Rules);
    lab.expect("the lab plays its proxy")
}

#[rstest]
fn a_mesh_does_with_bookinfos_traffic_what_its_rules_say(
    #[values("kuma", "linkerd", "istio-1.13", "istio-1.25", "istio-tproxy")] profile: &str,
    #[values(Backend::Nft, Backend::Legacy)] backend: Backend,
    #[from(bookinfo_file)] lab: LabFile,
) {
    let options = Options {
        backend: BackendChoice::Fixed(backend),
        families: Families::Dual,
        ..Options::default()
    };
    let mut lab = up(under(profile, lab), options);
    Observed::of_all_flows_over_both(&mut lab).holds();
}

#[rstest]
#[case::own_calls_go_out("kuma", "KUMA_MESH_OUTBOUND 4")]
#[case::passthrough_goes_out("kuma", "KUMA_MESH_OUTBOUND 1")]
#[case::inbound_is_captured("kuma", "KUMA_MESH_INBOUND 1")]
#[case::own_calls_go_out("linkerd", "PROXY_INIT_OUTPUT 1")]
#[case::the_pods_own_traffic_is_left_alone("linkerd", "PROXY_INIT_OUTPUT 2")]
#[case::outbound_is_captured("linkerd", "PROXY_INIT_OUTPUT 4")]
fn without_a_rule_of_a_mesh_the_run_is_refuted_and_the_rule_is_named(
    #[case] profile: &str,
    #[case] rule: &str,
    #[from(bookinfo_file)] lab: LabFile,
) {
    let rule: RuleId = format!("ipv4 nat {rule}").parse().expect("a rule's name");
    let meant = under(profile, lab);
    let whole = meant.reference(rule.family).expect("it has rules");
    assert!(whole.rule(&rule).is_some(), "there is no rule {rule}");
    let given = GivenRules::of(whole.without(&rule), &format!("all but {rule}"));
    let options = Options {
        deadline_ms: DEADLINE_MS,
        ..Options::default()
    };
    let mut lab = up(meant.applying(given), options);
    let observed = Observed::of_all_flows(&mut lab);
    observed.is(Verdict::Refuted);
    observed.contradicted(&format!("wanted {} `", rule.short()));
    observed.contradicted("had no such rule in the pod");
}
