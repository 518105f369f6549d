use rstest::rstest;

use super::*;
use crate::{
    Families, LabFile,
    plan::{self, Files},
    rules::BackendChoice,
    traced::Tracing,
};

const LAB: &str = include_str!("../../tests/command/small.toml");

const THIRD: &str = r#"
[[pod]]
name = "third"
ipv4 = "10.77.0.12"
ipv6 = "fd77::12"
app = { port = 9080 }
"#;

fn with_third() -> String {
    format!("{LAB}{THIRD}")
}

fn plan_of(text: &str) -> Plan {
    let file = LabFile::parse(text, "small.toml").expect("a lab file");
    let families = Families::One(Family::V4);
    let texts = file.texts_to_apply(families).expect("rules");
    let own = file.pod_rules(families).expect("rules");
    plan::plan(
        &file.topology,
        &file.interception,
        texts,
        &own,
        BackendChoice::Auto,
        Tracing::Off,
    )
    .with_rules_at_pods()
}

/// A lab in which everything is as it was built.
fn untouched(plan: &Plan) -> Observed {
    let rules = plan.pods.iter().filter_map(|pod| {
        let written = plan.rules_of(pod)?.written.clone();
        let seen = RulesSeen {
            held: written.clone(),
            applied: Some(written),
        };
        Some((pod.name.clone(), seen))
    });
    Observed {
        holder: Holder::IptablesNft,
        wanted_holder: Holder::IptablesNft,
        rules: rules.collect(),
        ended: BTreeMap::new(),
    }
}

/// The changes from a lab file to another, as people read them, without the rules below.
fn between(before: &str, after: &str) -> Vec<String> {
    let (now, wanted) = (plan_of(before), plan_of(after));
    let changes = reconcile(&now, &wanted, &untouched(&now)).expect("it can be");
    shown(&changes)
}

fn shown(changes: &[Change]) -> Vec<String> {
    let words = |it: &Change| {
        let Row {
            sign,
            what,
            pod,
            why,
            ..
        } = row(it);
        format!("{sign} {what} {pod} {why}").trim_end().to_owned()
    };
    changes.iter().map(words).collect()
}

#[test]
fn what_is_as_the_file_says_needs_no_change() {
    assert_eq!(between(LAB, LAB), [""; 0]);
}

#[rstest]
#[case::a_pod_more(LAB.to_owned(), with_third(), &["~ etc  /etc/hosts", "+ pod third"])]
#[case::a_pod_less(with_third(), LAB.to_owned(), &["- pod third", "~ etc  /etc/hosts"])]
#[case::another_address(
    LAB.to_owned(),
    LAB.replace("10.77.0.10", "10.77.0.20"),
    &["~ etc  /etc/hosts", "↻ pod caller its address is 10.77.0.20 now"]
)]
#[case::another_port(
    LAB.to_owned(),
    LAB.replacen("app = { port = 9080 }", "app = { port = 9081 }", 1),
    &["↻ app caller its ports are others"]
)]
#[case::a_sidecar_more(
    LAB.to_owned(),
    LAB.replacen("app = { port = 9080 }", "app = { port = 9080 }\nsidecar = true", 1),
    &["↻ pod caller it has a sidecar now"]
)]
#[case::other_flows(LAB.to_owned(), LAB.replace("/healthz/ready", "/ready"), &[])]
fn each_difference_of_the_files_is_the_change_that_it_takes(
    #[case] before: String,
    #[case] after: String,
    #[case] expected: &[&str],
) {
    assert_eq!(between(&before, &after), expected);
}

/// A pod more behind a service: what the proxies are told, and nobody is started again.
#[test]
fn proxies_are_told_of_services_while_they_run() {
    const SERVICE: &str = r#"
[[service]]
name = "both"
port = 9080
ipv4 = "10.96.0.1"
ipv6 = "fd96::1"
endpoints = ENDPOINTS
"#;
    let lab = |endpoints: &str| with_third() + &SERVICE.replace("ENDPOINTS", endpoints);
    let changes = between(&lab(r#"["called"]"#), &lab(r#"["called", "third"]"#));
    let told = "~ proxy called it is told of the services anew";
    let other = "↻ app third it belongs to another service";
    assert_eq!(changes, [told, other]);
}

#[rstest]
#[case::stopped("was stopped")]
#[case::dead("had ended: killed by SIGKILL")]
fn a_process_that_does_not_run_is_started(#[case] why: &str) {
    let plan = plan_of(LAB);
    let mut observed = untouched(&plan);
    observed
        .ended
        .insert(("called".to_owned(), Role::Proxy), why.to_owned());
    let changes = reconcile(&plan, &plan, &observed).expect("it can be");
    assert_eq!(shown(&changes), [format!("↻ proxy called {why}")]);
}

/// What somebody did to the rules by hand is told apart from what the file asks for, and undone.
#[test]
fn rules_that_somebody_changed_are_the_file_s_again() {
    let plan = plan_of(LAB);
    let mut observed = untouched(&plan);
    let seen = observed.rules.get_mut("called").expect("it has rules");
    let Written::Iptables(texts) = &mut seen.held else {
        panic!("rules of iptables");
    };
    let text = texts.get_mut(&Family::V4).expect("IPv4");
    *text = text.replace("--dport 15021", "--dport 15022");
    let changes = reconcile(&plan, &plan, &observed).expect("it can be");
    let [Change::Rules { cause, rules, .. }] = &changes[..] else {
        panic!("{changes:#?}");
    };
    assert_eq!(*cause, RulesDiffer::ByHand);
    let signs: Vec<&str> = rules.iter().map(|it| &it[..1]).collect();
    assert_eq!(signs, ["-", "+"]);
    assert!(
        rules[0].contains("15022") && rules[1].contains("15021"),
        "{rules:#?}"
    );
}

#[test]
fn rules_that_the_file_has_otherwise_are_its_own_cause() {
    let (now, wanted) = (
        plan_of(LAB),
        plan_of(&LAB.replace("istio-1.13", "istio-1.24")),
    );
    let changes = reconcile(&now, &wanted, &untouched(&now)).expect("it can be");
    let cause = changes.iter().find_map(|it| match it {
        Change::Rules { cause, .. } => Some(*cause),
        _ => None,
    });
    assert_eq!(cause, Some(RulesDiffer::File), "{changes:#?}");
}

#[test]
fn a_pod_whose_rules_another_program_is_to_hold_is_built_anew() {
    let plan = plan_of(LAB);
    let observed = Observed {
        wanted_holder: Holder::IptablesLegacy,
        ..untouched(&plan)
    };
    let changes = reconcile(&plan, &plan, &observed).expect("it can be");
    let words = "↻ pod called its rules are held by iptables-legacy now, they were by iptables-nft";
    assert_eq!(shown(&changes), [words]);
}

#[test]
fn another_network_is_refused_with_the_way_out() {
    let (now, wanted) = (plan_of(LAB), plan_of(&LAB.replace("\"br0\"", "\"br1\"")));
    let failure = reconcile(&now, &wanted, &untouched(&now)).expect_err("not in place");
    assert!(
        failure.to_string().contains("take it down first"),
        "{failure}"
    );
}

#[test]
fn files_that_differ_are_named() {
    let (now, mut wanted) = (plan_of(LAB), plan_of(LAB));
    wanted.files = Files {
        resolv_conf: Some("nameserver 10.77.0.53\n".to_owned()),
        ..wanted.files
    };
    let changes = reconcile(&now, &wanted, &untouched(&now)).expect("it can be");
    assert_eq!(shown(&changes), ["~ etc  /etc/resolv.conf"]);
}

#[test]
fn changes_stand_in_columns() {
    let changes = [
        Change::AddPod {
            pod: "ratings-v2".to_owned(),
        },
        Change::Start {
            pod: "b".to_owned(),
            process: Role::Proxy,
            why: "was stopped".to_owned(),
        },
    ];
    assert_eq!(
        lines(&changes),
        "+ pod    ratings-v2\n↻ proxy  b           was stopped\n"
    );
}
