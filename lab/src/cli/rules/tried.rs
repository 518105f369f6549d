//! Rules of a source as they are compared and tried: what the model reads, and what the kernel is given.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    net::IpAddr,
    path::Path,
};

use crate::{
    behaviour::{Disagreement, Flow, ProbeReport, Ran, Sampling, Snapshot, Stage, Subject, course},
    cli::source::{Source, Text, complaint},
    failure::{Class, Failure},
    lab_file::FIRST_NAMED_ID,
    netfilter::BackendChoice,
    probe::ProbePlan,
    profiles::Profile,
    rules::{self, Family, Form, OwnerNames, RuleSet, Written},
};

/// How rules are read and tried; the same for every verb that tries some.
#[derive(clap::Args)]
pub(super) struct ProbeArgs {
    /// Family of a form that does not tell it
    #[arg(long, default_value = "ipv4", value_parser = crate::cli::family)]
    pub family: Family,
    /// Try this family alone
    #[arg(long, value_name = "FAMILY", value_parser = crate::cli::family)]
    pub only: Option<Family>,
    /// Which iptables plays rules of iptables: nft, legacy or auto
    #[arg(long, default_value = "auto")]
    pub backend: BackendChoice,
    /// Address of the pod, where rules name it (once per family) [default: one that no rule names]
    #[arg(long, value_name = "ADDRESS")]
    pub address: Vec<IpAddr>,
    /// How many of the flows that the model calls alike run all the same
    #[arg(long, value_name = "N", default_value_t = 100)]
    pub sample: usize,
    /// Which ones: the same number picks the same flows
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub seed: u64,
}

impl ProbeArgs {
    pub fn sampling(&self) -> Sampling {
        Sampling {
            flows: self.sample,
            seed: self.seed,
        }
    }
}

/// Rules of one source.
pub(super) struct Tried {
    /// As the model reads them.
    pub subject: Subject,
    /// As the kernel is given them.
    pub rules: Written,
    /// The profile they are the rules of.
    pub profile: Option<Box<Profile>>,
}

/// Reads each source; what names in their rules stand for is the same in all.
///
/// # Errors
/// As [`Source::open`]; several sets in one source; the first complaint about the text.
pub(super) fn read(
    sources: &[&Source],
    args: &ProbeArgs,
) -> Result<(Vec<Tried>, OwnerNames), Failure> {
    let mut read = Vec::new();
    for source in sources {
        let text = only(source, source.open()?)?;
        let document = match text.text.is_empty() {
            true => None,
            false => Some(text.read(args.family)?),
        };
        let sets = document
            .as_ref()
            .map_or(Ok(Vec::new()), |it| it.rules().map_err(complaint))?;
        super::say_not_modelled(&sets);
        let forms: Vec<Form> = document
            .iter()
            .flat_map(|it| &it.dumps)
            .map(|it| it.form)
            .collect();
        let given = match forms.first() {
            Some(Form::Nft | Form::NftJson) => Written::Nft {
                nft: text.text.clone(),
            },
            _ => Written::Iptables(texts(&sets)),
        };
        let native = |it: &Form| matches!(it, Form::Nft | Form::NftJson);
        if forms.iter().any(native) && !forms.iter().all(|it| Some(it) == forms.first()) {
            let what = format!("{} holds rules of nft and of iptables", text.origin);
            return Err(Failure::new(Class::Input, what).hint("give one of them"));
        }
        read.push((text, sets, given));
    }
    let names = OwnerNames::of(read.iter().flat_map(|(_, sets, _)| sets), FIRST_NAMED_ID);
    let tried = read.into_iter().map(|(text, sets, rules)| {
        let sets: Vec<RuleSet> = sets.iter().map(|set| names.resolve(set)).collect();
        let subject = Subject::new(&text.origin, sets, |family| text.local_marks(family));
        Tried {
            subject: match args.only {
                Some(family) => subject.only(&[family]),
                None => subject,
            },
            rules,
            profile: text.profile,
        }
    });
    Ok((tried.collect(), names))
}

/// What is given to iptables-restore: what the text means, one file a family.
pub(super) fn texts(sets: &[RuleSet]) -> BTreeMap<Family, String> {
    let sets = sets.iter().filter(|set| !set.is_empty());
    sets.map(|set| (set.family, rules::to_restore(&set.without_counters())))
        .collect()
}

fn only(source: &Source, mut texts: Vec<Text>) -> Result<Text, Failure> {
    if texts.len() > 1 {
        let names: Vec<String> = texts.into_iter().map(|it| it.origin).collect();
        let what = format!("{source} has several sets of rules");
        return Err(Failure::new(Class::Input, what)
            .hint(format!("name one of them: {}", names.join(", "))));
    }
    // A process without rules: that is something to compare with, too.
    Ok(texts.pop().unwrap_or_else(|| Text {
        origin: source.to_string(),
        ..Text::default()
    }))
}

/// The stage for these rules; `addresses` says which are the pod's.
pub(super) fn stage(tried: &[Tried], addresses: &[IpAddr]) -> Stage {
    let sets = tried.iter().flat_map(|it| it.subject.sets());
    addresses
        .iter()
        .fold(Stage::away_from(sets), |stage, it| stage.with_pod(*it))
}

/// Each flow with what the model says and what the kernel did.
///
/// # Errors
/// The kernel lost a report.
pub(super) fn ran(
    subject: &Subject,
    stage: &Stage,
    flows: &[Flow],
    report: ProbeReport,
) -> Result<Vec<Ran>, Failure> {
    if let Some(lost) = report.lost {
        return Err(Failure::new(Class::Incomplete, lost).hint("ask for a smaller --sample"));
    }
    let courses = flows.iter().map(|flow| course(subject, stage, flow));
    let ran = courses.zip(report.seen);
    Ok(ran.map(|(course, seen)| Ran { course, seen }).collect())
}

/// What model and kernel say differently, on standard error. True when there is something.
pub(super) fn say_disagreements(disagreements: &[Disagreement]) -> bool {
    for it in disagreements {
        anstream::eprintln!("the model and the kernel do not say the same: {it}");
    }
    !disagreements.is_empty()
}

/// Disagreements of one set.
pub(super) fn disagreements(subject: &Subject, flows: &[Flow], ran: &[Ran]) -> Vec<Disagreement> {
    let each = flows.iter().zip(ran).filter_map(|(flow, ran)| {
        let (model, kernel) = ran.disagreement()?;
        Some(Disagreement {
            flow: flow.clone(),
            set: subject.name.clone(),
            model,
            kernel,
        })
    });
    each.collect()
}

/// A snapshot that a repository keeps.
///
/// # Errors
/// It can't be read, or is none.
pub(super) fn snapshot(path: &Path) -> Result<Snapshot, Failure> {
    let text = fs::read_to_string(path).map_err(|error| {
        let what = format!("could not read {}", path.display());
        Failure::new(Class::Input, what).cause(error.to_string())
    })?;
    Snapshot::read(&text, &path.display().to_string()).map_err(complaint)
}

/// That rules name too much.
pub(super) fn too_much() -> Failure {
    let what =
        "the rules name too many ports, addresses and owners to try every combination of them";
    Failure::new(Class::Input, what).hint("this is for the rules of a pod, not for those of a node")
}

impl Tried {
    /// What a sandbox is asked to do.
    pub fn plan(
        &self,
        backend: BackendChoice,
        names: &OwnerNames,
        stage: Stage,
        flows: &[Flow],
        landings: &BTreeSet<u16>,
    ) -> ProbePlan {
        let families: BTreeSet<Family> = flows.iter().map(Flow::family).collect();
        let marks = families.iter().flat_map(|family| {
            let marks = self.subject.marks(*family).iter();
            marks.map(|it| (*family, it.value, it.mask))
        });
        ProbePlan {
            backend,
            rules: self.rules.clone(),
            names: names.clone(),
            marks: marks.collect(),
            stage,
            flows: flows.to_vec(),
            landings: landings.clone(),
        }
    }
}
