//! The handle of a lab: from a lab file to a running lab, flow by flow, and down again.

use std::{
    collections::BTreeMap,
    fs,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    path::{Path, PathBuf},
};

use crate::{
    builtin,
    diagnostic::Diagnostic,
    evidence::{Machine, SCHEMA, Up, Window},
    failure::{Class, Failure},
    netfilter::BackendChoice,
    plan::{self, RuleTexts},
    rules::{self, CounterSnapshot, Family, RuleSet},
    sandbox::{
        Supervisor,
        protocol::{Down, Message, Order, Request},
    },
    topology::{Flow, RuleSource, Target, Topology},
};

/// How a lab is brought up.
#[derive(Debug, Clone)]
pub struct Options {
    /// Which iptables.
    pub backend: BackendChoice,
    /// Family the flows run over. IPv6 also sets the IPv6 rules of every sidecar pod.
    pub family: Family,
    /// Apply this restore text in place of the lab's own rules, for [`Self::family`]. Expectations still name the
    /// lab's own.
    pub rules: Option<RuleText>,
    /// Milliseconds a flow may take until the logs show it closed.
    pub deadline_ms: u64,
}

/// A restore text and where it comes from.
#[derive(Debug, Clone)]
pub struct RuleText {
    /// File name, for complaints.
    pub origin: String,
    /// The text.
    pub text: String,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            backend: BackendChoice::Auto,
            family: Family::V4,
            rules: None,
            deadline_ms: 5_000,
        }
    }
}

/// A lab file with its rules, not running yet.
#[derive(Debug, Clone)]
pub struct LabFile {
    /// What the file describes.
    pub topology: Topology,
    /// The lab's own rules, per family.
    texts: BTreeMap<Family, RuleText>,
}

impl LabFile {
    /// Reads a lab by name (one that travels in the binary) or by path (it has a `/` or ends in `.toml`).
    ///
    /// # Errors
    /// No such lab, an unreadable file, or a complaint with its place in the file.
    pub fn open(name: &str) -> Result<Self, Failure> {
        if name.contains('/') || name.ends_with(".toml") {
            let text = read(Path::new(name))?;
            return Self::parse(&text, name);
        }
        let text = builtin::lab_text(name).ok_or_else(|| {
            Failure::new(Class::Input, format!("there is no lab `{name}`")).hint(format!(
                "labs that hoplab carries: {}; a file of your own is named by its path, such as ./{name}.toml",
                builtin::LABS.join(", ")
            ))
        })?;
        Self::parse(text, &format!("{name}.toml"))
    }

    /// Reads a lab from text; `origin` is its path, for complaints and for rule files beside it.
    ///
    /// # Errors
    /// A complaint with its place, or an unreadable rules file.
    pub fn parse(text: &str, origin: &str) -> Result<Self, Failure> {
        let topology = Topology::parse(text, origin).map_err(complaint)?;
        let mut texts = BTreeMap::new();
        for family in [Family::V4, Family::V6] {
            if let Some(text) = rule_text(&topology.rules, family, origin)? {
                texts.insert(family, text);
            }
        }
        Ok(Self { topology, texts })
    }

    /// The lab's own rules of a family, parsed: what expectations name.
    ///
    /// # Errors
    /// The lab has none for this family, or the file does not parse.
    pub fn reference(&self, family: Family) -> Result<RuleSet, Failure> {
        let text = self.texts.get(&family).ok_or_else(|| {
            Failure::new(
                Class::Input,
                format!("lab `{}` has no {family} rules", self.topology.name),
            )
            .hint("name them with `file_ipv6` in [rules]")
        })?;
        parse_rules(text, family)
    }

    /// Texts to apply: the lab's own or the one given, and IPv6 only when flows run over it.
    fn texts_to_apply(&self, options: &Options) -> Result<RuleTexts, Failure> {
        let mut texts = self.texts.clone();
        if let Some(given) = &options.rules {
            texts.insert(options.family, given.clone());
        }
        if options.family == Family::V4 {
            texts.remove(&Family::V6);
        }
        for (family, text) in &texts {
            parse_rules(text, *family)?;
        }
        Ok(RuleTexts {
            v4: texts
                .remove(&Family::V4)
                .map(|t| t.text)
                .unwrap_or_default(),
            v6: texts.remove(&Family::V6).map(|t| t.text),
            profile: match &self.topology.rules {
                RuleSource::Profile(name) if options.rules.is_none() => Some(name.clone()),
                _ => None,
            },
        })
    }
}

/// A running lab. Dropping it kills it; the kernel removes everything.
#[derive(Debug)]
pub struct Lab {
    file: LabFile,
    options: Options,
    supervisor: Supervisor,
    machine: Machine,
    up: Up,
    sent: u64,
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
        let texts = file.texts_to_apply(&options)?;
        let plan = plan::plan(&file.topology, texts, options.backend);
        supervisor.send(&Request::Up(Box::new(plan)))?;
        match supervisor.receive()? {
            Message::Up(up) => Ok(Self {
                file,
                options,
                supervisor,
                machine: up.0,
                up: up.1,
                sent: 0,
            }),
            other => Err(unexpected(other)),
        }
    }

    /// What the lab file says.
    pub fn file(&self) -> &LabFile {
        &self.file
    }

    /// The machine it runs on.
    pub fn machine(&self) -> &Machine {
        &self.machine
    }

    /// What came up.
    pub fn came_up(&self) -> &Up {
        &self.up
    }

    /// Process id of the supervisor as seen from outside.
    pub fn pid(&self) -> i32 {
        self.supervisor.pid()
    }

    /// Sends a flow of the lab file and returns what was observed.
    ///
    /// # Errors
    /// No such flow, or something of the lab broke.
    pub fn drive(&mut self, flow: &str) -> Result<Window, Failure> {
        let flow = self.file.topology.flow(flow).cloned().ok_or_else(|| {
            Failure::new(
                Class::Input,
                format!("lab `{}` has no flow `{flow}`", self.file.topology.name),
            )
        })?;
        self.drive_flow(&flow)
    }

    /// Sends any flow and returns what was observed.
    ///
    /// # Errors
    /// Something of the lab broke.
    pub fn drive_flow(&mut self, flow: &Flow) -> Result<Window, Failure> {
        self.sent += 1;
        let order = order(&self.file.topology, flow, &self.options, self.sent);
        self.supervisor.send(&Request::Drive(order))?;
        match self.supervisor.receive()? {
            Message::Window(window) => Ok(*window),
            other => Err(unexpected(other)),
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
        self.supervisor.wait();
        match message {
            Message::Down(down) => Ok(down),
            other => Err(unexpected(other)),
        }
    }

    /// Lets the lab live on after this process; `kill PID` takes it down.
    ///
    /// # Errors
    /// The supervisor is gone already.
    pub fn keep(mut self) -> Result<(), Failure> {
        self.supervisor.send(&Request::LetGo)?;
        self.supervisor.let_go();
        Ok(())
    }

    /// Evidence of a run of this lab.
    pub fn evidence(
        &self,
        windows: Vec<Window>,
        totals: BTreeMap<String, Vec<CounterSnapshot>>,
    ) -> crate::evidence::Evidence {
        crate::evidence::Evidence {
            schema: SCHEMA,
            lab: self.file.topology.name.clone(),
            machine: self.machine.clone(),
            up: self.up.clone(),
            windows,
            totals,
        }
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

fn order(topology: &Topology, flow: &Flow, options: &Options, number: u64) -> Order {
    let family = options.family;
    let (ip, host): (IpAddr, &str) = match &flow.to {
        Target::Pod { pod, .. } => (
            topology
                .pod(pod)
                .map_or(family_localhost(family), |p| p.addr.of(family)),
            pod,
        ),
        Target::Service { service, .. } => (
            topology
                .service(service)
                .map_or(family_localhost(family), |s| s.vip.of(family)),
            service,
        ),
        Target::Localhost { .. } => (family_localhost(family), "localhost"),
    };
    Order {
        flow: flow.name.clone(),
        family,
        pod: flow.from.pod.clone(),
        sender: flow.from.sender,
        to: SocketAddr::new(ip, flow.to.port()),
        host: host.to_string(),
        path: flow.path.clone(),
        request_id: format!("{}-{number}", flow.name),
        watch: flow.nat.keys().cloned().collect(),
        deadline_ms: options.deadline_ms,
    }
}

fn family_localhost(family: Family) -> IpAddr {
    match family {
        Family::V4 => Ipv4Addr::LOCALHOST.into(),
        Family::V6 => Ipv6Addr::LOCALHOST.into(),
    }
}

fn complaint(diagnostic: Diagnostic) -> Failure {
    Failure::new(Class::Input, diagnostic.to_string())
}

fn parse_rules(text: &RuleText, family: Family) -> Result<RuleSet, Failure> {
    rules::parse(&text.text, family, &text.origin)
        .map_err(|e| Failure::new(Class::Input, e.to_string()))
}

fn rule_text(source: &RuleSource, family: Family, lab: &str) -> Result<Option<RuleText>, Failure> {
    match source {
        RuleSource::Profile(name) => Ok(builtin::rule_text(name, family).map(|text| RuleText {
            origin: format!("profile {name} ({family})"),
            text: text.to_string(),
        })),
        RuleSource::Files { v4, v6 } => {
            let file = match family {
                Family::V4 => Some(v4),
                Family::V6 => v6.as_ref(),
            };
            let Some(file) = file else { return Ok(None) };
            let path: PathBuf = Path::new(lab).parent().unwrap_or(Path::new("")).join(file);
            Ok(Some(RuleText {
                origin: path.display().to_string(),
                text: read(&path)?,
            }))
        }
    }
}

fn read(path: &Path) -> Result<String, Failure> {
    fs::read_to_string(path).map_err(|error| {
        Failure::new(Class::Input, format!("could not read {}", path.display()))
            .cause(error.to_string())
    })
}
