//! Default, variable, second variable, flag.

use rstest::rstest;

use super::*;
use crate::istio::{FLAGS, Kind};

#[rstest]
#[case("", "")]
#[case("ISTIO_INBOUND_PORTS=80", "80")]
#[case("ISTIO_INBOUND_PORTS=80 istio-inbound-ports=*", "*")]
#[case("ISTIO_INBOUND_PORTS=80 istio-inbound-ports=", "")]
fn a_flag_beats_its_variable(#[case] words: &str, #[case] ports: &str) {
    assert_eq!(Case::new(words).settings.inbound_ports_include, ports);
}

#[rstest]
#[case("REDIRECT_DNS=true", true)]
#[case("ISTIO_META_DNS_CAPTURE=true", true)]
#[case("REDIRECT_DNS=true ISTIO_META_DNS_CAPTURE=false", false)]
#[case("REDIRECT_DNS=false ISTIO_META_DNS_CAPTURE=1", true)]
#[case("ISTIO_META_DNS_CAPTURE=true redirect-dns=false", false)]
#[case("REDIRECT_DNS=true ISTIO_META_DNS_CAPTURE=maybe", true)]
fn the_second_variable_beats_the_first(#[case] words: &str, #[case] on: bool) {
    assert_eq!(Case::new(words).settings.redirect_dns, on);
}

#[test]
fn a_variable_that_does_not_parse_is_dropped_with_a_warning() {
    let case = Case::new("DROP_INVALID=yes IPTABLES_PROBE_PORT=70000 PROBE_TIMEOUT=5");
    assert_eq!(case.settings, Settings::default());
    let warnings: Vec<_> = case.warnings.iter().map(ToString::to_string).collect();
    assert_eq!(
        warnings,
        [
            "Istio ignores the variable DROP_INVALID, since `yes` is neither true nor false",
            "Istio ignores the variable IPTABLES_PROBE_PORT, since `70000` is no port number",
            "Istio ignores the variable PROBE_TIMEOUT, since `5` is no time",
        ]
    );
}

#[test]
fn envoy_port_has_no_variable() {
    assert_eq!(Case::new("ENVOY_PORT=1").settings.proxy_port, "15001");
}

#[test]
fn a_flag_that_does_not_parse_is_an_error() {
    let flag = Flag::find("drop-invalid").unwrap();
    let error =
        Settings::resolve(&Environment::new(), [(flag, "yes")], &mut Vec::new()).unwrap_err();
    assert_eq!(
        error.to_string(),
        "--drop-invalid is `yes`: neither true nor false"
    );
    assert_eq!(error.fix, "give true or false");
}

#[rstest]
#[case("5s", Some(5_000))]
#[case("1m30s", Some(90_000))]
#[case("1.5s", Some(1_500))]
#[case("250ms", Some(250))]
#[case("0", Some(0))]
#[case("5", None)]
#[case("", None)]
#[case("-5s", None)]
#[case("s", None)]
fn times_are_read_as_go_reads_them(#[case] text: &str, #[case] millis: Option<u128>) {
    let mut settings = Settings::default();
    let set = Flag::find("probe-timeout")
        .unwrap()
        .set(&mut settings, text);
    assert_eq!(
        set.is_ok().then_some(settings.probe_timeout.as_millis()),
        millis
    );
}

#[rstest]
#[case("", None, "1337", "1337")]
#[case("", Some(777), "777", "777")]
#[case("proxy-uid=5", Some(777), "5", "5")]
#[case("proxy-uid=5 proxy-gid=6", None, "5", "6")]
#[case("PROXY_GID=6", Some(777), "777", "6")]
fn the_group_is_the_user_unless_given(
    #[case] words: &str,
    #[case] envoy_user: Option<u32>,
    #[case] uid: &str,
    #[case] gid: &str,
) {
    let mut case = Case::new(words);
    case.host.envoy_user_uid = envoy_user;
    let config = case.config().unwrap();
    assert_eq!(
        (
            config.proxy_uid[0].to_string(),
            config.proxy_gid[0].to_string()
        ),
        (uid.into(), gid.into())
    );
}

#[test]
fn names_and_short_forms_of_flags_are_unique() {
    let mut names: Vec<_> = FLAGS.iter().map(|flag| flag.name).collect();
    let mut shorts: Vec<_> = FLAGS.iter().filter_map(|flag| flag.short).collect();
    names.sort_unstable();
    shorts.sort_unstable();
    assert!(names.windows(2).all(|pair| pair[0] != pair[1]), "{names:?}");
    assert_eq!(String::from_iter(shorts), "bcdegikmnopqrtuxz");
    assert_eq!(
        FLAGS
            .iter()
            .filter(|flag| flag.kind() == Kind::Switch)
            .count(),
        12
    );
}
