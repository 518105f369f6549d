//! Settings of a pod: its manifest and annotations, translated as injection does.

use std::{io::Read as _, path::PathBuf};

use clap::ValueEnum;

use super::{IstioFlags, host};
use crate::{
    diagnostic::did_you_mean,
    failure::{Class, Failure},
    istio::{
        Settings, Warning,
        annotations::{self, Pod},
    },
};

/// Which pod, and who translates what it says.
#[derive(clap::Args)]
pub(in crate::cli) struct PodArgs {
    /// An annotation of the pod, translated as injection does (repeatable)
    #[arg(long, value_name = "NAME=VALUE", value_parser = annotation)]
    annotation: Vec<(String, String)>,
    /// A manifest with a pod or a pod template, `-` for standard input
    #[arg(long, value_name = "FILE")]
    pod: Option<PathBuf>,
    /// Who translates annotations and the pod
    #[arg(long, value_name = "WHO", default_value = "init")]
    injected_by: InjectedBy,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(in crate::cli) enum InjectedBy {
    /// The init container
    Init,
    /// The CNI plugin
    Cni,
}

fn annotation(text: &str) -> Result<(String, String), String> {
    let (name, value) = text
        .split_once('=')
        .ok_or("there is no `=` between name and value")?;
    Ok((name.to_owned(), value.to_owned()))
}

impl PodArgs {
    /// True when anything was said about a pod.
    pub(in crate::cli) fn are_given(&self) -> bool {
        self.pod.is_some() || !self.annotation.is_empty() || self.injected_by != InjectedBy::Init
    }

    /// The pod of the manifest, with the annotations of the command line over its own.
    pub(in crate::cli) fn read(&self) -> Result<Pod, Failure> {
        let mut pod = match &self.pod {
            None => Pod::default(),
            Some(path) => {
                let (origin, text) = match path.as_os_str() == "-" {
                    true => ("standard input".to_owned(), from_stdin()),
                    false => (path.display().to_string(), std::fs::read_to_string(path)),
                };
                let text = text.map_err(|e| {
                    Failure::new(Class::Input, format!("could not read {origin}"))
                        .cause(e.to_string())
                })?;
                annotations::pod_from_manifest(&origin, &text)?
            }
        };
        for name in pod.unknown_annotations() {
            // Kubernetes and Istio take any annotation; a misspelled one is told nowhere else.
            let hint = did_you_mean(name, annotations::KNOWN.iter().copied());
            let hint = hint.map(|hint| format!("; {hint}")).unwrap_or_default();
            anstream::eprintln!(
                "warning: Istio knows no annotation `{name}`, it changes no rule{hint}"
            );
        }
        for (name, value) in &self.annotation {
            if !annotations::KNOWN.contains(&name.as_str()) {
                let hint = did_you_mean(name, annotations::KNOWN.iter().copied())
                    .unwrap_or_else(|| format!("those that do: {}", annotations::KNOWN.join(", ")));
                let what = format!("the annotation `{name}` changes no rule");
                return Err(Failure::new(Class::Input, what).hint(hint));
            }
            pod.annotate(name, value)?;
        }
        Ok(pod)
    }
}

/// The settings `istio-iptables` gets in an injected pod, or nothing if the pod is left alone. Flags beat what the
/// pod says.
pub(in crate::cli) fn injected<const SHORT: bool>(
    args: &PodArgs,
    flags: &IstioFlags<SHORT>,
    warnings: &mut Vec<Warning>,
) -> Result<Option<Settings>, Failure> {
    let mut environment = host::environment();
    let pod = args.read()?;
    if let Some(why) = pod.left_alone() {
        warnings.push(Warning::NotInjected(why));
        return Ok(None);
    }
    if args.injected_by == InjectedBy::Cni {
        let mut settings = annotations::cni(&pod, &environment, warnings)?;
        settings.take_flags(flags.pairs())?;
        return Ok(Some(settings));
    }
    let Some(init) = annotations::init_container(&pod)? else {
        warnings.push(Warning::NotInjected(
            "its interception mode is NONE".to_owned(),
        ));
        return Ok(None);
    };
    environment.extend(init.environment);
    let of_pod = init
        .args
        .iter()
        .map(|(flag, value)| (*flag, value.as_str()));
    Ok(Some(Settings::resolve(
        &environment,
        of_pod.chain(flags.pairs()),
        warnings,
    )?))
}

fn from_stdin() -> std::io::Result<String> {
    let mut text = String::new();
    std::io::stdin().read_to_string(&mut text)?;
    Ok(text)
}
