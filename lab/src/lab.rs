//! The handle of a lab: from a lab file to a running lab, flow by flow, and down again.

mod held;
mod order;

use std::collections::BTreeMap;

use self::{held::Held, order::order};
use crate::{
    evidence::{Down, Evidence, Machine, SCHEMA, Taken, Up, Window},
    failure::{Class, Failure},
    judge::{self, Judgement},
    lab_file::{Families, LabFile},
    netfilter::BackendChoice,
    plan,
    rules::{CounterSnapshot, Edit, Family, RuleSet, TableRules, to_restore},
    sandbox::{
        Supervisor, Visitor,
        protocol::{Message, Request, StepOrder, StepWhat},
    },
    topology::{Action, Entry, Flow},
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
        file.allows(options.backend)?;
        let texts = file.texts_to_apply(options.families)?;
        let mut plan = plan::plan(
            &file.topology,
            &file.interception,
            texts,
            options.backend,
            options.tracing,
        );
        plan.event_room = options.event_room;
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

    /// Plays the lab file: its flows, over each family, with its steps among them, in the order of the file.
    ///
    /// # Errors
    /// As [`Self::drive_over`] and [`Self::step`].
    pub fn play(&mut self) -> Result<(), Failure> {
        self.file.goes_over(self.options.families)?;
        for family in self.options.families.iter() {
            for entry in self.file.topology.script.clone() {
                match entry {
                    Entry::Flow(at) => {
                        let flow = self.file.topology.flows[at].clone();
                        self.drive_flow(&flow, family)?;
                    }
                    Entry::Step(at) => {
                        self.step(at)?;
                    }
                }
            }
        }
        Ok(())
    }

    /// Takes a step of the lab file, by its place there. Steps are taken in their order.
    ///
    /// # Errors
    /// It is not the next one, its rules can't be had, or something of the lab broke.
    pub fn step(&mut self, at: usize) -> Result<&Taken, Failure> {
        if at != self.steps.len() {
            return Err(Failure::new(
                Class::Input,
                "steps are taken in the order of the file",
            ));
        }
        let step = self.file.topology.steps[at].clone();
        let what = self.step_what(at, &step.action)?;
        let totals = self.totals()?;
        let order = StepOrder {
            step: step.name.clone(),
            what,
        };
        self.supervisor.send(&Request::Step(Box::new(order)))?;
        let stepped = match self.supervisor.receive()? {
            Message::Stepped(stepped) => *stepped,
            other => return Err(unexpected(other)),
        };
        self.steps.push(Taken {
            step: step.name,
            after_flows: self.windows.len(),
            said: stepped.said,
            totals,
            pods: stepped.up.pods,
        });
        Ok(&self.steps[at])
    }

    /// A step with the texts it needs.
    fn step_what(&self, at: usize, action: &Action) -> Result<StepWhat, Failure> {
        Ok(match action.clone() {
            Action::Edit(edits) => StepWhat::Restore {
                texts: self.texts(|family| Ok(Edit::restore_text(&edits, family)))?,
                flush: false,
            },
            Action::Apply { .. } => {
                let (before, after) = (self.file.after(at)?, self.file.after(at + 1)?);
                let text = |family| {
                    let (old, new) = (before.meant_in_pods(family)?, after.meant_in_pods(family)?);
                    let tables = old.iter().flat_map(|it| it.tables.keys());
                    let mut whole = new.unwrap_or_else(|| RuleSet::empty(family));
                    for table in tables {
                        let empty = || TableRules::empty(*table);
                        whole.tables.entry(*table).or_insert_with(empty);
                    }
                    Ok(Some(to_restore(&whole)))
                };
                StepWhat::Restore {
                    texts: self.texts(text)?,
                    flush: true,
                }
            }
            Action::Init { .. } => {
                let now = self.file.after(at)?;
                let texts = now.texts_to_apply(self.options.families)?;
                StepWhat::Restore {
                    texts: self.texts(|family| Ok(texts.written.of(family).cloned()))?,
                    flush: false,
                }
            }
            Action::Stop(process) => StepWhat::Stop(process),
            Action::Start(process) => StepWhat::Start(process),
            Action::Restart(process) => StepWhat::Restart(process),
            Action::Flush { pod } => StepWhat::Flush { pod },
            Action::Release { held } => StepWhat::Release { held },
            Action::Invalid { held } => StepWhat::Invalid { held },
        })
    }

    /// A text for each family that the pods have rules of.
    fn texts(
        &self,
        text: impl Fn(Family) -> Result<Option<String>, Failure>,
    ) -> Result<BTreeMap<Family, String>, Failure> {
        let v6 = self.options.families.has(Family::V6);
        let families = [Family::V4, Family::V6].into_iter();
        let mut texts = BTreeMap::new();
        for family in families.filter(|it| *it == Family::V4 || v6) {
            if let Some(text) = text(family)? {
                texts.insert(family, text);
            }
        }
        Ok(texts)
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

fn unexpected(message: Message) -> Failure {
    match message {
        Message::Failed(failure) => failure,
        other => Failure::new(
            Class::State,
            format!("the supervisor answered something else: {other:?}"),
        ),
    }
}
