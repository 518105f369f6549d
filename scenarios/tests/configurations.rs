//! Bookinfo under rules that Istio writes for other configurations: every flow does what the rules say.

use hoplab::{
    Expect, Families, GivenRules,
    interception::Tproxy,
    istio::{Config, Environment, Flag, Release, Settings},
    judge::Verdict,
    netfilter::BackendChoice,
};
use hoplab_proxies::wire::CallOutcome;
use hoplab_scenarios::{Backend, Family, Lab, LabFile, Observed, Options, bookinfo_file, up};
use rstest::rstest;

/// What injection gives every sidecar.
const INJECTED: &[(&str, &str)] = &[
    ("proxy-uid", "1337"),
    ("istio-service-cidr", "*"),
    ("istio-inbound-ports", "*"),
    ("istio-local-exclude-ports", "15090,15021,15020"),
];

fn configured(file: LabFile, families: Families, release: &str, more: &[(&str, &str)]) -> LabFile {
    let given = INJECTED.iter().chain(more);
    let flags = given.map(|(name, value)| (Flag::find(name).expect("a flag of Istio"), *value));
    let mut warnings = Vec::new();
    let settings = Settings::resolve(&Environment::new(), flags, &mut warnings);
    let settings = settings.expect("valid flags");
    let config = Config::new(&settings, &file.host(families), &mut warnings);
    let release: Release = release.parse().expect("a release");
    file.configured(&settings, &config.expect("valid settings"), release)
}

fn lab(file: LabFile, backend: Backend, families: Families) -> Lab {
    let options = Options {
        backend: BackendChoice::Fixed(backend),
        families,
        ..Options::default()
    };
    up(file, options)
}

const TPROXY: (&str, &str) = ("istio-inbound-interception-mode", "TPROXY");
const DNS: (&str, &str) = ("redirect-dns", "true");
const ALL_DNS: (&str, &str) = ("capture-all-dns", "true");

#[rstest]
#[case::redirect("1.32", &[])]
#[case::dns("1.32", &[DNS])]
#[case::all_dns("1.32", &[DNS, ALL_DNS])]
#[case::tproxy("1.32", &[TPROXY])]
#[case::tproxy_and_dns("1.32", &[TPROXY, DNS])]
#[case::dns_before_it_had_chains("1.22", &[DNS])]
#[case::tproxy_and_dns_of_1_13("1.13", &[TPROXY, DNS])]
#[case::ports_of_its_own("1.32", &[("envoy-port", "16001"), ("inbound-capture-port", "16006")])]
#[case::mark_and_table("1.32", &[TPROXY, ("istio-inbound-tproxy-mark", "7"), ("istio-inbound-tproxy-route-table", "300")])]
fn every_flow_over_both_families_does_what_the_rules_say(
    #[case] release: &str,
    #[case] flags: &[(&str, &str)],
    #[values(Backend::Nft, Backend::Legacy)] backend: Backend,
    bookinfo_file: LabFile,
) {
    let file = configured(bookinfo_file, Families::Dual, release, flags);
    let mut lab = lab(file, backend, Families::Dual);
    let flows = lab.file().topology.flows.iter();
    let flows: Vec<String> = flows.map(|flow| flow.name.clone()).collect();
    for family in [Family::V4, Family::V6] {
        for flow in &flows {
            let sent = lab.drive_over(flow, family);
            sent.unwrap_or_else(|failure| panic!("{flow} over {family}: {failure}"));
        }
    }
    let evidence = lab.observed().unwrap_or_else(|failure| panic!("{failure}"));
    assert_eq!(evidence.windows.len(), 2 * flows.len());
    Observed::judge(lab.file().clone(), evidence).holds();
}

/// Control: what goes beside the rules matters. A connectivity check of the way in alone would not see it.
#[rstest]
fn a_mark_that_the_rules_do_not_know_loses_the_answer_of_the_app(
    #[values(Backend::Nft, Backend::Legacy)] backend: Backend,
    bookinfo_file: LabFile,
) {
    let families = Families::One(Family::V4);
    let tproxy = configured(bookinfo_file.clone(), families, "1.32", &[TPROXY]);
    let rules = tproxy.reference(Family::V4).expect("rendered");
    let given = GivenRules::of(rules, "the rules of TPROXY");
    let mut file = bookinfo_file.with_rules(given, Expect::Rules);
    let known = file.interception.tproxy.expect("the rules tell");
    assert_eq!(
        (known.mark, file.interception.owner),
        (1337, Some((0, 1337)))
    );
    file.interception.tproxy = Some(Tproxy { mark: 7, ..known });
    let options = Options {
        backend: BackendChoice::Fixed(backend),
        families,
        deadline_ms: 1_000,
        ..Options::default()
    };
    let observed = Observed::of(&mut up(file, options), &["outside-to-reviews"]);
    assert_ne!(observed.judgement.verdict, Verdict::Holds);
    assert_eq!(
        observed.window("outside-to-reviews").outcome,
        CallOutcome::Timeout
    );
    observed.missed("reviews-v1 sends the answer out to 10.77.0.20");
}

#[rstest]
fn an_outside_name_is_asked_of_the_clusters_server_in_a_zone_of_its_own(
    #[values(Backend::Nft, Backend::Legacy)] backend: Backend,
    bookinfo_file: LabFile,
) {
    let families = Families::One(Family::V4);
    let file = configured(bookinfo_file, families, "1.32", &[DNS]);
    let mut lab = lab(file, backend, families);
    let observed = Observed::of(&mut lab, &["lookup-outside-name"]);
    observed.holds();
    let entries = &observed.window("lookup-outside-name").conntrack["details-v1"];
    let mut zones: Vec<Option<u16>> = entries.iter().map(|entry| entry.zone).collect();
    zones.sort_unstable();
    // The app's query to 15053, and the sidecar's own to the server.
    assert_eq!(zones, [Some(1), Some(2)], "{entries:#?}");
}
