//! A witness some of whose observations were lost: what it did not see may have happened, so it contradicts nobody.

use super::{Check, Claim, Finding, Witness};
use crate::evidence::{Loss, Observer, Window};

/// The losses of a witness in a window.
pub(super) fn gaps<'w>(window: &'w Window, witness: &Witness) -> impl Iterator<Item = &'w Loss> {
    let (of, pod) = match witness {
        Witness::Trace { pod } => (Some(Observer::Trace), pod.as_str()),
        Witness::Conntrack { pod } => (Some(Observer::Conntrack), pod.as_str()),
        _ => (None, ""),
    };
    let lost = window.lost.iter();
    lost.filter(move |it| Some(it.of) == of && it.pod == pod)
}

/// Makes what a witness with a gap has against a claim a gap in the evidence.
pub(super) fn allow_for(claims: &mut [Claim], window: &Window) {
    let checks = claims.iter_mut().flat_map(|claim| &mut claim.checks);
    for check in checks.filter(|it| gaps(window, &it.witness).next().is_some()) {
        if let Some(what) = against(check) {
            let what = format!("what was lost: {what}");
            check.finding = Finding::Missing { what };
        }
    }
}

fn against(check: &Check) -> Option<String> {
    match &check.finding {
        Finding::Contradicts { wanted, had } => Some(format!("wanted {wanted}, had {had}")),
        Finding::Disagrees { had, with, said } => Some(format!("{had}, and {with} says: {said}")),
        Finding::Agrees | Finding::Missing { .. } => None,
    }
}
