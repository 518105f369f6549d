//! Everything of the machine that a lab could touch by mistake, as text to compare.

use std::{collections::BTreeMap, fs, path::Path, process::Command};

/// What was seen, by where it was seen.
pub struct Machine(BTreeMap<String, String>);

/// Links, addresses, routes, the legacy tables there are, mounts: one file each.
const FILES: &[&str] = &[
    "/proc/net/if_inet6",
    "/proc/net/fib_trie",
    "/proc/net/route",
    "/proc/net/ip_tables_names",
    "/proc/net/ip6_tables_names",
    "/proc/self/mountinfo",
    "/etc/hosts",
];

/// Links, and where namespaces, locks and labs would leave their names.
const FOLDERS: &[&str] = &["/sys/class/net", "/run", "/run/netns", "/run/lock"];

impl Machine {
    /// Looks, and changes nothing: a legacy program is not run, since it creates the tables it lists.
    pub fn look() -> Self {
        let mut seen = BTreeMap::new();
        for file in FILES {
            seen.insert(file.to_string(), read(Path::new(file)));
        }
        seen.insert("/proc/net/ipv6_route".to_string(), ipv6_routes());
        for folder in FOLDERS {
            seen.insert(folder.to_string(), names(Path::new(folder)).join("\n"));
        }
        for program in ["iptables-nft-save", "ip6tables-nft-save"] {
            seen.insert(program.to_string(), rules(program));
        }
        sysctls(Path::new("/proc/sys/net"), &mut seen);
        assert!(seen.len() > 100, "hardly anything could be read");
        Self(seen)
    }

    /// Fails with the first thing that differs.
    #[track_caller]
    pub fn assert_same_as(&self, before: &Self) {
        for (place, then) in &before.0 {
            let now = self.0.get(place).map(String::as_str);
            assert_eq!(now, Some(then.as_str()), "{place} changed");
        }
        let new = self.0.keys().find(|place| !before.0.contains_key(*place));
        assert_eq!(new, None, "something is new");
    }
}

fn read(file: &Path) -> String {
    fs::read_to_string(file).unwrap_or_else(|error| format!("not readable: {:?}", error.kind()))
}

/// Routes without their reference and use counts, which move with the machine's own traffic.
fn ipv6_routes() -> String {
    let routes = read(Path::new("/proc/net/ipv6_route"));
    let lines = routes.lines().map(|line| {
        let fields = line.split_whitespace().enumerate();
        let kept = fields.filter(|(at, _)| !matches!(at, 6 | 7));
        kept.map(|(_, field)| field).collect::<Vec<_>>().join(" ")
    });
    lines.collect::<Vec<_>>().join("\n")
}

fn names(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let mut names: Vec<String> = entries
        .map(|entry| entry.file_name().to_string_lossy().into_owned())
        .collect();
    names.sort();
    names
}

/// Rules without the comments, which hold the time of day.
fn rules(program: &str) -> String {
    let output = Command::new(program)
        .env("PATH", "/usr/sbin:/sbin:/usr/bin:/bin")
        .output()
        .unwrap_or_else(|error| panic!("could not run {program}: {error}"));
    let text = String::from_utf8_lossy(&output.stdout);
    let lines = text.lines().filter(|line| !line.starts_with('#'));
    lines.collect::<Vec<_>>().join("\n")
}

/// Every setting below a folder, but for those that are counts of what goes on.
fn sysctls(folder: &Path, seen: &mut BTreeMap<String, String>) {
    for name in names(folder) {
        let path = folder.join(&name);
        if path.is_dir() {
            sysctls(&path, seen);
        } else if name != "nf_conntrack_count" {
            seen.insert(path.display().to_string(), read(&path));
        }
    }
}
