//! Which steps of the notes under test speak of which hop: fifteen steps of how a request comes in to a sidecar (1 to 8)
//! and what happens next (9 to 15), which a reader can take for the answer or for the pod's own call. The numbers stand
//! at the hops of both.

use hoplab_proxies::record::Role;

use super::{Event, Hop, Leg, Path};
use crate::{interception::Interception, rules::Hook, traced::Verdict};

/// What a connection is to the notes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Part {
    /// Comes in to the proxy.
    Inbound,
    /// The proxy's own one to the app.
    Upstream,
    /// The app's call, which the proxy takes.
    Call,
    /// The proxy's own one, on behalf of that.
    Onward,
}

/// Puts the numbers to the hops.
pub(super) fn annotate(path: &mut Path, interception: &Interception) {
    let own: Vec<Option<Part>> = path.legs.iter().map(|it| part(it, interception)).collect();
    for (at, leg) in path.legs.iter_mut().enumerate() {
        let parent = leg
            .parent
            .and_then(|it| own.get(it.checked_sub(1)?).copied().flatten());
        let on_behalf = match parent {
            Some(Part::Inbound) => Some(Part::Upstream),
            Some(Part::Call) => Some(Part::Onward),
            _ => None,
        };
        // The proxy's onward connection is the next pod's inbound one.
        for part in own[at].into_iter().chain(on_behalf) {
            number(leg, part);
        }
    }
}

/// What a connection is by the listener that accepted it.
fn part(leg: &Leg, interception: &Interception) -> Option<Part> {
    let hop = leg.there.last()?.hops.last()?;
    let Event::Accept {
        process, listener, ..
    } = &hop.event
    else {
        return None;
    };
    match process.role {
        Some(Role::Proxy) if *listener == interception.inbound => Some(Part::Inbound),
        Some(Role::Proxy)
            if *listener == interception.outbound && leg.opener.role == Some(Role::App) =>
        {
            Some(Part::Call)
        }
        _ => None,
    }
}

fn number(leg: &mut Leg, part: Part) {
    for hop in leg.there.iter_mut().flat_map(|it| &mut it.hops) {
        let step = there(hop, part);
        hop.notes.extend(step);
        hop.notes.sort_unstable();
    }
    // The answer is in the pod that was called first.
    let back = leg.back.first_mut().map(|it| &mut it.hops);
    for hop in back.into_iter().flatten() {
        let step = match (part, hop.hook) {
            (Part::Upstream, Some(Hook::Output)) => Some(9),
            (Part::Inbound, Some(Hook::Output)) => Some(13),
            (Part::Inbound, Some(Hook::Postrouting)) => Some(15),
            _ => None,
        };
        hop.notes.extend(step);
    }
}

fn there(hop: &Hop, part: Part) -> Option<u8> {
    let (chain, verdict) = match &hop.event {
        Event::Connect { .. } => {
            return Some(match part {
                Part::Inbound => 1,
                Part::Upstream => 5,
                Part::Call => 9,
                Part::Onward => 13,
            });
        }
        Event::Accept { .. } => return (part == Part::Upstream).then_some(8),
        Event::Rule {
            chain,
            verdict,
            table,
            ..
        } if table == "nat" => (chain.as_str(), verdict),
        _ => return None,
    };
    let to = match verdict {
        Verdict::Jump(chain) | Verdict::Goto(chain) => chain.as_str(),
        _ => "",
    };
    let returns = *verdict == Verdict::Return;
    match (part, chain, to) {
        (Part::Inbound, "PREROUTING", "ISTIO_INBOUND") => Some(2),
        (Part::Inbound, "ISTIO_INBOUND", "ISTIO_IN_REDIRECT") => Some(3),
        (Part::Inbound, "ISTIO_IN_REDIRECT", _) => Some(4),
        (Part::Upstream, "OUTPUT", "ISTIO_OUTPUT") => Some(6),
        (Part::Upstream, "ISTIO_OUTPUT", _) if returns => Some(7),
        (Part::Call, "OUTPUT", "ISTIO_OUTPUT") => Some(10),
        (Part::Call, "ISTIO_OUTPUT", "ISTIO_REDIRECT") => Some(11),
        (Part::Call, "ISTIO_REDIRECT", _) => Some(12),
        (Part::Onward, "OUTPUT", "ISTIO_OUTPUT") => Some(14),
        (Part::Onward, "ISTIO_OUTPUT", _) if returns => Some(15),
        _ => None,
    }
}
