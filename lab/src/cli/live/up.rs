//! `hoplab up`: a lab that outlives the command.

use std::process::ExitCode;

use super::{Outcome, name, reconcile, wait_for_another};
use crate::{
    Lab, LabFile,
    cli::{
        interrupt::Interrupt,
        run::rules::{RuleArgs, Ruled},
        stdout::say,
    },
    doctor,
    live::{self, Claim, Registry, Standing, not_up},
    netfilter::Holder,
    plan, plan_of,
    sandbox::Supervisor,
    topology::NODE,
};

#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  hoplab up bookinfo                         up until `hoplab down`
  hoplab up bookinfo --name old --istio 1.24
  hoplab up ./my-lab.toml --rules my.rules
  hoplab up bookinfo --dry-run               the shell commands that would build it, and nothing else
  hoplab up ./my-lab.toml                    again, when the file has changed or something was broken: the lab that is
                                             up is made what the file says; pods that stay keep connections and counters

Running labs are kept in HOPLAB_RUNTIME_DIR if it is set, else in /run/hoplab for root and in \
$XDG_RUNTIME_DIR/hoplab for other users.")]
pub(in crate::cli) struct Args {
    /// A lab that hoplab carries, or the path of a lab file
    #[arg(default_value = "bookinfo")]
    lab: String,
    /// Name to find it by [default: the one in the lab file]
    #[arg(long, value_parser = name)]
    name: Option<String>,
    /// Print what was changed in a lab that was up as JSON on standard output
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    rules: RuleArgs,
}

pub(super) fn run(args: &Args) -> Outcome {
    let ruled = args.rules.choose(LabFile::open(&args.lab)?)?;
    let is_dry_run = args.rules.is_dry_run();
    let name = args.name.as_ref().unwrap_or(&ruled.file.topology.name);
    let name = name.clone();
    let registry = Registry::of_user()?;
    if is_dry_run && !matches!(registry.standing(&name)?, Some(Standing::Up(_))) {
        return dry_run(&ruled);
    }
    let claim = registry.claim(&name, || wait_for_another(&name))?;
    match claim.standing() {
        Standing::Up(_) => {
            // Who has a turn with the lab may need its place to end it.
            drop(claim);
            let running = live::find_in(&registry, Some(&name))?;
            return reconcile::run(&running, ruled, is_dry_run, args.json);
        }
        Standing::Stale(Some(state)) => anstream::eprintln!(
            "note: an earlier lab `{name}` has ended without being taken down (supervisor {})",
            state.supervisor.pid
        ),
        Standing::Stale(None) => {}
        other => return Err(not_up(&registry, &name, Some(other))),
    }
    bring_up(claim, &name, &ruled)
}

/// The plan that the supervisor would get, in words of a shell.
fn dry_run(ruled: &Ruled) -> Outcome {
    let plan = plan_of(&ruled.file, &ruled.options())?;
    let holder = match plan.rules.written.is_nft() {
        true => Holder::Nft,
        false => ruled.backend.settle()?.backend.into(),
    };
    say(&plan::commands(&plan, holder))?;
    Ok(ExitCode::SUCCESS)
}

pub(super) fn bring_up(mut claim: Claim, name: &str, ruled: &Ruled) -> Outcome {
    let options = ruled.options();
    let explain = |failure| doctor::explain(failure, ruled.backend, ruled.families.first());
    let listener = claim.listen()?;
    let supervisor = Supervisor::start_listening(&listener).map_err(|e| explain(e.into()))?;
    drop(listener);
    let interrupt = Interrupt::watch(&supervisor)?;
    let lab = match (
        Lab::up_in(supervisor, ruled.file.clone(), options),
        interrupt.exit_code(),
    ) {
        (_, Some(code)) => return Ok(code),
        (lab, None) => lab.map_err(explain)?,
    };
    let words = what_came_up(name, &lab);
    claim.keep(name, lab)?;
    if let Some(code) = interrupt.exit_code() {
        return Ok(code);
    }
    say(&words)?;
    anstream::eprintln!("take it down: hoplab down {name}");
    Ok(ExitCode::SUCCESS)
}

fn what_came_up(name: &str, lab: &Lab) -> String {
    let up = lab.came_up();
    let pods: Vec<_> = up.pods.iter().filter(|it| it.name != NODE).collect();
    let with_rules = pods.iter().filter(|pod| !pod.rules.is_empty()).count();
    let processes = up.node.len() + up.pods.iter().map(|pod| pod.processes.len()).sum::<usize>();
    format!(
        "{name} is up: {} pods, {with_rules} of them with a sidecar, {processes} processes; rules: {}; {}\n",
        pods.len(),
        lab.file().rules_from,
        lab.machine().backend.backend.as_backend()
    )
}
