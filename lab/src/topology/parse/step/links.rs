//! Links that come and go among the flows: nobody plugs in what is there, or sends to what is not.

use std::collections::{BTreeMap, BTreeSet};

use toml::Spanned;

use super::super::super::{Flow, Target, Topology, schema, source::Source};
use crate::diagnostic::Diagnostic;

/// Which links are there at a place of the script.
pub(super) struct Links<'t> {
    topology: &'t Topology,
    /// Pods without their link.
    unplugged: BTreeSet<&'t str>,
    /// Held connections, each with the pods at its ends.
    held: BTreeMap<&'t str, [Option<&'t str>; 2]>,
}

impl<'t> Links<'t> {
    pub fn of(topology: &'t Topology) -> Self {
        let unplugged = topology.pods.iter().filter(|it| !it.plugged);
        Self {
            topology,
            unplugged: unplugged.map(|it| it.name.as_str()).collect(),
            held: BTreeMap::new(),
        }
    }

    pub fn hold(&mut self, name: &'t str, flow: &'t Flow) {
        let to = match &flow.to {
            Target::Pod { pod, .. } => Some(pod.as_str()),
            _ => None,
        };
        self.held.insert(name, [flow.from.pod.as_deref(), to]);
    }

    pub fn release(&mut self, name: &str) {
        self.held.remove(name);
    }

    /// Nothing is said of a packet to a pod without a link; from there, none is made.
    pub fn reached(
        &self,
        source: &Source,
        raw: &schema::Flow,
        flow: &Flow,
    ) -> Result<(), Diagnostic> {
        let aims: Vec<&str> = match &flow.to {
            Target::Pod { pod, .. } => vec![pod],
            Target::Service { service, .. } => {
                let service = self.topology.service(service);
                let all = service.into_iter().flat_map(|it| &it.endpoints);
                all.map(String::as_str).collect()
            }
            _ => Vec::new(),
        };
        let missing = aims.into_iter().find(|it| self.unplugged.contains(it));
        match missing {
            Some(pod) if flow.from.pod.as_deref() != Some(pod) => Err(source
                .complain(&raw.to, format!("pod `{pod}` has no link here"))
                .help(format!("plug it in before, in a step: plug = \"{pod}\""))),
            _ => Ok(()),
        }
    }

    pub fn plug(
        &mut self,
        source: &Source,
        place: &Spanned<String>,
        pod: &str,
    ) -> Result<(), Diagnostic> {
        match self.unplugged.remove(pod) {
            true => Ok(()),
            false => Err(source
                .complain(place, format!("the link of pod `{pod}` is there already"))
                .help("write plugged = false at the pod, or unplug it in a step before")),
        }
    }

    pub fn unplug(
        &mut self,
        source: &Source,
        place: &Spanned<String>,
        pod: &'t str,
    ) -> Result<(), Diagnostic> {
        if !self.unplugged.insert(pod) {
            return Err(source
                .complain(place, format!("pod `{pod}` has no link here"))
                .help("plug it in before"));
        }
        let held = self.held.iter().find(|(_, ends)| ends.contains(&Some(pod)));
        match held {
            Some((name, _)) => Err(source
                .complain(place, format!("connection `{name}` of pod `{pod}` is held here"))
                .help("release it in a step before: what becomes of it without its link is not judged")),
            None => Ok(()),
        }
    }
}
