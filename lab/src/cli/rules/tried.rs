//! Rules of a source as they are compared and tried: what the model reads, and what the kernel is given.

use std::{collections::BTreeMap, net::IpAddr};

use crate::{
    behaviour::{Choice, Flow, Stage, Subject},
    cli::source::{Source, Text, complaint},
    failure::{Class, Failure},
    lab_file::FIRST_NAMED_ID,
    netfilter::BackendChoice,
    probe::ProbePlan,
    rules::{self, Family, Form, OwnerNames, RuleSet, Written},
};

/// Rules of one source.
pub(super) struct Tried {
    /// As the model reads them.
    pub subject: Subject,
    /// As the kernel is given them.
    pub rules: Written,
}

/// Reads each source; what names in their rules stand for is the same in all.
///
/// # Errors
/// As [`Source::open`]; several sets in one source; the first complaint about the text.
pub(super) fn read(
    sources: &[&Source],
    family: Family,
) -> Result<(Vec<Tried>, OwnerNames), Failure> {
    let mut read = Vec::new();
    for source in sources {
        let text = only(source, source.open()?)?;
        let document = match text.text.is_empty() {
            true => None,
            false => Some(text.read(family)?),
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
        Tried {
            subject: Subject::new(&text.origin, sets, |family| text.local_marks(family)),
            rules,
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

impl Tried {
    /// What a sandbox is asked to do.
    pub fn plan(
        &self,
        backend: BackendChoice,
        names: &OwnerNames,
        stage: Stage,
        flows: &[Flow],
        choice: &Choice,
    ) -> ProbePlan {
        let families: BTreeMap<Family, ()> = flows.iter().map(|it| (it.family(), ())).collect();
        let marks = families.keys().flat_map(|family| {
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
            landings: choice.landings.clone(),
        }
    }
}
