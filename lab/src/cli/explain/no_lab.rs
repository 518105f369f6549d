//! In place of labs, in a build without them: recorded runs are all there is to explain.

use hoplab_proxies::record::Transport;

use super::{Sent, Wanted};
use crate::{
    failure::{Class, Failure},
    path::Path,
    rules::Family,
};

#[derive(clap::Args)]
pub(super) struct LabArgs {
    /// Of a run over both families: which one
    #[arg(long, value_parser = crate::cli::family)]
    family: Option<Family>,
}

impl LabArgs {
    pub(super) fn are_about_rules(&self) -> bool {
        self.family.is_some()
    }

    pub(super) fn over(&self) -> Transport {
        Transport::Tcp
    }

    pub(super) fn family(&self) -> Option<Family> {
        self.family
    }
}

pub(super) fn path(
    _: &LabArgs,
    _: &Wanted,
    _: impl Fn(&Path) -> Result<(), Failure>,
) -> Result<Sent, Failure> {
    Err(
        Failure::new(Class::Machine, "this hoplab can't bring up labs")
            .hint("explain a recorded run: --from FILE; labs need hoplab on Linux with its feature `kernel`"),
    )
}
