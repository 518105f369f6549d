//! The handle of a lab: from a lab file to a running lab, flow by flow, and down again.

mod change;
mod held;
mod order;
mod script;

use std::collections::BTreeMap;

use self::{held::Held, order::order};
use crate::{
    evidence::{Down, Evidence, Machine, SCHEMA, Taken, Up, Window},
    failure::{Class, Failure},
    judge::{self, Judgement},
    lab_file::{Families, LabFile},
    netfilter::BackendChoice,
    plan::{self, Plan},
    rules::{CounterSnapshot, Family},
    sandbox::{
        Supervisor, Visitor,
        protocol::{Message, Request},
    },
    topology::Flow,
    traced::Tracing,
};

/// How a lab is brought up.
#[derive(Debug, Clone)]
pub struct Options {
    /// Which iptables.
    pub backend: BackendChoice,
    /// Families the flows run over. IPv6 also sets the IPv6 rules of every sidecar pod.
    pub families: Families,
    /// Milliseconds a flow may take until the logs show it closed.
    pub deadline_ms: u64,
    /// Which packets are traced rule by rule.
    pub tracing: Tracing,
    /// Bytes that each socket which listens to trace, log or conntrack in a pod may hold of what nobody has read yet; none:
    /// what a lab usually takes (64 MiB of trace, 16 MiB of conntrack). What the kernel has no room for is lost, counted
    /// in [`Window::lost`], and makes the run Unproven.
    pub event_room: Option<usize>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            backend: BackendChoice::Auto,
            families: Families::One(Family::V4),
            deadline_ms: 5_000,
            tracing: Tracing::default(),
            event_room: None,
        }
    }
}

/// A running lab. Dropping it kills it, and the kernel removes everything; unless another command started it, whose lab
/// stays up.
#[derive(Debug)]
pub struct Lab {
    file: LabFile,
    options: Options,
    supervisor: Held,
    machine: Machine,
    up: Up,
    sent: u64,
    /// What was observed of the flows sent so far.
    windows: Vec<Window>,
    /// Steps taken so far.
    steps: Vec<Taken>,
}

impl Lab {
    /// Brings up the lab of a file, or one that travels in the binary, with default options.
    ///
    /// # Errors
    /// As [`LabFile::open`] and [`Lab::up`].
    pub fn from_file(name: &str) -> Result<Self, Failure> {
        Self::up(LabFile::open(name)?, Options::default())
    }

    /// Brings up a lab.
    ///
    /// # Errors
    /// Rules that don't parse or apply, a machine that can't, a process that does not come up. Nothing is left then.
    pub fn up(file: LabFile, options: Options) -> Result<Self, Failure> {
        let supervisor = Supervisor::start()?;
        Self::up_in(supervisor, file, options)
    }

    /// Brings up a lab in a supervisor that was started already, so that the caller can interrupt it.
    ///
    /// # Errors
    /// As [`Lab::up`].
    pub fn up_in(
        mut supervisor: Supervisor,
        file: LabFile,
        options: Options,
    ) -> Result<Self, Failure> {
        let plan = plan_of(&file, &options)?;
        supervisor.send(&Request::Up(Box::new(plan)))?;
        Self::begin(Held::Own(supervisor), file, options)
    }

    /// Joins a lab that another command started and let go. It starts from now: [`Self::came_up`] says which rules and
    /// counters the kernel holds at this moment, and what went on before is in no window.
    ///
    /// # Errors
    /// The lab goes down meanwhile, or its rules can't be read.
    pub(crate) fn join(
        mut visitor: Visitor,
        file: LabFile,
        options: Options,
    ) -> Result<Self, Failure> {
        visitor.send(&Request::Attach)?;
        Self::begin(Held::Visited(visitor), file, options)
    }

    fn begin(mut supervisor: Held, file: LabFile, options: Options) -> Result<Self, Failure> {
        match supervisor.receive()? {
            Message::Up(up) => Ok(Self {
                file,
                options,
                supervisor,
                machine: up.0,
                up: up.1,
                sent: 0,
                windows: Vec::new(),
                steps: Vec::new(),
            }),
            other => Err(unexpected(other)),
        }
    }

    /// What the lab file says.
    pub fn file(&self) -> &LabFile {
        &self.file
    }

    /// Families that flows go over.
    pub fn families(&self) -> Families {
        self.options.families
    }

    /// The machine it runs on.
    pub fn machine(&self) -> &Machine {
        &self.machine
    }

    /// What came up.
    pub fn came_up(&self) -> &Up {
        &self.up
    }

    /// Milliseconds a flow may take from now on until the logs show it closed.
    pub fn set_deadline_ms(&mut self, deadline_ms: u64) {
        self.options.deadline_ms = deadline_ms;
    }

    /// Process id of the supervisor as seen from outside.
    pub fn pid(&self) -> i32 {
        match &self.supervisor {
            Held::Own(supervisor) => supervisor.pid(),
            Held::Visited(visitor) => visitor.pid(),
        }
    }

    /// Sends a flow of the lab file, over IPv4 where the lab's flows go over both families, and returns what was
    /// observed.
    ///
    /// # Errors
    /// As [`Self::drive_over`].
    pub fn drive(&mut self, flow: &str) -> Result<Window, Failure> {
        self.drive_over(flow, self.options.families.first())
    }

    /// Sends a flow of the lab file over a family and returns what was observed.
    ///
    /// # Errors
    /// No such flow, a family that this lab has no rules for, or something of the lab broke.
    pub fn drive_over(&mut self, flow: &str, family: Family) -> Result<Window, Failure> {
        let flow = self.file.topology.flow(flow).cloned().ok_or_else(|| {
            Failure::new(
                Class::Input,
                format!("lab `{}` has no flow `{flow}`", self.file.topology.name),
            )
        })?;
        self.drive_flow(&flow, family)
    }

    /// Sends any flow over a family and returns what was observed.
    ///
    /// # Errors
    /// A family that this lab has no rules for, or something of the lab broke.
    pub fn drive_flow(&mut self, flow: &Flow, family: Family) -> Result<Window, Failure> {
        if !self.options.families.has(family) {
            let what = format!("the flows of this lab do not go over {family}");
            return Err(Failure::new(Class::Input, what));
        }
        self.sent += 1;
        let order = order(&self.file.topology, flow, family, &self.options, self.sent);
        self.supervisor.send(&Request::Drive(Box::new(order)))?;
        match self.supervisor.receive()? {
            Message::Window(window) => {
                self.windows.push((*window).clone());
                Ok(*window)
            }
            other => Err(unexpected(other)),
        }
    }

    /// Sends a flow of the lab file and judges everything that was sent so far, this flow last.
    ///
    /// # Errors
    /// As [`Self::drive`].
    pub fn check(&mut self, flow: &str) -> Result<Judgement, Failure> {
        self.drive(flow)?;
        let evidence = self.observed()?;
        judge::judge(&self.file, &evidence)
    }

    /// Reads every counter, and returns the evidence of everything that was sent so far.
    ///
    /// # Errors
    /// iptables failed.
    pub fn observed(&mut self) -> Result<Evidence, Failure> {
        let totals = self.totals()?;
        Ok(Evidence {
            totals,
            ..self.observed_so_far()
        })
    }

    /// The evidence of everything that was sent so far, without counters of now.
    pub fn observed_so_far(&self) -> Evidence {
        Evidence {
            schema: SCHEMA,
            lab: self.file.topology.name.clone(),
            rules_from: self.file.rules_from.clone(),
            machine: self.machine.clone(),
            up: self.up.clone(),
            windows: self.windows.clone(),
            steps: self.steps.clone(),
            totals: BTreeMap::new(),
            cut: None,
        }
    }

    /// Reads the counters of every sidecar pod, by pod, one snapshot per family.
    ///
    /// # Errors
    /// iptables failed.
    pub fn totals(&mut self) -> Result<BTreeMap<String, Vec<CounterSnapshot>>, Failure> {
        self.supervisor.send(&Request::Totals)?;
        match self.supervisor.receive()? {
            Message::Totals(totals) => Ok(totals),
            other => Err(unexpected(other)),
        }
    }

    /// Takes the lab down in order and says what was there.
    ///
    /// # Errors
    /// The supervisor is gone already.
    pub fn down(mut self) -> Result<Down, Failure> {
        self.supervisor.send(&Request::Down)?;
        let message = self.supervisor.receive()?;
        match self.supervisor {
            Held::Own(supervisor) => {
                supervisor.wait();
            }
            // It closes the socket as it ends.
            Held::Visited(mut visitor) => while visitor.receive().is_ok() {},
        }
        match message {
            Message::Down(down) => Ok(down),
            other => Err(unexpected(other)),
        }
    }

    /// Lets the lab live on after this process; `kill PID` takes it down. Later commands can come to it if it was
    /// started with a socket for them.
    ///
    /// # Errors
    /// The supervisor is gone already.
    pub fn keep(self) -> Result<(), Failure> {
        if let Held::Own(mut supervisor) = self.supervisor {
            supervisor.send(&Request::LetGo)?;
            match supervisor.receive()? {
                Message::Kept => supervisor.let_go(),
                other => return Err(unexpected(other)),
            }
        }
        Ok(())
    }
}

/// What the supervisor gets of a lab file.
///
/// # Errors
/// Rules that don't parse, or that do not go with the backend.
pub(crate) fn plan_of(file: &LabFile, options: &Options) -> Result<Plan, Failure> {
    file.allows(options.backend)?;
    let texts = file.texts_to_apply(options.families)?;
    let own = file.pod_rules(options.families)?;
    let plan = plan::plan(
        &file.topology,
        &file.interception,
        texts,
        &own,
        options.backend,
        options.tracing,
    );
    Ok(Plan {
        event_room: options.event_room,
        ..plan
    })
}

fn unexpected(message: Message) -> Failure {
    match message {
        Message::Failed(failure) => failure,
        other => Failure::new(
            Class::State,
            format!("the supervisor answered something else: {other:?}"),
        ),
    }
}
