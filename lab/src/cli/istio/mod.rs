//! Istio's configuration on the command line, for every verb that takes one: the flags of `istio-iptables`, its
//! variables, a pod and its annotations.

mod ambient;
mod flags;
pub(super) mod host;
mod pod;

pub(super) use ambient::ambient;
pub(super) use flags::IstioFlags;
pub(super) use pod::{PodArgs, injected};
