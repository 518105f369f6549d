//! Whose turn it is behind a service: each proxy takes the endpoints of each virtual address one after the other.

use std::{collections::HashMap, net::SocketAddr};

use hoplab_proxies::record::{Event, Record, Role};

use crate::ports;

/// Choices a proxy has made so far, by pod and virtual address.
#[derive(Debug, Clone, Default)]
pub struct Turns {
    taken: HashMap<(String, SocketAddr), usize>,
}

impl Turns {
    /// Takes the next endpoint.
    pub(super) fn take(
        &mut self,
        pod: &str,
        vip: SocketAddr,
        endpoints: &[SocketAddr],
    ) -> Option<SocketAddr> {
        let count = self.taken.entry((pod.to_string(), vip)).or_insert(0);
        let endpoint = endpoints.get(*count % endpoints.len().max(1)).copied();
        *count += 1;
        endpoint
    }

    /// Counts the choices that a window's records show, so that the next prediction starts where the proxies stand.
    ///
    /// `gateway` gives the address a gateway's listener stands for.
    pub fn observe(
        &mut self,
        records: &[Record],
        gateway: impl Fn(&str, SocketAddr) -> Option<SocketAddr>,
    ) {
        for record in records.iter().filter(|r| r.role == Role::Proxy) {
            let Event::Accept {
                listener,
                original_dst,
                ..
            } = &record.event
            else {
                continue;
            };
            let vip = if listener.port() == ports::OUTBOUND {
                original_dst.addr()
            } else {
                gateway(&record.pod, *listener)
            };
            if let Some(vip) = vip {
                *self.taken.entry((record.pod.clone(), vip)).or_insert(0) += 1;
            }
        }
    }
}
