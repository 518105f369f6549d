//! Settings: from a pod when one is given, from flags and variables otherwise.

use std::io::Read as _;

use super::{Args, InjectedBy, host};
use crate::{
    diagnostic::did_you_mean,
    failure::{Class, Failure},
    istio::{
        Settings, Warning,
        annotations::{self, Pod},
    },
};

/// The settings `istio-iptables` gets, or nothing if the pod is left alone. Flags beat what a pod says.
pub(super) fn settings(
    args: &Args,
    warnings: &mut Vec<Warning>,
) -> Result<Option<Settings>, Failure> {
    let mut environment = host::environment();
    if args.pod.is_none() && args.annotation.is_empty() && args.injected_by == InjectedBy::Init {
        return Ok(Some(Settings::resolve(
            &environment,
            args.flags.pairs(),
            warnings,
        )?));
    }
    let pod = read(args)?;
    if let Some(why) = pod.left_alone() {
        warnings.push(Warning::NotInjected(why));
        return Ok(None);
    }
    if args.injected_by == InjectedBy::Cni {
        let mut settings = annotations::cni(&pod, &environment, warnings)?;
        settings.take_flags(args.flags.pairs())?;
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
        of_pod.chain(args.flags.pairs()),
        warnings,
    )?))
}

/// The pod of the manifest, with the annotations of the command line over its own.
pub(super) fn read(args: &Args) -> Result<Pod, Failure> {
    let mut pod = match &args.pod {
        None => Pod::default(),
        Some(path) => {
            let origin = path.display().to_string();
            let text = if origin == "-" {
                from_stdin()
            } else {
                std::fs::read_to_string(path)
            };
            let text = text.map_err(|e| {
                Failure::new(Class::Input, format!("could not read {origin}")).cause(e.to_string())
            })?;
            annotations::pod_from_manifest(&origin, &text)?
        }
    };
    for (name, value) in &args.annotation {
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

fn from_stdin() -> std::io::Result<String> {
    let mut text = String::new();
    std::io::stdin().read_to_string(&mut text)?;
    Ok(text)
}
