//! The cases of a lab file.

use crate::{
    Expect, Families, LabFile,
    failure::{Class, Failure},
    istio::{Configuration, Release},
    judge,
    netfilter::Backend,
    outcome::{CaseName, FlowOutcome, Side},
    profiles,
    rules::{Family, Holder},
    topology::Variant,
};

/// One way to run a lab file.
#[derive(Debug, Clone)]
pub struct Case {
    /// Which way.
    pub name: CaseName,
    /// The lab as its file says.
    lab: LabFile,
    /// The configuration, where the rules are of one.
    configuration: Option<Configuration>,
}

impl Case {
    fn new(name: &str, lab: &LabFile, side: Side, backend: Holder, family: Family) -> Self {
        Self {
            name: CaseName {
                file: name.to_owned(),
                lab: lab.topology.name.clone(),
                side,
                backend,
                family,
            },
            lab: lab.clone(),
            configuration: None,
        }
    }

    /// The variant it is.
    pub fn variant(&self) -> Option<&Variant> {
        match &self.name.side {
            Side::Variant(name) => self.lab.topology.variant(name),
            _ => None,
        }
    }

    /// The lab as it is to run, and the variant it is.
    ///
    /// # Errors
    /// Rules that can't be had.
    pub fn file(&self) -> Result<(LabFile, Option<Variant>), Failure> {
        let lab = self.lab.clone();
        let file = match &self.name.side {
            Side::AsItIs {} => lab,
            Side::Variant(name) => lab.variant(name)?,
            Side::Profile(name) => lab.with_profile(&profile(name)?, Expect::Rules)?,
            Side::Configuration(..) => {
                let configuration = self.configuration.as_ref();
                let configuration = configuration.expect("such a case is made with one");
                let native = self.name.backend == Holder::Nft;
                let families = Families::One(self.name.family);
                lab.under(configuration, Release::NEWEST, families, native)?
            }
        };
        Ok((file, self.variant().cloned()))
    }

    /// The flows that would be sent, for a lab that does not come up.
    pub fn flows(&self) -> Vec<FlowOutcome> {
        let flows = self.lab.topology.flows.iter();
        let wanted = |name: &str| judge::wanted(self.variant(), name);
        flows
            .map(|flow| FlowOutcome::unjudged(&self.lab, flow, wanted(&flow.name)))
            .collect()
    }
}

fn profile(name: &str) -> Result<profiles::Profile, Failure> {
    profiles::find(name).ok_or_else(|| {
        let what = format!("there is no profile `{name}`");
        Failure::new(Class::Input, what)
    })
}

/// Every way in which a lab file makes sense: the lab as it is, then its variants. `name` is its path.
pub fn cases(name: &str, file: &LabFile) -> Vec<Case> {
    let topology = &file.topology;
    let variants = topology.variants.iter();
    let variants = variants.map(|it| Side::Variant(it.name.clone()));
    let sides: Vec<Side> = [Side::AsItIs {}].into_iter().chain(variants).collect();
    let mut cases = Vec::new();
    for backend in [Backend::Nft, Backend::Legacy] {
        if !topology.backends.is_empty() && !topology.backends.contains(&backend) {
            continue;
        }
        for family in file.families() {
            for side in &sides {
                let mut case = Case::new(name, file, side.clone(), backend.into(), family);
                // Rules that can't be had are told when the case is played.
                let is_native = case.file().is_ok_and(|(file, _)| file.is_native_nft());
                match (is_native, backend) {
                    (false, _) => {}
                    (true, Backend::Nft) => case.name.backend = Holder::Nft,
                    // They run once.
                    (true, Backend::Legacy) => continue,
                }
                cases.push(case);
            }
        }
    }
    cases
}

/// The lab under every configuration of a list, by each backend and in nft's own language, over each family.
pub fn under_configurations(
    name: &str,
    file: &LabFile,
    (list, all): (&str, &[Configuration]),
) -> Vec<Case> {
    let mut cases = Vec::new();
    for configuration in all {
        let side = Side::Configuration(list.to_owned(), configuration.name.clone());
        for backend in [Holder::IptablesNft, Holder::IptablesLegacy, Holder::Nft] {
            for family in [Family::V4, Family::V6] {
                cases.push(Case {
                    configuration: Some(configuration.clone()),
                    ..Case::new(name, file, side.clone(), backend, family)
                });
            }
        }
    }
    cases
}

/// The lab under every profile whose proxy it can play; and the others, with the reason.
pub fn under_profiles(name: &str, file: &LabFile) -> (Vec<Case>, Vec<Failure>) {
    let (mut cases, mut others) = (Vec::new(), Vec::new());
    for profile in profiles::all() {
        let ruled = match file.clone().with_profile(&profile, Expect::Rules) {
            Ok(ruled) => ruled,
            Err(failure) => {
                others.push(failure);
                continue;
            }
        };
        let backends: &[Holder] = match ruled.is_native_nft() {
            true => &[Holder::Nft],
            false => &[Holder::IptablesNft, Holder::IptablesLegacy],
        };
        for backend in backends {
            for family in ruled.families() {
                let side = Side::Profile(profile.name.clone());
                cases.push(Case::new(name, file, side, *backend, family));
            }
        }
    }
    (cases, others)
}
