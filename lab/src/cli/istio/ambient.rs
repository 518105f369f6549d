//! The configuration of ambient mode, from flags, variables and a pod.

use super::{IstioFlags, PodArgs, host};
use crate::{
    failure::{Class, Failure},
    istio::{
        Release, Settings, Warning,
        ambient::{Ambient, ProbeSource},
    },
};

/// What a release puts into a pod, and whether in nft's own language.
///
/// # Errors
/// A bad value, or a release without the rules.
pub(in crate::cli) fn ambient<const SHORT: bool>(
    release: Release,
    pod: &PodArgs,
    flags: &IstioFlags<SHORT>,
    ipv6: impl FnOnce(&Settings) -> Result<bool, Failure>,
    warnings: &mut Vec<Warning>,
) -> Result<(Ambient, Settings), Failure> {
    if !release.has_ambient_redirect() {
        let what = format!("the ambient rules of Istio {release} are not known");
        return Err(Failure::new(Class::Input, what)
            .cause("before 1.24 ambient mode did not capture with REDIRECT")
            .hint("ask for 1.24 or newer"));
    }
    let environment = host::environment();
    let settings = Settings::resolve(&environment, flags.pairs(), warnings)?;
    let overrides = pod.read()?.ambient()?;
    let source = ProbeSource::resolve(&environment)?;
    let ipv6 = ipv6(&settings)?;
    let config = Ambient::new(&settings, &overrides, source, ipv6, warnings)?;
    if settings.native_nftables {
        if !release.has_ambient_nftables() {
            let what = format!("Istio {release} writes no nft rules here");
            return Err(Failure::new(Class::Input, what).hint("ask for 1.28 or newer"));
        }
        warnings.push(Warning::AmbientNftReconstructed);
    }
    Ok((config, settings))
}
