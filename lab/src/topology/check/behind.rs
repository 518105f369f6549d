//! A pod behind a pod: whom it can be behind, and what it can be.

use super::{Pod, Source, Topology, known_pod, schema};
use crate::diagnostic::Diagnostic;

pub(super) fn behind(
    source: &Source,
    topology: &Topology,
    raw: &schema::Pod,
    pod: &Pod,
) -> Result<(), Diagnostic> {
    let Some(place) = &raw.behind else {
        return Ok(());
    };
    let outer = known_pod(source, topology, place, place.get_ref())?;
    if outer.behind.is_some() || outer.name == pod.name {
        let message = format!("pod `{}` can't have a pod behind it", outer.name);
        return Err(source
            .complain(place, message)
            .help("name a pod whose own link leads to the node's bridge"));
    }
    if pod.proxy.is_some() {
        let message = format!("pod `{}` is behind another and has a proxy", pod.name);
        return Err(source
            .complain(place, message)
            .help("the proxy of the pod it is behind serves it too: give that one the sidecar"));
    }
    if pod.host_interface == outer.interface {
        let place = raw.host_interface.as_ref().unwrap_or(place);
        let message = format!(
            "`{}` is an interface of pod `{}` already",
            pod.host_interface, outer.name
        );
        return Err(source
            .complain(place, message)
            .help("give its end in that pod another `host_interface`"));
    }
    Ok(())
}
