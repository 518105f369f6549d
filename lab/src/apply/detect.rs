//! Which backend istio-init takes in a pod, found out as it does: by a look at what is there, and by trying.
//!
//! legacy, if its dump has three lines or more and a rule can be added; else nft, if one can be added there. The dump is
//! taken before the rule is tried. But trying makes the tables of legacy, empty as they are, so the next detection in
//! the same pod finds them, and takes legacy (Istio issues 61019 and 61020).

use crate::netfilter::{self, Backend, Chosen, NetfilterError};
use crate::rules::Family;

/// Lines of a dump that istio-init takes for rules.
const LINES: usize = 3;

/// Runs on the thread of the pod.
pub(super) fn detect(pod: &str) -> Result<Chosen<Backend>, NetfilterError> {
    let lines = netfilter::dump(Backend::Legacy, Family::V4, pod)?
        .lines()
        .count();
    let taken = |backend, why: String| Ok(Chosen { backend, why });
    if is_usable(Backend::Legacy, pod)? && lines >= LINES {
        return taken(
            Backend::Legacy,
            format!("the dump of legacy had {lines} lines, which is taken for rules"),
        );
    }
    match is_usable(Backend::Nft, pod)? {
        true => taken(
            Backend::Nft,
            format!("the dump of legacy had {lines} lines, and nft takes rules"),
        ),
        false => taken(Backend::Legacy, "nft takes no rules".to_owned()),
    }
}

/// Whether a rule can be added, and taken away again.
fn is_usable(backend: Backend, pod: &str) -> Result<bool, NetfilterError> {
    let rule = ["INPUT", "-p", "255", "-j", "RETURN"];
    let tried = |option| {
        let args = [&["-t", "nat", option][..], &rule].concat();
        netfilter::edit(backend, Family::V4, &args, pod)
    };
    Ok(tried("-A")?.ok && tried("-D")?.ok)
}
