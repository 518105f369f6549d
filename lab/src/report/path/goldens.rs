//! A file of golden paths: one text per flow, in the order of the lab file.

use std::fmt::Write as _;

use similar::TextDiff;

/// Golden paths of a lab over one family.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Goldens {
    /// What stands before the first flow.
    head: String,
    /// Name and text of each flow.
    flows: Vec<(String, String)>,
}

/// A flow whose path is another one than the golden one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PathDifference {
    /// Name of the flow.
    pub flow: String,
    /// Unified diff, from the golden path to the one that was taken.
    pub diff: String,
}

const FLOW: &str = "flow ";

impl Goldens {
    /// Of these texts, as [`super::golden`] makes them.
    pub fn new(lab: &str, flows: Vec<(String, String)>) -> Self {
        let head = format!(
            "# The paths of lab {lab}, hop by hop. `hoplab run --record` writes this file, `hoplab run` compares with it.\n"
        );
        Self { head, flows }
    }

    /// Reads a file of them. Whatever stands in it is text of a flow, or stands before the first one.
    pub fn parse(text: &str) -> Self {
        let mut found = Self::default();
        // A checkout may have put carriage returns at line ends.
        for line in text.lines().map(str::trim_end) {
            if let Some(name) = line.strip_prefix(FLOW) {
                found.flows.push((name.to_owned(), String::new()));
            }
            let part = match found.flows.last_mut() {
                Some((_, text)) => text,
                None => &mut found.head,
            };
            let _ = writeln!(part, "{line}");
        }
        for (_, text) in &mut found.flows {
            text.truncate(text.trim_end().len());
            text.push('\n');
        }
        found
    }

    /// What differs: every flow of either side whose text is not the same at the other, in the order of this one.
    pub fn differences(&self, taken: &Self) -> Vec<PathDifference> {
        let text = |of: &Self, flow: &str| {
            let found = of.flows.iter().find(|(name, _)| name == flow);
            found.map_or(String::new(), |(_, text)| text.clone())
        };
        let mut names: Vec<&String> = self.flows.iter().map(|(name, _)| name).collect();
        names.extend(
            taken
                .flows
                .iter()
                .map(|(name, _)| name)
                .filter(|it| !self.flows.iter().any(|(name, _)| name == *it)),
        );
        let differs = |flow: &String| {
            let (golden, taken) = (text(self, flow), text(taken, flow));
            (golden != taken).then(|| PathDifference {
                flow: flow.clone(),
                diff: TextDiff::from_lines(&golden, &taken)
                    .unified_diff()
                    .context_radius(2)
                    .to_string(),
            })
        };
        names.into_iter().filter_map(differs).collect()
    }
}

impl std::fmt::Display for Goldens {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.head)?;
        for (_, text) in &self.flows {
            write!(f, "\n{text}")?;
        }
        Ok(())
    }
}
