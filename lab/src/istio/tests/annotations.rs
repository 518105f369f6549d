//! From annotations to settings, on both ways.

use rstest::rstest;

use super::*;
use crate::istio::annotations::{self, Pod};

fn pod(annotations: &[(&str, &str)]) -> Pod {
    let mut pod = Pod::default();
    for (name, value) in annotations {
        pod.annotate(name, value).unwrap();
    }
    pod
}

fn init(pod: &Pod) -> Settings {
    let init = annotations::init_container(pod).unwrap().unwrap();
    let args = init
        .args
        .iter()
        .map(|(flag, value)| (*flag, value.as_str()));
    Settings::resolve(&init.environment, args, &mut Vec::new()).unwrap()
}

fn cni(pod: &Pod) -> Settings {
    annotations::cni(pod, &Environment::new(), &mut Vec::new()).unwrap()
}

const EXCLUDE_INBOUND: &str = "traffic.sidecar.istio.io/excludeInboundPorts";
const EXCLUDE_OUTBOUND: &str = "traffic.sidecar.istio.io/excludeOutboundPorts";
const MODE: &str = "sidecar.istio.io/interceptionMode";

#[test]
fn a_pod_without_annotations_is_captured_whole_on_both_ways() {
    for settings in [init(&Pod::default()), cni(&Pod::default())] {
        assert_eq!(settings.inbound_ports_include, "*");
        assert_eq!(settings.outbound_ip_ranges_include, "*");
        assert_eq!(
            (
                settings.proxy_uid.as_str(),
                settings.inbound_interception_mode.as_str()
            ),
            ("1337", "REDIRECT")
        );
    }
    assert_eq!(
        init(&Pod::default()).inbound_ports_exclude,
        "15090,15021,15020"
    );
    assert_eq!(
        cni(&Pod::default()).inbound_ports_exclude,
        "15020,15021,15090"
    );
}

#[rstest]
#[case(&[(EXCLUDE_INBOUND, "22,80")], "15090,15021,22,80,15020", "22,80,15020,15021,15090")]
#[case(&[(EXCLUDE_INBOUND, "15020,22,22")], "15090,15021,15020,22,22", "15020,22,15021,15090")]
#[case(&[("status.sidecar.istio.io/port", "15999")], "15090,15021,15999", "15020,15021,15090")]
#[case(&[("status.sidecar.istio.io/port", "0")], "15090,15021", "15020,15021,15090")]
fn inbound_exclusions_differ_by_way(
    #[case] given: &[(&str, &str)],
    #[case] by_init: &str,
    #[case] by_cni: &str,
) {
    assert_eq!(init(&pod(given)).inbound_ports_exclude, by_init);
    assert_eq!(cni(&pod(given)).inbound_ports_exclude, by_cni);
}

#[test]
fn only_the_plugin_excludes_an_outbound_port_of_its_own() {
    assert_eq!(init(&Pod::default()).outbound_ports_exclude, "");
    assert_eq!(cni(&Pod::default()).outbound_ports_exclude, "15020");
    assert_eq!(
        cni(&pod(&[(EXCLUDE_OUTBOUND, "5432")])).outbound_ports_exclude,
        "5432"
    );
}

#[test]
fn mode_none_means_no_init_container_and_fails_the_plugin() {
    let pod = pod(&[(MODE, "NONE")]);
    assert!(annotations::init_container(&pod).unwrap().is_none());
    let error = annotations::cni(&pod, &Environment::new(), &mut Vec::new()).unwrap_err();
    assert!(error.to_string().contains("fails the pod"), "{error}");
}

#[test]
fn the_new_name_for_virtual_interfaces_wins() {
    let old = ("traffic.sidecar.istio.io/kubevirtInterfaces", "old0");
    let new = ("istio.io/reroute-virtual-interfaces", "new0");
    for (given, expected) in [(&[old][..], "old0"), (&[old, new], "new0")] {
        assert_eq!(init(&pod(given)).reroute_virtual_interfaces, expected);
        assert_eq!(cni(&pod(given)).reroute_virtual_interfaces, expected);
    }
    assert_eq!(pod(&[old]).ambient().unwrap().virtual_interfaces, None);
    assert_eq!(
        pod(&[new]).ambient().unwrap().virtual_interfaces.as_deref(),
        Some("new0")
    );
}

#[test]
fn dns_of_the_proxys_environment_means_all_dns_for_the_plugin_only() {
    let pod = pod(&[(
        "proxy.istio.io/config",
        "proxyMetadata:\n  ISTIO_META_DNS_CAPTURE: \"true\"\n  INVALID_DROP: \"true\"",
    )]);
    let (init, cni) = (init(&pod), cni(&pod));
    assert_eq!(
        (init.redirect_dns, init.capture_all_dns, init.drop_invalid),
        (true, false, true)
    );
    assert_eq!(
        (cni.redirect_dns, cni.capture_all_dns, cni.drop_invalid),
        (true, true, true)
    );
}

#[test]
fn an_annotation_beats_the_proxy_configuration() {
    let config = ("proxy.istio.io/config", "interceptionMode: TPROXY");
    assert_eq!(init(&pod(&[config])).inbound_interception_mode, "TPROXY");
    assert_eq!(
        init(&pod(&[config, (MODE, "REDIRECT")])).inbound_interception_mode,
        "REDIRECT"
    );
}

#[rstest]
#[case(Some(0), Some(1337), ("1337", ""), ("1337", "1337"))]
#[case(Some(4000), Some(4001), ("4000", ""), ("4000", "4001"))]
fn the_proxys_user_is_seen_by_both_ways_its_group_by_the_plugin(
    #[case] run_as_user: Option<u32>,
    #[case] run_as_group: Option<u32>,
    #[case] by_init: (&str, &str),
    #[case] by_cni: (&str, &str),
) {
    let pod = Pod {
        run_as_user,
        run_as_group,
        ..Pod::default()
    };
    let ids = |s: &Settings| (s.proxy_uid.clone(), s.proxy_gid.clone());
    assert_eq!(ids(&init(&pod)), (by_init.0.into(), by_init.1.into()));
    assert_eq!(ids(&cni(&pod)), (by_cni.0.into(), by_cni.1.into()));
}

#[test]
fn under_cni_only_variables_without_a_flag_come_from_the_runtime() {
    let runtime = ["ISTIO_OUTBOUND_OWNER_GROUPS", "ISTIO_INBOUND_PORTS"];
    let runtime = runtime
        .map(|name| (name.to_owned(), "202".to_owned()))
        .into();
    let settings = annotations::cni(&Pod::default(), &runtime, &mut Vec::new()).unwrap();
    assert_eq!(
        (
            settings.owner_groups_include.as_str(),
            settings.inbound_ports_include.as_str()
        ),
        ("202", "*")
    );
}

#[rstest]
#[case(EXCLUDE_INBOUND, "80,")]
#[case(EXCLUDE_OUTBOUND, "http")]
#[case(MODE, "tproxy")]
#[case("traffic.sidecar.istio.io/includeInboundPorts", "*,80")]
#[case("traffic.sidecar.istio.io/includeOutboundIPRanges", "10.0.0.0")]
#[case("traffic.sidecar.istio.io/excludeOutboundIPRanges", "*")]
#[case("traffic.sidecar.istio.io/excludeInterfaces", "eth0 -j ACCEPT")]
#[case("istio.io/reroute-virtual-interfaces", "0eth")]
fn both_ways_reject_what_their_checks_reject(#[case] name: &str, #[case] value: &str) {
    let pod = pod(&[(name, value)]);
    let by_init = annotations::init_container(&pod).unwrap_err();
    let by_cni = annotations::cni(&pod, &Environment::new(), &mut Vec::new()).unwrap_err();
    assert_eq!((by_init.name.as_str(), by_cni.name.as_str()), (name, name));
}

#[test]
fn every_argument_of_the_template_is_a_flag() {
    let all = [
        (EXCLUDE_OUTBOUND, "1"),
        ("traffic.sidecar.istio.io/includeOutboundPorts", "2"),
        ("traffic.sidecar.istio.io/excludeInterfaces", "eth1"),
        ("traffic.sidecar.istio.io/kubevirtInterfaces", "eth2"),
    ];
    let init = annotations::init_container(&pod(&all)).unwrap().unwrap();
    let shorts: String = init
        .args
        .iter()
        .filter_map(|(flag, _)| flag.short)
        .collect();
    assert_eq!(shorts, "pzumixbdqokc");
}

#[rstest]
#[case("true", None)]
#[case("false", Some("sidecar.istio.io/inject is `false`"))]
fn the_inject_annotation_can_leave_a_pod_alone(#[case] value: &str, #[case] why: Option<&str>) {
    assert_eq!(
        pod(&[("sidecar.istio.io/inject", value)])
            .left_alone()
            .as_deref(),
        why
    );
}
