//! A comparison as text.

use std::fmt::Write as _;

use super::{About, hop_lines, verdict};
use crate::behaviour::{Comparison, Explained, Group};

/// Everything for a terminal.
pub fn text(about: &About<'_>, comparison: &Comparison) -> String {
    let mut out = format!("A {}\nB {}\n", about.a.name, about.b.name);
    let _ = writeln!(out, "{}\n{}\n", about.tried(), about.addresses());
    for line in about.one_sided() {
        let _ = writeln!(out, "{line}");
    }
    let _ = writeln!(out, "{}", verdict(comparison));
    for (number, group) in (1..).zip(&comparison.groups) {
        let _ = write!(out, "\n{}", of_group(number, group));
    }
    if !comparison.disagreements.is_empty() {
        let _ = writeln!(
            out,
            "\nThe model and the kernel do not say the same of {}:",
            comparison.disagreements.len()
        );
        for disagreement in &comparison.disagreements {
            let _ = writeln!(out, "{disagreement}");
        }
    }
    if !about.spots.is_empty() {
        out.push_str("\nNo flow tells what these rules do:\n");
        for spot in about.spots {
            let _ = writeln!(out, "{spot}");
        }
    }
    if about.text {
        let lines = about.rules();
        let _ = match lines.is_empty() {
            true => writeln!(out, "\nThe rules themselves are the same."),
            false => writeln!(
                out,
                "\nThe rules themselves, from A to B:\n{}",
                lines.join("\n")
            ),
        };
    }
    out
}

fn of_group(number: usize, group: &Group) -> String {
    let shown = &group.shown;
    let mut out = format!("{number}. {}\n   {}\n", group.pattern, shown.flow);
    for (name, side) in [("A", &shown.a), ("B", &shown.b)] {
        out.push_str(&of_side(name, side));
    }
    match group.others.as_slice() {
        [] => {}
        others => {
            let _ = writeln!(out, "   likewise {}:", others.len());
            for flow in others.iter().take(5) {
                let _ = writeln!(out, "     {flow}");
            }
            if others.len() > 5 {
                let _ = writeln!(out, "     and {} more", others.len() - 5);
            }
        }
    }
    out
}

fn of_side(name: &str, side: &Explained) -> String {
    let mut out = String::new();
    let lines = hop_lines(&side.hops);
    for (at, line) in lines.iter().enumerate() {
        let name = if at == 0 { name } else { " " };
        let _ = writeln!(out, "   {name} {line}");
    }
    let _ = writeln!(out, "     -> {}", side.end);
    if let Some(decided) = &side.decided {
        let _ = writeln!(out, "     decided by {}: {}", decided.rule, decided.text);
    }
    out
}
