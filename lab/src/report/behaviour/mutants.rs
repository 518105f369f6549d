//! What became of mutants, as text and JSON.

use std::fmt::Write as _;

use serde_json::json;

use crate::behaviour::{Fate, Judged, Score};

/// Mutants not tried that are named without being asked for all.
const FEW: usize = 5;

/// How mutants were tried.
#[derive(Debug, Clone, Copy)]
pub struct Mutated<'a> {
    /// The rule set.
    pub name: &'a str,
    /// Flows that ran under each.
    pub suite: usize,
    /// Of these, how many are there for mistakes that one flow of each kind would not notice.
    pub added: usize,
    /// Mutants that were not tried, for want of time.
    pub left: &'a [String],
    /// How long it took.
    pub seconds: f64,
    /// Whether a mesh's own validation was scored beside.
    pub validated: bool,
}

impl Mutated<'_> {
    /// Everything for a program.
    pub fn json(&self, judged: &[Judged]) -> String {
        let value = json!({
            "rules": self.name,
            "flows": self.suite,
            "flows_added": self.added,
            "seconds": self.seconds,
            "not_tried": self.left,
            "score": Score::of(judged),
            "mutants": judged,
        });
        format!("{value:#}\n")
    }

    /// Everything for a person: mutants that nobody noticed, or with `all` every one; then the score.
    pub fn text(&self, judged: &[Judged], all: bool) -> String {
        let mut out = String::new();
        for one in judged {
            let settled = matches!(
                one.fate,
                Fate::Killed { .. } | Fate::Refused { .. } | Fate::Equivalent { .. }
            );
            if all || !settled {
                let _ = writeln!(out, "{}\n  {}", one.mutant, words(&one.fate));
            }
        }
        let Score {
            killed,
            equivalent,
            survived,
            undecided,
            refused,
            probe,
        } = Score::of(judged);
        let _ = writeln!(
            out,
            "{}: {} mutants by {} flows each in {:.1} s: {killed} killed, {equivalent} equivalent, {survived} survived, \
             {undecided} undecided, {refused} refused",
            self.name,
            judged.len(),
            self.suite,
            self.seconds
        );
        if self.added > 0 {
            let _ = writeln!(
                out,
                "{} of the flows are there for mistakes that one flow of each kind would not notice",
                self.added
            );
        }
        if !self.left.is_empty() {
            let _ = writeln!(out, "{} were not tried, for want of time:", self.left.len());
            let shown = if all { self.left.len() } else { FEW };
            for mutant in self.left.iter().take(shown) {
                let _ = writeln!(out, "  {mutant}");
            }
            if self.left.len() > shown {
                let _ = writeln!(out, "  and {} more", self.left.len() - shown);
            }
        }
        if self.validated {
            let _ = writeln!(
                out,
                "Istio's own validation noticed {probe} of the {}",
                judged.len() - refused
            );
        }
        out
    }
}

fn words(fate: &Fate) -> String {
    match fate {
        Fate::Killed { by, was, is, flows } => {
            format!("killed by {flows} flows, first {by}\n    was: {was}\n    is:  {is}")
        }
        Fate::Equivalent { asked, kinds } => format!(
            "equivalent: none of {asked} flows of {kinds} kinds is treated otherwise, says the model"
        ),
        Fate::Survived { told_by } => format!("survived: {told_by} would tell"),
        Fate::Undecided { why } => format!("undecided: {why}"),
        Fate::Refused { words } => format!("refused: {words}"),
    }
}
