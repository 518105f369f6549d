//! A file that a real run wrote (`shop.ndjson`, of `shop.toml`) is read, changed, cut off, and judged.
//!
//! That it can still be read and is written the same again pins the schema: where that is no longer so, the shape has
//! changed, which is a new [`SCHEMA`](crate::evidence::SCHEMA) and a new recording.

mod altered;
mod cut;
mod hostile;
mod traces;

use serde_json::Value;

use super::{ReadError, Recorded, Writer, line::Line, read};
use crate::{
    failure::Failure,
    judge::{self, Judgement, Verdict},
};

/// A run of a lab with one sidecar: three flows.
const SHOP: &str = include_str!("shop.ndjson");

fn recorded(text: &str) -> Result<Recorded, ReadError> {
    read(text.as_bytes(), "shop.ndjson")
}

fn judged(recorded: &Recorded) -> Judgement {
    judge::judge(&recorded.file, &recorded.evidence).expect("as recorded")
}

/// The error of a file, as a person sees it.
#[track_caller]
fn refused(text: &str) -> Failure {
    recorded(text).expect_err("it is wrong").into()
}

/// The file as the writer writes it.
fn written(recorded: &Recorded) -> String {
    let mut out = Vec::new();
    let header = recorded.header.clone();
    let mut writer = Writer::begin(&mut out, header, &recorded.file).expect("a Vec takes all");
    let evidence = &recorded.evidence;
    writer.up(&evidence.machine, &evidence.up).expect("it does");
    for window in &evidence.windows {
        writer.window(window).expect("it does");
    }
    if evidence.cut.is_none() {
        writer.totals(&evidence.totals).expect("it does");
    }
    if let Some(took_us) = recorded.took_us {
        let down = recorded.down.as_ref();
        writer.end(down, took_us).expect("it does");
    }
    String::from_utf8(out).expect("JSON is UTF-8")
}

/// The lines of the recorded run as values.
fn lines() -> Vec<Value> {
    let lines = SHOP.lines().map(serde_json::from_str);
    lines.collect::<Result<_, _>>().expect("as recorded")
}

fn text(lines: &[Value]) -> String {
    lines.iter().map(|line| format!("{line}\n")).collect()
}

/// The place of the nth line of a kind.
#[track_caller]
fn place(lines: &[Value], kind: &str, nth: usize) -> usize {
    let mut of_kind = (0..lines.len()).filter(|i| lines[*i]["kind"] == kind);
    of_kind.nth(nth).expect("the file has such a line")
}

#[test]
fn a_recorded_run_holds_and_is_written_the_same_again() {
    let recorded = recorded(SHOP).expect("it can be read");
    assert_eq!(written(&recorded), SHOP);
    assert_eq!(judged(&recorded).verdict, Verdict::Holds);
    assert_eq!(recorded.evidence.windows.len(), 3);
    assert_eq!(recorded.evidence.cut, None);
}

#[test]
fn lines_call_themselves_what_the_file_calls_them() {
    for (text, value) in SHOP.lines().zip(lines()) {
        let line: Line = serde_json::from_str(text).expect("as recorded");
        assert_eq!(value["kind"], line.kind());
    }
}

#[test]
fn an_unfinished_line_end_is_no_cut() {
    let recorded = recorded(SHOP.trim_end()).expect("it can be read");
    assert_eq!(recorded.evidence.cut, None);
}

/// Someone may read a pod between two flows, as a test does; what moved until then belongs to no flow.
#[test]
fn a_reading_between_two_flows_is_kept() {
    let mut recorded = recorded(SHOP).expect("it can be read");
    let window = recorded.evidence.windows.last_mut().expect("a flow");
    let read = window.counters.get_mut("shop").expect("it was watched");
    let counter = read.before.rules.values_mut().next().expect("a rule");
    counter.packets += 1;
    let again = self::recorded(&written(&recorded)).expect("it can be read");
    assert_eq!(again.evidence, recorded.evidence);
}
