//! What flows have in common, so that many that were tried read as the one that they are.

use std::collections::BTreeSet;
use std::fmt;

use serde::{Serialize, Serializer};

use super::flow::{Flow, Origin};
use super::stage::Stage;
use crate::rules::{Family, Protocol};

/// Flows that differ in things that do not matter: what each part may be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pattern {
    parts: [Part; PARTS],
}

/// What a part of a flow may be.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Part {
    /// Whatever was asked about with the other parts as they are but these, and that was more than one thing.
    AnyBut(BTreeSet<Word>),
    /// One of these.
    Of(BTreeSet<Word>),
}

/// A part of a flow by its role, so that both families can be told together.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Word {
    Number(u32),
    Said(String),
}

/// What a process of the pod sends begins so.
const SENT: &str = "sent";
const PARTS: usize = 8;
const FAMILY: usize = 0;
const PROTOCOL: usize = 1;
const SENDER: usize = 2;
const USER: usize = 3;
const GROUP: usize = 4;
const MARK: usize = 5;
const WAY: usize = 6;
const PORT: usize = 7;

type Words = [Word; PARTS];

impl Pattern {
    /// What these flows have in common. `told` says of every flow that was asked about whether it belongs: a part may be
    /// anything when, with the others as they are, all that was asked about belongs.
    pub(super) fn of(flows: &[Flow], stage: &Stage, told: &[(Flow, bool)]) -> Self {
        let told: Vec<(Words, bool)> = told
            .iter()
            .map(|(flow, belongs)| (words(flow, stage), *belongs))
            .collect();
        let flows: Vec<Words> = flows.iter().map(|it| words(it, stage)).collect();
        let of = |at: usize| Part::Of(flows.iter().map(|it| it[at].clone()).collect());
        let mut pattern = Self {
            parts: std::array::from_fn(of),
        };
        // Ports first: mostly it is they that do not matter.
        for at in [PORT, GROUP, USER, MARK] {
            let was = std::mem::replace(&mut pattern.parts[at], Part::AnyBut(BTreeSet::new()));
            let (mut belong, mut others) = (BTreeSet::new(), BTreeSet::new());
            for (words, belongs) in told.iter().filter(|(it, _)| pattern.holds(it)) {
                let side = if *belongs { &mut belong } else { &mut others };
                side.insert(words[at].clone());
            }
            let most = belong.len() > 1 && belong.len() > others.len();
            pattern.parts[at] = match belong.is_disjoint(&others) && was.is_of(&belong) && most {
                true => Part::AnyBut(others),
                false => was,
            };
        }
        pattern
    }

    fn holds(&self, words: &Words) -> bool {
        let mut each = self.parts.iter().zip(words);
        each.all(|(part, word)| match part {
            Part::AnyBut(words) => !words.contains(word),
            Part::Of(words) => words.contains(word),
        })
    }
}

fn sent(flow: &Flow) -> Word {
    Word::Said(match &flow.leaves {
        Some(interface) => format!("sent out by {interface}"),
        None => SENT.to_owned(),
    })
}

fn words(flow: &Flow, stage: &Stage) -> Words {
    let said = |text: &str| Word::Said(text.to_owned());
    let role = |address| {
        let family = Family::of(address);
        if address == stage.pod(family) {
            "the pod".to_owned()
        } else if address == stage.peer(family) {
            "another machine".to_owned()
        } else if address.is_loopback() {
            "loopback".to_owned()
        } else {
            address.to_string()
        }
    };
    let nothing = || Word::Number(0);
    let (sender, user, group, mark) = match &flow.origin {
        Origin::Outside { interface } => (
            Word::Said(format!("come in by {interface}")),
            nothing(),
            nothing(),
            nothing(),
        ),
        Origin::Pod { uid, gid, mark } => (
            sent(flow),
            Word::Number(*uid),
            Word::Number(*gid),
            Word::Number(*mark),
        ),
    };
    let protocol = match flow.protocol {
        Protocol::Udp => "UDP",
        _ if flow.stray => "stray TCP",
        _ => "TCP",
    };
    let from = match flow.source_port {
        Some(port) => format!("{} port {port}", role(flow.source)),
        None => role(flow.source),
    };
    [
        said(&flow.family().to_string()),
        said(protocol),
        sender,
        user,
        group,
        mark,
        Word::Said(format!("from {from} to {}", role(flow.to.ip()))),
        Word::Number(flow.to.port().into()),
    ]
}

impl fmt::Display for Word {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Number(number) => number.fmt(f),
            Self::Said(words) => words.fmt(f),
        }
    }
}

impl Part {
    fn is_of(&self, all: &BTreeSet<Word>) -> bool {
        matches!(self, Self::Of(words) if words.is_subset(all))
    }

    /// `user 7`, `users 7, 8`, `any user`, `any user but 7`.
    fn named(&self, name: &str) -> String {
        match self {
            Self::AnyBut(words) if words.is_empty() => format!("any {name}"),
            Self::AnyBut(_) => format!("any {name} but {}", self.joined(", ")),
            Self::Of(words) => {
                let plural = if words.len() > 1 { "s" } else { "" };
                format!("{name}{plural} {}", self.joined(", "))
            }
        }
    }

    fn joined(&self, between: &str) -> String {
        match self {
            Self::AnyBut(words) | Self::Of(words) => {
                let words: Vec<String> = words.iter().map(ToString::to_string).collect();
                words.join(between)
            }
        }
    }

    fn is_nothing(&self) -> bool {
        matches!(self, Self::Of(words) if words.iter().all(|it| *it == Word::Number(0)))
    }
}

/// `IPv4 and IPv6 TCP from the pod to the pod, any port, sent by user 1337 and any group`.
impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let parts = &self.parts;
        write!(
            f,
            "{} {} {}, {}, {}",
            parts[FAMILY].joined(" and "),
            parts[PROTOCOL].joined(" and "),
            parts[WAY].joined(" or "),
            parts[PORT].named("port"),
            parts[SENDER].joined(" or ")
        )?;
        let sent = |it: &Word| it.to_string().starts_with(SENT);
        if matches!(&parts[SENDER], Part::Of(words) if words.iter().any(sent)) {
            let (user, group) = (parts[USER].named("user"), parts[GROUP].named("group"));
            write!(f, " by {user} and {group}")?;
            match &parts[MARK] {
                mark if mark.is_nothing() => {}
                Part::AnyBut(marks) if marks.is_empty() => f.write_str(", whatever its mark")?,
                Part::AnyBut(marks) | Part::Of(marks) => {
                    let marks = marks.iter().map(|it| match it {
                        Word::Number(mark) => format!("{mark:#x}"),
                        Word::Said(it) => it.clone(),
                    });
                    let not = if matches!(&parts[MARK], Part::Of(_)) {
                        ""
                    } else {
                        "not "
                    };
                    write!(
                        f,
                        ", {not}marked {}",
                        marks.collect::<Vec<_>>().join(" or ")
                    )?;
                }
            }
        }
        Ok(())
    }
}

impl Serialize for Pattern {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}
