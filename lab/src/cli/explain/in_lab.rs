//! One real connection in a running lab, or in one that is brought up for it.

use hoplab_proxies::record::Transport;

use super::{Sent, Wanted};
use crate::{
    Lab, LabFile, Options,
    cli::{interrupt::Interrupt, live::wait_for_turn, run::rules::RuleArgs},
    diagnostic::did_you_mean,
    doctor,
    failure::{Class, Failure},
    live::{Registry, RunningLab, Standing, find_in, the_only_one},
    path::{self, Path},
    rules::Family,
    sandbox::Supervisor,
    topology::{Asked, Flow, Sender, Topology},
};

/// The lab that is brought up when none runs and none is named.
const USUAL_LAB: &str = "bookinfo";

// A doc comment would be the verb's help.
#[derive(clap::Args)]
pub(super) struct LabArgs {
    /// Lab to send it in: one that is up, by its name, or a lab or lab file to bring up for it [default: the lab that is
    /// up; where there is none, or rules are given, bookinfo]
    #[arg(long, value_name = "LAB", conflicts_with = "from")]
    lab: Option<String>,
    /// Who sends: app, proxy, or UID:GID [default: what FROM says, else its app]
    #[arg(long = "as", value_name = "WHO", conflicts_with = "from")]
    sender: Option<Sender>,
    /// Path that is asked for
    #[arg(
        long,
        value_name = "PATH",
        default_value = "/",
        conflicts_with = "from"
    )]
    path: String,
    /// Look dns:NAME up over UDP, as is usual; with --pid, a datagram
    #[arg(long, conflicts_with = "from")]
    udp: bool,
    /// Look dns:NAME up over TCP
    #[arg(long, conflicts_with_all = ["udp", "from"])]
    tcp: bool,
    /// Milliseconds the connection may take
    #[arg(
        long,
        value_name = "MS",
        default_value = "3000",
        conflicts_with = "from"
    )]
    deadline: u64,
    #[command(flatten)]
    rules: RuleArgs,
}

impl LabArgs {
    /// Whether they say which rules there are to be.
    pub(super) fn are_about_rules(&self) -> bool {
        self.rules.are_given() || self.rules.family().is_some()
    }

    /// What carries a connection, where it is no lookup.
    pub(super) fn over(&self) -> Transport {
        match self.udp {
            true => Transport::Udp,
            false => Transport::Tcp,
        }
    }

    /// The family that was asked for.
    pub(super) fn family(&self) -> Option<Family> {
        self.rules.family()
    }

    fn sending(&self) -> Sending<'_> {
        Sending {
            sender: self.sender,
            path: &self.path,
            udp: self.udp,
            over: match self.tcp {
                true => Transport::Tcp,
                false => Transport::Udp,
            },
            deadline_ms: self.deadline,
            family: self.rules.family(),
        }
    }
}

/// How a connection is sent.
pub(in crate::cli) struct Sending<'a> {
    /// As whom, in place of what the flow says.
    pub sender: Option<Sender>,
    /// Path that is asked for.
    pub path: &'a str,
    /// It was asked to go over UDP.
    pub udp: bool,
    /// What carries a lookup.
    pub over: Transport,
    /// Milliseconds it may take.
    pub deadline_ms: u64,
    /// Family it goes over; none: the lab's first.
    pub family: Option<Family>,
}

impl Sending<'_> {
    fn flow(&self, topology: &Topology, wanted: &Wanted) -> Result<Flow, Failure> {
        let (from, to) = match wanted {
            Wanted::Route { from, to } => (from, to),
            Wanted::Named(name) => return named(topology, name),
        };
        if self.udp && !to.starts_with("dns:") {
            return Err(
                Failure::new(Class::Input, format!("nothing at {to} is asked over UDP"))
                    .hint("what goes over UDP in a lab is a lookup: write dns:NAME"),
            );
        }
        topology.asked(&Asked {
            from,
            to,
            sender: self.sender,
            path: self.path,
            lookup_over: self.over,
        })
    }
}

fn named(topology: &Topology, name: &str) -> Result<Flow, Failure> {
    let names = || topology.flows.iter().map(|it| it.name.as_str());
    topology.flow(name).cloned().ok_or_else(|| {
        let near = did_you_mean(name, names());
        let what = format!("lab `{}` has no flow `{name}`", topology.name);
        let flows = || names().collect::<Vec<&str>>().join(", ");
        Failure::new(Class::Input, what).hint(match std::path::Path::new(name).is_file() {
            true => format!("it is a file: a flow recorded in it is shown by --from {name} FLOW"),
            false => {
                near.unwrap_or_else(|| format!("write FROM TO, or one of its flows: {}", flows()))
            }
        })
    })
}

/// Sends it, and hands the path to `show` before a lab that was brought up for it goes down.
///
/// # Errors
/// No such pod or flow, no such lab, or a lab that breaks.
pub(super) fn path(
    args: &LabArgs,
    wanted: &Wanted,
    show: impl Fn(&Path) -> Result<(), Failure>,
) -> Result<Sent, Failure> {
    let running = match args.rules.are_given() {
        true => None,
        false => running(args)?,
    };
    let Some(running) = running else {
        return in_its_own(args, wanted, show);
    };
    let path = in_running(&running, &args.sending(), wanted)?;
    show(&path)?;
    Ok(Sent::Whole(path))
}

/// Sends it in a lab that is up, after its turn has come.
///
/// # Errors
/// No such pod or flow, or a lab that breaks.
pub(in crate::cli) fn in_running(
    running: &RunningLab,
    sending: &Sending<'_>,
    wanted: &Wanted,
) -> Result<Path, Failure> {
    let file = running.lab_file()?;
    let flow = sending.flow(&file.topology, wanted)?;
    let mut lab = running.attach_or_wait(|| wait_for_turn(running))?;
    lab.set_deadline_ms(sending.deadline_ms);
    send(&mut lab, &flow, sending.family)
}

/// The running lab that is meant, if one is.
fn running(args: &LabArgs) -> Result<Option<RunningLab>, Failure> {
    let registry = Registry::of_user()?;
    let name = match &args.lab {
        Some(name) => {
            let up = registry.names()?.contains(name)
                && matches!(registry.standing(name)?, Some(Standing::Up(_)));
            return match up {
                true => find_in(&registry, Some(name)).map(Some),
                false => Ok(None),
            };
        }
        None => the_only_one(&registry),
    };
    match name {
        Ok(name) => find_in(&registry, Some(&name)).map(Some),
        // None is up; of several, one has to be named.
        Err(failure) if failure.class == Class::State => Ok(None),
        Err(failure) => Err(failure.hint("name it with --lab")),
    }
}

fn in_its_own(
    args: &LabArgs,
    wanted: &Wanted,
    show: impl Fn(&Path) -> Result<(), Failure>,
) -> Result<Sent, Failure> {
    let lab = args.lab.as_deref().unwrap_or(USUAL_LAB);
    let ruled = args.rules.choose(LabFile::open(lab)?)?;
    let flow = args.sending().flow(&ruled.file.topology, wanted)?;
    let options = Options {
        backend: ruled.backend,
        families: ruled.families,
        deadline_ms: args.deadline,
        ..Options::default()
    };
    let explain = |failure| doctor::explain(failure, ruled.backend, ruled.families.first());
    let supervisor = Supervisor::start().map_err(|e| explain(e.into()))?;
    let interrupt = Interrupt::watch(&supervisor)?;
    let lab = Lab::up_in(supervisor, ruled.file, options).map_err(explain);
    let sent = lab.and_then(|mut lab| {
        let path = send(&mut lab, &flow, args.family())?;
        show(&path)?;
        let down = lab.down()?;
        match down.leftovers.is_empty() {
            true => Ok(path),
            false => Err(Failure::new(
                Class::State,
                format!("left over: {}", down.leftovers.join("; ")),
            )),
        }
    });
    match interrupt.exit_code() {
        Some(code) => Ok(Sent::Interrupted(code)),
        None => sent.map(Sent::Whole),
    }
}

fn send(lab: &mut Lab, flow: &Flow, family: Option<Family>) -> Result<Path, Failure> {
    let family = family.unwrap_or(lab.families().first());
    lab.drive_flow(flow, family)?;
    let evidence = lab.observed_so_far();
    let window = evidence
        .windows
        .last()
        .ok_or_else(|| Failure::new(Class::State, "the lab says nothing of the connection"))?;
    path::of_window(lab.file(), &evidence, window, flow)
}
