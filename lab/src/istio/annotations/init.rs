//! The init container's way: the injection template turns annotations into arguments of `istio-iptables`.

use super::{
    EXCLUDE_INBOUND, EXCLUDE_INTERFACES, EXCLUDE_OUTBOUND, EXCLUDE_RANGES, INCLUDE_INBOUND,
    INCLUDE_OUTBOUND, INCLUDE_RANGES, KUBEVIRT_INTERFACES, MODE, Pod, REROUTE_INTERFACES,
    STATUS_PORT, value,
};
use crate::istio::{BadValue, Environment, Flag};

/// Arguments and variables of the init container.
#[derive(Debug, Default)]
pub struct InitContainer {
    /// Arguments in the template's order, with what each one is given.
    pub args: Vec<(&'static Flag, String)>,
    /// Variables.
    pub environment: Environment,
}

/// Where metrics and health are served: the ports the template always excludes.
const ALWAYS_EXCLUDED: &str = "15090,15021";

/// The init container a pod gets, or nothing when its interception mode is NONE.
///
/// # Errors
/// An annotation that injection rejects.
pub fn init_container(pod: &Pod) -> Result<Option<InitContainer>, BadValue> {
    let mode = pod
        .annotation(MODE)
        .or(pod.interception_mode.as_deref())
        .unwrap_or("REDIRECT");
    match mode {
        "NONE" => return Ok(None),
        "REDIRECT" | "TPROXY" => {}
        _ => {
            let why = "injection knows REDIRECT, TPROXY and NONE";
            return Err(BadValue::new(
                MODE,
                mode,
                why,
                "give one of them, in capitals",
            ));
        }
    }
    let mut init = InitContainer {
        args: Vec::new(),
        environment: pod.proxy_env.clone(),
    };
    let uid = pod.run_as_user.filter(|uid| *uid != 0).unwrap_or(1337);
    init.arg("envoy-port", "15001");
    init.arg("inbound-capture-port", "15006");
    init.arg("proxy-uid", &uid.to_string());
    init.arg("istio-inbound-interception-mode", mode);
    let text = |name, or| pod.annotation(name).unwrap_or(or);
    let ranges = text(INCLUDE_RANGES, "*");
    value::ranges_or_all(INCLUDE_RANGES, ranges)?;
    init.arg("istio-service-cidr", ranges);
    let ranges = text(EXCLUDE_RANGES, "");
    value::ranges(EXCLUDE_RANGES, ranges)?;
    init.arg("istio-service-exclude-cidr", ranges);
    let ports = text(INCLUDE_INBOUND, "*");
    value::ports_or_all(INCLUDE_INBOUND, ports)?;
    init.arg("istio-inbound-ports", ports);
    init.arg("istio-local-exclude-ports", &excluded_inbound(pod)?);
    init.outbound_ports("istio-outbound-ports", INCLUDE_OUTBOUND, pod)?;
    init.outbound_ports("istio-local-outbound-ports-exclude", EXCLUDE_OUTBOUND, pod)?;
    for name in [REROUTE_INTERFACES, KUBEVIRT_INTERFACES] {
        if let Some(nics) = pod.annotation(name) {
            value::interfaces(name, nics)?;
            init.arg("kube-virt-interfaces", nics);
            break;
        }
    }
    if let Some(nics) = pod.annotation(EXCLUDE_INTERFACES) {
        value::interfaces(EXCLUDE_INTERFACES, nics)?;
        init.arg("istio-exclude-interfaces", nics);
    }
    Ok(Some(init))
}

impl InitContainer {
    /// Names of flags are fixed here, and a test looks each of them up.
    fn arg(&mut self, name: &str, value: &str) {
        if let Some(flag) = Flag::find(name) {
            self.args.push((flag, value.to_owned()));
        }
    }

    /// The template gives these flags only to pods that have the annotation.
    fn outbound_ports(&mut self, flag: &str, name: &str, pod: &Pod) -> Result<(), BadValue> {
        if let Some(ports) = pod.annotation(name) {
            value::ports(name, ports)?;
            self.arg(flag, ports);
        }
        Ok(())
    }
}

/// The fixed ports, then the pod's own, then the status port unless it is among them or off.
fn excluded_inbound(pod: &Pod) -> Result<String, BadValue> {
    let own = pod.annotation(EXCLUDE_INBOUND).unwrap_or("");
    value::ports(EXCLUDE_INBOUND, own)?;
    let status = pod.annotation(STATUS_PORT).unwrap_or("15020").trim();
    value::ports(STATUS_PORT, status)?;
    let own: Vec<&str> = own.split(',').filter(|port| !port.is_empty()).collect();
    let add = !["", "0"].contains(&status) && !own.contains(&status);
    let mut ports = vec![ALWAYS_EXCLUDED];
    ports.extend(own);
    ports.extend(add.then_some(status));
    Ok(ports.join(","))
}
