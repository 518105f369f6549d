//! In place of processes and their namespaces, in a build without them.

use hoplab_proxies::record::Transport;

use super::{Sent, Wanted};
use crate::failure::{Class, Failure};

#[derive(clap::Args)]
pub(super) struct ProcessArgs {
    #[arg(skip)]
    pub pid: Option<u32>,
    #[arg(long, hide = true)]
    trace: bool,
}

pub(super) fn path(
    args: &ProcessArgs,
    _: u32,
    _: Option<&Wanted>,
    _: Transport,
) -> Result<Sent, Failure> {
    let what = "this hoplab knows no network namespaces";
    let failure = Failure::new(Class::Machine, what);
    Err(match args.trace {
        true => failure.hint("traces need hoplab on Linux with its feature `kernel`"),
        false => failure,
    })
}
