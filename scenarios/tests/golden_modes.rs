//! Golden texts of modes that no lab file of ours is written for: the same on both backends, whoever's ports were free.

use hoplab::{istio::Release, netfilter::BackendChoice, path, report::golden};
use hoplab_scenarios::{Backend, Family, INJECTED, Options, bookinfo_file, configured, up};
use rstest::rstest;

const FLOWS: [&str; 4] = [
    "outside-to-reviews",
    "app-to-outside",
    "lookup-outside-name",
    "lookup-over-tcp",
];

/// The golden text of each flow under a configuration.
fn texts(words: &str, backend: Backend, family: Family) -> Vec<String> {
    let words = format!("{INJECTED} {words}");
    let file = configured(bookinfo_file(), &words, Release::default(), family.into());
    let options = Options {
        backend: BackendChoice::Fixed(backend),
        families: family.into(),
        ..Options::default()
    };
    let mut lab = up(file, options);
    let text = |flow: &str| {
        let window = lab
            .drive(flow)
            .unwrap_or_else(|failure| panic!("{flow}: {failure}"));
        let evidence = lab.observed_so_far();
        let flow = lab.file().topology.flow(flow).expect("it was sent");
        let path = path::of_window(lab.file(), &evidence, &window, flow);
        golden(&path.unwrap_or_else(|failure| panic!("{failure}")))
    };
    FLOWS.map(text).into()
}

#[rstest]
#[case::tproxy("ISTIO_INBOUND_INTERCEPTION_MODE=TPROXY", 0, &[
    "TPROXY --on-port 15006 --tproxy-mark 0x539/0xffffffff; mark 0x0 → 0x539",
    "connection mark 0x0 → 0x539",
])]
#[case::dns("REDIRECT_DNS=true", 2, &["-j CT --zone 2; conntrack zone 2", "-j CT --zone 1; conntrack zone 1"])]
#[case::dns_over_tcp("REDIRECT_DNS=true", 3, &["--dport 53 -j REDIRECT --to-ports 15053; destination "])]
fn a_golden_text_is_the_same_on_both_backends(
    #[case] words: &str,
    #[case] flow: usize,
    #[case] wanted: &[&str],
    #[values(Family::V4, Family::V6)] family: Family,
) {
    let [nft, legacy] = [Backend::Nft, Backend::Legacy].map(|it| texts(words, it, family));
    assert_eq!(nft, legacy);
    for part in wanted {
        assert!(nft[flow].contains(part), "no `{part}` in\n{}", nft[flow]);
    }
}
