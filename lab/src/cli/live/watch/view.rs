//! What the screen shows, and how it changes. Pure: happenings in, wishes out.

use std::collections::{BTreeMap, VecDeque};

use crate::rules::{Family, Holder, RuleId};

/// Connections that are remembered.
const MOST_CONNECTIONS: usize = 500;

/// A rule with what it counted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Counted {
    /// Who holds it: in one pod several may, each with rules at the same places.
    pub by: Holder,
    /// Which.
    pub id: RuleId,
    /// What it says, without its chain.
    pub text: String,
    /// Packets; none for a rule without a counter.
    pub packets: Option<u64>,
}

/// A pod, in the list of all.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Pod {
    /// Its name.
    pub name: String,
    /// Its processes, and whether each is there: `app`, `proxy`.
    pub processes: Vec<(String, bool)>,
}

/// A connection as it began.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Connection {
    /// As who opened it sees it: `tcp 10.0.0.1:40000 → 10.0.0.2:9080`.
    pub ends: String,
    /// Rules that matched, in order: `PREROUTING 1 > ISTIO_INBOUND 5`.
    pub path: String,
    /// Where it went in the end, if that is another place, or that it was dropped.
    pub became: Option<String>,
}

/// What happens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Happening {
    /// A key.
    Key(Key),
    /// The rules of the pod that is looked at, read again.
    Rules(Vec<Counted>),
    /// A connection in that pod.
    Connection(Connection),
    /// The pods, read again.
    Pods(Vec<Pod>),
    /// Something to be said; nothing when it is over.
    Note(Option<String>),
}

/// Keys that mean something.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Key {
    Quit,
    NextPod,
    PreviousPod,
    OtherPane,
    Up,
    Down,
    MovedOnly,
    Pause,
    Zero,
}

/// What the view wants done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Wish {
    Nothing,
    Quit,
    /// To look at the pod that is chosen now.
    Look,
}

/// Which part the arrow keys scroll.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) enum Pane {
    #[default]
    Rules,
    Connections,
}

/// A line of the table of rules.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Row {
    pub rule: Counted,
    /// Packets since the view began, or was set to zero.
    pub since: u64,
    /// Packets since the reading before.
    pub newly: u64,
}

type Counts = BTreeMap<(Holder, RuleId), u64>;

/// All that is shown.
#[derive(Debug, Clone, Default)]
pub(super) struct View {
    pub lab: String,
    pub pods: Vec<Pod>,
    /// Place of the pod that is looked at.
    pub chosen: usize,
    pub pane: Pane,
    pub moved_only: bool,
    pub paused: bool,
    pub note: Option<String>,
    /// Newest first.
    pub connections: VecDeque<Connection>,
    /// First line shown, of rules and of connections.
    pub scrolled: [usize; 2],
    rules: Vec<Counted>,
    /// Counts of the reading before, and of the one all is counted from.
    before: Counts,
    zero: Counts,
}

impl View {
    /// Of a lab with these pods; `chosen` is the place of the one to look at.
    pub fn new(lab: &str, pods: Vec<Pod>, chosen: usize) -> Self {
        Self {
            lab: lab.to_owned(),
            pods,
            chosen,
            ..Self::default()
        }
    }

    /// The pod that is looked at.
    pub fn pod(&self) -> &str {
        self.pods.get(self.chosen).map_or("", |pod| &pod.name)
    }

    /// Takes what happens.
    pub fn update(&mut self, happening: Happening) -> Wish {
        match happening {
            Happening::Key(key) => return self.key(key),
            Happening::Note(note) => self.note = note,
            Happening::Pods(pods) => self.pods = pods,
            Happening::Rules(rules) if !self.paused => self.take_rules(rules),
            Happening::Connection(connection) if !self.paused => {
                self.connections.push_front(connection);
                self.connections.truncate(MOST_CONNECTIONS);
            }
            Happening::Rules(_) | Happening::Connection(_) => {}
        }
        Wish::Nothing
    }

    fn key(&mut self, key: Key) -> Wish {
        let pods = self.pods.len().max(1);
        let pane = self.pane as usize;
        match key {
            Key::Quit => return Wish::Quit,
            Key::NextPod => return self.choose((self.chosen + 1) % pods),
            Key::PreviousPod => return self.choose((self.chosen + pods - 1) % pods),
            Key::OtherPane => {
                self.pane = match self.pane {
                    Pane::Rules => Pane::Connections,
                    Pane::Connections => Pane::Rules,
                }
            }
            Key::Up => self.scrolled[pane] = self.scrolled[pane].saturating_sub(1),
            Key::Down => {
                let lines = match self.pane {
                    Pane::Rules => self.rows().len(),
                    Pane::Connections => self.connections.len(),
                };
                self.scrolled[pane] = (self.scrolled[pane] + 1).min(lines.saturating_sub(1));
            }
            Key::MovedOnly => {
                self.moved_only = !self.moved_only;
                self.scrolled[0] = 0;
            }
            Key::Pause => self.paused = !self.paused,
            Key::Zero => {
                self.zero = counts(&self.rules);
                self.before.clone_from(&self.zero);
            }
        }
        Wish::Nothing
    }

    fn choose(&mut self, pod: usize) -> Wish {
        if pod == self.chosen {
            return Wish::Nothing;
        }
        self.chosen = pod;
        self.rules.clear();
        self.before.clear();
        self.zero.clear();
        self.connections.clear();
        self.scrolled = [0, 0];
        self.note = None;
        Wish::Look
    }

    fn take_rules(&mut self, rules: Vec<Counted>) {
        let now = counts(&rules);
        // A rule that is new counts from here; one that began anew (it was replaced) does, too.
        let is_first = self.rules.is_empty();
        for (id, count) in &now {
            let zero = self.zero.entry(id.clone());
            let zero = zero.or_insert(if is_first { *count } else { 0 });
            *zero = if *count < *zero { 0 } else { *zero };
        }
        self.zero.retain(|id, _| now.contains_key(id));
        self.before = match is_first {
            true => now,
            false => counts(&self.rules),
        };
        self.rules = rules;
    }

    /// The rules that are shown, in the order they are asked.
    pub fn rows(&self) -> Vec<Row> {
        let since = |from: &Counts, rule: &Counted| {
            let from = from.get(&(rule.by, rule.id.clone())).copied().unwrap_or(0);
            rule.packets
                .map_or(0, |now| now.checked_sub(from).unwrap_or(now))
        };
        let rows = self.rules.iter().map(|rule| Row {
            rule: rule.clone(),
            since: since(&self.zero, rule),
            newly: since(&self.before, rule),
        });
        rows.filter(|row| !self.moved_only || row.since > 0)
            .collect()
    }

    /// Whether rules of both families are there, so that a line has to say of which it is.
    pub fn has_both_families(&self) -> bool {
        let has = |family: Family| self.rules.iter().any(|it| it.id.family == family);
        has(Family::V4) && has(Family::V6)
    }
}

fn counts(rules: &[Counted]) -> Counts {
    let counted = rules
        .iter()
        .filter_map(|it| Some(((it.by, it.id.clone()), it.packets?)));
    counted.collect()
}
