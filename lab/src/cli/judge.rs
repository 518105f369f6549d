//! `hoplab judge`: the verdict on a run from its evidence file. Needs no root and no namespaces.

use std::path::PathBuf;

use super::{
    Outcome,
    recorded::{Judged, judged},
    show::{ShowArgs, exit_code},
};

#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  hoplab run bookinfo --out out              a run, with its evidence in out/evidence.ndjson
  hoplab judge out/evidence.ndjson           the same verdict again, on any machine
  hoplab judge out/evidence.ndjson -v        every claim with its witnesses

A file that is cut off is judged as far as it goes, and is never more than Unproven: exit code 5.")]
pub(super) struct Args {
    /// Evidence file of a run; - is standard input
    file: PathBuf,
    #[command(flatten)]
    show: ShowArgs,
}

pub(super) fn run(args: &Args) -> Outcome {
    let Judged {
        recorded,
        judgement,
    } = judged(&args.file)?;
    let run = recorded.run(&judgement);
    args.show.print(&run)?;
    args.show.write_junit(&run)?;
    Ok(exit_code(judgement.verdict))
}
