//! Applying rules to a pod that may have some already: what istio-init does, step by step, on the real kernel.
//!
//! Up to 1.23 it restores and nothing else: over its own rules that fails, since chains exist, and changes nothing.
//! Since 1.24 it looks first ([`State`]), applies where something is missing, and with `reconcile` cleans up before,
//! behind guardrails. Native nft rules are one transaction, whatever is there. `cleanup-only` takes the planned rules away and nothing that is not planned.

mod cleanup;
mod native;
mod run;
mod state;

pub(crate) use run::run_inside;
pub use state::State;

use serde::{Deserialize, Serialize};

use crate::{
    netfilter::{BackendChoice, Chosen},
    rules::{Holder, OwnerNames, Written},
};

/// What to do to one throwaway pod.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ApplyPlan {
    /// Which iptables.
    pub backend: BackendChoice,
    /// Rules the pod has before.
    pub before: Written,
    /// Rules that are applied.
    pub meant: Written,
    /// What names in the rules stand for.
    pub names: OwnerNames,
    /// How often.
    pub times: u32,
    /// How.
    pub manner: Manner,
}

/// How rules are applied.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Manner {
    /// iptables-restore, and nothing else: Istio up to 1.23, and any file of rules.
    Restore,
    /// One transaction of nft, as Istio's native nft mode hands it over.
    Native {
        /// Takes Istio's tables away, and adds none.
        cleanup_only: bool,
    },
    /// As Istio does since 1.24.
    Checked {
        /// Cleans up first where there is something of Istio's and it is not what is planned.
        reconcile: bool,
        /// Restores even where nothing is missing.
        force: bool,
        /// Takes the planned rules away.
        cleanup_only: bool,
    },
}

/// What was done and what came of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Report {
    /// What holds the rules, and why.
    pub backend: Chosen<Holder>,
    /// The rules there were before, then each time the rules were applied.
    pub rounds: Vec<Round>,
}

impl Report {
    /// True when the last round ended as istio-init ends well.
    pub fn succeeded(&self) -> bool {
        let last = self.rounds.last();
        last.is_none_or(|round| round.steps.iter().all(|step| step.ok || step.tried))
    }
}

/// One run of istio-init.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Round {
    /// What it is, for people.
    pub what: String,
    /// What was found first, where it is looked for.
    pub found: Option<State>,
    /// Commands that ran, in order; those that only read are left out.
    pub steps: Vec<Step>,
    /// Rules in the pod afterwards, both families.
    pub rules: usize,
}

/// A command that ran.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Step {
    /// As a person would type it.
    pub command: String,
    /// Exit status, in words.
    pub status: String,
    /// The command succeeded.
    pub ok: bool,
    /// Istio only tries it, and goes on when it fails.
    pub tried: bool,
    /// What it wrote to standard error.
    pub stderr: String,
    /// What differs in the pod's rules afterwards: `+` or `-`, table, rule or chain.
    pub changes: Vec<String>,
}
