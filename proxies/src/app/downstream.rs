//! A call of the app to another service, by name.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use crate::call::{self, Call};
use crate::errno::errno_name;
use crate::log::Log;
use crate::socket_facts::comparable;
use crate::wire::AppCall;

use super::answer::CallAnswer;

/// Time for one call with everything below it.
const LIMIT: Duration = Duration::from_secs(5);

/// Calls a service on behalf of `parent`, over the family its client used.
pub(super) async fn call(
    log: &Log,
    call: &AppCall,
    parent: u64,
    client: SocketAddr,
    request_id: Option<&str>,
) -> CallAnswer {
    let to = match resolve(&call.service, call.port, client.is_ipv4()).await {
        Ok(Some(to)) => to,
        Ok(None) => {
            let family = if client.is_ipv4() { "IPv4" } else { "IPv6" };
            return CallAnswer::failed(
                &call.service,
                format!("{} has no {family} address", call.service),
            );
        }
        Err(error) => {
            return CallAnswer::failed(
                &call.service,
                format!("cannot resolve {}: {}", call.service, errno_name(&error)),
            );
        }
    };
    let outcome = call::get(
        log,
        Call {
            source_port: None,
            client: None,
            parent: Some(parent),
            to,
            mark: None,
            host: format!("{}:{}", call.service, call.port),
            path: call.path.clone(),
            request_id: request_id.map(str::to_owned),
            limit: LIMIT,
        },
    )
    .await;
    CallAnswer::from_outcome(&call.service, outcome)
}

async fn resolve(name: &str, port: u16, v4: bool) -> io::Result<Option<SocketAddr>> {
    let mut addresses = tokio::net::lookup_host((name, port)).await?;
    Ok(addresses
        .find(|address| address.is_ipv4() == v4)
        .map(comparable))
}
