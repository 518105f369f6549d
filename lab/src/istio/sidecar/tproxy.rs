//! Marks of TPROXY mode, which keep the proxy's own traffic to its pod out of the proxy.

use super::{ISTIO_INBOUND, OUTPUT, PREROUTING, Sidecar};
use crate::{
    istio::config::{OUTBOUND_MARK, passthrough_source},
    rules::Table::Mangle,
};

impl Sidecar<'_> {
    pub(super) fn mark_for_tproxy(&mut self) {
        let config = self.config;
        if !config.is_tproxy() {
            return;
        }
        let mark = config.inbound_tproxy_mark;
        let save = format!("-p tcp -m mark --mark {mark} -j CONNMARK --save-mark");
        self.out.append(Mangle, PREROUTING, &save);
        let marked = format!("-p tcp -o lo -m mark --mark {mark} -j RETURN");
        self.out.append(Mangle, OUTPUT, &marked);
        for owner in self.proxy_owners() {
            self.out.append_each(Mangle, OUTPUT, |family| {
                let loopback = config.loopback(family);
                format!("! -d {loopback} -p tcp -o lo -m owner {owner} -j MARK --set-mark {OUTBOUND_MARK}")
            });
        }
        let restore = format!("-p tcp -m connmark --mark {mark} -j CONNMARK --restore-mark");
        self.out.append(Mangle, OUTPUT, &restore);
        self.leave_pods_own_calls_alone();
    }

    /// Emitted whether or not inbound traffic is captured.
    fn leave_pods_own_calls_alone(&mut self) {
        let mark = self.config.inbound_tproxy_mark;
        self.out.insert_each(Mangle, ISTIO_INBOUND, 1, |_| {
            format!("-p tcp -m mark --mark {mark} -j RETURN")
        });
        self.out.insert_each(Mangle, ISTIO_INBOUND, 2, |family| {
            format!("-p tcp -s {} -i lo -j RETURN", passthrough_source(family))
        });
        self.out.insert_each(Mangle, ISTIO_INBOUND, 3, |_| {
            format!("-p tcp -i lo -m mark ! --mark {OUTBOUND_MARK} -j RETURN")
        });
    }
}
