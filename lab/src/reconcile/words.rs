//! Changes as people read them: one aligned line each.

use std::fmt::Write as _;

use super::{Change, NODE, RulesDiffer};

/// A change as a line: sign, what, of which pod, and why; below it what else there is to say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Row {
    /// `+`, `-`, `~`, or `↻` for what is ended and started.
    pub sign: char,
    /// `pod`, `rules`, `proxy`.
    pub what: String,
    /// Of which pod; empty where it is of the lab.
    pub pod: String,
    /// Why, or how.
    pub why: String,
    /// Lines below it.
    pub below: Vec<String>,
}

/// A change as a line.
pub fn row(change: &Change) -> Row {
    let line = |sign, what: &str, pod: &str, why: &str| Row {
        sign,
        what: what.to_owned(),
        pod: pod.to_owned(),
        why: why.to_owned(),
        below: Vec::new(),
    };
    match change {
        Change::AddPod { pod } => line('+', "pod", pod, ""),
        Change::RemovePod { pod } => line('-', "pod", pod, ""),
        Change::ReplacePod { pod, why } => line('↻', "pod", pod, why),
        Change::Rules { pod, cause, rules } => {
            let by = match cause {
                RulesDiffer::ByHand => "changed by hand",
                RulesDiffer::File => "as the file has them now",
            };
            let many = match rules.len() {
                1 => "1 difference".to_owned(),
                many => format!("{many} differences"),
            };
            Row {
                // What the file says can be read there; what a person did, nowhere else.
                below: match cause {
                    RulesDiffer::ByHand => rules.clone(),
                    RulesDiffer::File => Vec::new(),
                },
                ..line('~', "rules", pod, &format!("{many}, {by}"))
            }
        }
        Change::Start { pod, process, why } | Change::Restart { pod, process, why } => {
            line('↻', process.name(), pod, why)
        }
        Change::Routes { pod, process } => {
            line('~', process.name(), pod, "it is told of the services anew")
        }
        Change::End { pod, process } => line('-', process.name(), pod, "the file has it no more"),
        Change::Addresses { addresses, .. } => line('~', "addresses", NODE, &addresses.join(" ")),
        Change::Files { files } => line('~', "etc", "", &format!("/etc/{}", files.join(", /etc/"))),
        Change::File { what } => line('~', "file", "", what),
    }
}

/// Changes below each other, in columns.
pub fn lines(changes: &[Change]) -> String {
    let rows: Vec<Row> = changes.iter().map(row).collect();
    let width = |of: fn(&Row) -> &str| {
        let lengths = rows.iter().map(|it| of(it).chars().count());
        lengths.max().unwrap_or(0)
    };
    let (what, pod) = (width(|it| &it.what), width(|it| &it.pod));
    let mut out = String::new();
    for row in &rows {
        let line = format!(
            "{} {:what$}  {:pod$}  {}",
            row.sign, row.what, row.pod, row.why
        );
        let _ = writeln!(out, "{}", line.trim_end());
        for below in &row.below {
            let _ = writeln!(out, "    {below}");
        }
    }
    out
}
