//! What a plan of Bookinfo holds.

use super::*;
use crate::{
    builtin,
    interception::INBOUND_SOURCE,
    istio::routes,
    rules::{Backend, Family},
};

fn bookinfo(v6: bool) -> Plan {
    let text = builtin::lab_text("bookinfo").expect("bookinfo travels in the binary");
    let topology = Topology::parse(text, "bookinfo.toml").expect("valid");
    let v4 = (Family::V4, "v4 rules".to_owned());
    let v6_rules = v6.then(|| (Family::V6, "v6 rules".to_owned()));
    let texts = RuleTexts {
        written: Written::Iptables([v4].into_iter().chain(v6_rules).collect()),
        names: OwnerNames::default(),
        routes: routes::sidecar_with(v6, None),
        host: None,
        variables: None,
    };
    let interception = Interception::default();
    plan(
        &topology,
        &interception,
        texts,
        &PodRules::default(),
        BackendChoice::Fixed(Backend::Nft),
        crate::traced::Tracing::default(),
    )
}

fn pod<'p>(plan: &'p Plan, name: &str) -> &'p PodPlan {
    let pod = plan.pods.iter().find(|p| p.name == name);
    pod.expect("a pod of bookinfo")
}

#[test]
fn only_sidecar_pods_are_intercepted() {
    let plan = bookinfo(false);
    let intercepted: Vec<&str> = plan
        .pods
        .iter()
        .filter(|p| p.intercepted)
        .map(|p| p.name.as_str())
        .collect();
    assert_eq!(
        intercepted,
        [
            "productpage-v1",
            "details-v1",
            "reviews-v1",
            "reviews-v2",
            "reviews-v3",
            "ratings-v1"
        ]
    );
}

#[test]
fn the_ipv6_source_of_the_proxy_is_on_lo_only_where_ipv6_rules_are() {
    assert!(pod(&bookinfo(false), "reviews-v1").loopback.is_empty());
    let with_v6 = bookinfo(true);
    assert_eq!(
        pod(&with_v6, "reviews-v1").loopback,
        [(INBOUND_SOURCE[1], 128)]
    );
    assert!(pod(&with_v6, "client").loopback.is_empty());
}

#[test]
fn the_proxy_starts_before_the_app_and_each_as_its_own_user() {
    let plan = bookinfo(false);
    let ids: Vec<(u32, u32)> = pod(&plan, "reviews-v1")
        .processes
        .iter()
        .map(|p| (p.uid, p.gid))
        .collect();
    assert_eq!(ids, [(1337, 1337), (1000, 1000)]);
}

#[test]
fn names_resolve_as_in_kubernetes_for_both_families() {
    let hosts = bookinfo(false).files.hosts;
    for line in [
        "10.96.0.13 reviews reviews.default reviews.default.svc reviews.default.svc.cluster.local",
        "fd96::13 reviews reviews.default reviews.default.svc reviews.default.svc.cluster.local",
        "10.77.0.13 reviews-v1",
    ] {
        assert!(
            hosts.lines().any(|l| l == line),
            "no line `{line}` in\n{hosts}"
        );
    }
}

#[test]
fn a_service_has_one_route_per_family_with_its_endpoints_in_turn() {
    let text = builtin::lab_text("bookinfo").expect("bookinfo travels in the binary");
    let topology = Topology::parse(text, "bookinfo.toml").expect("valid");
    let routes = routes(&topology);
    let reviews: Vec<_> = routes.iter().filter(|r| r.service == "reviews").collect();
    assert_eq!(reviews.len(), 2);
    assert_eq!(reviews[0].vip.to_string(), "10.96.0.13:9080");
    let endpoints: Vec<String> = reviews[0]
        .endpoints
        .iter()
        .map(ToString::to_string)
        .collect();
    assert_eq!(
        endpoints,
        ["10.77.0.13:9080", "10.77.0.14:9080", "10.77.0.15:9080"]
    );
    assert_eq!(reviews[1].vip.to_string(), "[fd96::13]:9080");
}
