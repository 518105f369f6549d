//! What became of mutants, as text and JSON.

use std::fmt::Write as _;

use serde_json::json;

use crate::behaviour::{Fate, Judged, NoticedByLab, Score};

/// Mutants not tried that are named without being asked for all.
const FEW: usize = 5;

/// Lab files as the suite.
#[derive(Debug, Clone, Copy)]
pub struct Labs<'a> {
    /// Those that hold under the whole rules, with the family they run over.
    pub played: &'a [String],
    /// The others, with the reason.
    pub left_out: &'a [(String, String)],
}

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
    /// The lab files that are the suite, where they are.
    pub labs: Option<Labs<'a>>,
    /// Whether a mesh's own validation was scored beside.
    pub validated: bool,
}

impl Mutated<'_> {
    /// Everything for a program.
    pub fn json(&self, judged: &[Judged]) -> String {
        let mut value = json!({
            "rules": self.name,
            "flows": self.suite,
            "flows_added": self.added,
            "seconds": self.seconds,
            "not_tried": self.left,
            "score": Score::of(judged),
            "mutants": judged,
        });
        if let Some(labs) = self.labs {
            let left_out = labs.left_out.iter();
            let left_out = left_out.map(|(lab, why)| json!({ "lab": lab, "why": why }));
            value["labs"] = json!({
                "played": labs.played,
                "left_out": left_out.collect::<Vec<_>>(),
            });
        }
        format!("{value:#}\n")
    }

    /// Everything for a person: mutants that nobody noticed, or with `all` every one; then the score.
    pub fn text(&self, judged: &[Judged], all: bool) -> String {
        let mut out = String::new();
        for one in judged {
            let settled = matches!(
                one.fate,
                Fate::Killed { .. }
                    | Fate::KilledByLab(_)
                    | Fate::Refused { .. }
                    | Fate::Equivalent { .. }
            );
            if all || !settled {
                let _ = writeln!(out, "{}\n  {}", one.mutant, words(&one.fate));
            }
        }
        let Score {
            killed,
            missed,
            loops,
            equivalent,
            survived,
            undecided,
            refused,
            probe,
        } = Score::of(judged);
        let by = match self.labs {
            Some(labs) => format!("by {} lab files", labs.played.len()),
            None => format!("by {} flows each", self.suite),
        };
        let missed = match self.labs {
            Some(_) => format!(", {missed} missed that derived flows notice"),
            None => String::new(),
        };
        let _ = writeln!(
            out,
            "{}: {} mutants {by} in {:.1} s: {killed} killed{missed}, {equivalent} equivalent, {survived} survived, \
             {undecided} undecided, {refused} refused",
            self.name,
            judged.len(),
            self.seconds
        );
        if loops > 0 {
            let _ = writeln!(
                out,
                "{loops} of the killed loop: a proxy had its own connections back, and refused them"
            );
        }
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
        Fate::KilledByLab(it) => by_lab(it),
        Fate::Missed { by, was, is } => {
            format!("missed by the lab files; noticed by {by}\n    was: {was}\n    is:  {is}")
        }
        Fate::Equivalent { asked, kinds } => format!(
            "equivalent: none of {asked} flows of {kinds} kinds is treated otherwise, says the model"
        ),
        Fate::Survived { told_by } => format!("survived: {told_by} would tell"),
        Fate::Undecided { why } => format!("undecided: {why}"),
        Fate::Refused { words } => format!("refused: {words}"),
    }
}

fn by_lab(it: &NoticedByLab) -> String {
    let flow = match &it.flow {
        Some(flow) => format!("flow {flow}"),
        None => "the run".to_owned(),
    };
    let loops = match it.loops {
        0 => String::new(),
        loops => format!(
            "\n    it loops: {loops} of {} connections were a proxy's own that came back to it",
            it.connections
        ),
    };
    format!(
        "killed by {flow} of {} ({}), {}\n    {}{loops}",
        it.lab, it.family, it.verdict, it.why
    )
}
