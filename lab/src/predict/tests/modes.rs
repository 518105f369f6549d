//! Hand-checked legs: what KERNEL-FACTS and ISTIO-RULES measured of TPROXY mode and DNS capture, release by release.

use hoplab_proxies::record::Transport;
use rstest::rstest;

use super::*;
use crate::istio::{Config, Environment, Flag, Host, Release, Settings};
use crate::lab_file::{Expect, LabFile};

const INJECTED: &[(&str, &str)] = &[
    ("istio-service-cidr", "*"),
    ("istio-inbound-ports", "*"),
    ("istio-local-exclude-ports", "15090,15021,15020"),
];
const TPROXY: &[(&str, &str)] = &[("istio-inbound-interception-mode", "TPROXY")];
const DNS: &[(&str, &str)] = &[("redirect-dns", "true"), ("capture-all-dns", "true")];

fn lab(release: &str, mode: &[(&str, &str)]) -> LabFile {
    let file = LabFile::open("bookinfo").expect("bookinfo travels in the binary");
    let given = INJECTED.iter().chain(mode);
    let flags = given.map(|(name, value)| (Flag::find(name).expect("a flag of Istio"), *value));
    let mut warnings = Vec::new();
    let settings = Settings::resolve(&Environment::new(), flags, &mut warnings).expect("valid");
    let host = Host {
        ipv6: true,
        ..Host::default()
    };
    let config = Config::new(&settings, &host, &mut warnings).expect("valid");
    let release: Release = release.parse().expect("a release");
    file.configured(&settings, &config, release)
}

/// The legs of a flow, and the reply they come to.
fn legs_of(lab: &LabFile, family: Family, name: &str) -> (Vec<Leg>, Reply) {
    assert_eq!(lab.expect, Expect::Rules);
    let rules = lab.reference(family).expect("rules");
    let world = World::new(&lab.topology, &rules, &lab.interception);
    let flow = flow(&lab.topology, name);
    let legs = predict(&world, flow, &mut Turns::default());
    let reply = Reply::predicted(&world, flow, &legs);
    (legs, reply)
}

fn crossing(leg: &Leg) -> &Crossing {
    leg.crossings().next().expect("a pod with rules")
}

/// Rules of a table that the first packet moves.
fn moved(leg: &Leg, table: &str) -> Vec<String> {
    let all = leg.crossings().flat_map(|it| it.first.moved());
    let of = all.filter(|it| it.table.name() == table);
    of.map(|it| it.short()).collect()
}

const COUNTED: Counted = Counted {
    opener: Some(6),
    answers: Some(5),
};

fn count(leg: &Leg, rule: &str) -> String {
    let moves = crossing(leg).moves(COUNTED);
    let found = moves.0.iter().find(|(it, _)| it.to_string() == rule);
    found
        .map_or(Range::exactly(0), |(_, range)| *range)
        .to_string()
}

#[rstest]
fn with_tproxy_a_client_is_intercepted_unturned_and_the_app_sees_the_clients_address(
    #[values("1.12", "1.13", "1.18", "1.20", "1.23", "1.25", "1.32")] release: &str,
    #[values(Family::V4, Family::V6)] family: Family,
) {
    let (legs, reply) = legs_of(&lab(release, TPROXY), family, "outside-to-reviews");
    let [client, upstream] = legs.as_slice() else {
        panic!("{legs:#?}")
    };
    let LegEnd::Accepted {
        listener,
        port,
        local,
        original_dst,
        ..
    } = &client.end
    else {
        panic!("{:?}", client.end)
    };
    assert_eq!((*listener, *port), (Listener::Inbound, 15006));
    assert_eq!(
        (*local, *original_dst),
        (client.remote, Some(client.remote))
    );
    assert!(moved(client, "nat").is_empty(), "nat has no way in");
    assert_eq!(crossing(client).mark, 0);
    assert_eq!(upstream.opener.source, client.opener.source);
    assert_eq!(
        (upstream.opener.owner, upstream.opener.mark),
        ((0, 1337), 1337)
    );
    assert!(matches!(
        upstream.end,
        LegEnd::Accepted {
            listener: Listener::App,
            ..
        }
    ));
    assert_eq!(
        crossing(upstream).mark,
        1337,
        "PREROUTING saves it, and OUTPUT leads the answers back by it"
    );
    assert_eq!(reply, Reply::Status(200));
}

#[test]
fn with_tproxy_every_packet_is_counted_where_it_goes() {
    let (legs, _) = legs_of(&lab("1.32", TPROXY), Family::V4, "outside-to-reviews");
    // Six packets come in: the first meets TPROXY, conntrack knows the others. Answers leave unmarked.
    assert_eq!(count(&legs[0], "mangle PREROUTING 1"), "+6");
    assert_eq!(count(&legs[0], "mangle ISTIO_TPROXY 1"), "+1");
    assert_eq!(count(&legs[0], "mangle ISTIO_DIVERT 1"), "+5");
    assert_eq!(count(&legs[0], "mangle PREROUTING 2"), "+0");
    // Upstream, both directions pass lo: eleven in PREROUTING, all with the mark, saved each time.
    assert_eq!(count(&legs[1], "mangle ISTIO_INBOUND 1"), "+11");
    assert_eq!(count(&legs[1], "mangle PREROUTING 2"), "+11");
    // The proxy's six leave by lo with the mark; the app's five get it back from the connection.
    assert_eq!(count(&legs[1], "mangle OUTPUT 1"), "+6");
    assert_eq!(count(&legs[1], "mangle OUTPUT 4"), "+5");
}

#[test]
fn with_tproxy_the_proxys_call_of_its_own_pod_comes_in_by_mark_1338_and_the_apps_does_not() {
    let lab = lab("1.32", TPROXY);
    let (legs, reply) = legs_of(&lab, Family::V4, "proxy-to-own-ip");
    assert!(matches!(
        legs[0].end,
        LegEnd::Accepted {
            listener: Listener::Inbound,
            ..
        }
    ));
    assert!(
        moved(&legs[0], "mangle").contains(&"OUTPUT 3".to_string()),
        "by its group"
    );
    assert_eq!((legs.len(), reply), (2, Reply::Status(200)));
    let (legs, _) = legs_of(&lab, Family::V4, "app-to-own-ip");
    assert!(matches!(
        legs[0].end,
        LegEnd::Accepted {
            listener: Listener::App,
            ..
        }
    ));
}

#[test]
fn with_tproxy_the_tunnel_port_is_captured_and_redirect_leaves_it_alone() {
    let (_, reply) = legs_of(&lab("1.32", TPROXY), Family::V4, "probe-15008");
    assert_eq!(reply, Reply::Closed);
    let (_, reply) = legs_of(&lab("1.32", &[]), Family::V4, "probe-15008");
    assert_eq!(reply, Reply::Refused);
}

#[test]
fn without_the_mark_on_the_connection_the_answers_of_the_app_leave_for_the_client() {
    let lab = lab("1.32", TPROXY);
    let rules = lab.reference(Family::V4).expect("rules");
    let restore = rules::RuleId::new(Family::V4, rules::Table::Mangle, "OUTPUT", 4);
    let rules = rules.without(&restore);
    let world = World::new(&lab.topology, &rules, &lab.interception);
    let flow = flow(&lab.topology, "outside-to-reviews");
    let legs = predict(&world, flow, &mut Turns::default());
    let LegEnd::Unknown { why } = &legs[1].end else {
        panic!("{:?}", legs[1].end)
    };
    assert!(why.contains("sends the answer out to 10.77.0.20"), "{why}");
}

#[rstest]
fn with_dns_capture_the_sidecar_answers_for_services_and_asks_for_other_names(
    #[values("1.12", "1.13", "1.18", "1.20", "1.23", "1.25", "1.32")] release: &str,
    #[values(Family::V4, Family::V6)] family: Family,
) {
    let lab = lab(release, DNS);
    let (legs, reply) = legs_of(&lab, family, "lookup-over-udp");
    let [lookup] = legs.as_slice() else {
        panic!("{legs:#?}")
    };
    assert_eq!(lookup.transport, Transport::Udp);
    assert!(matches!(
        lookup.end,
        LegEnd::Accepted {
            listener: Listener::DnsProxy,
            port: 15053,
            original_dst: None,
            ..
        }
    ));
    assert_eq!(
        (crossing(lookup).zone, crossing(lookup).answers_apart),
        (2, None)
    );
    assert!(matches!(reply, Reply::Resolved(_)));
    let (legs, _) = legs_of(&lab, family, "lookup-outside-name");
    let [lookup, upstream] = legs.as_slice() else {
        panic!("{legs:#?}")
    };
    assert_eq!(crossing(lookup).zone, 2);
    assert_eq!(
        crossing(upstream).zone,
        1,
        "the first assignment wins, though both rules count"
    );
    assert!(matches!(
        upstream.end,
        LegEnd::Accepted {
            listener: Listener::DnsServer,
            ..
        }
    ));
    assert_eq!(
        legs_of(&lab, family, "lookup-missing-name").1,
        Reply::NoName
    );
}

/// ISTIO-RULES 2.4: traffic bypasses correctly but raw still splits it, an unreplied pair per query.
#[test]
fn an_excluded_dns_port_leaves_question_and_answer_in_two_zones() {
    let excluded = [DNS, &[("istio-local-outbound-ports-exclude", "53")]].concat();
    let (legs, reply) = legs_of(&lab("1.32", &excluded), Family::V4, "lookup-over-udp");
    assert!(matches!(
        legs[0].end,
        LegEnd::Accepted {
            listener: Listener::DnsServer,
            ..
        }
    ));
    assert_eq!(
        (crossing(&legs[0]).zone, crossing(&legs[0]).answers_apart),
        (2, Some(1))
    );
    assert!(matches!(reply, Reply::Resolved(_)));
}

#[test]
fn without_capture_a_service_address_is_unreachable_and_the_app_answers_all_the_same() {
    let off = [("istio-service-cidr", ""), ("istio-inbound-ports", "")];
    let (legs, reply) = legs_of(&lab("1.32", &off), Family::V4, "ingress-reviews-v1");
    let unreachable = legs.iter().filter(|it| it.end == LegEnd::Unreachable);
    assert_eq!(unreachable.count(), 2, "details and reviews");
    assert_eq!(reply, Reply::Status(200));
}
