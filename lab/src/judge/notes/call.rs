//! Steps 9 to 15 read as a new connection: reviews calls the next service.

use hoplab_proxies::record::Role;

use super::{
    Part, Step,
    inbound::words,
    scene::{Scene, claim, same, saw},
};
use crate::{judge::Witness, ports};

pub(super) fn steps(scene: &Scene, callee: &str) -> Vec<Step> {
    let pod = scene.pod;
    let own = scene.at(pod, scene.app_port(pod));
    let next = scene.at(callee, scene.app_port(callee));
    let outbound = scene.loopback(ports::OUTBOUND);
    let app_call = || scene.connect_where(Role::App, |_| true);
    let onward = || scene.connect(pod, Role::Proxy, next);
    let accept = || scene.accept(pod, Role::Proxy, ports::OUTBOUND);
    let app_local = app_call().ok().and_then(|(_, o)| o.local());
    let vip = app_call().map_or(own, |(_, o)| o.remote);
    let onward_local = onward().ok().and_then(|(_, o)| o.local());
    let app_entry = || scene.entry(app_local, vip);
    let onward_entry = || scene.entry(onward_local, next);
    let app_log = || scene.log(Role::App);
    let proxy_log = || scene.log(Role::Proxy);
    let callee_log = || Witness::Log {
        pod: callee.to_string(),
        role: Role::Proxy,
    };
    let opened = scene.opened_here();
    let every_connection = || scene.count("OUTPUT 1", scene.packets("OUTPUT", 1), opened);
    let decided = || {
        scene.count(
            "all of ISTIO_OUTPUT",
            scene.chain_packets("ISTIO_OUTPUT"),
            scene.packets("OUTPUT", 1).unwrap_or(u64::MAX),
        )
    };
    let arrives = || {
        saw(
            callee_log(),
            scene.accept(callee, Role::Proxy, ports::INBOUND),
            |(_, a)| same("peer", onward_local.unwrap_or(a.peer), a.peer),
        )
    };
    vec![
        Step::new(9, "reviews sends; being outbound, this meets OUTPUT", vec![Part::holds(
            claim("the app's own connection asks nat OUTPUT", vec![
                saw(app_log(), app_call(), |(_, o)| match o.local() {
                    Some(_) => Ok(()),
                    None => Err(("connected".into(), format!("{:?}", o.result))),
                }),
                every_connection(),
                saw(scene.conntrack(), app_entry(), |e| same("destination", vip, e.original.dst)),
            ]),
            format!("{pod}/app connects {} → {vip}; {}", words(app_local), scene.rule("OUTPUT", 1)),
        )]),
        Step::new(10, "OUTPUT passes it to ISTIO_OUTPUT", vec![Part::holds(
            claim("as many packets are decided in ISTIO_OUTPUT as jump to it", vec![
                decided(),
                saw(scene.conntrack(), app_entry(), |e| same("destination", vip, e.original.dst)),
            ]),
            scene.rule("OUTPUT", 1),
        )]),
        Step::new(11, "not to localhost and of the istio-proxy user, so it goes to ISTIO_REDIRECT", vec![
            Part::holds(
                claim("it goes from ISTIO_OUTPUT to ISTIO_REDIRECT", vec![
                    scene.moved("ISTIO_OUTPUT", 9, 1),
                    saw(proxy_log(), accept(), |(_, a)| same("listener", ports::OUTBOUND, a.local.port())),
                ]),
                scene.rule("ISTIO_OUTPUT", 9),
            ),
            Part::refuted(
                claim("because it is of the istio-proxy user", vec![
                    saw(app_log(), app_call(), |(_, o)| same("uid", 1337, o.owner.uid)),
                    saw(proxy_log(), accept().map(|_| app_call()), |call| match call {
                        Ok((end, _)) if end.role == Role::Proxy => Ok(()),
                        _ => Err(("a connection of the proxy at 15001".into(), "the app's".into())),
                    }),
                ]),
                format!("the socket belongs to {}", app_call().map_or("?".into(), |(_, o)| format!("{}:{}", o.owner.uid, o.owner.gid))),
            ),
        ])
        .instead("it is the app's packet: what is not uid 1337 reaches the catch-all; uid 1337 returned at ISTIO_OUTPUT 4"),
        Step::new(12, "ISTIO_REDIRECT redirects it to Envoy's outbound port 15001", vec![Part::holds(
            claim("the connection lands at 15001 and knows where it was meant to go", vec![
                scene.moved("ISTIO_REDIRECT", 1, 1),
                saw(proxy_log(), accept(), |(_, a)| {
                    same("local address", outbound, a.local)?;
                    same("original destination", vip, a.original_dst.addr().unwrap_or(outbound))
                }),
                scene.answers_from(app_entry(), outbound),
            ]),
            format!("{}; accept at {outbound}, original destination {vip}", scene.rule("ISTIO_REDIRECT", 1)),
        )]),
        Step::new(13, "Envoy sends it on, and this meets OUTPUT", vec![Part::holds(
            claim("the proxy's onward connection asks nat OUTPUT", vec![
                saw(proxy_log(), onward(), |(_, o)| same("uid", 1337, o.owner.uid)),
                every_connection(),
                saw(scene.conntrack(), onward_entry(), |e| same("destination", next, e.original.dst)),
            ]),
            format!("{pod}/proxy connects {} → {next}", words(onward_local)),
        )]),
        Step::new(14, "OUTPUT passes it to ISTIO_OUTPUT", vec![Part::holds(
            claim("as many packets are decided in ISTIO_OUTPUT as jump to it", vec![
                decided(),
                saw(scene.conntrack(), onward_entry(), |e| same("destination", next, e.original.dst)),
            ]),
            scene.rule("OUTPUT", 1),
        )]),
        Step::new(15, "RETURN leads it to the next chain, POSTROUTING", vec![Part::holds(
            claim("the proxy's own packet is returned, and arrives at the callee untouched", vec![
                scene.moved("ISTIO_OUTPUT", 4, 1),
                scene.answers_from(onward_entry(), next),
                arrives(),
            ]),
            scene.rule("ISTIO_OUTPUT", 4),
        )]),
    ]
}
