//! Finds, for each predicted leg, its two ends in the logs and its entries in conntrack. Nothing is used twice.

use std::collections::{BTreeMap, HashSet};

use super::connections::End;
use crate::{
    evidence::{ConntrackEntry, Window},
    interception::INBOUND_SOURCE,
    predict::{Leg, LegEnd},
};

/// A predicted leg and what was observed of it.
#[derive(Debug)]
pub(super) struct Matched<'a> {
    pub leg: &'a Leg,
    pub opener: Option<&'a End>,
    pub accepter: Option<&'a End>,
    /// Entry in the opener's pod.
    pub near: Option<&'a ConntrackEntry>,
    /// Entry in the destination pod, when that is another one.
    pub far: Option<&'a ConntrackEntry>,
}

/// All legs of a flow, and what no leg explains.
#[derive(Debug)]
pub(super) struct Matching<'a> {
    pub legs: Vec<Matched<'a>>,
    pub unexplained_ends: Vec<&'a End>,
    pub unexplained_entries: BTreeMap<&'a str, Vec<&'a ConntrackEntry>>,
}

pub(super) fn match_legs<'a>(legs: &'a [Leg], ends: &'a [End], window: &'a Window) -> Matching<'a> {
    let mut used = HashSet::new();
    let mut entries = Entries {
        window,
        used: HashSet::new(),
    };
    let mut matched: Vec<Matched<'a>> = Vec::new();
    for leg in legs {
        let parent = leg.parent.map(|p| matched[p].accepter);
        let opener = find(ends, &mut used, |end| is_opener(leg, parent, end));
        let accepter = find_accepter(leg, opener, ends, &mut used);
        let near = entries.take(&leg.opener.pod, leg, opener);
        let far = match &leg.end {
            LegEnd::Accepted { pod, .. } | LegEnd::Refused { pod, .. }
                if *pod != leg.opener.pod =>
            {
                entries.take(pod, leg, opener)
            }
            _ => None,
        };
        matched.push(Matched {
            leg,
            opener,
            accepter,
            near,
            far,
        });
    }
    let unexplained_ends = ends
        .iter()
        .enumerate()
        .filter(|(i, _)| !used.contains(i))
        .map(|(_, e)| e)
        .collect();
    let unexplained_entries = entries.rest();
    Matching {
        legs: matched,
        unexplained_ends,
        unexplained_entries,
    }
}

fn find<'a>(
    ends: &'a [End],
    used: &mut HashSet<usize>,
    wanted: impl Fn(&End) -> bool,
) -> Option<&'a End> {
    let (index, end) = ends
        .iter()
        .enumerate()
        .find(|(i, e)| !used.contains(i) && wanted(e))?;
    used.insert(index);
    Some(end)
}

fn is_opener(leg: &Leg, parent: Option<Option<&End>>, end: &End) -> bool {
    let Some(opened) = end.opened() else {
        return false;
    };
    let on_behalf = match parent {
        None => opened.parent.is_none(),
        Some(Some(parent)) => opened.parent == Some(parent.conn) && end.pid == parent.pid,
        // The parent's own record is missing: any parent will do.
        Some(None) => opened.parent.is_some(),
    };
    on_behalf
        && end.pod == leg.opener.pod
        && end.role == leg.opener.role
        && opened.remote == leg.remote
}

/// By the opener's address first, wherever it arrived; else by what the prediction says about the arrival, for a
/// rewritten source port or a missing connect record.
fn find_accepter<'a>(
    leg: &Leg,
    opener: Option<&End>,
    ends: &'a [End],
    used: &mut HashSet<usize>,
) -> Option<&'a End> {
    let local = opener.and_then(|o| o.opened()).and_then(|o| o.local());
    if opener.is_some() && local.is_none() {
        return None;
    }
    if let Some(local) = local {
        // Addresses on lo are every pod's own: two pods may hold the same one, with the same port, at once.
        let on_lo = local.ip().is_loopback() || INBOUND_SOURCE.contains(&local.ip());
        let by_peer = |end: &End| {
            (!on_lo || end.pod == leg.opener.pod) && end.accepted().is_some_and(|a| a.peer == local)
        };
        if let Some(end) = find(ends, used, by_peer) {
            return Some(end);
        }
    }
    let LegEnd::Accepted {
        pod,
        listener,
        local: at,
        original_dst,
        ..
    } = &leg.end
    else {
        return None;
    };
    find(ends, used, |end| {
        end.pod == *pod
            && end.role == listener.role()
            && end.accepted().is_some_and(|a| {
                a.peer.ip() == leg.opener.source
                    && a.local == *at
                    && original_dst.is_none_or(|dst| a.original_dst.addr() == Some(dst))
            })
    })
}

/// New conntrack entries, each used once per pod.
struct Entries<'a> {
    window: &'a Window,
    used: HashSet<(&'a str, u32)>,
}

impl<'a> Entries<'a> {
    fn take(&mut self, pod: &str, leg: &Leg, opener: Option<&End>) -> Option<&'a ConntrackEntry> {
        let (pod, entries) = self.window.conntrack.get_key_value(pod)?;
        let local = opener.and_then(|o| o.opened()).and_then(|o| o.local());
        let entry = entries.iter().find(|entry| {
            let from = match local {
                Some(local) => entry.original.src == local,
                None => entry.original.src.ip() == leg.opener.source,
            };
            from && entry.original.dst == leg.remote
                && !self.used.contains(&(pod.as_str(), entry.id))
        })?;
        self.used.insert((pod, entry.id));
        Some(entry)
    }

    fn rest(self) -> BTreeMap<&'a str, Vec<&'a ConntrackEntry>> {
        let pods = self.window.conntrack.iter();
        pods.map(|(pod, entries)| {
            let rest = entries
                .iter()
                .filter(|e| !self.used.contains(&(pod.as_str(), e.id)));
            (pod.as_str(), rest.collect::<Vec<_>>())
        })
        .filter(|(_, rest)| !rest.is_empty())
        .collect()
    }
}
