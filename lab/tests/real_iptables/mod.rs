//! Runs iptables-restore and iptables-save in namespaces of their own: what the programs and the kernel really say.
#![allow(
    dead_code,
    reason = "each test binary compiles this module and uses a part of it"
)]

use std::{
    fmt,
    io::Write as _,
    process::{Command, Stdio},
};

/// Groups that rules name and few machines have; the namespace has them.
pub const GROUPS: [(&str, u32); 2] = [("java", 20_001), ("ftp", 20_002)];

/// Mount and network namespace, a `/run` for the lock of legacy iptables, an `/etc/group` with [`GROUPS`]; then the
/// rules of standard input, and what the kernel holds.
const SCRIPT: &str = r#"
set -eu
PATH=$PATH:/usr/sbin:/sbin
mount -t tmpfs tmpfs /run
grep -v -e '^java:' -e '^ftp:' /etc/group >/run/group
printf 'java:x:20001:\nftp:x:20002:\n' >>/run/group
mount --bind /run/group /etc/group
cat >/run/rules
"$1-restore" --noflush /run/rules
"$1-save"
"#;

/// One of the four iptables.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Program {
    pub backend: &'static str,
    pub ipv6: bool,
}

impl Program {
    /// Nft and legacy, IPv4 and IPv6.
    pub const ALL: [Self; 4] = [
        Self::new("nft", false),
        Self::new("nft", true),
        Self::new("legacy", false),
        Self::new("legacy", true),
    ];

    pub const fn new(backend: &'static str, ipv6: bool) -> Self {
        Self { backend, ipv6 }
    }

    /// Loads a restore file; what `iptables-save` prints then, or what the program complained.
    ///
    /// As an ordinary user in a user namespace with a full id map: a rule that names user 1337 needs one.
    pub fn load(self, rules: &str) -> Result<String, String> {
        let rootless = !nix::unistd::Uid::effective().is_root();
        let user: &[&str] = if rootless {
            // One after the other: /proc/net of a network namespace is for the root its user namespace has by then.
            &["--user", "--map-root-user", "--map-auto", "unshare"]
        } else {
            &[]
        };
        let mut child = Command::new("unshare")
            .args(user)
            .args([
                "--mount",
                "--net",
                "sh",
                "-c",
                SCRIPT,
                "sh",
                &self.to_string(),
            ])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("unshare of util-linux is installed");
        let mut stdin = child.stdin.take().expect("it is piped");
        stdin
            .write_all(rules.as_bytes())
            .expect("the script reads all of it");
        drop(stdin);
        let output = child.wait_with_output().expect("it ends");
        let text = |bytes| String::from_utf8_lossy(bytes).into_owned();
        match output.status.success() {
            true => Ok(text(&output.stdout)),
            false => Err(text(&output.stderr)),
        }
    }
}

impl fmt::Display for Program {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = if self.ipv6 { "ip6tables" } else { "iptables" };
        write!(f, "{name}-{}", self.backend)
    }
}
