//! Which rules a run applies: the lab's own, those of an Istio configuration, or those of a file; and what goes with
//! them.

use std::{fs, path::Path};

use clap::ValueEnum;

use crate::{
    Expect, Families, LabFile, Options,
    cli::{
        self,
        istio::{IstioFlags, PodArgs, host, injected},
        source::{self, Given, Source},
    },
    diagnostic::did_you_mean,
    failure::{Class, Failure},
    istio::{Config, Configuration, Release, Settings, Warning},
    netfilter::{Backend, BackendChoice},
    rules::{Family, OwnerNames},
};

// The flags that say which rules the pods get, and what goes with them. (A doc comment would be the verb's help.)
#[derive(clap::Args)]
pub(in crate::cli) struct RuleArgs {
    /// Which iptables to run: nft, legacy or auto; rules of nft's own are applied by nft
    #[arg(long, default_value = "auto")]
    backend: BackendChoice,
    /// Family the flows run over [default: ipv4]; ipv6 sets the IPv6 rules of every sidecar pod too, and with
    /// --dual-stack each flow runs over both
    #[arg(long, value_parser = crate::cli::family)]
    family: Option<Family>,
    #[arg(long, value_name = "SOURCE", help = APPLY, long_help = format!("{APPLY}. {}", source::HELP))]
    rules: Option<Source>,
    /// Apply the rules of this Istio release, 1.12 to 1.32; flags, a pod or annotations alone mean the newest one
    #[arg(long, value_name = "RELEASE")]
    istio: Option<Release>,
    /// Apply the rules that Istio writes for a configuration of a list: its file and its name there, to which flags add
    #[arg(long, value_name = "FILE:NAME", conflicts_with_all = ["rules", "ambient"])]
    configuration: Option<String>,
    /// Apply the rules of ambient mode, with ztunnel in place of the sidecars
    #[arg(long)]
    ambient: bool,
    /// What flows are judged by: the lab file's paths, or what the applied rules are to do [default: the file's, but
    /// with an Istio configuration, a profile or rules of nft what the rules are to do]
    #[arg(long, value_name = "WHAT")]
    expect: Option<Judged>,
    #[command(flatten)]
    pod: PodArgs,
    #[command(flatten)]
    flags: IstioFlags<false>,
}

/// What `--rules` does, before what a source is.
const APPLY: &str = "Apply these rules in the sidecar pods, in place of the lab's own: a file, `-`, pid:N, \
git:REV:PATH or profile:NAME, which brings its proxy along (--help says more)";

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Judged {
    /// Answers and paths of the lab file
    File,
    /// What the model reads from the rules that were meant to be applied
    Rules,
}

/// A lab with the rules it is to run under.
pub(in crate::cli) struct Ruled {
    pub file: LabFile,
    pub families: Families,
    pub backend: BackendChoice,
}

impl Ruled {
    /// How it is brought up.
    pub(in crate::cli) fn options(&self) -> Options {
        Options {
            backend: self.backend,
            families: self.families,
            ..Options::default()
        }
    }
}

/// The flag that is about the lab as much as about the rules.
const DUAL_STACK: &str = "dual-stack";

impl RuleArgs {
    /// Whether they ask for anything but a family.
    pub(in crate::cli) fn are_given(&self) -> bool {
        let flags = self.backend != BackendChoice::Auto || self.flags.pairs().next().is_some();
        flags
            || self.rules.is_some()
            || self.istio.is_some()
            || self.expect.is_some()
            || self.pod.are_given()
    }

    /// Whether nothing is to be brought up.
    pub(in crate::cli) fn is_dry_run(&self) -> bool {
        self.flags.is_dry_run()
    }

    /// Whether they ask for other rules than the lab's own.
    pub(in crate::cli) fn are_given_rules(&self) -> bool {
        self.rules.is_some()
    }

    /// The first flag that asks for a configuration of Istio.
    pub(in crate::cli) fn about_istio(&self) -> Option<String> {
        about_istio(self)
    }

    /// The backend that was asked for.
    pub(in crate::cli) fn backend(&self) -> BackendChoice {
        self.backend
    }

    /// The family that was asked for.
    pub(in crate::cli) fn family(&self) -> Option<Family> {
        self.family
    }

    /// The lab with the rules these flags ask for.
    ///
    /// # Errors
    /// Flags that do not go together, an unreadable file, a configuration that Istio refuses.
    pub(in crate::cli) fn choose(&self, lab: LabFile) -> Result<Ruled, Failure> {
        let about_istio = about_istio(self);
        match (&self.rules, about_istio) {
            (Some(_), Some(what)) => Err(Failure::new(
                Class::Input,
                format!("--rules does not go with {what}"),
            )
            .cause("given rules are applied as they are, and no configuration changes them")
            .hint("leave one of them out; `hoplab rules render` writes the rules of a configuration to a file")),
            (None, Some(_)) if self.ambient => ambient(self, lab),
            (None, Some(_)) => configured(self, lab),
            (rules, None) => {
                let families = families(self, dual_stack(self)?)?;
                let file = match rules {
                    Some(source) => with_source(self, lab, source, families.first())?,
                    None => lab.expecting(expect(self, Expect::File)),
                };
                Ok(Ruled {
                    file,
                    families,
                    backend: self.backend,
                })
            }
        }
    }
}

/// The first thing on the command line that asks for an Istio configuration.
fn about_istio(args: &RuleArgs) -> Option<String> {
    let release = args.istio.map(|_| "--istio".to_owned());
    let ambient = args.ambient.then(|| "--ambient".to_owned());
    let listed = || {
        args.configuration
            .as_ref()
            .map(|_| "--configuration".to_owned())
    };
    let pod = || {
        args.pod
            .are_given()
            .then(|| "a pod or its annotations".to_owned())
    };
    let mut flags = args.flags.pairs().map(|(flag, _)| flag.name);
    let flag = || {
        flags
            .find(|name| *name != DUAL_STACK)
            .map(|name| format!("--{name}"))
    };
    release
        .or(ambient)
        .or_else(listed)
        .or_else(pod)
        .or_else(flag)
}

fn configured(args: &RuleArgs, lab: LabFile) -> Result<Ruled, Failure> {
    let mut warnings = Vec::new();
    let settings = match &args.configuration {
        Some(listed) => Some(listed_settings(args, listed, &mut warnings)?),
        None => injected(&args.pod, &args.flags, &mut warnings)?,
    };
    let Some(settings) = settings else {
        let why = warnings.pop().as_ref().map(Warning::to_string);
        return Err(Failure::new(Class::Input, "there are no rules to apply")
            .cause(why.unwrap_or_default())
            .hint("a lab of sidecars needs a pod that is captured"));
    };
    let release = args.istio.unwrap_or_default();
    if settings.native_nftables && !release.has_sidecar_nftables() {
        let what = format!("Istio {release} writes no nft rules");
        return Err(Failure::new(Class::Input, what).hint("ask for 1.27 or newer"));
    }
    let families = families(args, settings.dual_stack)?;
    let mut host = lab.host(families);
    host.envoy_user_uid = host::envoy_user_uid(&settings);
    let config = Config::new(&settings, &host, &mut warnings)?;
    warnings.extend(config.unknown_to(release));
    for warning in warnings {
        anstream::eprintln!("warning: {warning}");
    }
    let file = lab.configured(&settings, &config, release);
    file.allows(args.backend)?;
    say_names(&file.names());
    let backend = match file.is_native_nft() {
        true => args.backend,
        false => backend(args, &settings),
    };
    Ok(Ruled {
        file: file.expecting(expect(args, Expect::Rules)),
        families,
        backend,
    })
}

/// Settings of a configuration of a list; no pod is injected then.
fn listed_settings(
    args: &RuleArgs,
    listed: &str,
    warnings: &mut Vec<Warning>,
) -> Result<Settings, Failure> {
    let refused = |what: String, hint: &str| Err(Failure::new(Class::Input, what).hint(hint));
    if args.pod.are_given() {
        let what = "--configuration does not go with a pod or its annotations".to_owned();
        return refused(what, "a configuration of a list is whole; flags add to it");
    }
    let Some((list, name)) = listed.rsplit_once(':') else {
        let what = format!("`{listed}` is no configuration of a list");
        return refused(what, "name the file and the configuration: FILE:NAME");
    };
    let all = configurations(Path::new(list))?;
    let Some(found) = all.iter().find(|it| it.name == name) else {
        let names: Vec<&str> = all.iter().map(|it| it.name.as_str()).collect();
        let near = did_you_mean(name, names.iter().copied());
        let hint = near.unwrap_or_else(|| format!("it has: {}", names.join(", ")));
        return refused(format!("{list} has no configuration `{name}`"), &hint);
    };
    Ok(found.settings(args.flags.pairs(), warnings)?)
}

/// The configurations of a list.
///
/// # Errors
/// It can't be read, or a line of it is wrong.
pub(in crate::cli) fn configurations(path: &Path) -> Result<Vec<Configuration>, Failure> {
    let origin = path.display().to_string();
    let text = fs::read_to_string(path).map_err(|error| {
        Failure::new(Class::Input, format!("could not read {origin}")).cause(error.to_string())
    })?;
    let list = Configuration::list(&text, &origin);
    list.map_err(|complaint| Failure::new(Class::Input, complaint.to_string()))
}

fn ambient(args: &RuleArgs, lab: LabFile) -> Result<Ruled, Failure> {
    let mut warnings = Vec::new();
    let release = args.istio.unwrap_or_default();
    let ipv6 = |settings: &Settings| Ok(families(args, settings.dual_stack)?.has(Family::V6));
    let (config, settings) =
        cli::istio::ambient(release, &args.pod, &args.flags, ipv6, &mut warnings)?;
    for warning in warnings {
        anstream::eprintln!("warning: {warning}");
    }
    let file = lab.ambient(&config, settings.native_nftables, release);
    file.allows(args.backend)?;
    Ok(Ruled {
        families: families(args, settings.dual_stack)?,
        file: file.expecting(expect(args, Expect::Rules)),
        backend: args.backend,
    })
}

fn with_source(
    args: &RuleArgs,
    lab: LabFile,
    source: &Source,
    family: Family,
) -> Result<LabFile, Failure> {
    let file = match source::given(source, family)? {
        // Paths of a lab file name chains of iptables, which rules of nft's own do not have.
        Given::Rules(rules) if rules.is_nft() => lab.with_rules(rules, expect(args, Expect::Rules)),
        Given::Rules(rules) => lab.with_rules(rules, expect(args, Expect::File)),
        Given::Profile(profile) => lab.with_profile(&profile, expect(args, Expect::Rules))?,
    };
    file.allows(args.backend)?;
    say_names(&file.names());
    Ok(file)
}

/// Flows are sent as numbers, and what a name is differs from machine to machine: the lab's own must be known.
fn say_names(names: &OwnerNames) {
    for (what, names) in [("user", &names.users), ("group", &names.groups)] {
        for (name, id) in names {
            anstream::eprintln!("note: in the pods the {what} `{name}` is {id}");
        }
    }
}

fn expect(args: &RuleArgs, usual: Expect) -> Expect {
    match args.expect {
        None => usual,
        Some(Judged::File) => Expect::File,
        Some(Judged::Rules) => Expect::Rules,
    }
}

/// `--dual-stack` without an Istio configuration is about the flows alone.
fn dual_stack(args: &RuleArgs) -> Result<bool, Failure> {
    let mut settings = Settings::default();
    let given = args
        .flags
        .pairs()
        .filter(|(flag, _)| flag.name == DUAL_STACK);
    settings.take_flags(given)?;
    Ok(settings.dual_stack)
}

fn families(args: &RuleArgs, dual_stack: bool) -> Result<Families, Failure> {
    match (args.family, dual_stack) {
        (Some(_), true) => Err(
            Failure::new(Class::Input, "--family does not go with dual stack")
                .cause("with dual stack each flow runs over both families")
                .hint("leave --family out"),
        ),
        (None, true) => Ok(Families::Dual),
        (family, false) => Ok(family.unwrap_or(Family::V4).into()),
    }
}

/// Istio's own flag counts where the lab's does not say.
fn backend(args: &RuleArgs, settings: &Settings) -> BackendChoice {
    match (args.backend, settings.force_iptables_binary.as_str()) {
        (BackendChoice::Auto, "legacy") => BackendChoice::Fixed(Backend::Legacy),
        (BackendChoice::Auto, "nft") => BackendChoice::Fixed(Backend::Nft),
        (given, _) => given,
    }
}
