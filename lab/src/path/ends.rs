//! The two ends of a connection: who opens it, and who takes it or says no.

use hoplab_proxies::record::{CloseOutcome, Role};

use super::{
    Event, Hop, Process, Witness,
    observed::Observed,
    walk::{Crossing, Walk},
};
use crate::{
    model::JourneyEnd,
    predict::{LegEnd, Listener, is_unreachable},
};

impl Walk<'_> {
    /// The call of connect(2).
    pub fn connect(&self, observed: &Observed<'_>, near: Option<&Crossing<'_>>) -> Hop {
        let mut hop = Hop::of(Event::Connect {
            process: observed.opener.clone(),
            failed: observed.failed(),
        });
        let seen = [
            (observed.opened.is_some(), Witness::Log),
            (
                observed.entries.iter().any(Option::is_some),
                Witness::Conntrack,
            ),
            (near.is_some_and(|it| it.traced.is_some()), Witness::Trace),
            (observed.predicted.is_some(), Witness::Model),
        ];
        hop.witnesses
            .extend(seen.iter().filter(|it| it.0).map(|it| it.1));
        hop
    }

    /// Where it ends: what a log says, else what is predicted.
    pub fn end(
        &self,
        observed: &Observed<'_>,
        last: Option<&Crossing<'_>>,
    ) -> Option<(String, Hop)> {
        let predicted = observed.predicted.map(|it| &it.end);
        if let Some((end, accepted)) = observed.accepted {
            let process = Process {
                pod: end.pod.clone(),
                role: Some(end.role),
                uid: accepted.owner.uid,
                gid: accepted.owner.gid,
                pid: Some(end.pid),
            };
            let refused_as_loop = end
                .closed
                .as_ref()
                .is_some_and(|it| matches!(it.outcome, CloseOutcome::LoopRefused(_)));
            let mut hop = Hop::of(Event::Accept {
                process,
                listener: accepted.listener.port(),
                at: accepted.local,
                original: accepted.original_dst.addr(),
                refused_as_loop,
            });
            hop.witnesses.insert(Witness::Log);
            if matches!(predicted, Some(LegEnd::Accepted { pod, local, port, .. })
                if *pod == end.pod && *local == accepted.local && *port == accepted.listener.port())
            {
                hop.witnesses.insert(Witness::Model);
            }
            let delivered = last.filter(|it| it.pod.name == end.pod);
            let delivered = delivered
                .and_then(|it| it.traced)
                .map(|it| it.last().destination_end());
            if delivered == Some(accepted.local) {
                hop.witnesses.insert(Witness::Trace);
            }
            return Some((end.pod.clone(), hop));
        }
        let failed = observed.failed();
        let closed = observed.opened.and_then(|(end, _)| end.closed.as_ref());
        let refused = failed.as_deref() == Some("ECONNREFUSED")
            || closed.is_some_and(|it| {
                matches!(&it.outcome, CloseOutcome::Error(words) if words.contains("ECONNREFUSED"))
            });
        let unreachable = failed.as_deref().is_some_and(is_unreachable);
        let (pod, event, log) = match predicted {
            Some(LegEnd::Refused { pod, local }) => {
                (pod.clone(), Event::Refused { at: *local }, refused)
            }
            Some(LegEnd::Unrouted { pod }) => (
                pod.clone(),
                Event::Unrouted,
                failed.as_deref() == Some("ENETUNREACH"),
            ),
            Some(LegEnd::Unreachable) => ("node".to_owned(), Event::Unreachable, unreachable),
            Some(LegEnd::Accepted {
                pod,
                listener,
                port,
                local,
                original_dst,
                refused_as_loop,
            }) => {
                let process = self.listener(pod, *listener);
                let event = Event::Accept {
                    process,
                    listener: *port,
                    at: *local,
                    original: *original_dst,
                    refused_as_loop: *refused_as_loop,
                };
                let mut hop = Hop::of(event);
                hop.witnesses.insert(Witness::Model);
                if let Some(errno) = &failed {
                    hop.contradictions.push(format!(
                        "the model says that it is accepted, the log says {errno}"
                    ));
                } else if observed.opened.is_none() && !self.imagined {
                    return None;
                }
                return Some((pod.clone(), hop));
            }
            // A rule that drops it is the last hop; more there is not to say.
            Some(LegEnd::Dropped { .. }) => return None,
            Some(LegEnd::Unknown { .. })
                if last.is_some_and(|it| matches!(it.way.end, JourneyEnd::Gone(_))) =>
            {
                return None;
            }
            Some(LegEnd::Unknown { why }) => {
                let pod = last.map_or("node", |it| it.pod.name.as_str());
                (pod.to_owned(), Event::Unknown { why: why.clone() }, false)
            }
            None if refused => {
                let pod = self.world.topology.pod_at(observed.destination.ip());
                let pod = pod.map_or("node", |it| it.name.as_str());
                (
                    pod.to_owned(),
                    Event::Refused {
                        at: observed.destination,
                    },
                    true,
                )
            }
            None => return None,
        };
        let mut hop = Hop::of(event);
        if predicted.is_some() {
            hop.witnesses.insert(Witness::Model);
        }
        if log {
            hop.witnesses.insert(Witness::Log);
        } else if let Some(errno) = failed {
            hop.contradictions.push(format!("the log says {errno}"));
        }
        Some((pod, hop))
    }

    /// The process behind a listener, where no log has it.
    fn listener(&self, pod: &str, listener: Listener) -> Process {
        let found = self.world.topology.pod(pod);
        let role = listener.role();
        let (uid, gid) = match (role, found) {
            (Role::App, Some(pod)) => pod.app.as_ref().map_or((0, 0), |it| (it.uid, it.gid)),
            (_, Some(pod)) => self.world.proxy_owner(pod),
            (_, None) => (0, 0),
        };
        Process {
            pod: pod.to_owned(),
            role: Some(role),
            uid,
            gid,
            pid: None,
        }
    }
}
