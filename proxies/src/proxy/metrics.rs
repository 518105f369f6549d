//! What the proxy counts, and its OpenMetrics text.

use std::fmt;
use std::sync::Arc;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

/// Media type of [`Metrics::text`].
pub(super) const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ByListener {
    listener: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ByDirection {
    listener: &'static str,
    direction: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ByErrno {
    listener: &'static str,
    errno: String,
}

/// Metrics of one proxy; clones share the numbers.
#[derive(Clone)]
pub(super) struct Metrics {
    registry: Arc<Registry>,
    accepted: Family<ByListener, Counter>,
    open: Family<ByListener, Gauge>,
    bytes: Family<ByDirection, Counter>,
    upstream_failures: Family<ByErrno, Counter>,
    loops_refused: Family<ByListener, Counter>,
    over_limit: Family<ByListener, Counter>,
}

/// Metrics of one listener.
#[derive(Clone)]
pub(super) struct ListenerMetrics {
    listener: &'static str,
    accepted: Counter,
    open: Gauge,
    upstream_failures: Family<ByErrno, Counter>,
    /// Bytes that came from clients and were passed on or read.
    pub(super) from_client: Counter,
    /// Bytes that went to clients.
    pub(super) to_client: Counter,
    pub(super) loops_refused: Counter,
    pub(super) over_limit: Counter,
}

/// Counts a connection as open until dropped.
pub(super) struct OpenConnection(Gauge);

impl Drop for OpenConnection {
    fn drop(&mut self) {
        self.0.dec();
    }
}

impl Metrics {
    /// All at zero, and shown from the start for the given listeners.
    pub(super) fn new(listeners: impl Iterator<Item = &'static str>) -> Self {
        let mut metrics = Self {
            registry: Arc::default(),
            accepted: Family::default(),
            open: Family::default(),
            bytes: Family::default(),
            upstream_failures: Family::default(),
            loops_refused: Family::default(),
            over_limit: Family::default(),
        };
        let mut registry = Registry::with_prefix("hoplab_proxy");
        registry.register(
            "connections_accepted",
            "Connections accepted",
            metrics.accepted.clone(),
        );
        registry.register(
            "connections_open",
            "Connections open now",
            metrics.open.clone(),
        );
        registry.register(
            "bytes",
            "Bytes carried, as seen from the client",
            metrics.bytes.clone(),
        );
        registry.register(
            "upstream_failures",
            "Upstreams not reached",
            metrics.upstream_failures.clone(),
        );
        registry.register(
            "loops_refused",
            "Connections refused as loops",
            metrics.loops_refused.clone(),
        );
        registry.register(
            "over_limit",
            "Connections closed for want of a place",
            metrics.over_limit.clone(),
        );
        metrics.registry = Arc::new(registry);
        for listener in listeners {
            metrics.listener(listener);
        }
        metrics
    }

    /// Metrics of the listener of that name.
    pub(super) fn listener(&self, listener: &'static str) -> ListenerMetrics {
        let by_listener = ByListener { listener };
        let bytes = |direction| {
            self.bytes
                .get_or_create(&ByDirection {
                    listener,
                    direction,
                })
                .clone()
        };
        ListenerMetrics {
            listener,
            accepted: self.accepted.get_or_create(&by_listener).clone(),
            open: self.open.get_or_create(&by_listener).clone(),
            upstream_failures: self.upstream_failures.clone(),
            from_client: bytes("from_client"),
            to_client: bytes("to_client"),
            loops_refused: self.loops_refused.get_or_create(&by_listener).clone(),
            over_limit: self.over_limit.get_or_create(&by_listener).clone(),
        }
    }

    /// Everything, as OpenMetrics text.
    pub(super) fn text(&self) -> Result<String, fmt::Error> {
        let mut text = String::new();
        encode(&mut text, &self.registry)?;
        Ok(text)
    }
}

impl ListenerMetrics {
    /// Counts an accepted connection, open until the result is dropped.
    pub(super) fn opened(&self) -> OpenConnection {
        self.accepted.inc();
        self.open.inc();
        OpenConnection(self.open.clone())
    }

    /// Counts an upstream that was not reached.
    pub(super) fn upstream_failed(&self, errno: String) {
        self.upstream_failures
            .get_or_create(&ByErrno {
                listener: self.listener,
                errno,
            })
            .inc();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_number_is_in_the_text_by_listener() {
        let metrics = Metrics::new(["inbound"].into_iter());
        let inbound = metrics.listener("inbound");
        let _open = inbound.opened();
        drop(inbound.opened());
        inbound.from_client.inc_by(120);
        inbound.to_client.inc_by(5000);
        inbound.upstream_failed("ECONNREFUSED".to_owned());
        inbound.loops_refused.inc();
        let text = metrics.text().expect("encode");
        let numbers: Vec<&str> = text.lines().filter(|line| !line.starts_with('#')).collect();
        let mut sorted = numbers.clone();
        sorted.sort_unstable();
        assert_eq!(
            sorted,
            [
                r#"hoplab_proxy_bytes_total{listener="inbound",direction="from_client"} 120"#,
                r#"hoplab_proxy_bytes_total{listener="inbound",direction="to_client"} 5000"#,
                r#"hoplab_proxy_connections_accepted_total{listener="inbound"} 2"#,
                r#"hoplab_proxy_connections_open{listener="inbound"} 1"#,
                r#"hoplab_proxy_loops_refused_total{listener="inbound"} 1"#,
                r#"hoplab_proxy_over_limit_total{listener="inbound"} 0"#,
                r#"hoplab_proxy_upstream_failures_total{listener="inbound",errno="ECONNREFUSED"} 1"#,
            ]
        );
    }
}
