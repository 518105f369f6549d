//! Pods with rules of their own: what they get, and that nothing else of a lab touches them.

use super::*;
use crate::rules::Table;

const LAB: &str = r#"name = "two"

[rules]
profile = "istio-1.25"

[[pod]]
name = "istio"
sidecar = true
app = { port = 9080 }

[[pod]]
name = "kuma"
sidecar = true
app = { port = 80 }
rules = { profile = "kuma" }

[[flow]]
name = "in"
from = "istio"
to = "kuma:80"
nat.istio = ["OUTPUT 1 > ISTIO_OUTPUT 9 > ISTIO_REDIRECT 1", "OUTPUT 1 > ISTIO_OUTPUT 4"]
nat.kuma = ["PREROUTING 1 > KUMA_MESH_INBOUND 1 > KUMA_MESH_INBOUND_REDIRECT 1"]

[[step]]
name = "edit"
edit = ["-D ISTIO_INBOUND 1"]

[[variant]]
name = "of-the-lab"
edit = ["-D ISTIO_INBOUND 1"]
flows = ["in"]

[[variant]]
name = "of-the-pod"
pod = "kuma"
edit = ["-D KUMA_MESH_INBOUND 1"]
flows = ["in"]
"#;

fn two() -> LabFile {
    LabFile::parse(LAB, "two.toml").expect("valid")
}

/// Rules of nat that are meant to be in a pod.
fn rules_in(lab: &LabFile, pod: &str) -> usize {
    let meant = lab.meant_in(pod, Family::V4).expect("they parse");
    meant.expect("it has rules").rules(Table::Nat).count()
}

#[test]
fn a_pod_has_its_own_rules_and_the_proxy_that_goes_with_them() {
    let lab = two();
    let own = &lab.own()["kuma"];
    assert_eq!(own.interception.owner, Some((5678, 5678)));
    let text = lab.own_texts(Families::Dual).expect("both families");
    let text = text["kuma"].written.of(Family::V6).expect("it has IPv6");
    assert!(text.contains("KUMA_MESH"), "{text}");
    let lab_text = lab.texts_to_apply(Families::Dual).expect("both families");
    let lab_text = lab_text.written.of(Family::V4).expect("it has IPv4");
    assert!(!lab_text.contains("KUMA_MESH"), "{lab_text}");
}

#[test]
fn places_of_a_pod_are_those_of_its_own_rules() {
    let text = LAB.replace("KUMA_MESH_INBOUND 1 >", "ISTIO_INBOUND 1 >");
    let failure = LabFile::parse(&text, "two.toml").expect_err("Kuma has no such chain");
    assert!(
        failure
            .what
            .contains("two.toml:22:13: the lab's rules have no chain `ISTIO_INBOUND`"),
        "{failure}"
    );
}

#[test]
fn what_changes_the_rules_of_the_lab_leaves_the_pod_alone() {
    let lab = two();
    let (istio, kuma) = (rules_in(&lab, "istio"), rules_in(&lab, "kuma"));
    for changed in [
        lab.clone().variant("of-the-lab").expect("it is there"),
        lab.after(1).expect("it can be taken"),
    ] {
        assert_eq!(rules_in(&changed, "istio"), istio - 1);
        assert_eq!(rules_in(&changed, "kuma"), kuma);
    }
    let changed = lab.variant("of-the-pod").expect("it is there");
    assert_eq!(rules_in(&changed, "istio"), istio);
    assert_eq!(rules_in(&changed, "kuma"), kuma - 1);
}

#[test]
fn a_lab_with_such_a_pod_is_restored_whole() {
    let lab = two().variant("of-the-pod").expect("it is there");
    let json = serde_json::to_string(&lab.save()).expect("it has a JSON form");
    let saved = serde_json::from_str(&json).expect("as written");
    assert_eq!(LabFile::restore(saved).expect("as saved"), lab);
}
