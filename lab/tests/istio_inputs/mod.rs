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

/// The inputs of the sidecar goldens; the nft ones have the same. The scenarios run labs under them.
const SIDECAR: &str = include_str!("../../../scenarios/configurations/goldens.txt");

/// Name and arguments of every sidecar golden.
pub fn sidecar() -> Vec<(&'static str, &'static str)> {
    let lines = SIDECAR.lines().filter(|line| !line.starts_with('#'));
    lines.filter_map(|line| line.split_once(':')).collect()
}

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
