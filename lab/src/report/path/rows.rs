//! Lines of a path: columns for the number, the hook, the chain, what happened, and who saw it.

use super::words;
use crate::{
    path::{Event, Hop, Leg, Tried},
    report::{Detail, Style},
    traced::Verdict,
};

/// One line.
pub(super) struct Row {
    pub number: String,
    pub hook: String,
    pub place: String,
    pub text: String,
    pub right: String,
    pub style: RowStyle,
    /// About a rule: such lines make the column as wide as it is.
    pub of_rule: bool,
}

/// How what happened is printed.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum RowStyle {
    Plain,
    /// A rule that was tried and did not match.
    Dim,
    /// Something is wrong.
    Alarm,
}

impl RowStyle {
    pub fn paint(self, text: &str) -> String {
        match self {
            Self::Plain => text.to_owned(),
            Self::Dim => Style::dim(text),
            Self::Alarm => Style::bold(text),
        }
    }
}

/// The lines of one pod.
pub(super) fn rows(leg: &Leg, hops: &[Hop], detail: Detail) -> Vec<Row> {
    let mut rows = Vec::new();
    let mut at = At::default();
    let mut rest = hops;
    while let Some((hop, more)) = rest.split_first() {
        if detail == Detail::Quiet && hop.is_silent() {
            rest = more;
            continue;
        }
        let alike = match detail {
            Detail::Verbose => 0,
            _ => more.iter().take_while(|it| is_same(hop, it)).count(),
        };
        let (folded, more) = more.split_at(alike);
        if detail > Detail::Quiet {
            for tried in &hop.tried {
                rows.push(at.tried(hop, tried));
            }
        }
        rows.push(at.hop(leg, hop, folded, detail));
        for change in &hop.changes {
            rows.push(at.below(words::change(leg, hop, change), RowStyle::Plain));
        }
        for words in &hop.contradictions {
            rows.push(at.below(format!("! {words}"), RowStyle::Alarm));
        }
        rest = more;
    }
    rows
}

/// Hooks in a row where the same nothing happened are one line.
fn is_same(first: &Hop, next: &Hop) -> bool {
    let nothing = |it: &Hop| matches!(it.event, Event::Passed { .. }) && it.is_silent();
    nothing(first)
        && nothing(next)
        && first.event == next.event
        && first.witnesses == next.witnesses
}

/// The hook and the chain that the lines before were about: they are named once.
#[derive(Default)]
struct At {
    hook: String,
    place: String,
}

impl At {
    fn hook(&mut self, hop: &Hop) -> String {
        let by = match (&hop.input, &hop.output) {
            (Some(input), None) => format!(" in {input}"),
            (None, Some(output)) => format!(" out {output}"),
            (Some(input), Some(output)) => format!(" {input} to {output}"),
            (None, None) => String::new(),
        };
        let words = match (&hop.hook, &hop.event) {
            (Some(hook), _) => format!("{hook}{by}"),
            (None, Event::Connect { .. }) => "connect".to_owned(),
            (None, Event::Accept { .. }) => "accept".to_owned(),
            (None, Event::Refused { .. }) => "refused".to_owned(),
            (None, Event::Unrouted) => "no route".to_owned(),
            (None, Event::Unreachable) => "unreachable".to_owned(),
            (None, _) => "unknown".to_owned(),
        };
        once(&mut self.hook, words)
    }

    fn chain(&mut self, table: &str, chain: &str) -> String {
        once(&mut self.place, format!("{table} {chain}"))
    }

    fn tried(&mut self, hop: &Hop, tried: &Tried) -> Row {
        let hook = self.new_hook(hop);
        let text = tried.text.as_deref().unwrap_or("a rule that is not known");
        Row {
            number: String::new(),
            hook,
            place: self.chain(&tried.table, &tried.chain),
            text: format!("✗ {:>2} {text}", tried.ordinal),
            right: words::why(tried),
            style: RowStyle::Dim,
            of_rule: true,
        }
    }

    /// A new hook names its chain again.
    fn new_hook(&mut self, hop: &Hop) -> String {
        let hook = self.hook(hop);
        if !hook.is_empty() {
            self.place.clear();
        }
        hook
    }

    fn hop(&mut self, leg: &Leg, hop: &Hop, folded: &[Hop], detail: Detail) -> Row {
        let mut number = hop.number.to_string();
        let mut hook = self.new_hook(hop);
        if let Some(last) = folded.last() {
            number = format!("{number}-{}", last.number);
            let names = std::iter::once(hop).chain(folded).filter_map(|it| it.hook);
            let names: Vec<&str> = names.map(|it| it.chain()).collect();
            hook = names.join(", ");
            self.hook.clear();
        }
        let place = match &hop.event {
            Event::Rule { table, chain, .. } | Event::Policy { table, chain, .. } => {
                self.chain(table, chain)
            }
            _ => {
                self.place.clear();
                String::new()
            }
        };
        let drops = matches!(
            &hop.event,
            Event::Rule {
                verdict: Verdict::Drop,
                ..
            } | Event::Policy {
                verdict: Verdict::Drop,
                ..
            }
        );
        let mut text = words::event(leg, hop);
        if let (Detail::Verbose, Event::Connect { process, .. } | Event::Accept { process, .. }) =
            (detail, &hop.event)
            && let Some(pid) = process.pid
        {
            text.push_str(&format!(", process {pid}"));
        }
        Row {
            number,
            hook,
            place,
            text,
            right: seen(hop),
            style: if drops {
                RowStyle::Alarm
            } else {
                RowStyle::Plain
            },
            of_rule: matches!(hop.event, Event::Rule { .. }),
        }
    }

    fn below(&mut self, words: String, style: RowStyle) -> Row {
        Row {
            number: String::new(),
            hook: String::new(),
            place: String::new(),
            text: format!("     {words}"),
            right: String::new(),
            style,
            of_rule: false,
        }
    }
}

/// The word, unless it was said in the line before.
fn once(said: &mut String, word: String) -> String {
    if *said == word {
        return String::new();
    }
    said.clone_from(&word);
    word
}

/// Witnesses, and the steps of the notes.
fn seen(hop: &Hop) -> String {
    let names: Vec<&str> = hop.witnesses.iter().map(|it| it.name()).collect();
    let mut words = match names.is_empty() {
        true => "nobody saw it".to_owned(),
        false => names.join(" "),
    };
    if let Some(packets) = hop.counted {
        let plural = if packets == 1 { "" } else { "s" };
        words.push_str(&format!(" · {packets} packet{plural} so far"));
    }
    if !hop.notes.is_empty() {
        let steps: Vec<String> = hop.notes.iter().map(ToString::to_string).collect();
        words.push_str(&format!(" · notes {}", steps.join(", ")));
    }
    words
}
