//! A pod of a running lab, as the verbs about one name it.

use super::name;
use crate::{
    failure::Failure,
    live::{self, RunningLab},
};

// A doc comment would be the verb's help.
#[derive(clap::Args)]
pub(in crate::cli) struct PodOfLab {
    /// Name of the pod, or `node`
    pub pod: String,
    #[command(flatten)]
    pub lab: LabName,
}

// The same.
#[derive(clap::Args)]
pub(in crate::cli) struct LabName {
    /// Name of the lab, not needed when only one is up
    #[arg(long, value_name = "NAME", value_parser = name)]
    pub lab: Option<String>,
}

impl LabName {
    pub fn find(&self) -> Result<RunningLab, Failure> {
        live::find(self.lab.as_deref())
    }
}

impl PodOfLab {
    pub fn find(&self) -> Result<RunningLab, Failure> {
        self.lab.find()
    }
}
