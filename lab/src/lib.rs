//! hoplab: pod-like network namespaces, real interception rules, real traffic, and a verdict on every hop.
//!
//! Data flows one way: `topology` and `rules` make a `plan`; the `supervisor` builds it in a `sandbox` (with `net`,
//! `netfilter`, `process`), sends flows and returns `evidence`; `judge` holds the evidence against what a person
//! expects and what the `model` predicts; `report` prints the verdicts.
//!
//! What touches the kernel is behind the feature `kernel` and there on Linux only. The rest builds without it, and on
//! other systems: everything pure, and the verbs that need nothing else.

#[cfg(all(feature = "kernel", target_os = "linux"))]
pub mod apply;
pub mod behaviour;
pub mod builtin;
#[cfg(all(feature = "kernel", target_os = "linux"))]
pub mod capture;
pub mod cli;
pub mod diagnostic;
#[cfg(all(feature = "kernel", target_os = "linux"))]
pub mod doctor;
#[cfg(all(feature = "kernel", target_os = "linux"))]
pub mod entry;
pub mod evidence;
pub mod failure;
pub mod figures;
pub mod import;
pub mod interception;
pub mod istio;
pub mod judge;
pub mod kube_proxy;
pub mod kuma;
#[cfg(all(feature = "kernel", target_os = "linux"))]
mod lab;
mod lab_file;
pub mod linkerd;
pub mod lint;
#[cfg(all(feature = "kernel", target_os = "linux"))]
pub mod live;
pub mod mesh;
pub mod model;
#[cfg(all(feature = "kernel", target_os = "linux"))]
pub mod net;
#[cfg(all(feature = "kernel", target_os = "linux"))]
pub mod netfilter;
pub mod outcome;
pub mod path;
pub mod plan;
pub mod ports;
pub mod predict;
#[cfg(all(feature = "kernel", target_os = "linux"))]
pub mod probe;
#[cfg(all(feature = "kernel", target_os = "linux"))]
pub mod process;
pub mod profiles;
pub mod reconcile;
pub mod report;
pub mod rules;
#[cfg(all(feature = "kernel", target_os = "linux"))]
pub mod sandbox;
#[cfg(all(feature = "kernel", target_os = "linux"))]
pub mod suite;
#[cfg(all(feature = "kernel", target_os = "linux"))]
mod supervisor;
pub mod topology;
#[cfg(all(feature = "kernel", target_os = "linux"))]
pub mod trace;
pub mod traced;

#[cfg(all(feature = "kernel", target_os = "linux"))]
pub(crate) use lab::plan_of;
#[cfg(all(feature = "kernel", target_os = "linux"))]
pub use lab::{Lab, Options};
pub use lab_file::{Expect, Families, GivenRules, LabFile, RuleText, SavedLab};
