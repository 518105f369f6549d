//! What a process opens in turn for a connection that it accepted.

use std::net::SocketAddr;

use hoplab_proxies::record::Role;

use super::{
    LegEnd, Listener, Opener, gateway_vip,
    walk::{Call, Walk},
};
use crate::topology::{Ask, Pod};

/// An accepted connection, as the process behind the listener sees it.
struct Served<'a> {
    leg: usize,
    pod: &'a Pod,
    listener: Listener,
    /// Where it was meant to go.
    dst: SocketAddr,
    call: &'a Call<'a>,
}

impl Walk<'_> {
    /// Opens what the process behind a leg opens, if the leg was accepted.
    pub fn serve(&mut self, leg: usize, call: &Call) {
        let LegEnd::Accepted {
            pod,
            listener,
            local,
            original_dst,
            refused_as_loop: false,
            ..
        } = &self.legs[leg].end
        else {
            return;
        };
        let Some(pod) = self.world.topology.pod(pod) else {
            return;
        };
        let served = Served {
            leg,
            pod,
            listener: *listener,
            dst: original_dst.unwrap_or(*local),
            call,
        };
        match served.listener {
            Listener::App => self.serve_app(&served),
            Listener::Inbound => self.pass_in(&served),
            Listener::Outbound => {
                let remote = match self.world.endpoints(served.dst) {
                    Some(endpoints) => self.turns.take(&pod.name, served.dst, &endpoints),
                    None => Some(served.dst),
                };
                self.forward(&served, remote);
            }
            Listener::Gateway => {
                let vip = gateway_vip(self.world.topology, pod, self.world.family());
                let Some(vip) = vip else { return };
                let endpoints = self.world.endpoints(vip).unwrap_or_default();
                let remote = self.turns.take(&pod.name, vip, &endpoints);
                self.forward(&served, remote);
            }
            Listener::DnsProxy => self.ask_upstream(&served),
            Listener::Proxy(_) | Listener::Admin | Listener::Tunnel | Listener::DnsServer => {}
        }
    }

    fn serve_app(&mut self, served: &Served) {
        let health = matches!(&served.call.ask, Ask::Get { path } if path == "/health");
        // An app that is answering this request already refuses it as a loop, with 508.
        let looped = self.is_answering(&served.pod.name, served.leg);
        let app = served.pod.app.as_ref().filter(|_| !health && !looped);
        for call in app.iter().flat_map(|app| &app.calls) {
            let (Some(service), Some(app)) = (self.world.topology.service(&call.service), app)
            else {
                continue;
            };
            let remote = SocketAddr::new(service.vip.of(self.world.family()), service.port);
            let owner = (app.uid, app.gid);
            let opener = self.opener(&served.pod.name, Role::App, owner, remote.ip());
            let path = call.path.clone();
            self.open(Call {
                parent: Some(served.leg),
                opener,
                remote,
                ask: &Ask::Get { path },
                on_behalf_of: None,
                source_port: None,
                ..*served.call
            });
        }
    }

    /// Was a leg opened for a call that the app of a pod makes while it answers?
    fn is_answering(&self, pod: &str, leg: usize) -> bool {
        let mut chain = std::iter::successors(Some(leg), |at| self.legs[*at].parent);
        chain.any(|at| {
            let leg = &self.legs[at];
            leg.parent.is_some() && leg.opener.role == Role::App && leg.opener.pod == pod
        })
    }

    /// To the app: at loopback, or from 127.0.0.6 or `::6`, or from where the kernel picks, or in TPROXY and ambient mode from the
    /// client's own address, marked.
    fn pass_in(&mut self, served: &Served) {
        let interception = self.world.interception_of(&served.pod.name);
        if interception.app_at_loopback {
            let remote = SocketAddr::new(self.world.localhost(), served.dst.port());
            return self.forward(served, Some(remote));
        }
        let opener = self.proxy_opener(served.pod, served.dst);
        let opener = match interception.keeps_client() {
            None => match interception.source(self.world.family()) {
                None => opener,
                Some(source) => Opener {
                    source,
                    bound: true,
                    ..opener
                },
            },
            Some(mark) => Opener {
                source: self.legs[served.leg].seen_from,
                bound: true,
                mark,
                ..opener
            },
        };
        self.open_on_behalf(served, opener, served.dst);
    }

    /// The DNS proxy answers for names of the mesh; for any other it asks the cluster's server, as it was asked.
    fn ask_upstream(&mut self, served: &Served) {
        let Ask::Lookup { name, .. } = served.call.ask else {
            return;
        };
        if let Some(server) = self.world.dns().filter(|_| !self.world.is_service(name)) {
            self.forward(served, Some(server));
        }
    }

    fn forward(&mut self, served: &Served, remote: Option<SocketAddr>) {
        if let Some(remote) = remote {
            let opener = self.proxy_opener(served.pod, remote);
            self.open_on_behalf(served, opener, remote);
        }
    }

    fn proxy_opener(&self, pod: &Pod, remote: SocketAddr) -> Opener {
        let owner = self.world.proxy_owner(pod);
        self.opener(&pod.name, Role::Proxy, owner, remote.ip())
    }

    fn open_on_behalf(&mut self, served: &Served, opener: Opener, remote: SocketAddr) {
        self.open(Call {
            parent: Some(served.leg),
            opener,
            remote,
            on_behalf_of: Some(served.listener),
            source_port: None,
            ..*served.call
        });
    }
}
