//! Which rules a run applies: the lab's own, those of an Istio configuration, or those of a file; and what goes with
//! them.

use std::path::Path;

use super::{Args, Judged};
use crate::{
    Expect, Families, GivenRules, LabFile,
    cli::{
        self,
        istio::{host, injected},
    },
    failure::{Class, Failure},
    istio::{Config, Settings, Warning},
    netfilter::{Backend, BackendChoice},
    rules::{Family, OwnerNames},
};

/// A lab with the rules it is to run under.
pub(super) struct Ruled {
    pub file: LabFile,
    pub families: Families,
    pub backend: BackendChoice,
}

/// The flag that is about the lab as much as about the rules.
const DUAL_STACK: &str = "dual-stack";

pub(super) fn choose(args: &Args, lab: LabFile) -> Result<Ruled, Failure> {
    let about_istio = about_istio(args);
    match (&args.rules, about_istio) {
        (Some(_), Some(what)) => Err(Failure::new(
            Class::Input,
            format!("--rules does not go with {what}"),
        )
        .cause("a file of rules is applied as it is, and no configuration changes it")
        .hint("leave one of them out; `hoplab rules render` writes the rules of a configuration to a file")),
        (None, Some(_)) if args.ambient => ambient(args, lab),
        (None, Some(_)) => configured(args, lab),
        (rules, None) => {
            let families = families(args, dual_stack(args)?)?;
            let file = match rules {
                Some(path) => with_file(args, lab, path, families.first())?,
                None => lab.expecting(expect(args, Expect::File)),
            };
            Ok(Ruled {
                file,
                families,
                backend: args.backend,
            })
        }
    }
}

/// The first thing on the command line that asks for an Istio configuration.
fn about_istio(args: &Args) -> Option<String> {
    let release = args.istio.map(|_| "--istio".to_owned());
    let ambient = args.ambient.then(|| "--ambient".to_owned());
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
    release.or(ambient).or_else(pod).or_else(flag)
}

fn configured(args: &Args, lab: LabFile) -> Result<Ruled, Failure> {
    let mut warnings = Vec::new();
    let settings = injected(&args.pod, &args.flags, &mut warnings)?;
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

fn ambient(args: &Args, lab: LabFile) -> Result<Ruled, Failure> {
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

fn with_file(args: &Args, lab: LabFile, path: &Path, family: Family) -> Result<LabFile, Failure> {
    let origin = path.display().to_string();
    let text = std::fs::read_to_string(path).map_err(|e| {
        Failure::new(Class::Input, format!("could not read {origin}")).cause(e.to_string())
    })?;
    let given = GivenRules::read(&text, &origin, family)?;
    // Paths of a lab file name chains of iptables, which rules of nft's own do not have.
    let usual = match given.is_nft() {
        true => Expect::Rules,
        false => Expect::File,
    };
    let file = lab.with_rules(given, expect(args, usual));
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

fn expect(args: &Args, usual: Expect) -> Expect {
    match args.expect {
        None => usual,
        Some(Judged::File) => Expect::File,
        Some(Judged::Rules) => Expect::Rules,
    }
}

/// `--dual-stack` without an Istio configuration is about the flows alone.
fn dual_stack(args: &Args) -> Result<bool, Failure> {
    let mut settings = Settings::default();
    let given = args
        .flags
        .pairs()
        .filter(|(flag, _)| flag.name == DUAL_STACK);
    settings.take_flags(given)?;
    Ok(settings.dual_stack)
}

fn families(args: &Args, dual_stack: bool) -> Result<Families, Failure> {
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
fn backend(args: &Args, settings: &Settings) -> BackendChoice {
    match (args.backend, settings.force_iptables_binary.as_str()) {
        (BackendChoice::Auto, "legacy") => BackendChoice::Fixed(Backend::Legacy),
        (BackendChoice::Auto, "nft") => BackendChoice::Fixed(Backend::Nft),
        (given, _) => given,
    }
}
