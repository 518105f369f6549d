//! Cases as JUnit XML: one suite for each lab file, one test case for each flow, backend and family, and one for each
//! whole run.

use std::time::Duration;

use quick_junit::{NonSuccessKind, Report, TestCase, TestCaseStatus, TestSuite, XmlString};

use super::{CaseName, CaseOutcome, FlowOutcome, text};
use crate::judge::Verdict;

/// Every flow and every run as a test case: the class is lab and variant, the hops are its output.
///
/// # Errors
/// The report can't be written as XML.
pub fn junit(cases: &[CaseOutcome]) -> Result<String, quick_junit::SerializeError> {
    let mut report = Report::new("hoplab");
    let mut suites: Vec<(&str, TestSuite)> = Vec::new();
    for outcome in cases {
        let file = outcome.case.source().unwrap_or(&outcome.case.file);
        let at = suites.iter().position(|(it, _)| *it == file);
        let at = at.unwrap_or_else(|| {
            suites.push((file, TestSuite::new(file)));
            suites.len() - 1
        });
        let suite = &mut suites[at].1;
        for flow in &outcome.flows {
            suite.add_test_case(of_flow(outcome, flow));
        }
        suite.add_test_case(of_run(outcome));
    }
    report.add_test_suites(suites.into_iter().map(|(_, suite)| suite));
    report.to_string()
}

fn named(case: &CaseName, what: &str, status: TestCaseStatus) -> TestCase {
    let mut test = TestCase::new(format!("{what} ({})", case.place()), status);
    test.set_classname(case.class_name());
    if let Some(file) = case.source() {
        let file = (XmlString::new("file"), XmlString::new(file));
        test.extra.extend([file]);
    }
    test
}

fn of_flow(outcome: &CaseOutcome, flow: &FlowOutcome) -> TestCase {
    let case = &outcome.case;
    let words = || text::failed_flow(case, flow);
    let status = match (flow.verdict, flow.is_as_expected()) {
        (_, true) => TestCaseStatus::success(),
        (None, _) => failed(
            NonSuccessKind::Error,
            "failed",
            &outcome.unexpected.join("\n"),
        ),
        (Some(Verdict::Unproven), _) => failed(NonSuccessKind::Error, "Unproven", &words()),
        (Some(verdict), _) => failed(NonSuccessKind::Failure, &verdict.to_string(), &words()),
    };
    let mut test = named(case, &flow.flow, status);
    test.set_time(Duration::from_micros(flow.took_us));
    let is_lab = case.source() == Some(&case.file);
    if let Some(line) = flow.line.filter(|_| is_lab) {
        test.extra
            .insert(XmlString::new("line"), XmlString::new(line.to_string()));
    }
    if let Some(hops) = &flow.hops {
        test.set_system_out(hops);
    }
    test
}

fn of_run(outcome: &CaseOutcome) -> TestCase {
    let status = match (outcome.of_run.is_empty(), outcome.broke) {
        (true, _) => TestCaseStatus::success(),
        (_, Some(_)) => failed(NonSuccessKind::Error, "failed", &outcome.of_run.join("\n")),
        (_, None) => failed(
            NonSuccessKind::Failure,
            "unexpected",
            &outcome.of_run.join("\n"),
        ),
    };
    let mut test = named(&outcome.case, "the whole run", status);
    test.set_time(Duration::from_micros(outcome.took_us));
    test
}

fn failed(kind: NonSuccessKind, what: &str, words: &str) -> TestCaseStatus {
    let words = anstream::adapter::strip_str(words).to_string();
    let lines: Vec<&str> = words.lines().map(str::trim).collect();
    // Some viewers show the message alone: the claim is what says most.
    let claim = lines.iter().find(|it| it.starts_with("claim"));
    let message = claim.or(lines.first()).copied().unwrap_or_default();
    let mut status = TestCaseStatus::non_success(kind);
    status.set_type(what.to_owned());
    status.set_message(message.to_owned());
    status.set_description(words.clone());
    status
}
