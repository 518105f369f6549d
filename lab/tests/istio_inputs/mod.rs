//! Configurations of Istio's rules, as arguments of `hoplab rules render`.

use std::process::Command;

use libtest_mimic::Failed;

/// Variables and flags of one rendering.
#[derive(Clone, Default)]
pub struct Input {
    pub variables: Vec<(&'static str, &'static str)>,
    pub flags: Vec<&'static str>,
}

/// Variables (`NAME=VALUE`), then flags, as on a command line. `ENVOY_USER` is nobody's name, so that no user of this
/// machine becomes the proxy.
pub fn input(words: &'static str) -> Input {
    let mut input = Input {
        variables: vec![("ENVOY_USER", "no-such-user")],
        ..Input::default()
    };
    let is_variable = |name: &str| name.bytes().all(|b| !b.is_ascii_lowercase() && b != b'-');
    for word in words.split_whitespace() {
        match word.split_once('=') {
            Some((name, value)) if is_variable(name) => input.variables.push((name, value)),
            _ => input.flags.push(word),
        }
    }
    input
}

/// The inputs of the sidecar goldens; the nft ones have the same.
pub const SIDECAR: &[(&str, &str)] = &[
    ("empty", ""),
    ("inbound-ports-wildcard", "-b *"),
    (
        "tproxy",
        "-m TPROXY -b * -x 1.1.0.0/16 -i 9.9.0.0/16 --redirect-dns --dns-servers 127.0.0.53 -c not-istio-nic --ipv6",
    ),
    ("basic-exclude-nic", "-c not-istio-nic"),
    ("drop-invalid", "--drop-invalid"),
    (
        "host-ipv4-loopback-cidr",
        "ISTIO_OUTBOUND_IPV4_LOOPBACK_CIDR=127.0.0.1/8",
    ),
    ("ipnets", "-i 10.0.0.0/8"),
    ("kube-virt-interfaces", "-k eth1,eth2 -i *"),
    (
        "outbound-owner-groups",
        "ISTIO_OUTBOUND_OWNER_GROUPS=java,202",
    ),
    (
        "outbound-owner-groups-exclude",
        "ISTIO_OUTBOUND_OWNER_GROUPS_EXCLUDE=888,ftp",
    ),
    (
        "ip-range",
        "-x 1.1.0.0/16 -i 9.9.0.0/16 --redirect-dns --dns-servers 127.0.0.53 -u 3,4 -g 1,2",
    ),
    (
        "dns-uid-gid",
        "--redirect-dns --dns-servers 127.0.0.53,::127.0.0.53 -u 3,4 -g 1,2 --ipv6",
    ),
    (
        "ipv6-ipnets",
        "-b 4000,5000 -d 6000,7000, -k eth0,eth1 -x 2001:db8::/32 -i 2001:db8::/32 --ipv6",
    ),
    ("ipv6-outbound-ports", "-q 32000,31000 --ipv6"),
];

/// The inputs of the ambient goldens. The IPv6 probe source is one that Istio's tests made up.
pub const AMBIENT: &[(&str, &str)] = &[
    ("default", "--ambient --redirect-dns"),
    (
        "ingress",
        "--ambient --annotation ambient.istio.io/bypass-inbound-capture=true",
    ),
    (
        "virtual_interfaces",
        "--ambient --annotation istio.io/reroute-virtual-interfaces=fake1s0f0,fake1s0f1",
    ),
    (
        "ingress_and_virtual_interfaces",
        "--ambient --annotation ambient.istio.io/bypass-inbound-capture=true --annotation istio.io/reroute-virtual-interfaces=fake1s0f0,fake1s0f1",
    ),
    (
        "dns_pod_enabled_and_off_globally",
        "--ambient --annotation ambient.istio.io/dns-capture=true",
    ),
    (
        "dns_pod_disabled_and_on_globally",
        "--ambient --redirect-dns --annotation ambient.istio.io/dns-capture=false",
    ),
    ("hostprobe", "--ambient=host --kubelet-uid 1000"),
];

impl Input {
    /// With one flag more.
    pub fn and(mut self, flag: &'static str) -> Self {
        self.flags.push(flag);
        self
    }

    /// What `hoplab rules render` prints for it.
    pub fn render(&self) -> Result<String, Failed> {
        let output = Command::new(env!("CARGO_BIN_EXE_hoplab"))
            .args(["rules", "render"])
            .args(&self.flags)
            .env_clear()
            .envs(self.variables.iter().copied())
            .output()?;
        if output.status.success() {
            return Ok(String::from_utf8(output.stdout)?);
        }
        Err(String::from_utf8_lossy(&output.stderr).into_owned().into())
    }
}
