//! The behaviour of a rule set as text that people review and a repository keeps: flow, path, end.
//!
//! ```text
//! hoplab snapshot 1
//! pod 192.0.2.2 other 192.0.2.3
//!
//! tcp uid=1000 gid=1000 src=192.0.2.2 dst=192.0.2.3:9080
//!   OUTPUT via ISTIO_OUTPUT, ISTIO_REDIRECT: to 127.0.0.1:15001
//!   -> pod 127.0.0.1:15001, original 192.0.2.3:9080
//! ```
//!
//! Rules are not numbered in it: one more that changes nothing leaves it as it is.

use std::fmt::Write as _;
use std::net::IpAddr;

use super::compare::Ran;
use super::flow::Flow;
use super::stage::Stage;
use super::subject::Subject;
use crate::diagnostic::Diagnostic;
use crate::rules::Family;

const HEADER: &str = "hoplab snapshot 1";

/// One flow of a snapshot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// The flow.
    pub flow: Flow,
    /// Hooks where rules matched: the chains they led to, and what they changed.
    pub hooks: Vec<HookEntry>,
    /// Where it ended, in words.
    pub end: String,
}

/// One hook of an entry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HookEntry {
    /// The hook as iptables spells it.
    pub hook: String,
    /// The chains that rules led to, in order.
    pub via: Vec<String>,
    /// What changed, in order.
    pub changes: Vec<String>,
}

/// A snapshot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Snapshot {
    /// The addresses its flows are about.
    pub stage: Stage,
    /// The flows.
    pub entries: Vec<Entry>,
}

/// What became of an entry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verified {
    /// As it was.
    Same,
    /// The same changes and the same end, by other chains.
    OtherPath,
    /// Something else happens to it.
    Changed,
}

impl Entry {
    /// What ran, for a snapshot.
    pub fn of(subject: &Subject, flow: &Flow, ran: &Ran) -> Self {
        let Ran { course, seen } = ran;
        let mut hooks: Vec<HookEntry> = Vec::new();
        for hop in &seen.hops {
            let spec = |id| subject.rules(flow.family())?.rule(id).map(|it| &it.spec);
            let via = hop.rules.iter().filter_map(|id| spec(id)?.target.chain());
            let changes = course.changes.iter().filter(|it| it.hook == hop.hook);
            let entry = HookEntry {
                hook: hop.hook.to_string(),
                via: via.map(str::to_owned).collect(),
                changes: changes.map(|it| it.effect.to_string()).collect(),
            };
            if !(hop.rules.is_empty() && entry.changes.is_empty()) {
                hooks.push(entry);
            }
        }
        let end = match course.is_known() {
            true => course.end.to_string(),
            false => seen.end.to_string(),
        };
        Self {
            flow: flow.clone(),
            hooks,
            end,
        }
    }

    /// Whether the flow is treated as before.
    pub fn verify(&self, now: &Self) -> Verified {
        let effects = |it: &Self| {
            let hooks = it.hooks.iter().filter(|hook| !hook.changes.is_empty());
            hooks
                .map(|hook| (hook.hook.clone(), hook.changes.clone()))
                .collect::<Vec<_>>()
        };
        if self.end != now.end || effects(self) != effects(now) {
            Verified::Changed
        } else if self.hooks != now.hooks {
            Verified::OtherPath
        } else {
            Verified::Same
        }
    }

    /// The lines below the flow.
    pub fn lines(&self) -> String {
        let mut out = String::new();
        for hook in &self.hooks {
            let _ = write!(out, "  {}", hook.hook);
            if !hook.via.is_empty() {
                let _ = write!(out, " via {}", hook.via.join(", "));
            }
            if !hook.changes.is_empty() {
                let _ = write!(out, ": {}", hook.changes.join("; "));
            }
            out.push('\n');
        }
        let _ = writeln!(out, "  -> {}", self.end);
        out
    }
}

impl Snapshot {
    /// As text; `remarks` are comments at the top, one a line.
    pub fn text(&self, remarks: &[String]) -> String {
        let mut out = format!("{HEADER}\n");
        for remark in remarks {
            let _ = writeln!(out, "# {remark}");
        }
        for family in [Family::V4, Family::V6] {
            let (pod, other) = (self.stage.pod(family), self.stage.peer(family));
            let _ = writeln!(out, "pod {pod} other {other}");
        }
        for entry in &self.entries {
            let _ = write!(out, "\n{}\n{}", entry.flow, entry.lines());
        }
        out
    }

    /// Reads what [`Snapshot::text`] writes; `origin` names it in complaints.
    ///
    /// # Errors
    /// Another header, or a line that is none of a snapshot.
    pub fn read(text: &str, origin: &str) -> Result<Self, Diagnostic> {
        let mut stage = Stage::away_from([]);
        let mut entries: Vec<Entry> = Vec::new();
        let mut at = 0;
        for (number, whole) in text.split_inclusive('\n').enumerate() {
            let line = whole.trim_end();
            let span = at..at + line.len();
            at += whole.len();
            let wrong = |message: &str, help: &str| {
                Err(Diagnostic::at(origin, text, span.clone(), message).help(help))
            };
            if number == 0 {
                if line != HEADER {
                    return wrong(
                        "this is no snapshot",
                        "the first line of one is `hoplab snapshot 1`",
                    );
                }
                continue;
            }
            match (line, line.strip_prefix("  "), entries.last_mut()) {
                ("", ..) => {}
                (remark, ..) if remark.starts_with('#') => {}
                (_, Some(below), Some(entry)) if entry.end.is_empty() => {
                    match below.strip_prefix("-> ") {
                        Some(end) => entry.end = end.to_owned(),
                        None => entry.hooks.push(hook(below)),
                    }
                }
                (_, Some(_), _) => {
                    return wrong("a line of no flow", "a flow ends with its line `->`");
                }
                (line, None, _) if line.starts_with("pod ") => match addresses(line) {
                    Some((pod, other)) => stage = stage.with_pod(pod).with_peer(other),
                    None => return wrong("no two addresses", "write `pod ADDRESS other ADDRESS`"),
                },
                (line, None, _) => match line.parse() {
                    Ok(flow) => entries.push(Entry {
                        flow,
                        hooks: Vec::new(),
                        end: String::new(),
                    }),
                    Err(why) => return wrong(&format!("no flow: {why}"), "take a new snapshot"),
                },
            }
        }
        Ok(Self { stage, entries })
    }
}

fn addresses(line: &str) -> Option<(IpAddr, IpAddr)> {
    let (pod, other) = line.strip_prefix("pod ")?.split_once(" other ")?;
    Some((pod.parse().ok()?, other.parse().ok()?))
}

fn hook(line: &str) -> HookEntry {
    // A hook and chains have no colon followed by a space, addresses in changes have none before it.
    let (place, changes) = line.split_once(": ").unwrap_or((line, ""));
    let (hook, via) = place.split_once(" via ").unwrap_or((place, ""));
    let list = |words: &str, between: &str| {
        let words = words.split(between).filter(|it| !it.is_empty());
        words.map(str::to_owned).collect()
    };
    HookEntry {
        hook: hook.to_owned(),
        via: list(via, ", "),
        changes: list(changes, "; "),
    }
}
