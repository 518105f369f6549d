//! A connection's path as text: numbered hops by leg and pod, what was tried and why it did not match, who saw it.
//! Colour is never the only sign.

mod golden;
mod goldens;
mod rows;
mod words;

use std::fmt::Write as _;

pub use golden::{golden, hop_words};
pub use goldens::{Goldens, PathDifference};

use super::{Detail, Style};
use crate::path::{Leg, Path, Way};
use rows::{Row, rows};

/// The text column is not made wider than this for the sake of one long rule.
const WIDEST: usize = 84;

/// The whole path. Quiet leaves out what did not match and hooks where nothing happened; verbose names every hook, and
/// the process ids.
pub fn path_text(path: &Path, detail: Detail) -> String {
    let mut out = heading(path);
    for (leg, way) in path.order() {
        let stretches = leg.way(way);
        if stretches.iter().all(|it| it.hops.is_empty()) {
            continue;
        }
        let rows: Vec<(&str, Vec<Row>)> = stretches
            .iter()
            .map(|it| (it.pod.as_str(), rows(leg, &it.hops, detail)))
            .collect();
        if way == Way::Back && rows.iter().all(|(_, it)| it.is_empty()) {
            continue;
        }
        let _ = writeln!(out, "\n{}", leg_words(path, leg, way));
        let all = || rows.iter().flat_map(|(_, it)| it);
        let widths = Widths::of(all());
        for (pod, rows) in &rows {
            if rows.is_empty() {
                continue;
            }
            let _ = writeln!(out, "  {}", Style::bold(pod));
            for row in rows {
                write_row(&mut out, row, &widths);
            }
        }
    }
    end(&mut out, path);
    out
}

fn heading(path: &Path) -> String {
    let legs = path.legs.len();
    let connections = match legs {
        1 => "1 connection".to_owned(),
        _ => format!("{legs} connections"),
    };
    let head = format!("{} → {}", path.from, path.to);
    format!(
        "{}   {} · {} · {connections}\n",
        Style::bold(&head),
        path.family,
        words::answer(&path.answer),
    )
}

fn leg_words(path: &Path, leg: &Leg, way: Way) -> String {
    let number = Style::bold(&format!("leg {}", leg.number));
    if way == Way::Back {
        return format!("{number}  the way back");
    }
    let parent = leg.parent.filter(|_| path.legs.len() > 1);
    let parent = parent.map_or_else(String::new, |it| format!(", for leg {it}"));
    format!("{number}  {}{parent}", words::leg(leg))
}

struct Widths {
    number: usize,
    hook: usize,
    place: usize,
    text: usize,
}

impl Widths {
    fn of<'a>(rows: impl Iterator<Item = &'a Row>) -> Self {
        let mut widths = Self {
            number: 3,
            hook: 0,
            place: 0,
            text: 0,
        };
        for row in rows {
            let longest = |at: &mut usize, text: &str| *at = (*at).max(text.chars().count());
            longest(&mut widths.number, &row.number);
            longest(&mut widths.hook, &row.hook);
            longest(&mut widths.place, &row.place);
            if row.of_rule {
                longest(&mut widths.text, &row.text);
            }
        }
        widths.text = widths.text.min(WIDEST);
        widths
    }
}

fn write_row(out: &mut String, row: &Row, widths: &Widths) {
    let Widths {
        number,
        hook,
        place,
        text,
    } = widths;
    let mut line = format!("{:>number$}  {:hook$}  ", row.number, row.hook);
    if *place > 0 {
        let _ = write!(line, "{:place$}  ", row.place);
    }
    let pad = match row.right.is_empty() {
        true => String::new(),
        false => " ".repeat(text.saturating_sub(row.text.chars().count()) + 2),
    };
    line.push_str(&row.style.paint(&row.text));
    line.push_str(&pad);
    line.push_str(&Style::dim(&row.right));
    let _ = writeln!(out, "{}", line.trim_end());
}

fn end(out: &mut String, path: &Path) {
    if !path.open.is_empty() {
        let _ = writeln!(
            out,
            "\nstill open when the time was over: {}",
            path.open.join("; ")
        );
    }
    if !path.lost.is_empty() {
        let _ = writeln!(
            out,
            "\nlost, so what is not shown may have happened: {}",
            path.lost.join("; ")
        );
    }
    let contradicted: Vec<String> = path
        .hops()
        .filter(|it| !it.contradictions.is_empty())
        .map(|it| it.number.to_string())
        .collect();
    if !contradicted.is_empty() {
        let _ = writeln!(
            out,
            "\n! witnesses contradict each other at {}",
            contradicted.join(", ")
        );
    }
}
