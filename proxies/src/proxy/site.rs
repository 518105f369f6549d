//! The HTTP listeners of the proxy itself: health, metrics and admin.

use std::sync::Arc;

use crate::accept::Accepted;
use crate::http_server::{self, Answer, Exchange};
use crate::log::Log;
use crate::log_level::LogLevel;

use super::metrics::{ListenerMetrics, Metrics};
use super::{admin, health};

/// What the proxy itself answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Site {
    /// The port decides which paths it knows.
    Health(u16),
    Metrics,
    Admin,
}

/// What the HTTP listeners need to answer.
pub(super) struct Answering {
    pub(super) site: Site,
    pub(super) metrics: Metrics,
    pub(super) level: LogLevel,
}

impl Answering {
    /// Serves one connection to its end.
    pub(super) async fn serve(
        self: Arc<Self>,
        counters: ListenerMetrics,
        log: Log,
        accepted: Accepted,
    ) {
        let _open = counters.opened();
        let traffic =
            http_server::serve(&log, accepted, async |exchange| self.respond(&exchange)).await;
        counters.from_client.inc_by(traffic.received());
        counters.to_client.inc_by(traffic.sent());
    }

    fn respond(&self, exchange: &Exchange) -> Answer {
        let (method, uri) = (exchange.request.method(), exchange.request.uri());
        match self.site {
            Site::Health(port) => health::respond(port, method, uri.path(), &self.metrics),
            Site::Metrics => health::respond_metrics(method, uri.path(), &self.metrics),
            Site::Admin => admin::respond(method, uri, &self.level, &self.metrics),
        }
    }
}
