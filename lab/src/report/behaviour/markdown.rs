//! A comparison as a comment on a pull request.

use std::fmt::Write as _;

use super::{About, hop_lines, verdict};
use crate::behaviour::{Comparison, Explained};

/// Differences first, all else folded away.
pub fn markdown(about: &About<'_>, comparison: &Comparison) -> String {
    let mut out = format!(
        "### What these rules do to traffic\n\n`{}` against `{}`: **{}**\n\n{}; {}.\n",
        about.a.name,
        about.b.name,
        verdict(comparison),
        about.tried(),
        about.addresses()
    );
    for line in about.one_sided() {
        let _ = writeln!(out, "\n{line}.");
    }
    for group in &comparison.groups {
        let shown = &group.shown;
        let _ = writeln!(out, "\n#### {}\n\n`{}`\n", group.pattern, shown.flow);
        out.push_str("| | before | after |\n|---|---|---|\n");
        let _ = writeln!(
            out,
            "| ends | {} | {} |",
            cell(&shown.a.end),
            cell(&shown.b.end)
        );
        let _ = writeln!(
            out,
            "| decided by | {} | {} |",
            decided(&shown.a),
            decided(&shown.b)
        );
        let hops = |side: &Explained| {
            let lines = hop_lines(&side.hops);
            lines.iter().map(cell).collect::<Vec<_>>().join("<br>")
        };
        let _ = writeln!(out, "| way | {} | {} |", hops(&shown.a), hops(&shown.b));
        if !group.others.is_empty() {
            let _ = writeln!(
                out,
                "\n<details><summary>{} flows like it</summary>\n\n```\n{}\n```\n</details>",
                group.others.len(),
                group
                    .others
                    .iter()
                    .map(ToString::to_string)
                    .collect::<Vec<_>>()
                    .join("\n")
            );
        }
    }
    if !comparison.disagreements.is_empty() {
        let words = comparison.disagreements.iter().map(ToString::to_string);
        let _ = writeln!(
            out,
            "\n<details><summary>The model and the kernel do not say the same of {}</summary>\n\n```\n{}\n```\n</details>",
            comparison.disagreements.len(),
            words.collect::<Vec<_>>().join("\n")
        );
    }
    if !about.spots.is_empty() {
        let words = about.spots.iter().map(ToString::to_string);
        let _ = writeln!(
            out,
            "\nNo flow tells what these rules do:\n\n```\n{}\n```",
            words.collect::<Vec<_>>().join("\n")
        );
    }
    if about.text {
        let lines = about.rules();
        let _ = writeln!(
            out,
            "\n<details><summary>The rules themselves: {} differences</summary>\n\n```\n{}\n```\n</details>",
            lines.len(),
            lines.join("\n")
        );
    }
    out
}

fn decided(side: &Explained) -> String {
    match &side.decided {
        Some(it) => format!("{} `{}`", it.rule, it.text),
        None => "no rule".to_owned(),
    }
}

fn cell(value: impl ToString) -> String {
    value.to_string().replace('|', "\\|")
}
