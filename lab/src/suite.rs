//! Lab files as a suite: each over every backend and family it makes sense on, as it is and in each of its variants.

use std::time::Instant;

use crate::{
    Families, Lab, LabFile, Options,
    evidence::{Down, Evidence},
    failure::{Class, Failure},
    judge::{self, Judgement},
    netfilter::{Backend, BackendChoice},
    rules::Family,
};

/// Milliseconds a flow may take where a flow is to fail: what is not over by then is not going to be.
const DEADLINE_OF_REFUTED_MS: u64 = 1_000;

/// One way to run a lab file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Case {
    /// Variant; none is the lab as it is.
    pub variant: Option<String>,
    /// Family of the flows.
    pub family: Family,
    /// Which iptables.
    pub backend: Backend,
}

/// What came of a case.
pub struct Played {
    /// The lab, as it was brought up.
    pub file: LabFile,
    /// What was observed.
    pub evidence: Evidence,
    /// What the judge says of it.
    pub judgement: Judgement,
    /// What came out otherwise than the file says; empty when all is as expected.
    pub unexpected: Vec<String>,
    /// What went down.
    pub down: Down,
    /// Microseconds from start to end.
    pub took_us: u64,
}

/// Every way in which a lab file makes sense: the lab as it is, then its variants.
pub fn cases(file: &LabFile) -> Vec<Case> {
    let topology = &file.topology;
    let variants = topology.variants.iter().map(|it| Some(it.name.clone()));
    let variants: Vec<Option<String>> = [None].into_iter().chain(variants).collect();
    let mut cases = Vec::new();
    for backend in [Backend::Nft, Backend::Legacy] {
        if !topology.backends.is_empty() && !topology.backends.contains(&backend) {
            continue;
        }
        for family in file.families() {
            let of = |variant: &Option<String>| Case {
                variant: variant.clone(),
                family,
                backend,
            };
            let all = variants.iter().map(of);
            // Rules of nft's own run on one backend alone.
            cases.extend(all.filter(|it| backend == Backend::Nft || !is_native(file, it)));
        }
    }
    cases
}

fn is_native(file: &LabFile, case: &Case) -> bool {
    let variant = case
        .variant
        .as_ref()
        .and_then(|it| file.clone().variant(it).ok());
    variant.as_ref().unwrap_or(file).is_native_nft()
}

/// Brings a lab up, plays its script, judges, takes it down.
///
/// # Errors
/// There is no such variant, the lab does not come up, or something of it breaks.
pub fn play(file: LabFile, case: &Case) -> Result<Played, Failure> {
    let started = Instant::now();
    let variant = match &case.variant {
        None => None,
        Some(name) => file.topology.variant(name).cloned(),
    };
    let file = match &case.variant {
        None => file,
        Some(name) => file.variant(name)?,
    };
    if file.topology.flows.is_empty() {
        let what = format!("lab `{}` has no flow to send", file.topology.name);
        return Err(Failure::new(Class::Input, what).hint("add a [[flow]] to the lab file"));
    }
    let usual = Options::default();
    let refuted = variant.as_ref().is_some_and(|it| !it.holds);
    let options = Options {
        backend: match file.is_native_nft() {
            true => BackendChoice::Auto,
            false => BackendChoice::Fixed(case.backend),
        },
        families: Families::One(case.family),
        deadline_ms: match refuted {
            true => DEADLINE_OF_REFUTED_MS,
            false => usual.deadline_ms,
        },
        ..usual
    };
    let mut lab = Lab::up(file.clone(), options)?;
    lab.play()?;
    let evidence = lab.observed()?;
    let judgement = judge::judge(&file, &evidence)?;
    let down = lab.down()?;
    let mut unexpected = judge::unexpected(variant.as_ref(), &judgement);
    let left = down.leftovers.iter();
    unexpected.extend(left.map(|it| format!("left over: {it}")));
    Ok(Played {
        file,
        evidence,
        judgement,
        unexpected,
        down,
        took_us: u64::try_from(started.elapsed().as_micros()).unwrap_or(u64::MAX),
    })
}
