//! What each mode of interception does to a connection: one lab that stays up for each, and one explanation after the
//! other in it.

use rstest::rstest;
use serde_json::Value;

use super::{command::runtime::Runtime, hops, is_sound, rules, value, witnesses};

const LAB: &str = include_str!("modes.toml");

/// A lab under a configuration of Istio, up.
struct Mode {
    runtime: Runtime,
    family: &'static str,
}

impl Mode {
    fn up(backend: &str, family: &'static str, flags: &[&str]) -> Self {
        let runtime = Runtime::new();
        let file = runtime.file("modes.toml", LAB);
        let chosen = ["--backend", backend, "--family", family];
        runtime.output(&[&["up", &file, "--istio", "1.32"], &chosen[..], flags].concat());
        Self { runtime, family }
    }

    /// A connection that everyone agrees on.
    #[track_caller]
    fn explains(&self, words: &[&str]) -> Value {
        let args = [&["explain"], words, &["--json"]].concat();
        let path = value(&self.runtime.done(&args));
        assert_eq!(path["family"], self.family);
        is_sound(&path);
        path
    }

    /// An address of the lab over its family: `POD 11`, `DNS`, or one of lo.
    fn at(&self, who: &str, port: u16) -> String {
        let v4 = self.family == "ipv4";
        let address = match who {
            "called" if v4 => "10.77.0.11",
            "called" => "[fd77::11]",
            "dns" if v4 => "10.96.0.10",
            "dns" => "[fd96::a]",
            "lo" if v4 => "127.0.0.1",
            _ => "[::1]",
        };
        format!("{address}:{port}")
    }

    fn down(self) {
        self.runtime.down("modes");
    }
}

/// Legs of a path.
fn legs(path: &Value) -> &[Value] {
    path["legs"].as_array().expect("legs")
}

/// Chain and text of each rule that matched in one direction of a leg.
fn matched<'a>(leg: &'a Value, way: &str) -> Vec<(&'a str, &'a str)> {
    let of = |hop: &'a Value, key: &str| hop[key].as_str().unwrap_or_default();
    let matched = of_leg(leg, way)
        .into_iter()
        .filter(|hop| hop["event"] == "rule");
    matched
        .map(|hop| (of(hop, "chain"), of(hop, "text")))
        .collect()
}

fn of_leg<'a>(leg: &'a Value, way: &str) -> Vec<&'a Value> {
    let pods = leg[way].as_array().into_iter().flatten();
    pods.flat_map(|pod| pod["hops"].as_array().into_iter().flatten())
        .collect()
}

/// What changed on the way, with who saw it: `mark 0 → 1337`.
fn changes(leg: &Value, way: &str) -> Vec<(String, Vec<String>)> {
    let mut found = Vec::new();
    for hop in of_leg(leg, way) {
        let who: Vec<String> = witnesses(hop).into_iter().map(str::to_owned).collect();
        for change in hop["changes"].as_array().into_iter().flatten() {
            let word = |key: &str| change[key].to_string().replace('"', "");
            let words = match change.get("zone") {
                Some(zone) => format!("zone {zone}"),
                None => format!("{} {} → {}", word("field"), word("before"), word("after")),
            };
            found.push((words, who.clone()));
        }
    }
    found
}

/// Whether something changed in these words, seen by all of these.
#[track_caller]
fn changed(leg: &Value, way: &str, words: &str, by: &[&str]) {
    let all = changes(leg, way);
    let is = |(it, who): &(String, Vec<String>)| {
        it == words && by.iter().all(|wanted| who.iter().any(|it| it == wanted))
    };
    assert!(all.iter().any(is), "no `{words}` by {by:?} in {all:#?}");
}

fn last<'a>(leg: &'a Value, event: &str) -> &'a Value {
    let last = of_leg(leg, "there").into_iter().next_back().expect("hops");
    assert_eq!(last["event"], event, "{last:#}");
    last
}

#[rstest]
fn tproxy_hands_the_packet_over_by_a_mark_and_the_answer_gets_it_from_its_connection(
    #[values("nft", "legacy")] backend: &str,
    #[values("ipv4", "ipv6")] family: &'static str,
) {
    let lab = Mode::up(
        backend,
        family,
        &["--istio-inbound-interception-mode", "TPROXY"],
    );
    let path = lab.explains(&["caller", "called:9080"]);
    assert_eq!(path["answer"], "200");
    let [client, upstream] = legs(&path) else {
        panic!("{path:#}")
    };
    let way = matched(client, "there");
    let chains: Vec<&str> = way.iter().map(|it| it.0).collect();
    assert_eq!(
        chains,
        ["PREROUTING", "ISTIO_INBOUND", "ISTIO_TPROXY"],
        "{way:?}"
    );
    assert!(way[2].1.contains("-j TPROXY --on-port 15006"), "{way:?}");
    changed(
        client,
        "there",
        "mark 0 → 1337",
        &["trace", "counter", "model"],
    );
    // No translation: the proxy's socket has the destination the client chose.
    let accept = last(client, "accept");
    assert_eq!(
        (&accept["listener"], &accept["at"]),
        (&15006.into(), &lab.at("called", 9080).into())
    );
    assert_eq!(witnesses(accept), ["trace", "log", "model"]);
    assert!(
        changes(client, "back").is_empty(),
        "{:?}",
        changes(client, "back")
    );
    // The app sees the client; its answer finds the proxy by the mark that the connection keeps.
    assert_eq!(upstream["mark"], 1337);
    assert_eq!(upstream["source"]["address"], client["source"]["address"]);
    changed(
        upstream,
        "there",
        "connection-mark 0 → 1337",
        &["trace", "conntrack", "model"],
    );
    let restored = matched(upstream, "back");
    assert!(restored[0].1.contains("--restore-mark"), "{restored:?}");
    changed(
        upstream,
        "back",
        "mark 0 → 1337",
        &["trace", "counter", "model"],
    );
    // A call of the listener itself would go round in circles.
    let path = lab.explains(&["caller", "called:15006"]);
    assert_eq!(path["answer"], "closed");
    let [only] = legs(&path) else {
        panic!("{path:#}")
    };
    assert_eq!(last(only, "accept")["refused_as_loop"], true);
    lab.down();
}

#[rstest]
fn redirect_turns_the_port_conntrack_turns_it_back_and_a_loop_is_refused(
    #[values("nft", "legacy")] backend: &str,
    #[values("ipv4", "ipv6")] family: &'static str,
) {
    let lab = Mode::up(backend, family, &[]);
    let path = lab.explains(&["caller", "called:9080"]);
    let [client, _] = legs(&path) else {
        panic!("{path:#}")
    };
    let (asked, proxy) = (lab.at("called", 9080), lab.at("called", 15006));
    let there = format!("destination {asked} → {proxy}");
    changed(
        client,
        "there",
        &there,
        &["trace", "counter", "conntrack", "log", "model"],
    );
    let back = format!("source {proxy} → {asked}");
    changed(client, "back", &back, &["trace", "conntrack", "model"]);
    assert_eq!(matched(client, "back"), []);
    // Straight at the listener from outside, and from the app.
    for from in ["caller", "called"] {
        let path = lab.explains(&[from, "called:15006"]);
        assert_eq!(path["answer"], "closed", "{path:#}");
        let refused = |leg: &Value| last(leg, "accept")["refused_as_loop"] == true;
        assert!(legs(&path).iter().any(refused), "{path:#}");
    }
    // An app that calls out is captured, its proxy is not.
    let path = lab.explains(&["called", "caller:9080"]);
    let [app, proxy] = legs(&path) else {
        panic!("{path:#}")
    };
    assert!(
        matched(app, "there")
            .iter()
            .any(|it| it.1.contains("--to-ports 15001"))
    );
    let out = matched(proxy, "there");
    assert_eq!(
        out.last(),
        Some(&("ISTIO_OUTPUT", "-m owner --uid-owner 1337 -j RETURN"))
    );
    lab.down();
}

#[rstest]
fn a_captured_lookup_is_shown_with_the_zone_of_each_direction(
    #[values("nft", "legacy")] backend: &str,
    #[values("ipv4", "ipv6")] family: &'static str,
) {
    let lab = Mode::up(backend, family, &["--redirect-dns"]);
    let (server, proxy) = (lab.at("dns", 53), lab.at("lo", 15053));
    let there = format!("destination {server} → {proxy}");
    let back = format!("source {proxy} → {server}");
    let path = lab.explains(&["called", "dns:example.org", "--udp"]);
    let [app, own] = legs(&path) else {
        panic!("{path:#}")
    };
    assert_eq!(
        (&app["transport"], &own["transport"]),
        (&"udp".into(), &"udp".into())
    );
    // The app's query and its answer are in zone 2, those of the proxy in zone 1.
    changed(
        app,
        "there",
        "zone 2",
        &["trace", "counter", "conntrack", "model"],
    );
    changed(
        app,
        "there",
        &there,
        &["trace", "counter", "conntrack", "model"],
    );
    changed(
        app,
        "back",
        "zone 2",
        &["trace", "counter", "conntrack", "model"],
    );
    changed(app, "back", &back, &["trace", "conntrack", "model"]);
    for way in ["there", "back"] {
        changed(
            own,
            way,
            "zone 1",
            &["trace", "counter", "conntrack", "model"],
        );
    }
    assert_eq!(last(app, "accept")["process"]["role"], "proxy");
    assert_eq!(last(own, "accept")["process"]["pod"], "node");
    // Over TCP the same port is captured, and nobody has a zone.
    let path = lab.explains(&["called", "dns:example.org", "--tcp"]);
    let [app, own] = legs(&path) else {
        panic!("{path:#}")
    };
    changed(
        app,
        "there",
        &there,
        &["trace", "counter", "conntrack", "log", "model"],
    );
    changed(app, "back", &back, &["trace", "conntrack", "model"]);
    for leg in [app, own] {
        let all = [changes(leg, "there"), changes(leg, "back")].concat();
        assert!(!all.iter().any(|it| it.0.starts_with("zone")), "{all:?}");
    }
    // Whoever is the proxy's user asks the server itself.
    let path = lab.explains(&["called", "dns:example.org", "--as", "proxy"]);
    let [own] = legs(&path) else {
        panic!("{path:#}")
    };
    changed(
        own,
        "there",
        "zone 1",
        &["trace", "counter", "conntrack", "model"],
    );
    assert!(
        hops(&path, "there")
            .iter()
            .all(|hop| hop.get("changes").is_none_or(|it| it[0]["field"] == "zone"))
    );
    assert_eq!(
        rules(&path)
            .last()
            .map(|it| it.ends_with("--uid-owner 1337 -j RETURN")),
        Some(true)
    );
    lab.down();
}
