//! Outcomes of a recorded run: of a lab whose three flows hold, as it was and with an answer changed.

use quick_junit::{NonSuccessKind, Report, TestCaseStatus};
use rstest::rstest;
use serde_json::{Value, json};

use super::{
    CaseName, CaseOutcome, Detailed, Figures, FlowOutcome, Side, differences, failures, github,
    junit, markdown, of_judgement, trouble::parting,
};
use crate::{
    evidence::file::{Recorded, read},
    failure::{Class, Failure},
    judge::{self, Verdict},
    path,
    rules::{Family, Holder},
};

const SHOP: &str = include_str!("../evidence/file/tests/shop.ndjson");

fn recorded(text: &str) -> Recorded {
    read(text.as_bytes(), "shop.ndjson").expect("it can be read")
}

/// The run as if its first flow had been answered by 503.
fn unavailable() -> Recorded {
    let lines = SHOP.lines().map(|line| {
        let value: Value = serde_json::from_str(line).expect("JSON");
        value
    });
    let mut lines: Vec<Value> = lines.collect();
    let first = lines.iter_mut().find(|it| it["kind"] == "answer");
    let answer = first.and_then(|it| it.pointer_mut("/outcome/answer/status"));
    *answer.expect("there is one") = json!(503);
    recorded(&lines.iter().map(|it| format!("{it}\n")).collect::<String>())
}

fn case() -> CaseName {
    CaseName {
        file: "labs/shop.toml".into(),
        lab: "shop".into(),
        side: Side::AsItIs {},
        backend: Holder::IptablesNft,
        family: Family::V4,
    }
}

fn outcome(recorded: &Recorded) -> CaseOutcome {
    let Recorded { file, evidence, .. } = recorded;
    let judgement = judge::judge(file, evidence).expect("as recorded");
    let lab = (file, None);
    let outcome = of_judgement(case(), lab, evidence, &judgement, &[], (Detailed::Hops, 7));
    outcome.expect("the rules can be read")
}

fn broken(recorded: &Recorded) -> CaseOutcome {
    let file = &recorded.file;
    let flows = file.topology.flows.iter();
    let flows = flows.map(|it| FlowOutcome::unjudged(file, it, Verdict::Holds));
    let failure = Failure::new(Class::Machine, "no namespaces");
    CaseOutcome::broken(case(), flows.collect(), &failure, 7)
}

#[rstest]
#[case::traced(|_: &mut Recorded| {})]
#[case::by_the_model_alone(|it: &mut Recorded| {
    for window in &mut it.evidence.windows {
        window.traces.clear();
    }
})]
fn a_flow_that_holds_does_not_part_from_the_way_that_was_meant(#[case] change: fn(&mut Recorded)) {
    let mut recorded = recorded(SHOP);
    change(&mut recorded);
    let Recorded { file, evidence, .. } = &recorded;
    for window in &evidence.windows {
        let flow = file.topology.flow(&window.flow).expect("it is in the lab");
        let seen = path::of_window(file, evidence, window, flow).expect("readable rules");
        let meant = path::meant(file, evidence, window, flow).expect("readable rules");
        assert_eq!(meant.len(), seen.legs.len());
        assert!(parting(&meant, &seen.legs).is_none(), "{}", window.flow);
    }
}

#[test]
fn a_connection_that_was_not_made_is_where_the_way_parts() {
    let Recorded { file, evidence, .. } = &recorded(SHOP);
    let window = &evidence.windows[0];
    let flow = &file.topology.flows[0];
    let seen = path::of_window(file, evidence, window, flow).expect("readable rules");
    let meant = path::meant(file, evidence, window, flow).expect("readable rules");
    let found = parting(&meant, &seen.legs[..1]).expect("the proxy's own call is missing");
    assert!(found.leg.is_none());
    let (leg, pod, _) = found.meant.expect("it was meant");
    assert_eq!((leg.number, pod), (2, "shop"));
    let stranger = parting(&meant[..1], &seen.legs).expect("a call that nobody meant");
    assert!(stranger.meant.is_none() && stranger.seen.is_some());
}

#[test]
fn what_is_wrong_is_the_claim_that_fails_where_the_way_is_as_meant() {
    let outcome = outcome(&unavailable());
    let [first, others @ ..] = &outcome.flows[..] else {
        panic!("there are three flows");
    };
    let trouble = first.trouble.as_ref().expect("it is not as expected");
    assert_eq!(
        (trouble.expected.as_str(), trouble.observed.as_str()),
        ("200", "503")
    );
    assert_eq!(trouble.witness.as_deref(), Some("answer"));
    // Where it was decided all the same: the end of the first connection, and the last rule on its way.
    let hop = trouble.hop.as_ref().expect("it arrived somewhere");
    assert_eq!(hop.expected, "200");
    assert!(hop.observed.starts_with("accept"), "{hop:?}");
    let rule = trouble.rule.as_ref().expect("it met rules");
    assert!(rule.why.ends_with("the rules do what was seen"), "{rule:?}");
    assert!(
        others
            .iter()
            .all(|it| it.is_as_expected() && it.trouble.is_none())
    );
}

#[test]
fn an_annotation_is_at_the_line_that_names_the_flow() {
    let recorded = unavailable();
    let text = github(&[outcome(&recorded)]);
    let line = recorded
        .file
        .line_of("client-to-shop")
        .expect("it is in the file");
    let head = format!(
        "::error file=labs/shop.toml,line={line},title=shop.as-it-is (nft%2C IPv4)%3A client-to-shop::"
    );
    assert!(text.starts_with(&head), "{text}");
    assert_eq!(text.lines().count(), 1);
}

#[test]
fn in_junit_a_lab_that_did_not_come_up_is_an_error_of_each_of_its_flows() {
    let xml = junit(&[broken(&recorded(SHOP))]).expect("XML");
    let report = Report::deserialize_from_str(&xml).expect("it is JUnit");
    let all = report.test_suites.iter().flat_map(|it| &it.test_cases);
    let is_error = |it: &TestCaseStatus| {
        matches!(it, TestCaseStatus::NonSuccess { kind: NonSuccessKind::Error, message: Some(words), .. }
            if words.as_str() == "no namespaces")
    };
    let errors = all.filter(|it| is_error(&it.status)).count();
    assert_eq!(errors, 4, "three flows and the whole run: {xml}");
}

#[test]
fn what_differs_between_rounds_is_told_by_flow() {
    let (holds, other) = (outcome(&recorded(SHOP)), outcome(&unavailable()));
    assert_eq!(differences(&holds, &holds, 2), []);
    let found = differences(&holds, &other, 2);
    assert_eq!(found[0].first, "flow client-to-shop: Holds");
    assert_eq!(found[0].now, "flow client-to-shop: Refuted");
    assert_eq!((found[0].round, found.len()), (2, 1));
}

#[test]
fn text_and_markdown_name_each_failure_the_figures_and_the_slowest() {
    let cases = [outcome(&recorded(SHOP)), outcome(&unavailable())];
    let figures = Figures::of(&cases, 2_000_000, 6);
    let text = failures(&cases, &[], &figures);
    let words = "1 of 2 cases are not as expected; 2 cases, 6 flows in 2.0 s (3 flows a second, 6 cases at once)";
    assert!(text.contains(words), "{text}");
    assert!(
        text.contains("slowest:") && text.contains("observed  503 (answer)"),
        "{text}"
    );
    let text = markdown(&cases, &[], &figures);
    assert!(
        text.contains("| shop | as it is | nft | IPv4 | Refuted | flow client-to-shop: Refuted |"),
        "{text}"
    );
    assert!(
        text.contains("<details><summary>shop.as-it-is (nft, IPv4): client-to-shop</summary>"),
        "{text}"
    );
}
