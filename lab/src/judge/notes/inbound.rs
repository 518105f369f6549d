//! Steps 1 to 8: a request comes in. Both readings share them.

use hoplab_proxies::record::Role;

use super::{
    Part, Step,
    scene::{Scene, claim, same, saw},
};
use crate::{judge::Witness, ports};

/// Steps 1 to 8, for a call that `caller` makes to the scene's pod.
pub(super) fn steps(scene: &Scene, caller: &str) -> Vec<Step> {
    let pod = scene.pod;
    let target = scene.at(pod, scene.app_port(pod));
    let redirected = scene.at(pod, ports::INBOUND);
    let accept = || scene.accept(pod, Role::Proxy, ports::INBOUND);
    let call = || scene.connect(caller, Role::Proxy, target);
    let upstream = || scene.connect(pod, Role::Proxy, target);
    let call_local = call().ok().and_then(|(_, o)| o.local());
    let upstream_local = upstream().ok().and_then(|(_, o)| o.local());
    let in_entry = || scene.entry(call_local, target);
    let up_entry = || scene.entry(upstream_local, target);
    let proxy_log = || scene.log(Role::Proxy);
    let caller_log = Witness::Log {
        pod: caller.to_string(),
        role: Role::Proxy,
    };
    let own_connection = || {
        saw(proxy_log(), upstream(), |(_, o)| {
            same(
                "source",
                scene.inbound_source(),
                o.bound.unwrap_or(target.ip()),
            )
        })
    };
    vec![
        Step::new(1, "productpage opens a TCP connection to reviews", vec![Part::holds(
            claim("the caller's connection arrives at the pod", vec![
                saw(caller_log, call(), |(_, o)| match o.local() {
                    Some(_) => Ok(()),
                    None => Err(("connected".into(), format!("{:?}", o.result))),
                }),
                saw(proxy_log(), accept(), |(_, a)| same("peer", call_local.unwrap_or(a.peer), a.peer)),
                saw(scene.conntrack(), in_entry(), |e| same("destination", target, e.original.dst)),
            ]),
            format!("{caller}/proxy connects {} → {target}", words(call_local)),
        )]),
        Step::new(2, "PREROUTING catches it and passes it to ISTIO_INBOUND", vec![Part::holds(
            claim("one packet jumps from PREROUTING to ISTIO_INBOUND", vec![
                scene.moved("PREROUTING", 1, 1),
                scene.count("all of ISTIO_INBOUND", scene.chain_packets("ISTIO_INBOUND"), 1),
                saw(scene.conntrack(), in_entry(), |e| same("destination", target, e.original.dst)),
            ]),
            scene.rule("PREROUTING", 1),
        )]),
        Step::new(3, "-A ISTIO_INBOUND -p tcp -j ISTIO_IN_REDIRECT passes it on", vec![Part::holds(
            claim("the catch-all of ISTIO_INBOUND decides", vec![
                scene.moved("ISTIO_INBOUND", 5, 1),
                saw(proxy_log(), accept(), |(_, a)| same("listener", ports::INBOUND, a.local.port())),
            ]),
            scene.rule("ISTIO_INBOUND", 5),
        )]),
        Step::new(4, "ISTIO_IN_REDIRECT redirects it to Envoy's inbound port 15006", vec![Part::holds(
            claim("the connection lands at 15006 and knows where it was meant to go", vec![
                scene.moved("ISTIO_IN_REDIRECT", 1, 1),
                saw(proxy_log(), accept(), |(_, a)| {
                    same("local address", redirected, a.local)?;
                    same("original destination", target, a.original_dst.addr().unwrap_or(redirected))
                }),
                scene.answers_from(in_entry(), redirected),
            ]),
            format!("{}; accept at {redirected}, original destination {target}", scene.rule("ISTIO_IN_REDIRECT", 1)),
        )]),
        Step::new(5, "Envoy connects to the app; being outbound, this meets OUTPUT", vec![Part::holds(
            claim("the proxy's own connection asks nat OUTPUT", vec![
                own_connection(),
                scene.count("OUTPUT 1", scene.packets("OUTPUT", 1), scene.opened_here()),
            ]),
            format!("{pod}/proxy connects {} → {target}; {}", words(upstream_local), scene.rule("OUTPUT", 1)),
        )]),
        Step::new(6, "OUTPUT passes it to ISTIO_OUTPUT", vec![Part::holds(
            claim("as many packets are decided in ISTIO_OUTPUT as jump to it", vec![
                scene.count(
                    "all of ISTIO_OUTPUT",
                    scene.chain_packets("ISTIO_OUTPUT"),
                    scene.packets("OUTPUT", 1).unwrap_or(u64::MAX),
                ),
                saw(scene.conntrack(), up_entry(), |e| same("destination", target, e.original.dst)),
            ]),
            scene.rule("OUTPUT", 1),
        )]),
        Step::new(7, "the destination is localhost, so no redirect matches and RETURN leads to the next chain, POSTROUTING", vec![
            Part::holds(
                claim("RETURN: the connection is not redirected", vec![
                    scene.moved("ISTIO_OUTPUT", 1, 1),
                    scene.answers_from(up_entry(), target),
                ]),
                scene.rule("ISTIO_OUTPUT", 1),
            ),
            Part::refuted(
                claim("because its destination is localhost", vec![
                    saw(proxy_log(), upstream(), |(_, o)| match o.remote.ip().is_loopback() {
                        true => Ok(()),
                        false => Err(("a loopback destination".into(), o.remote.to_string())),
                    }),
                    scene.moved("ISTIO_OUTPUT", 8, 1),
                ]),
                format!("{}; destination {target}", scene.rule("ISTIO_OUTPUT", 8)),
            ),
        ])
        .instead(format!(
            "the source decides: ISTIO_OUTPUT 1 returns what leaves by lo from {}; the destination is the pod's own \
             address. RETURN resumes OUTPUT, whose policy accepts; POSTROUTING is the next hook, not a caller",
            scene.inbound_source()
        )),
        Step::new(8, "the sidecar's request arrives at reviews on port 9080", vec![Part::holds(
            claim("the app accepts it, and sees the proxy's source", vec![
                saw(scene.log(Role::App), scene.accept(pod, Role::App, target.port()), |(_, a)| {
                    same("peer", upstream_local.unwrap_or(a.peer), a.peer)?;
                    same("source", scene.inbound_source(), a.peer.ip())
                }),
                own_connection(),
                scene.answers_from(up_entry(), target),
            ]),
            format!("{pod}/app accepts from {} at {target}", words(upstream_local)),
        )]),
    ]
}

pub(super) fn words(addr: Option<std::net::SocketAddr>) -> String {
    addr.map_or_else(|| "?".into(), |a| a.to_string())
}
