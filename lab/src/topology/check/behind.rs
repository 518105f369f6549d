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
        return match &raw.plugged {
            Some(plugged) if !pod.plugged => Err(source
                .complain(plugged, format!("pod `{}` is behind no other", pod.name))
                .help("only the link of a pod with `behind` comes and goes: drop `plugged`")),
            _ => Ok(()),
        };
    };
    let outer = known_pod(source, topology, place, place.get_ref())?;
    if outer.behind.is_some() || outer.name == pod.name {
        let message = format!("pod `{}` can't have a pod behind it", outer.name);
        return Err(source
            .complain(place, message)
            .help("name a pod whose own link leads to the node's bridge"));
    }
    if let Some(route) = raw.default_route.as_ref().filter(|_| !pod.default_route) {
        let message = format!("pod `{}` is behind another", pod.name);
        return Err(source.complain(route, message).help(
            "it needs its default route to get anywhere: drop `default_route`, or give the pod a link to the node",
        ));
    }
    if !outer.default_route {
        let message = format!("pod `{}` has no default route", outer.name);
        return Err(source
            .complain(place, message)
            .help("what it forwards would end there: name a pod with one"));
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
