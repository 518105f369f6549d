//! hoplab: pod-like network namespaces, real interception rules, real traffic, and a verdict on every hop.
//!
//! Data flows one way: `topology` and `rules` make a `plan`; the `supervisor` builds it in a `sandbox` (with `net`,
//! `netfilter`, `process`), sends flows and returns `evidence`; `judge` holds the evidence against what a person
//! expects and what the `model` predicts; `report` prints the verdicts.

pub mod builtin;
pub mod cli;
pub mod diagnostic;
pub mod doctor;
pub mod entry;
pub mod evidence;
pub mod failure;
pub mod interception;
pub mod istio;
pub mod judge;
mod lab;
mod lab_file;
pub mod lint;
pub mod model;
pub mod net;
pub mod netfilter;
pub mod plan;
pub mod ports;
pub mod predict;
pub mod process;
pub mod report;
pub mod rules;
pub mod sandbox;
mod supervisor;
pub mod topology;
pub mod trace;

pub use lab::{Lab, Options};
pub use lab_file::{LabFile, RuleText};
