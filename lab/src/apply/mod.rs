//! Applying rules to a pod that may have some already: what istio-init does, step by step, on the real kernel.
//!
//! Up to 1.23 it restores and nothing else: over its own rules that fails, since chains exist, and changes nothing.
//! Since 1.24 it looks first ([`State`]), applies where something is missing, and with `reconcile` cleans up before,
//! behind guardrails. Linkerd and Kuma have ways of their own ([`Manner`]). Native nft rules are one transaction, whatever is there. `cleanup-only` takes the planned rules away and nothing that is not planned.

mod calls;
mod cleanup;
mod detect;
mod half_done;
mod installers;
mod native;
mod pod;
mod run;
mod state;
mod tally;

pub use half_done::HalfDone;
pub(crate) use run::run_inside;
pub use state::State;
pub use tally::Calls;

use serde::{Deserialize, Serialize};

use crate::{
    behaviour::Stage,
    istio::routes,
    netfilter::{Backend, BackendChoice, Chosen},
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
    /// What is set beside the rules each time they are applied, as long as no command failed; it is never taken away.
    pub routes: Vec<routes::Step>,
    /// Finds out the backend anew before each time, as istio-init does in the pod it starts in.
    pub detect: bool,
    /// Calls the pod all the while.
    pub calls: Option<CallPlan>,
}

/// Calls from outside to a pod while rules are applied, over IPv4.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CallPlan {
    /// Addresses of the pod and of who calls.
    pub stage: Stage,
    /// Port that is called.
    pub app: u16,
    /// Port that rules turn calls to.
    pub proxy: u16,
}

/// How rules are applied.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Manner {
    /// iptables-restore, and nothing else: Istio up to 1.23, and any file of rules.
    Restore,
    /// iptables once for each rule, as Linkerd's proxy-init: a chain that is there is flushed, and rules of built-in
    /// chains that are there stay.
    OneByOne,
    /// As Kuma's installer: everything that names a chain of the set is taken away in one transaction, then the set is
    /// restored in another.
    CleanFirst,
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
    /// Rules that each backend holds in the end, where the backend was found out. Each tool shows its own only.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub held: Vec<HeldBy>,
}

/// IPv4 rules of one backend.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HeldBy {
    /// The backend.
    pub backend: Backend,
    /// How many rules.
    pub rules: usize,
    /// Connections that rules of nat PREROUTING counted.
    pub came_in: u64,
}

impl Report {
    /// True when the last round ended as istio-init ends well.
    pub fn succeeded(&self) -> bool {
        let last = self.rounds.last();
        last.is_none_or(|round| round.steps.iter().all(|step| step.ok || step.tried))
    }

    /// True when two backends hold rules of one pod: nft's decide PREROUTING then, both count in OUTPUT, and each tool
    /// is blind to the other's.
    pub fn is_mixed(&self) -> bool {
        self.held.iter().filter(|it| it.rules > 0).count() > 1
    }
}

/// One run of istio-init.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Round {
    /// What it is, for people.
    pub what: String,
    /// The backend that was found out for it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub detected: Option<Chosen>,
    /// How the calls ended that began while it ran.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub calls: Option<Calls>,
    /// What was found first, where it is looked for.
    pub found: Option<State>,
    /// Commands that ran, in order; those that only read are left out.
    pub steps: Vec<Step>,
    /// Rules in the pod afterwards, both families.
    pub rules: usize,
    /// What is neither what was there nor what was planned, where it failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub half_done: Option<HalfDone>,
    /// Policy rules (`ip rule`) for a mark there are then, both families, where some are set beside the rules.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mark_rules: Option<usize>,
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
