//! Bookinfo in ambient mode: Istio's in-pod rules, and the stub proxy as ztunnel, which marks what it sends and calls an
//! app with the client's address.

use std::net::IpAddr;

use hoplab::{
    Expect, Families, GivenRules,
    istio::{
        Release,
        ambient::{Ambient, ProbeSource},
    },
    judge::Verdict,
    netfilter::BackendChoice,
    rules::{RuleId, Table},
};
use hoplab_proxies::{
    record::{Event, Role},
    wire::CallOutcome,
};
use hoplab_scenarios::{
    Backend, Family, Lab, LabFile, Observed, Options, bookinfo_file, bookinfo_text, nft_without, up,
};
use rstest::rstest;

/// What holds the rules in the pods.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum By {
    IptablesNft,
    IptablesLegacy,
    Nft,
}

fn options(by: By, families: Families) -> Options {
    let backend = match by {
        By::IptablesNft => BackendChoice::Fixed(Backend::Nft),
        By::IptablesLegacy => BackendChoice::Fixed(Backend::Legacy),
        By::Nft => BackendChoice::Auto,
    };
    Options {
        backend,
        families,
        ..Options::default()
    }
}

const PLAIN: Ambient = Ambient {
    redirect_dns: false,
    ingress_mode: false,
    virtual_interfaces: Vec::new(),
    host_probe_snat: ProbeSource::ISTIO,
    enable_ipv6: false,
};

fn ambient(lab: LabFile, config: &Ambient, by: By, families: Families) -> LabFile {
    let config = Ambient {
        enable_ipv6: families.has(Family::V6),
        ..config.clone()
    };
    lab.ambient(&config, by == By::Nft, Release::NEWEST)
}

#[rstest]
#[case::plain(PLAIN)]
#[case::dns(Ambient { redirect_dns: true, ..PLAIN })]
#[case::ingress(Ambient { ingress_mode: true, ..PLAIN })]
#[case::ingress_and_dns(Ambient { ingress_mode: true, redirect_dns: true, ..PLAIN })]
fn every_flow_over_both_families_does_what_the_rules_say(
    #[case] config: Ambient,
    #[values(By::IptablesNft, By::IptablesLegacy, By::Nft)] by: By,
    bookinfo_file: LabFile,
) {
    let file = ambient(bookinfo_file, &config, by, Families::Dual);
    let mut lab = up(file, options(by, Families::Dual));
    let observed = Observed::of_all_flows_over_both(&mut lab);
    observed.holds();
    assert_eq!(observed.judgement.families.len(), 2);
    let found = observed.judgement.agreement;
    assert!(found.moved > 0 && found.disagreed == 0, "{found:?}");
}

/// Both ways through a pod: in by 15006 and out by 15001, ztunnel's sockets marked, the app called with the address of
/// its client.
#[rstest]
fn ztunnel_marks_what_it_sends_and_calls_the_app_with_the_clients_address(
    #[values(By::IptablesNft, By::Nft)] by: By,
    bookinfo_file: LabFile,
) {
    let families = Families::One(Family::V4);
    let file = ambient(bookinfo_file, &PLAIN, by, families);
    let client = file.topology.pod("client").expect("a pod").addr.v4;
    let mut lab = up(file, options(by, families));
    let observed = Observed::of(&mut lab, &["outside-to-reviews", "app-to-outside"]);
    observed.holds();
    let marked = |flow: &str| {
        let records = observed.window(flow).records.iter();
        let mut marks = records.filter_map(|record| match &record.event {
            Event::Connect { bound, mark, .. } if *mark != 0 => Some((*mark, *bound)),
            _ => None,
        });
        (marks.next(), marks.next())
    };
    let to_the_app = (0x539, Some(client.into()));
    assert_eq!(marked("outside-to-reviews"), (Some(to_the_app), None));
    assert_eq!(marked("app-to-outside"), (Some((0x539, None)), None));
}

/// Bookinfo with one more flow: what kubelet sends to an app's own port.
fn with_probe() -> LabFile {
    let probe = "[[flow]]\nname = \"kubelet\"\nabout = \"a probe of the app itself\"\nfrom = \"node\"\n\
                 to = \"reviews-v2:9080\"\npath = \"/health\"\n";
    let text = format!("{}\n{probe}", bookinfo_text());
    LabFile::parse(&text, "bookinfo.toml").expect("a lab")
}

/// The host's rules: a set of pods, and a source address for what its own sockets send there.
#[rstest]
fn a_probe_of_the_host_reaches_the_app_past_ztunnel_from_an_address_that_pods_know(
    #[values(By::IptablesNft, By::IptablesLegacy, By::Nft)] by: By,
    #[values(Family::V4, Family::V6)] family: Family,
) {
    let families = Families::One(family);
    let file = ambient(with_probe(), &PLAIN, by, families);
    let observed = Observed::of(&mut up(file, options(by, families)), &["kubelet"]);
    observed.holds();
    let records = &observed.window("kubelet").records;
    let accepts = records.iter().filter_map(|record| match &record.event {
        Event::Accept { peer, .. } => Some((record.role, peer.ip())),
        _ => None,
    });
    let from: IpAddr = match family {
        Family::V4 => ProbeSource::ISTIO.v4.into(),
        Family::V6 => ProbeSource::ISTIO.v6.into(),
    };
    assert_eq!(accepts.collect::<Vec<_>>(), [(Role::App, from)]);
}

/// Rules of a file come without those of the host: then ztunnel takes the probe, and asks the app as the node.
#[rstest]
fn in_pod_rules_of_a_file_bring_ztunnel_with_them_and_leave_the_host_alone(
    #[values(By::IptablesNft, By::Nft)] by: By,
) {
    let families = Families::One(Family::V4);
    let written = ambient(with_probe(), &PLAIN, by, families);
    let texts = written.texts_to_apply(families).expect("it has rules");
    let text = texts.written.of(Family::V4).expect("one for IPv4");
    let given = GivenRules::read(text, "in-pod.rules", Family::V4).expect("rules");
    let file = with_probe().with_rules(given, Expect::Rules);
    assert_eq!(file.interception.upstream_mark(), 0x539);
    let observed = Observed::of_all_flows(&mut up(file, options(by, families)));
    observed.holds();
    let records = observed.window("kubelet").records.iter();
    let accepts = records.filter(|record| matches!(record.event, Event::Accept { .. }));
    // The logs of two processes arrive in any order.
    let mut roles: Vec<Role> = accepts.map(|record| record.role).collect();
    roles.sort();
    assert_eq!(roles, [Role::App, Role::Proxy]);
}

#[rstest]
fn the_tunnel_port_is_ztunnels_own_and_ends_what_is_no_tunnel(bookinfo_file: LabFile) {
    let families = Families::One(Family::V4);
    let file = ambient(bookinfo_file, &PLAIN, By::Nft, families);
    let observed = Observed::of(&mut up(file, options(By::Nft, families)), &["probe-15008"]);
    observed.holds();
    let outcome = &observed.window("probe-15008").outcome;
    assert!(matches!(outcome, CallOutcome::Closed(_)), "{outcome:?}");
}

/// Pods that lack one rule.
fn without(rule: &str, by: By, file: LabFile) -> (RuleId, Lab) {
    let families = Families::One(Family::V4);
    let config = Ambient {
        redirect_dns: true,
        ..PLAIN
    };
    let meant = ambient(file, &config, by, families);
    let (table, rest) = rule.split_once(' ').expect("table, chain, place");
    let own =
        |iptables: &str, nft: &str| rest.replace(nft, if by == By::Nft { nft } else { iptables });
    let rest = match rest.starts_with("istio-output") {
        true => own("ISTIO_OUTPUT", "istio-output"),
        false => own("ISTIO_PRERT", "istio-prerouting"),
    };
    let rule: RuleId = format!("ipv4 {table} {rest}").parse().expect("a rule");
    let given = match by {
        By::Nft => {
            let texts = meant.texts_to_apply(families).expect("it has rules");
            let text = texts.written.of(Family::V4).expect("one for both");
            let rest = nft_without(text, &rule);
            GivenRules::read(&rest, "one less", Family::V4).expect("rules")
        }
        _ => {
            let whole = meant.reference(Family::V4).expect("it has rules");
            assert!(whole.rule(&rule).is_some(), "there is no rule {rule}");
            GivenRules::of(whole.without(&rule), "one less")
        }
    };
    let options = Options {
        // A flow without a rule it needs may never end.
        deadline_ms: 1_000,
        ..options(by, families)
    };
    (rule, up(meant.applying(given), options))
}

#[rstest]
#[case("mangle PREROUTING 1", "outside-to-reviews")]
#[case("mangle OUTPUT 1", "outside-to-reviews")]
#[case("mangle istio-prerouting 1", "outside-to-reviews")]
#[case("mangle istio-output 1", "outside-to-reviews")]
#[case("nat PREROUTING 1", "outside-to-reviews")]
#[case("nat OUTPUT 1", "app-to-outside")]
#[case("nat istio-prerouting 1", "probe-15020")]
#[case("nat istio-prerouting 2", "outside-to-reviews")]
#[case("nat istio-output 2", "lookup-over-udp")]
#[case("nat istio-output 3", "lookup-over-tcp")]
#[case("nat istio-output 5", "app-to-own-ip")]
#[case("nat istio-output 6", "app-to-outside")]
#[case("raw PREROUTING 1", "outside-to-reviews")]
#[case("raw OUTPUT 1", "outside-to-reviews")]
#[case("raw istio-output 1", "lookup-outside-name")]
#[case("raw istio-prerouting 1", "lookup-over-udp")]
fn without_a_rule_of_ambient_mode_a_flow_that_needs_it_is_refuted_and_the_rule_is_named(
    #[case] rule: &str,
    #[case] flow: &str,
    #[values(By::IptablesNft, By::Nft)] by: By,
    bookinfo_file: LabFile,
) {
    let (rule, mut lab) = without(rule, by, bookinfo_file);
    let observed = Observed::of(&mut lab, &[flow]);
    observed.is(Verdict::Refuted);
    let name = match rule.table {
        Table::Nat => rule.short(),
        _ => rule.to_string(),
    };
    observed.contradicted(&format!("wanted {name} `"));
    observed.contradicted("had no such rule in the pod");
}

/// Nobody in a pod calls the address of kubelet's probes; a packet with the connection's mark is an answer, and nat is
/// not asked about it.
#[rstest]
fn without_a_rule_that_nothing_meets_nothing_changes(
    #[values("nat istio-output 1", "nat istio-output 4")] rule: &str,
    #[values(By::IptablesNft, By::Nft)] by: By,
    bookinfo_file: LabFile,
) {
    let (_, mut lab) = without(rule, by, bookinfo_file);
    let observed = Observed::of_all_flows(&mut lab);
    let bad = observed
        .claims()
        .find(|claim| claim.verdict() != Verdict::Holds);
    assert!(bad.is_none(), "{observed}");
}

/// Without the mark, rules take ztunnel's own calls for the pod's: it meets itself, and refuses.
#[rstest]
fn a_ztunnel_that_marks_otherwise_than_the_rules_know_is_refuted(
    #[values(By::IptablesNft, By::Nft)] by: By,
    bookinfo_file: LabFile,
) {
    let families = Families::One(Family::V4);
    let meant = ambient(bookinfo_file, &PLAIN, by, families);
    let mut file = meant.clone();
    let known = file.interception.ztunnel.as_mut().expect("ambient has one");
    known.mark = 7;
    let options = Options {
        deadline_ms: 1_000,
        ..options(by, families)
    };
    let evidence = Observed::of(&mut up(file, options), &["app-to-outside"]).evidence;
    let observed = Observed::judge(meant, evidence);
    observed.is(Verdict::Refuted);
    observed.contradicted("socket mark");
}
