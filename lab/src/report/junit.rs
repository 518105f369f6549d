//! The verdicts as JUnit XML, for CI systems that show test results.

use std::{fmt::Write as _, time::Duration};

use quick_junit::{NonSuccessKind, Report, TestCase, TestCaseStatus, TestSuite};

use crate::judge::{Claim, Finding, Judgement, Verdict};

/// One suite for the flows, one for the run, one per reading of the notes.
pub fn junit(lab: &str, judgement: &Judgement) -> Result<String, quick_junit::SerializeError> {
    let mut report = Report::new(format!("hoplab {lab}"));
    let mut flows = TestSuite::new(format!("{lab} flows"));
    for flow in &judgement.flows {
        let name = judgement.name_of(flow);
        let mut case = TestCase::new(name, status(flow.verdict, &complaints(&flow.claims)));
        case.set_time(Duration::from_micros(flow.took_us));
        case.set_classname(format!("{lab}.flows"));
        flows.add_test_case(case);
    }
    report.add_test_suite(flows);
    let mut run = TestSuite::new(format!("{lab} run"));
    for claim in &judgement.run {
        let complaint = complaints(std::slice::from_ref(claim));
        run.add_test_case(TestCase::new(
            &claim.text,
            status(claim.verdict(), &complaint),
        ));
    }
    report.add_test_suite(run);
    for (number, reading) in judgement.notes.iter().flat_map(|n| &n.readings).enumerate() {
        let mut suite = TestSuite::new(format!(
            "{lab} notes, reading {}: {}",
            number + 1,
            reading.title
        ));
        for step in &reading.steps {
            // A step passes when the kernel says of it what is known of it, refuted or not.
            let verdict = match (step.as_expected(), step.verdict) {
                (true, _) => Verdict::Holds,
                (false, Verdict::Unproven) => Verdict::Unproven,
                (false, _) => Verdict::Refuted,
            };
            let surprises = step.parts.iter().filter(|p| p.verdict != p.expected);
            let mut words = String::new();
            for part in surprises {
                let _ = writeln!(
                    words,
                    "{}: {}, expected {}",
                    part.claim.text, part.verdict, part.expected
                );
            }
            let name = format!("step {}: {} ({})", step.number, step.text, step.verdict);
            suite.add_test_case(TestCase::new(name, status(verdict, &words)));
        }
        report.add_test_suite(suite);
    }
    report.to_string()
}

fn status(verdict: Verdict, words: &str) -> TestCaseStatus {
    let kind = match verdict {
        Verdict::Holds => return TestCaseStatus::success(),
        Verdict::Refuted => NonSuccessKind::Failure,
        Verdict::Unproven => NonSuccessKind::Error,
    };
    let mut status = TestCaseStatus::non_success(kind);
    status.set_type(verdict.to_string());
    status.set_message(words.lines().next().unwrap_or("").to_string());
    status.set_description(words.to_string());
    status
}

fn complaints(claims: &[Claim]) -> String {
    let mut out = String::new();
    for claim in claims.iter().filter(|c| c.verdict() != Verdict::Holds) {
        let _ = writeln!(out, "{}: {}", claim.verdict(), claim.text);
        for check in claim.checks.iter().filter(|c| c.finding != Finding::Agrees) {
            let _ = writeln!(out, "  {check}");
        }
    }
    out
}
