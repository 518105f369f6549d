//! Bookinfo under every configuration of the rules: whatever they make of its flows, the model said so before, rule by
//! rule and packet by packet. `--nocapture` shows how many counts of rules model and kernel agreed on.
//!
//! The configurations of the goldens run whole: every flow, over both families, by all that applies rules. The others
//! share the work out: each is applied by one of them in turn, the kernel's part is the same in both families, so each
//! backend of iptables takes one of them, and flows that only differ in whose turn it is are sent once. All of them by
//! all, over both: `just regress`.

use std::sync::Mutex;

use hoplab::{
    Families,
    istio::{Configuration, Release},
    judge::{Agreement, Verdict},
    netfilter::BackendChoice,
};
use hoplab_scenarios::{
    Backend, Family, INJECTED, LabFile, Observed, Options, bookinfo_file, under, up,
};
use rstest::rstest;

const GOLDENS: &str = include_str!("../configurations/goldens.txt");
const GAPS: &str = include_str!("../configurations/gaps.txt");

/// What the rules are written for, and applied by.
#[derive(Debug, Clone, Copy)]
enum By {
    IptablesNft,
    IptablesLegacy,
    /// Istio has native nft rules for sidecars since 1.27.
    Nft,
    /// One of them, by the place in the list.
    Turn,
}

/// What is sent.
#[derive(Debug, Clone, Copy)]
enum Sent {
    /// Every flow over both families.
    All,
    /// Each kind of flow over the families that are the backend's share.
    Shared,
}

/// The same call again, to the next endpoint of the service.
const NEXT_TURNS: [&str; 2] = ["ingress-reviews-v2", "ingress-reviews-v3"];

/// Flows under rules of both families.
fn holds(lab: LabFile, configuration: &Configuration, release: &str, (by, sent): (By, Sent)) {
    let title = format!("Istio {release} {}", configuration.name);
    let release: Release = release.parse().expect("a release");
    let (backend, native) = match by {
        By::IptablesNft => (BackendChoice::Fixed(Backend::Nft), false),
        By::IptablesLegacy => (BackendChoice::Fixed(Backend::Legacy), false),
        By::Nft => (BackendChoice::Auto, true),
        By::Turn => unreachable!("whose turn it is is settled before"),
    };
    let file = under(lab, configuration, release, (Families::Dual, native));
    let options = Options {
        families: Families::Dual,
        backend,
        // Refused and unreachable calls may take a while where nothing is captured.
        deadline_ms: 10_000,
        ..Options::default()
    };
    let mut lab = up(file, options);
    let (over, without): (&[Family], &[&str]) = match (sent, by) {
        (Sent::All, _) => (&[Family::V4, Family::V6], &[]),
        (Sent::Shared, By::IptablesNft) => (&[Family::V4], &NEXT_TURNS),
        (Sent::Shared, By::IptablesLegacy) => (&[Family::V6], &NEXT_TURNS),
        // A rule of nft has one counter for both families.
        (Sent::Shared, By::Nft | By::Turn) => (&[Family::V4, Family::V6], &NEXT_TURNS),
    };
    let observed = Observed::of_flows_over(&mut lab, over, without);
    let found = observed.judgement.agreement;
    count(&title, &format!("{by:?}"), &found);
    observed.is(Verdict::Holds);
    assert_eq!(observed.judgement.families.len(), over.len());
    assert!(found.moved > 0 && found.disagreed == 0, "{found:?}");
}

/// Prints a lab's agreement and the sum so far.
fn count(title: &str, backend: &str, found: &Agreement) {
    static SUM: Mutex<(u64, u64, u64)> = Mutex::new((0, 0, 0));
    let mut sum = SUM.lock().expect("no test panics here");
    sum.0 += found.moved;
    sum.1 += found.exactly;
    sum.2 += found.still;
    let (moved, exactly, still) = *sum;
    println!(
        "{title} on {backend}: {found:?}; so far {} counts of rules agreed, {moved} of them not 0, {exactly} to the packet",
        moved + still
    );
}

/// A test per configuration of a list, and one that none is left out.
macro_rules! each {
    ($list:ident, $sent:expr, [$($by:ident)*], $holds:ident, $complete:ident, $($name:literal)*) => {
        #[rstest]
        fn $holds(
            #[values($($name),*)] name: &str,
            #[values($(By::$by),*)] by: By,
            bookinfo_file: LabFile,
        ) {
            let list = listed($list);
            let at = list.iter().position(|it| it.name == name).expect("it is listed");
            let by = match by {
                By::Turn => [By::IptablesNft, By::IptablesLegacy, By::Nft][at % 3],
                by => by,
            };
            holds(bookinfo_file, &list[at], "1.32", (by, $sent));
        }

        #[test]
        fn $complete() {
            let list = listed($list);
            let names: Vec<&str> = list.iter().map(|it| it.name.as_str()).collect();
            assert_eq!(names, [$($name),*]);
        }
    };
}

each! {
    GOLDENS, Sent::All, [IptablesNft IptablesLegacy Nft],
    the_model_is_right_about_a_golden_configuration, no_golden_is_left_out,
    "empty" "inbound-ports-wildcard" "tproxy" "basic-exclude-nic" "drop-invalid" "host-ipv4-loopback-cidr" "ipnets"
    "kube-virt-interfaces" "outbound-owner-groups" "outbound-owner-groups-exclude" "ip-range" "dns-uid-gid"
    "ipv6-ipnets" "ipv6-outbound-ports"
}

each! {
    GAPS, Sent::Shared, [Turn],
    the_model_is_right_about_a_configuration_without_golden, no_other_is_left_out,
    "ordinary" "dns" "dns-all" "tproxy" "tproxy-dns" "tproxy-drop-invalid" "tproxy-no-inbound" "tproxy-ports"
    "tproxy-owners" "tproxy-other-numbers" "other-ports" "owners" "dns-owners" "dns-port-excluded"
    "dns-server-excluded" "dns-loopback" "loopback-included" "outbound-port-excluded" "inbound-port-excluded"
    "inbound-off" "outbound-off" "outbound-ports" "service-excluded" "services-only" "owner-groups-none"
    "owner-groups-app" "owner-groups-without-app" "own-interface-excluded" "own-interface-virtual" "drop-invalid-dns"
    "everything"
}

/// One release per generation of the rules, and the first and last of some.
#[rstest]
fn the_model_is_right_about_every_generation(
    #[values("1.12", "1.13", "1.17", "1.18", "1.20", "1.23", "1.24", "1.25", "1.32")] release: &str,
    #[values("", "--redirect-dns", "-m TPROXY", "-m TPROXY --redirect-dns")] mode: &str,
    bookinfo_file: LabFile,
) {
    // The rules are the same by either; which one has the odd releases is the other one for DNS.
    let minor: u32 = release[2..].parse().expect("1.something");
    let by = match (minor + u32::from(mode.contains("dns"))) % 2 {
        0 => By::IptablesNft,
        _ => By::IptablesLegacy,
    };
    let configuration = Configuration::parse(mode, &format!("{INJECTED} {mode}"));
    let configuration = configuration.expect("flags of istio-iptables");
    holds(bookinfo_file, &configuration, release, (by, Sent::Shared));
}

fn listed(list: &str) -> Vec<Configuration> {
    Configuration::list(list, "the list").unwrap_or_else(|complaint| panic!("{complaint}"))
}
