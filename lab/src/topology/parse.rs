//! From the text of a lab file to a [`Topology`]: shape first (TOML), then each word, then the whole (`check`).

use toml::Spanned;

use super::{
    Addresses, App, InterfaceName, Network, Pod, Proxy, RuleSource, Service, ServiceCall, Topology,
    check, schema, source::Source,
};
use crate::diagnostic::Diagnostic;

mod dns;
mod flow;
mod notes;

/// User and group of Istio's proxy.
pub(super) const PROXY_ID: u32 = 1337;
/// User and group of an app.
const APP_ID: u32 = 1000;

impl Topology {
    /// Reads a lab file.
    ///
    /// `origin` is the file name for complaints.
    ///
    /// # Errors
    /// The first thing that is wrong, with its place in the file and how to fix it.
    pub fn parse(text: &str, origin: &str) -> Result<Self, Diagnostic> {
        let source = Source { origin, text };
        let file: schema::LabFile = toml::from_str(text)
            .map_err(|e| Diagnostic::at(origin, text, e.span().unwrap_or(0..0), e.message()))?;
        check::lab_name(&source, &file.name)?;
        let network = network(&source, &file.network)?;
        let rules = rules(&source, &file.rules)?;
        let services = file.service.iter().map(service).collect();
        let pods = file
            .pod
            .iter()
            .enumerate()
            .map(|(i, p)| pod(&source, i, p))
            .collect::<Result<Vec<_>, _>>()?;
        let mut topology = Topology {
            name: file.name.get_ref().clone(),
            network,
            rules,
            paths: file.paths.clone(),
            dns: file.dns.as_ref().map(dns::dns),
            services,
            pods,
            flows: Vec::new(),
            notes: None,
        };
        check::addresses_and_names(&source, &file, &topology)?;
        topology.flows = file
            .flow
            .iter()
            .map(|f| flow::flow(&source, &topology, f))
            .collect::<Result<Vec<_>, _>>()?;
        check::flow_names(&source, &file)?;
        if let Some(n) = &file.notes {
            topology.notes = Some(notes::notes(&source, &topology, n)?);
        }
        Ok(topology)
    }
}

fn network(source: &Source, raw: &schema::Network) -> Result<Network, Diagnostic> {
    Ok(Network {
        bridge: interface(source, &raw.bridge)?,
        ipv4: raw.ipv4.trunc(),
        ipv6: raw.ipv6.trunc(),
        node: Addresses {
            v4: *raw.node_ipv4.get_ref(),
            v6: *raw.node_ipv6.get_ref(),
        },
    })
}

fn interface(source: &Source, raw: &Spanned<String>) -> Result<InterfaceName, Diagnostic> {
    InterfaceName::new(raw.get_ref()).map_err(|why| {
        source
            .complain(raw, why)
            .help("use at most 15 letters, digits, `-`, `_` or `.`")
    })
}

fn rules(source: &Source, raw: &Spanned<schema::Rules>) -> Result<RuleSource, Diagnostic> {
    let rules = raw.get_ref();
    match (&rules.profile, &rules.file) {
        (Some(profile), None) => {
            if rules.file_ipv6.is_some() {
                return Err(source
                    .complain(raw, "`file_ipv6` goes with `file`, not with `profile`")
                    .help("a profile brings its IPv6 rules itself"));
            }
            let name = profile.get_ref();
            if crate::builtin::rule_text(name, crate::rules::Family::V4).is_none() {
                let known = crate::builtin::PROFILES.join("`, `");
                return Err(source
                    .complain(profile, format!("there is no rule profile `{name}`"))
                    .help(format!(
                        "known profiles: `{known}`; or name a restore file with `file`"
                    )));
            }
            Ok(RuleSource::Profile(name.clone()))
        }
        (None, Some(file)) => Ok(RuleSource::Files {
            v4: file.clone(),
            v6: rules.file_ipv6.clone(),
        }),
        _ => Err(source
            .complain(raw, "`rules` needs either `profile` or `file`")
            .help("for the rules of the notes: profile = \"istio-1.13\"")),
    }
}

fn service(raw: &schema::Service) -> Service {
    Service {
        name: raw.name.get_ref().clone(),
        vip: Addresses {
            v4: *raw.ipv4.get_ref(),
            v6: *raw.ipv6.get_ref(),
        },
        port: raw.port,
        endpoints: raw.endpoints.iter().map(|e| e.get_ref().clone()).collect(),
    }
}

fn pod(source: &Source, index: usize, raw: &schema::Pod) -> Result<Pod, Diagnostic> {
    check::pod_name(source, &raw.name)?;
    let (uid, gid) = (
        id(source, raw.proxy_uid.as_ref(), PROXY_ID)?,
        id(source, raw.proxy_gid.as_ref(), PROXY_ID)?,
    );
    let sidecar = raw.sidecar.as_ref().is_some_and(|s| *s.get_ref());
    let proxy = match (&raw.gateway, sidecar) {
        (Some(gateway), true) => {
            return Err(source
                .complain(
                    gateway,
                    format!("pod `{}` is both gateway and sidecar", raw.name.get_ref()),
                )
                .help("a gateway has no interception rules: drop `sidecar = true`"));
        }
        (Some(gateway), false) => Some(Proxy::Gateway {
            port: *gateway.get_ref().port.get_ref(),
            service: gateway.get_ref().service.get_ref().clone(),
            uid,
            gid,
        }),
        (None, true) => Some(Proxy::Sidecar { uid, gid }),
        (None, false) => None,
    };
    if let (Some(gateway), Some(_)) = (&raw.gateway, &raw.app) {
        return Err(source
            .complain(
                gateway,
                format!("pod `{}` is a gateway with an app", raw.name.get_ref()),
            )
            .help("a gateway is a proxy alone: give the app a pod of its own"));
    }
    let app = raw.app.as_ref().map(|a| app(source, a)).transpose()?;
    if app.is_none() && sidecar {
        return Err(source
            .complain(
                &raw.name,
                format!("pod `{}` has a sidecar but no app", raw.name.get_ref()),
            )
            .help("add `app = { port = 9080 }`"));
    }
    Ok(Pod {
        name: raw.name.get_ref().clone(),
        addr: Addresses {
            v4: *raw.ipv4.get_ref(),
            v6: *raw.ipv6.get_ref(),
        },
        interface: match &raw.interface {
            Some(name) => interface(source, name)?,
            None => InterfaceName::new("eth0").expect("eth0 is a valid name"),
        },
        host_interface: match &raw.host_interface {
            Some(name) => interface(source, name)?,
            None => InterfaceName::new(&format!("veth{index}")).expect("short enough"),
        },
        app,
        proxy,
    })
}

fn id(source: &Source, raw: Option<&Spanned<u32>>, default: u32) -> Result<u32, Diagnostic> {
    match raw {
        Some(raw) => check::id(source, raw, *raw.get_ref()),
        None => Ok(default),
    }
}

fn app(source: &Source, raw: &schema::App) -> Result<App, Diagnostic> {
    Ok(App {
        port: *raw.port.get_ref(),
        uid: id(source, raw.uid.as_ref(), APP_ID)?,
        gid: id(source, raw.gid.as_ref(), APP_ID)?,
        calls: raw
            .calls
            .iter()
            .map(|c| {
                let (service, path) = c.get_ref().split_once('/').ok_or_else(|| {
                    source
                        .complain(c, format!("call `{}` has no path", c.get_ref()))
                        .help("write service/path, such as \"ratings/ratings/0\"")
                })?;
                Ok(ServiceCall {
                    service: service.to_string(),
                    path: format!("/{path}"),
                })
            })
            .collect::<Result<_, Diagnostic>>()?,
    })
}
