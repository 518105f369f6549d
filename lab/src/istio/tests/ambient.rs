//! Ambient rules beyond the goldens.

use rstest::rstest;

use super::*;
use crate::istio::{
    ambient::{self, Ambient, PodOverrides, ProbeSource},
    routes,
};

fn ambient_config(words: &str, pod: &PodOverrides) -> Ambient {
    let case = Case::new(words);
    Ambient::new(
        &case.settings,
        pod,
        ProbeSource::default(),
        case.host.ipv6,
        &mut Vec::new(),
    )
    .unwrap()
}

#[rstest]
#[case("", None, false)]
#[case("redirect-dns", None, true)]
#[case("redirect-dns", Some(false), false)]
#[case("", Some(true), true)]
fn a_pod_decides_on_its_dns_if_it_says_anything(
    #[case] words: &str,
    #[case] dns_capture: Option<bool>,
    #[case] captured: bool,
) {
    let pod = PodOverrides {
        dns_capture,
        ..PodOverrides::default()
    };
    let text = restore(&ambient::pod(&ambient_config(words, &pod)), Family::V4);
    assert_eq!(text.contains("15053"), captured, "{text}");
    assert_eq!(text.contains("* raw"), captured, "{text}");
}

#[rstest]
#[case("1.26", "-A POSTROUTING -j ISTIO_POSTRT")]
#[case("1.27", "-I POSTROUTING 1 -j ISTIO_POSTRT")]
fn the_hosts_jump_is_first_since_1_27(#[case] release: &str, #[case] jump: &str) {
    let rules = ambient::host(
        &ambient_config("ipv6", &PodOverrides::default()),
        release.parse().unwrap(),
    );
    let text = restore(&rules, Family::V6);
    assert!(has(&text, jump), "{text}");
    assert!(text.contains("--match-set istio-inpod-probes-v6 dst -j SNAT --to-source fd16:9254:7127:1337:ffff:ffff:ffff:ffff"), "{text}");
}

#[test]
fn probe_sources_come_from_variables() {
    let mut environment =
        Environment::from([("HOST_PROBE_SNAT_IP".to_owned(), "1.2.3.4".to_owned())]);
    assert_eq!(
        ProbeSource::resolve(&environment).unwrap().v4.to_string(),
        "1.2.3.4"
    );
    environment.insert("HOST_PROBE_SNAT_IPV6".to_owned(), "1.2.3.4".to_owned());
    let error = ProbeSource::resolve(&environment).unwrap_err();
    assert_eq!(
        error.to_string(),
        "HOST_PROBE_SNAT_IPV6 is `1.2.3.4`: it is not an IPv6 address"
    );
}

#[test]
fn ambient_routes_have_their_own_table_and_preference() {
    let steps: Vec<_> = routes::ambient(&ambient_config("", &PodOverrides::default()))
        .iter()
        .map(ToString::to_string)
        .collect();
    assert_eq!(
        steps,
        [
            "ip -4 rule add fwmark 0x111/0xfff pref 32764 lookup 100",
            "ip -4 route add local 0.0.0.0/0 dev lo table 100",
        ]
    );
}
