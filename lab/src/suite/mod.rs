//! Lab files as a suite: each over every backend and family it makes sense on, as it is, in each of its variants, and
//! under the configurations and profiles that are asked for; and whether each comes out as expected.

mod case;
mod notice;
mod players;
mod stop;

use std::time::Instant;

pub use case::{Case, cases, under_configurations, under_profiles};
pub(crate) use notice::first_noticed;
pub use players::{Players, play_all};
pub use stop::{Stop, Stopped};

use crate::{
    Families, Lab, LabFile, Options,
    evidence::{Down, Evidence},
    failure::{Class, Failure},
    judge::{self, Judgement},
    netfilter::BackendChoice,
    outcome::{CaseOutcome, Detailed, of_judgement},
    sandbox::Supervisor,
};

/// Milliseconds a flow may take where a flow is to fail: what is not over by then is not going to be.
const DEADLINE_OF_REFUTED_MS: u64 = 1_000;

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

/// Brings a lab up, plays its script, judges, takes it down.
///
/// # Errors
/// The lab does not come up, or something of it breaks.
pub fn play(case: &Case) -> Result<Played, Failure> {
    play_unless(case, &Stop::default())
}

/// The same, unless it is told to stop: the lab goes down then, and the failure means nothing.
pub(crate) fn play_unless(case: &Case, stop: &Stop) -> Result<Played, Failure> {
    let started = Instant::now();
    let (file, variant) = case.file()?;
    if file.topology.flows.is_empty() {
        let what = format!("lab `{}` has no flow to send", file.topology.name);
        return Err(Failure::new(Class::Input, what).hint("add a [[flow]] to the lab file"));
    }
    let usual = Options::default();
    let refuted = variant.as_ref().is_some_and(|it| !it.holds);
    let options = Options {
        backend: match case.name.backend.iptables() {
            None => BackendChoice::Auto,
            Some(backend) => BackendChoice::Fixed(backend),
        },
        families: Families::One(case.name.family),
        deadline_ms: match refuted {
            true => DEADLINE_OF_REFUTED_MS,
            false => usual.deadline_ms,
        },
        ..usual
    };
    let supervisor = Supervisor::start()?;
    let _watched = stop.watch(&supervisor)?;
    let mut lab = Lab::up_in(supervisor, file.clone(), options)?;
    lab.play()?;
    let evidence = lab.observed()?;
    let down = lab.down()?;
    let judgement = judge::judge(&file, &evidence)?;
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

impl Played {
    /// The outcome of this case as data.
    ///
    /// # Errors
    /// The evidence holds rules that can't be read.
    pub fn outcome(&self, case: &Case, detailed: Detailed) -> Result<CaseOutcome, Failure> {
        of_judgement(
            case.name.clone(),
            (&self.file, case.variant()),
            &self.evidence,
            &self.judgement,
            &self.down.leftovers,
            (detailed, self.took_us),
        )
    }
}
