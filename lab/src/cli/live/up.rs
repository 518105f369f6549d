//! `hoplab up`: a lab that outlives the command.

use std::process::ExitCode;

use super::{Outcome, name, wait_for_another};
use crate::{
    Lab, LabFile, Options,
    cli::{
        interrupt::Interrupt,
        run::rules::{RuleArgs, Ruled},
        stdout::say,
    },
    doctor,
    failure::{Class, Failure},
    live::{Claim, Registry, Standing, State, not_up},
    netfilter::{BackendChoice, Holder},
    plan,
    sandbox::Supervisor,
    topology::NODE,
    traced::Tracing,
};

#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  hoplab up bookinfo                         up until `hoplab down`
  hoplab up bookinfo --name old --istio 1.24
  hoplab up ./my-lab.toml --rules my.rules
  hoplab up bookinfo --dry-run               the shell commands that would build it, and nothing else

Running labs are kept in HOPLAB_RUNTIME_DIR if it is set, else in /run/hoplab for root and in
$XDG_RUNTIME_DIR/hoplab for other users.")]
pub(in crate::cli) struct Args {
    /// A lab that hoplab carries, or the path of a lab file
    #[arg(default_value = "bookinfo")]
    lab: String,
    /// Name to find it by [default: the one in the lab file]
    #[arg(long, value_parser = name)]
    name: Option<String>,
    #[command(flatten)]
    rules: RuleArgs,
}

pub(super) fn run(args: &Args) -> Outcome {
    let ruled = args.rules.choose(LabFile::open(&args.lab)?)?;
    if args.rules.is_dry_run() {
        return dry_run(&ruled);
    }
    let name = args.name.as_ref().unwrap_or(&ruled.file.topology.name);
    let name = name.clone();
    let registry = Registry::of_user()?;
    let claim = registry.claim(&name, || wait_for_another(&name))?;
    match claim.standing() {
        Standing::Up(state) => return is_up_already(&name, &ruled, &state),
        Standing::Stale(Some(state)) => anstream::eprintln!(
            "note: an earlier lab `{name}` has ended without being taken down (supervisor {})",
            state.supervisor.pid
        ),
        Standing::Stale(None) => {}
        other => return Err(not_up(&registry, &name, Some(other))),
    }
    bring_up(claim, &name, ruled)
}

/// The plan that the supervisor would get, in words of a shell.
fn dry_run(ruled: &Ruled) -> Outcome {
    let file = &ruled.file;
    file.allows(ruled.backend)?;
    let texts = file.texts_to_apply(ruled.families)?;
    let holder = match texts.written.is_nft() {
        true => Holder::Nft,
        false => ruled.backend.settle()?.backend.into(),
    };
    let (backend, tracing) = (ruled.backend, Tracing::default());
    let own = file.pod_rules(ruled.families)?;
    let plan = plan::plan(
        &file.topology,
        &file.interception,
        texts,
        &own,
        backend,
        tracing,
    );
    say(&plan::commands(&plan, holder))?;
    Ok(ExitCode::SUCCESS)
}

fn bring_up(mut claim: Claim, name: &str, ruled: Ruled) -> Outcome {
    let Ruled {
        file,
        families,
        backend,
    } = ruled;
    let explain = |failure| doctor::explain(failure, backend, families.first());
    let listener = claim.listen()?;
    let supervisor = Supervisor::start_listening(&listener).map_err(|e| explain(e.into()))?;
    drop(listener);
    let interrupt = Interrupt::watch(&supervisor)?;
    let options = Options {
        backend,
        families,
        ..Options::default()
    };
    let lab = match (Lab::up_in(supervisor, file, options), interrupt.exit_code()) {
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

/// The same lab is nothing to do; a change of a running lab is for a person to want.
fn is_up_already(name: &str, ruled: &Ruled, running: &State) -> Outcome {
    let mut differences = ruled.file.save().differences(&running.lab);
    if ruled.families != running.families {
        differences.push("its flows go over other families (--family, --dual-stack)".to_owned());
    }
    let taken = running.machine.backend.backend;
    if let BackendChoice::Fixed(backend) = ruled.backend
        && Holder::from(backend) != taken
    {
        differences.push(format!(
            "its backend is {backend}; the one that runs, {}",
            taken.as_backend()
        ));
    }
    if differences.is_empty() {
        say(&format!(
            "{name} is up already, with the same file and rules: nothing to do\n"
        ))?;
        return Ok(ExitCode::SUCCESS);
    }
    let failure = Failure::new(
        Class::State,
        format!("lab `{name}` is up already, and differs"),
    );
    let failure = differences.into_iter().fold(failure, Failure::cause);
    Err(failure.hint(format!(
        "take it down first: hoplab down {name}; or give this one another name with --name"
    )))
}
