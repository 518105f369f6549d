//! Steps that change rules: of one pod, of nft's own, and what they may not do.

use rstest::rstest;

use super::*;

const LAB: &str = r#"name = "native"

[rules]
profile = "istio-nft"

[[pod]]
name = "one"
sidecar = true
app = { port = 9080 }

[[pod]]
name = "own"
sidecar = true
app = { port = 9080 }
rules = { profile = "istio-nft" }

[[flow]]
name = "in"
from = "one"
to = "own:9080"

[[step]]
name = "change"
edit = ["-D istio-inbound 1"]
"#;

fn lab(old: &str, new: &str) -> Result<LabFile, Failure> {
    assert!(LAB.contains(old), "the lab has no `{old}`");
    LabFile::parse(&LAB.replacen(old, new, 1), "native.toml")
}

/// Rules of a chain of nat that are meant to be in a pod, in the words of iptables.
fn chain(lab: &LabFile, pod: &str, chain: &str, family: Family) -> Vec<String> {
    let meant = lab.meant_in(pod, family).expect("they parse");
    let meant = meant.expect("it has rules");
    let nat = &meant.tables[&crate::rules::Table::Nat];
    let rules = &nat.chain(chain).expect("it has the chain").rules;
    let words = rules
        .iter()
        .map(|it| crate::rules::spec_text(chain, &it.spec));
    words.collect()
}

#[rstest]
#[case::deleted(
    "-D istio-inbound 1",
    "-A istio-inbound -p tcp -m tcp --dport 15090 -j RETURN",
    4
)]
#[case::inserted(
    "-I istio-inbound 1 -p tcp --dport 7 -j RETURN",
    "-A istio-inbound -p tcp -m tcp --dport 7 -j RETURN",
    6
)]
#[case::replaced(
    "-R istio-inbound 1 -p tcp --dport 7 -j RETURN",
    "-A istio-inbound -p tcp -m tcp --dport 7 -j RETURN",
    5
)]
fn rules_of_nft_are_edited_in_the_words_of_iptables(
    #[case] edit: &str,
    #[case] first: &str,
    #[case] rules: usize,
    #[values(Family::V4, Family::V6)] family: Family,
) {
    let lab = lab("-D istio-inbound 1", edit).expect("valid").after(1);
    let lab = lab.expect("it can be taken");
    let now = chain(&lab, "one", "istio-inbound", family);
    assert_eq!((now[0].as_str(), now.len()), (first, rules));
    assert!(lab.is_native_nft());
    assert_eq!(chain(&lab, "own", "istio-inbound", family).len(), 5);
}

#[test]
fn a_step_that_names_a_pod_changes_the_rules_of_that_pod_alone() {
    let lab = lab("name = \"change\"", "name = \"change\"\npod = \"own\"").expect("valid");
    assert_eq!(lab.pods_of_step(&lab.topology.steps[0]), ["own"]);
    let lab = lab.after(1).expect("it can be taken");
    let rules = |pod| chain(&lab, pod, "istio-inbound", Family::V4).len();
    assert_eq!((rules("one"), rules("own")), (5, 4));
}

#[rstest]
#[case::no_such_rule(
    "-D istio-inbound 1",
    "-D istio-inbound 9",
    "native.toml:24:10: `istio-inbound 9` is no rule: the chain has 5"
)]
#[case::no_such_chain(
    "-D istio-inbound 1",
    "-D ISTIO_INBOUND 1",
    "native.toml:24:10: table `nat` has no chain `ISTIO_INBOUND`"
)]
#[case::one_family_of_two(
    "-D istio-inbound 1",
    "-4 -D istio-inbound 1",
    "native.toml:24:10: one table of nft has the rules of both families, and this changes one"
)]
#[case::init(
    "edit = [\"-D istio-inbound 1\"]",
    "init = \"applied\"",
    "native.toml:23:8: init is not run again with rules of nft's own"
)]
#[case::rules_of_iptables(
    "edit = [\"-D istio-inbound 1\"]",
    "apply = { profile = \"istio-1.25\" }",
    "native.toml:23:8: these rules are for another program than those that are there"
)]
#[case::another_proxy(
    "edit = [\"-D istio-inbound 1\"]",
    "apply = { profile = \"istio-tproxy\" }",
    "native.toml:23:8: these rules need another proxy than the one that runs"
)]
#[case::moves_what_is_not_there(
    "edit = [\"-D istio-inbound 1\"]",
    "flush = \"one\"\nmoves = { one = [\"istio-inbound 6\"] }",
    "native.toml:25:18: `istio-inbound 6` is no rule: the chain has 5"
)]
fn what_can_not_be_done_is_told_with_its_place(
    #[case] old: &str,
    #[case] new: &str,
    #[case] complaint: &str,
) {
    let failure = lab(old, new).expect_err("it is refused");
    let words = failure.to_string();
    assert!(words.contains(complaint), "{words}");
}

#[test]
fn rules_for_two_programs_in_one_lab_are_refused_where_the_pod_stands() {
    let failure = lab(
        "rules = { profile = \"istio-nft\" }",
        "rules = { profile = \"kuma\" }",
    );
    let words = failure.expect_err("it is refused").to_string();
    let complaint = "native.toml:12:8: pod `own` has rules for another program than the lab";
    assert!(words.contains(complaint), "{words}");
}
