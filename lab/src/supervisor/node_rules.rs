//! The rules of the node, which has those of kube-proxy where the lab asks for it. Then it is watched as a pod with rules is,
//! but for the trace.

use super::{live::LivePod, pod::apply};
use crate::{
    evidence::PodUp,
    failure::Failure,
    net::{Job, Namespace, write_sysctls},
    netfilter::{Applied, Backend, ConntrackWatch, RuleTool as Tool},
    plan::Plan,
    topology::NODE,
};

type Ruled = Result<(Applied, ConntrackWatch), Failure>;

/// Rules that are being applied.
pub(super) struct Begun {
    namespace: Namespace,
    job: Job<Ruled>,
    tool: Tool,
}

/// Begins to apply the rules, on a thread of its own; none where there are none.
pub(super) fn begin(plan: &Plan, tool: Tool) -> Result<Option<Begun>, Failure> {
    let Some(rules) = plan.node.rules.clone() else {
        return Ok(None);
    };
    let namespace = Namespace::node()?;
    let (sysctls, room) = (plan.node.conntrack_sysctls.clone(), plan.event_room);
    let job = namespace.job(move |inside| {
        let applied = apply(tool, &rules, &inside.name)?;
        write_sysctls(&sysctls)?;
        let watch = match room {
            None => ConntrackWatch::open()?,
            Some(bytes) => ConntrackWatch::with_room(bytes)?,
        };
        Ok((applied, watch))
    });
    Ok(Some(Begun {
        namespace,
        job,
        tool,
    }))
}

impl Begun {
    /// Waits until they are applied; what came of it, and the node as a place with rules.
    pub fn wait(self) -> Result<(PodUp, LivePod), Failure> {
        let (applied, conntrack) = self.job.wait()??;
        let up = PodUp {
            name: NODE.to_owned(),
            rules: applied.held,
            counters: applied.counters.clone(),
            istio_init: None,
            processes: Vec::new(),
        };
        let place = LivePod {
            namespace: self.namespace,
            intercepted: true,
            counters: applied.counters,
            applied: Some(up.rules.clone()),
            conntrack: Some(conntrack),
            legacy: match self.tool {
                Tool::Iptables(Backend::Legacy) => applied.saved,
                Tool::Iptables(Backend::Nft) | Tool::Nft => Vec::new(),
            },
            trace: None,
        };
        Ok((up, place))
    }
}
