//! The kernel takes every text, on both backends, and says the same when asked.

use hoplab::{
    linkerd,
    netfilter::Backend,
    rules::{Family, RuleSet},
};
use rstest::rstest;

use crate::{
    Given, KUMA, LINKERD, assert_same, configured, kuma_texts, linkerd_texts,
    load::{saved, saved_after},
    parsed, picked,
};

fn round_trip(texts: Vec<(Family, String)>, backend: Backend) {
    for (family, text) in texts {
        let found = saved(&text, backend, family);
        assert_same(&text, &found, family, &format!("{backend}"));
    }
}

/// Each option alone, all of them, and some that go together.
fn combinations(flags: usize) -> impl Iterator<Item = u32> {
    let each = (0..flags).map(|at| 1 << at);
    // Each of these has about half of the bits.
    let mixed = [
        0x5555_5555,
        0xaaaa_aaaa,
        0x3333_3333,
        0xcccc_cccc,
        0x0f0f_0f0f,
        0xf0f0_f0f0,
    ];
    each.chain([0, u32::MAX]).chain(mixed)
}

#[rstest]
fn the_kernel_holds_what_kuma_means(#[values(Backend::Nft, Backend::Legacy)] backend: Backend) {
    for bits in combinations(KUMA.len()) {
        round_trip(kuma_texts(&picked(KUMA, bits)), backend);
    }
}

#[rstest]
fn the_kernel_holds_what_linkerd_means(#[values(Backend::Nft, Backend::Legacy)] backend: Backend) {
    for bits in combinations(LINKERD.len()) {
        round_trip(linkerd_texts(&picked(LINKERD, bits)), backend);
    }
}

#[rstest]
#[case::v4(Family::V4, "10.0.0.0/8,192.168.0.0/16")]
#[case::v6(Family::V6, "fd00::/8")]
fn the_kernel_holds_subnets_of_its_family(
    #[case] family: Family,
    #[case] subnets: &'static str,
    #[values(Backend::Nft, Backend::Legacy)] backend: Backend,
) {
    let texts = linkerd_texts(&[("subnets-to-ignore", vec![subnets])]);
    let text = texts
        .into_iter()
        .find(|(it, _)| *it == family)
        .expect("both")
        .1;
    assert_same(
        &text,
        &saved(&text, backend, family),
        family,
        &format!("{backend}"),
    );
}

#[rstest]
fn in_a_docker_network_kumas_rules_join_dockers(
    #[values(Backend::Nft, Backend::Legacy)] backend: Backend,
    #[values("redirect-dns", "redirect-all-dns-traffic")] dns: &'static str,
) {
    let mut host = hoplab::kuma::Host {
        docker_output: vec![Family::V4],
        ..Default::default()
    };
    assert!(host.dns_servers.push("127.0.0.11"));
    let config = configured(&[(dns, vec!["true"])]);
    let rules = hoplab::kuma::iptables(&config, &host, &mut Vec::new());
    let text = hoplab::kuma::restore(&rules, Family::V4);
    let docker =
        "*nat\n:DOCKER_OUTPUT - [0:0]\n-A OUTPUT -d 127.0.0.11/32 -j DOCKER_OUTPUT\nCOMMIT\n";
    let both = format!("{docker}{text}");
    let found = saved(&both, backend, Family::V4);
    assert_same(&both, &found, Family::V4, &format!("{backend}"));
}

/// The commands of a configuration, with the iptables of a backend.
fn script(given: &[Given], family: Family, backend: Backend, existing: &RuleSet) -> String {
    let mode = match backend {
        Backend::Nft => "nft",
        Backend::Legacy => "legacy",
    };
    let given = [given, &[("iptables-mode", vec![mode])]].concat();
    linkerd::commands(&configured(&given), family, existing).join("\n")
}

#[rstest]
fn linkerds_commands_leave_what_its_restore_text_leaves_however_often_they_run(
    #[values(Backend::Nft, Backend::Legacy)] backend: Backend,
    #[values(Family::V4, Family::V6)] family: Family,
) {
    let given = [
        ("proxy-gid", vec!["3000"]),
        ("inbound-ports-to-ignore", vec!["22,80-90"]),
    ];
    let text = linkerd::restore(&configured(&given));
    let once = script(&given, family, backend, &RuleSet::empty(family));
    let found = saved_after(&once, "", backend, family);
    assert_same(&text, &found, family, &format!("{backend}, once"));
    let again = script(&given, family, backend, &parsed(&found, family, "found"));
    let found = saved_after(&format!("{once}\n{again}"), "", backend, family);
    assert_same(&text, &found, family, &format!("{backend}, twice"));
    let mode = [(
        "iptables-mode",
        vec![if backend == Backend::Nft {
            "nft"
        } else {
            "legacy"
        }],
    )];
    let away = linkerd::cleanup(&configured(&mode), family).join("\n");
    let found = saved_after(&format!("{once}\n{again}\n{away}"), "", backend, family);
    assert!(!found.contains("PROXY_INIT"), "{found}");
}

/// Of one list for both families: what the warning says happens.
#[rstest]
fn ip6tables_refuses_subnets_of_ipv4_as_the_warning_says(
    #[values(Backend::Nft, Backend::Legacy)] backend: Backend,
) {
    let given = [("subnets-to-ignore", vec!["10.0.0.0/8"])];
    let failing = script(&given, Family::V6, backend, &RuleSet::empty(Family::V6));
    let refused = format!(
        "if ( {} ) 2>/dev/null; then exit 1; fi",
        failing.replace('\n', " && ")
    );
    let found = saved_after(&refused, "", backend, Family::V6);
    assert!(!found.contains("-j PROXY_INIT_REDIRECT"), "{found}");
}
