//! Rules of other meshes: whatever options are given, hoplab reads its own text back, and so does the kernel.

mod kernel;
mod load;
mod profiles;
mod random;

use hoplab::{
    kuma, linkerd,
    mesh::Configuration,
    rules::{self, Family, RuleSet, Table},
};

/// A flag with one value for each time it is given.
pub type Given = (&'static str, Vec<&'static str>);

/// The default configuration with flags.
pub fn configured<C: Configuration>(given: &[Given]) -> C {
    let mut config = C::default();
    for (name, values) in given {
        let flag = C::FLAGS.iter().find(|flag| flag.name == *name);
        let applied = flag.expect(name).apply(&mut config, values);
        applied.unwrap_or_else(|bad| panic!("{bad}"));
    }
    config
}

/// Every flag of Kuma that changes a rule, with values that differ from its default.
pub const KUMA: &[(&str, &[&str])] = &[
    ("kuma-dp-user", &["7777"]),
    ("redirect-inbound", &["false"]),
    ("redirect-outbound", &["false"]),
    ("redirect-inbound-port", &["25006"]),
    ("redirect-outbound-port", &["25001"]),
    ("exclude-inbound-ports", &["22,15020"]),
    ("include-inbound-ports", &["80,8080"]),
    (
        "exclude-inbound-ips",
        &["10.0.0.0/8,fd00::1,10.9.9.9,fd00::/8"],
    ),
    ("exclude-outbound-ports", &["5432", "6379"]),
    ("include-outbound-ports", &["80,443"]),
    ("exclude-outbound-ips", &["10.0.0.1,172.16.0.0/12,fd00::/8"]),
    (
        "exclude-outbound-ports-for-uids",
        &["tcp:53,3000-5000:106-108", "1900", "udp:*:2", "53:7"],
    ),
    ("redirect-dns", &["true"]),
    ("redirect-all-dns-traffic", &["true"]),
    ("redirect-dns-port", &["5353"]),
    ("skip-dns-conntrack-zone-split", &["true"]),
    (
        "vnet",
        &[
            "docker0:172.17.0.0/16",
            "br+:172.18.0.0/16",
            "br+:fd18::/64",
        ],
    ),
    ("insert-inbound-redirect", &["true"]),
    ("insert-outbound-redirect", &["true"]),
    ("drop-invalid-packets", &["true"]),
    ("iptables-logs", &["true"]),
    ("ip-family-mode", &["ipv4"]),
];

/// Every flag of Linkerd that changes a rule. Subnets are absent: one list serves both families, and fails in one.
pub const LINKERD: &[(&str, &[&str])] = &[
    ("incoming-proxy-port", &["5143"]),
    ("outgoing-proxy-port", &["5140"]),
    ("proxy-uid", &["7777"]),
    ("proxy-gid", &["3000"]),
    ("ports-to-redirect", &["80,443"]),
    (
        "inbound-ports-to-ignore",
        &["1,2,3,4,5,6,7,8,9,10,11,12,13,14,20-30,40", "50-60,61"],
    ),
    (
        "outbound-ports-to-ignore",
        &["1-2,3-4,5-6,7-8,9-10,11-12,13-14,15-16"],
    ),
    ("use-wait-flag", &["true"]),
    ("ipv6", &["false"]),
];

/// Picks flags by the bits of a number.
pub fn picked(table: &[(&'static str, &[&'static str])], bits: u32) -> Vec<Given> {
    let chosen = (0..).zip(table).filter(|(at, _)| bits & (1 << at) != 0);
    chosen
        .map(|(_, (name, values))| (*name, values.to_vec()))
        .collect()
}

/// Kuma's text for each family that gets rules, on a machine with DNS servers of both families.
pub fn kuma_texts(given: &[Given]) -> Vec<(Family, String)> {
    let config: kuma::Config = configured(given);
    let mut host = kuma::Host::default();
    for server in ["10.96.0.10", "127.0.0.11", "fd00::a", "::1"] {
        assert!(host.dns_servers.push(server));
    }
    let rules = kuma::iptables(&config, &host, &mut Vec::new());
    let families = config.families().iter();
    families
        .map(|family| (*family, kuma::restore(&rules, *family)))
        .collect()
}

/// Linkerd's text for each family that gets rules.
pub fn linkerd_texts(given: &[Given]) -> Vec<(Family, String)> {
    let config: linkerd::Config = configured(given);
    let families = config.families().iter();
    families
        .map(|family| (*family, linkerd::restore(&config)))
        .collect()
}

/// What hoplab reads in a text.
#[track_caller]
pub fn parsed(text: &str, family: Family, origin: &str) -> RuleSet {
    rules::parse(text, family, origin).unwrap_or_else(|error| panic!("{error}\n{text}"))
}

/// Fails unless two texts say the same.
#[track_caller]
pub fn assert_same(meant: &str, found: &str, family: Family, origin: &str) {
    let (meant_set, found_set) = (
        parsed(meant, family, "meant"),
        parsed(found, family, origin),
    );
    let differences = rules::diff(&meant_set, &found_set, &Table::ALL);
    assert!(
        differences.is_empty(),
        "{origin}: {differences:?}\n{meant}\n{found}"
    );
}
