//! The CNI plugin's way: it reads annotations and the proxy's container, and has defaults of its own.

use super::{
    EXCLUDE_INBOUND, EXCLUDE_INTERFACES, EXCLUDE_OUTBOUND, EXCLUDE_RANGES, INCLUDE_INBOUND,
    INCLUDE_OUTBOUND, INCLUDE_RANGES, KUBEVIRT_INTERFACES, MODE, Pod, REROUTE_INTERFACES, value,
};
use crate::istio::{BadValue, Environment, Settings, Warning, flags::go_bool};

/// Ports the plugin excludes beside the pod's own.
const ALWAYS_EXCLUDED: [&str; 3] = ["15020", "15021", "15090"];

/// The settings the plugin uses for a pod. Variables of flags don't reach it; those without a flag come from the
/// container runtime's environment.
///
/// # Errors
/// An annotation the plugin rejects, which fails the pod.
pub fn cni(
    pod: &Pod,
    runtime: &Environment,
    warnings: &mut Vec<Warning>,
) -> Result<Settings, BadValue> {
    type Check = fn(&str, &str) -> Result<(), BadValue>;
    let text = |name: &'static str, or: &str, check: Check| {
        let text = pod.annotation(name).unwrap_or(or);
        check(name, text).map(|()| text.to_owned())
    };
    let nics = if pod.annotation(REROUTE_INTERFACES).is_some() {
        REROUTE_INTERFACES
    } else {
        KUBEVIRT_INTERFACES
    };
    let dns = truth(pod, "ISTIO_META_DNS_CAPTURE", warnings);
    let mut settings = Settings {
        cni_mode: true,
        inbound_interception_mode: mode(pod)?,
        proxy_uid: id(pod.run_as_user),
        proxy_gid: id(pod.run_as_group),
        outbound_ip_ranges_include: text(INCLUDE_RANGES, "*", value::ranges_or_all)?,
        outbound_ip_ranges_exclude: text(EXCLUDE_RANGES, "", value::ranges)?,
        inbound_ports_include: text(INCLUDE_INBOUND, "*", value::ports_or_all)?,
        inbound_ports_exclude: with_fixed_ports(&text(EXCLUDE_INBOUND, "", value::ports)?),
        outbound_ports_include: text(INCLUDE_OUTBOUND, "", value::ports)?,
        outbound_ports_exclude: text(EXCLUDE_OUTBOUND, "15020", value::ports)?,
        exclude_interfaces: text(EXCLUDE_INTERFACES, "", value::interfaces)?,
        reroute_virtual_interfaces: text(nics, "", value::interfaces)?,
        // The plugin can't know the pod's resolvers.
        redirect_dns: dns,
        capture_all_dns: dns,
        drop_invalid: truth(pod, "INVALID_DROP", warnings),
        dual_stack: truth(pod, "ISTIO_DUAL_STACK", warnings),
        ..Settings::default()
    };
    settings.take_variables_without_flag(runtime);
    Ok(settings)
}

fn mode(pod: &Pod) -> Result<String, BadValue> {
    let mode = pod.annotation(MODE).unwrap_or("REDIRECT");
    if ["REDIRECT", "TPROXY"].contains(&mode) {
        return Ok(mode.to_owned());
    }
    let why = "the CNI plugin knows REDIRECT and TPROXY, and fails the pod for anything else";
    Err(BadValue::new(MODE, mode, why, "give REDIRECT or TPROXY"))
}

/// Root, and nobody in particular, become Istio's own id.
fn id(given: Option<u32>) -> String {
    given.filter(|id| *id != 0).unwrap_or(1337).to_string()
}

fn with_fixed_ports(own: &str) -> String {
    let own = own.trim();
    let own = own.split(',').filter(|port| !port.is_empty());
    let mut ports = Vec::new();
    for port in own.chain(ALWAYS_EXCLUDED) {
        if !ports.contains(&port) {
            ports.push(port);
        }
    }
    ports.join(",")
}

/// A variable of the proxy's container. One that does not parse is off, and the plugin logs it.
fn truth(pod: &Pod, name: &str, warnings: &mut Vec<Warning>) -> bool {
    let Some(value) = pod.proxy_env.get(name) else {
        return false;
    };
    go_bool(value).unwrap_or_else(|| {
        let why = "neither true nor false".to_owned();
        let (name, value) = (name.to_owned(), value.clone());
        warnings.push(Warning::VariableIgnored { name, value, why });
        false
    })
}
