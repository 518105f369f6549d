//! From the text of a lab file to a [`Topology`]: shape first (TOML), then each word, then the whole (`check`).

use toml::Spanned;

use super::{
    App, InterfaceName, Network, Pod, Proxy, RuleSource, ServiceCall, Topology, check, schema,
    source::Source,
};
use crate::{
    diagnostic::{Diagnostic, did_you_mean},
    rules::{Backend, Edit, Family},
};

mod addresses;
mod dns;
mod flow;
mod notes;
mod rules;
mod seen;
mod step;
mod variant;

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
        let network = addresses::network(&source, file.network.as_ref())?;
        let (rules, edit) = rules::rules(&source, &file.rules)?;
        let services = addresses::services(&file);
        let pods = file.pod.iter().enumerate();
        let pods = pods.map(|(i, p)| pod(&source, &file, i, p));
        let pods = pods.collect::<Result<Vec<_>, _>>()?;
        let mut topology = Topology {
            name: file.name.get_ref().clone(),
            about: file.about.clone(),
            reports: file.reports.clone(),
            families: of_words(&source, &file.families, FAMILIES)?,
            backends: of_words(&source, &file.backends, BACKENDS)?,
            network,
            rules,
            edit,
            paths: file.paths.clone(),
            dns: file.dns.as_ref().map(dns::dns),
            kube_proxy: file.kube_proxy.as_ref().is_some_and(|it| *it.get_ref()),
            services,
            headless: addresses::headless(&file),
            pods,
            flows: Vec::new(),
            steps: Vec::new(),
            script: Vec::new(),
            variants: Vec::new(),
            notes: None,
        };
        check::addresses_and_names(&source, &file, &topology)?;
        topology.flows = file
            .flow
            .iter()
            .map(|f| flow::flow(&source, &topology, f))
            .collect::<Result<Vec<_>, _>>()?;
        check::flow_names(&source, &file)?;
        step::steps(&source, &file, &mut topology)?;
        topology.variants = variant::variants(&source, &topology, &file)?;
        if let Some(n) = &file.notes {
            topology.notes = Some(notes::notes(&source, &topology, n)?);
        }
        Ok(topology)
    }
}

const FAMILIES: &[(&str, Family)] = &[("ipv4", Family::V4), ("ipv6", Family::V6)];
const BACKENDS: &[(&str, Backend)] = &[("nft", Backend::Nft), ("legacy", Backend::Legacy)];

/// What a list of words stands for.
fn of_words<T: Copy>(
    source: &Source,
    words: &[Spanned<String>],
    known: &[(&str, T)],
) -> Result<Vec<T>, Diagnostic> {
    let one = |word: &Spanned<String>| {
        let text = word.get_ref().as_str();
        let found = known.iter().find(|(name, _)| *name == text);
        found.map(|(_, value)| *value).ok_or_else(|| {
            let names = known.iter().map(|(name, _)| *name);
            let help = did_you_mean(text, names.clone()).unwrap_or_else(|| {
                let names: Vec<&str> = names.collect();
                format!("write {}", names.join(" or "))
            });
            let complaint = source.complain(word, format!("`{text}` is not one of them"));
            complaint.help(help)
        })
    };
    words.iter().map(one).collect()
}

fn interface(source: &Source, raw: &Spanned<String>) -> Result<InterfaceName, Diagnostic> {
    InterfaceName::new(raw.get_ref()).map_err(|why| {
        source
            .complain(raw, why)
            .help("use at most 15 letters, digits, `-`, `_` or `.`")
    })
}

fn pod(
    source: &Source,
    file: &schema::LabFile,
    index: usize,
    raw: &schema::Pod,
) -> Result<Pod, Diagnostic> {
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
        addr: addresses::pod(source, file, index, raw)?,
        interface: match &raw.interface {
            Some(name) => interface(source, name)?,
            None => InterfaceName::new("eth0").expect("eth0 is a valid name"),
        },
        host_interface: match &raw.host_interface {
            Some(name) => interface(source, name)?,
            None => InterfaceName::new(&format!("veth{index}")).expect("short enough"),
        },
        relays: file.pod.iter().any(|it| {
            it.behind
                .as_ref()
                .is_some_and(|it| it.get_ref() == raw.name.get_ref())
        }),
        behind: raw.behind.as_ref().map(|it| it.get_ref().clone()),
        plugged: raw.plugged.as_ref().is_none_or(|it| *it.get_ref()),
        default_route: raw.default_route.as_ref().is_none_or(|it| *it.get_ref()),
        app,
        proxy,
        rules: own_rules(source, raw, sidecar)?,
        proxy_groups: raw
            .proxy_groups
            .iter()
            .map(|it| check::id(source, it, *it.get_ref()))
            .collect::<Result<_, _>>()?,
        stopped: Vec::new(),
    })
}

/// Rules of a pod's own.
fn own_rules(
    source: &Source,
    raw: &schema::Pod,
    sidecar: bool,
) -> Result<Option<(RuleSource, Vec<Edit>)>, Diagnostic> {
    let Some(own) = &raw.rules else {
        return Ok(None);
    };
    if !sidecar {
        let message = format!("pod `{}` has rules and no sidecar", raw.name.get_ref());
        return Err(source
            .complain(own, message)
            .help("add sidecar = true, or drop `rules`"));
    }
    rules::rules(source, own).map(Some)
}

fn id(source: &Source, raw: Option<&Spanned<u32>>, default: u32) -> Result<u32, Diagnostic> {
    match raw {
        Some(raw) => check::id(source, raw, *raw.get_ref()),
        None => Ok(default),
    }
}

/// `port`, or `ports` where it serves more than one.
fn ports(source: &Source, raw: &Spanned<schema::App>) -> Result<Vec<u16>, Diagnostic> {
    let app = raw.get_ref();
    if app.port.is_some() == app.ports.is_some() {
        return Err(source
            .complain(raw, "an app has one of `port` and `ports`")
            .help("write port = 9080, or ports = [9080, 8081]"));
    }
    let mut ports = Vec::new();
    for port in app.ports() {
        let number = *port.get_ref();
        if ports.contains(&number) {
            return Err(source
                .complain(port, format!("port {number} stands here twice"))
                .help("name each port once"));
        }
        ports.push(number);
    }
    match (&app.ports, ports.is_empty()) {
        (Some(place), true) => Err(source
            .complain(place, "an app serves at least one port")
            .help("write ports = [9080, 8081]")),
        _ => Ok(ports),
    }
}

fn app(source: &Source, spanned: &Spanned<schema::App>) -> Result<App, Diagnostic> {
    let raw = spanned.get_ref();
    Ok(App {
        ports: ports(source, spanned)?,
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
