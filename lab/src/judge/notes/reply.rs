//! Steps 9 to 15 as the notes word them: the answer of reviews on its way back.
//!
//! The kernel asks nat for the first packet of a connection only; conntrack reverses the translation of answers
//! without a rule. So wherever the notes send the answer through a nat rule, one more packet would have to be
//! counted than there are connections.

use hoplab_proxies::record::Role;

use super::{
    Part, Step,
    scene::{Scene, claim, closed, same, saw},
    traced::Answer,
};
use crate::{
    judge::{Check, Claim, Witness, connections::End},
    ports,
};

pub(super) fn steps(scene: &Scene, caller: &str) -> Vec<Step> {
    let pod = scene.pod;
    let target = scene.at(pod, scene.app_port(pod));
    let upstream_local = scene
        .connect(pod, Role::Proxy, target)
        .ok()
        .and_then(|(_, o)| o.local());
    let call_local = scene
        .connect(caller, Role::Proxy, target)
        .ok()
        .and_then(|(_, o)| o.local());
    let answered = |what: &str, src| {
        let entry = scene.entry(src, target);
        saw(scene.conntrack(), entry, |e| {
            match e.reply_counter.map(|c| c.packets) {
                Some(packets) if packets > 0 => Ok(()),
                other => Err((
                    format!("packets of the answer {what}"),
                    format!("{other:?}"),
                )),
            }
        })
    };
    let reply_packets = |src| {
        let entry = scene.entry(src, target).ok();
        entry
            .and_then(|e| e.reply_counter)
            .map_or("?".into(), |c| c.packets.to_string())
    };
    let to_sidecar = Answer::of(scene, scene.entry(upstream_local, target));
    let to_caller = Answer::of(scene, scene.entry(call_local, target));
    let connections = scene.opened_here();
    let one_more = |text: &str, witnesses: Vec<Check>| -> Claim {
        let mut checks = vec![at_least(
            scene,
            "OUTPUT 1",
            scene.packets("OUTPUT", 1),
            connections + 1,
        )];
        checks.extend(witnesses);
        claim(text, checks)
    };
    let decided = |text: &str| {
        let packets = scene.chain_packets("ISTIO_OUTPUT");
        claim(
            text,
            vec![
                at_least(scene, "all of ISTIO_OUTPUT", packets, connections + 1),
                no_new_entry(scene, connections),
            ],
        )
    };
    let output = format!(
        "{} for {connections} connection the pod opened",
        scene.rule("OUTPUT", 1)
    );
    vec![
        Step::new(9, "reviews answers the sidecar; being outbound, this meets OUTPUT again", vec![
            Part::holds(
                claim("reviews answers the sidecar, and the answer passes the hook OUTPUT", [
                    bytes(scene, pod, Role::App, target.port(), &|| scene.connect(pod, Role::Proxy, target).map(|(e, _)| e)),
                    answered("to the sidecar", upstream_local),
                ].into_iter().chain(to_sidecar.passes_output()).collect()),
                format!("conntrack counts {} packets of the answer{}", reply_packets(upstream_local), to_sidecar.words()),
            ),
            Part::refuted(one_more("the answer asks nat OUTPUT", [no_new_entry(scene, connections)].into_iter().chain(to_sidecar.meets_nat()).collect()), output.clone()),
        ])
        .instead("the packet passes the OUTPUT hook, but nat is not asked: it belongs to a connection conntrack knows"),
        Step::new(10, "OUTPUT passes the answer to ISTIO_OUTPUT", vec![
            Part::refuted(decided("the answer is decided in ISTIO_OUTPUT"), output.clone()),
        ])
        .instead("ISTIO_OUTPUT decided one packet: the first of the proxy's own connection (step 5)"),
        Step::new(11, "not to localhost and of the istio-proxy user, so it goes to ISTIO_REDIRECT", vec![
            Part::refuted(
                claim("a packet goes from ISTIO_OUTPUT to ISTIO_REDIRECT", vec![
                    at_least(scene, "ISTIO_OUTPUT 9", scene.packets("ISTIO_OUTPUT", 9), 1),
                    accepted_at(scene, ports::OUTBOUND),
                ]),
                scene.rule("ISTIO_OUTPUT", 9),
            ),
        ])
        .instead("nothing goes there; and a packet of uid 1337 never could: ISTIO_OUTPUT 4 returns it first"),
        Step::new(12, "ISTIO_REDIRECT redirects it to Envoy's outbound port 15001", vec![
            Part::refuted(
                claim("a connection arrives at 15001", vec![
                    at_least(scene, "ISTIO_REDIRECT 1", scene.packets("ISTIO_REDIRECT", 1), 1),
                    accepted_at(scene, ports::OUTBOUND),
                ]),
                scene.rule("ISTIO_REDIRECT", 1),
            ),
        ])
        .instead("the answer returns on the sidecar's own connection to the app; 15001 sees nothing"),
        Step::new(13, "Envoy sends the answer on, and this meets OUTPUT once more", vec![
            Part::holds(
                claim("the sidecar sends the answer to the caller, and it passes the hook OUTPUT", [
                    bytes(scene, pod, Role::Proxy, ports::INBOUND, &|| scene.connect(caller, Role::Proxy, target).map(|(e, _)| e)),
                    answered("to the caller", call_local),
                ].into_iter().chain(to_caller.passes_output()).collect()),
                format!("conntrack counts {} packets of the answer{}", reply_packets(call_local), to_caller.words()),
            ),
            Part::refuted(one_more("the answer asks nat OUTPUT", [no_new_entry(scene, connections)].into_iter().chain(to_caller.meets_nat()).collect()), output.clone()),
        ])
        .instead("as in step 9: the hook is passed, nat is not asked"),
        Step::new(14, "OUTPUT passes it to ISTIO_OUTPUT", vec![
            Part::refuted(decided("the answer is decided in ISTIO_OUTPUT"), output.clone()),
        ])
        .instead("as in step 10"),
        Step::new(15, "RETURN leads it to the next chain, POSTROUTING", vec![
            Part::holds(
                claim("the answer leaves the pod as if from port 9080", [
                    saw(
                        Witness::Log { pod: caller.to_string(), role: Role::Proxy },
                        closed(scene.connect(caller, Role::Proxy, target).map(|(e, _)| e)),
                        |c| if c.received > 0 { Ok(()) } else { Err(("bytes of the answer".into(), "0".into())) },
                    ),
                    answered("to the caller", call_local),
                ].into_iter().chain(to_caller.leaves_from(target.port())).collect()),
                format!("{caller}/proxy reads the answer on its connection to {target}{}", to_caller.words()),
            ),
            Part::refuted(
                claim("a RETURN of ISTIO_OUTPUT lets it", vec![
                    at_least(scene, "RETURN rules of ISTIO_OUTPUT", returns(scene), connections + 1),
                    no_new_entry(scene, connections),
                ]),
                scene.rule("ISTIO_OUTPUT", 1),
            ),
        ])
        .instead("no rule is asked; at POSTROUTING conntrack turns the source 15006 back into 9080"),
    ]
}

fn at_least(scene: &Scene, what: &str, had: Result<u64, String>, wanted: u64) -> Check {
    match had {
        Err(why) => Check::missing(scene.counters(), why),
        Ok(had) if had >= wanted => Check::agrees(scene.counters()),
        Ok(had) => Check::contradicts(
            scene.counters(),
            format!("{what} +{wanted} or more"),
            format!("+{had}"),
        ),
    }
}

/// Packets returned by ISTIO_OUTPUT: rules 1, 3, 4, 6, 7 and 8 of the notes' set.
fn returns(scene: &Scene) -> Result<u64, String> {
    let counts = [1, 3, 4, 6, 7, 8]
        .into_iter()
        .map(|place| scene.packets("ISTIO_OUTPUT", place));
    Ok(crate::rules::packets(
        counts.collect::<Result<Vec<_>, _>>()?,
    ))
}

/// nat is asked when conntrack makes an entry: one for each connection in, one for each opened here.
fn no_new_entry(scene: &Scene, opened: u64) -> Check {
    match scene.entries() {
        Err(why) => Check::missing(scene.conntrack(), why),
        Ok(entries) if entries > opened + 1 => Check::agrees(scene.conntrack()),
        Ok(entries) => Check::contradicts(
            scene.conntrack(),
            format!("an entry beyond those of {} connections", opened + 1),
            format!("{entries} entries"),
        ),
    }
}

fn accepted_at(scene: &Scene, port: u16) -> Check {
    match scene.accept(scene.pod, Role::Proxy, port) {
        Ok(_) => Check::agrees(scene.log(Role::Proxy)),
        Err(_) => Check::contradicts(
            scene.log(Role::Proxy),
            format!("an accept at {port}"),
            "none",
        ),
    }
}

/// What the accepting end sent, the opening end received.
fn bytes<'s>(
    scene: &'s Scene,
    pod: &str,
    role: Role,
    listener: u16,
    opener: &dyn Fn() -> Result<&'s End, String>,
) -> Check {
    let sent = closed(scene.accept(pod, role, listener).map(|(e, _)| e)).map(|c| c.sent);
    let received = closed(opener()).map(|c| c.received);
    let witness = Witness::Log {
        pod: pod.to_string(),
        role,
    };
    match (sent, received) {
        (Err(why), _) | (_, Err(why)) => Check::missing(witness, why),
        (Ok(0), _) => Check::contradicts(witness, "bytes of an answer", "0"),
        (Ok(sent), Ok(received)) => {
            saw(witness, Ok(()), |()| same("bytes received", sent, received))
        }
    }
}
