//! Ids for a lab of an ordinary user: 0 is the user, 1 to 65535 come from its subordinate range.
//!
//! A single mapped id is not enough: `--uid-owner 1337` and setuid(1337) both fail with EINVAL then.

use std::{fs, io, process::Command};

use nix::unistd::{Gid, Pid, Uid, User};

use super::SandboxError;

/// Ids that a lab needs beyond 0.
const NEEDED: u64 = 65_535;

/// Maps the ids of a process in a fresh user namespace.
///
/// # Errors
/// No range in /etc/subuid or /etc/subgid, or newuidmap / newgidmap missing or refused.
pub(super) fn write(pid: Pid) -> Result<(), SandboxError> {
    let (uid, gid) = (Uid::effective(), Gid::effective());
    let subuid = of_caller("/etc/subuid")?;
    let subgid = of_caller("/etc/subgid")?;
    run("newuidmap", pid, uid.as_raw(), subuid)?;
    run("newgidmap", pid, gid.as_raw(), subgid)
}

/// First id of the caller's range in /etc/subuid or /etc/subgid.
///
/// # Errors
/// No range that is long enough.
pub(crate) fn of_caller(file: &'static str) -> Result<u64, SandboxError> {
    let uid = Uid::effective();
    let user = User::from_uid(uid)
        .ok()
        .flatten()
        .map_or_else(|| uid.to_string(), |u| u.name);
    let text = fs::read_to_string(file).unwrap_or_default();
    find(&text, &user, uid.as_raw()).ok_or_else(|| SandboxError::NoSubIds {
        user,
        file,
        free: free(&text),
    })
}

/// Where a new range overlaps nobody's.
fn free(text: &str) -> u64 {
    let ends = text.lines().filter_map(|line| {
        let mut parts = line.trim().split(':').skip(1);
        let start: u64 = parts.next()?.parse().ok()?;
        start.checked_add(parts.next()?.parse().ok()?)
    });
    ends.max().unwrap_or(0).max(100_000)
}

/// First id of a range that is long enough; subuid(5) names users by name or number.
fn find(text: &str, user: &str, uid: u32) -> Option<u64> {
    text.lines().find_map(|line| {
        let mut parts = line.trim().split(':');
        let owner = parts.next()?;
        let start: u64 = parts.next()?.parse().ok()?;
        let count: u64 = parts.next()?.parse().ok()?;
        (count >= NEEDED && (owner == user || owner == uid.to_string())).then_some(start)
    })
}

fn run(program: &'static str, pid: Pid, own: u32, start: u64) -> Result<(), SandboxError> {
    let output = Command::new(program)
        .args([pid.to_string(), "0".into(), own.to_string(), "1".into()])
        .args(["1".into(), start.to_string(), NEEDED.to_string()])
        .output()
        .map_err(|source| SandboxError::IdMap { program, source })?;
    if output.status.success() {
        return Ok(());
    }
    let words = String::from_utf8_lossy(&output.stderr).trim().to_string();
    Err(SandboxError::IdMap {
        program,
        source: io::Error::other(format!("{words} ({})", output.status)),
    })
}

#[cfg(test)]
mod tests {
    use super::{find, free};

    #[test]
    fn a_range_is_found_by_name_or_number_and_only_when_long_enough() {
        let text =
            "other:100000:65536\nme:200000:1000\nme:300000:65536\n1001:400000:65536\nbroken\n";
        assert_eq!(find(text, "me", 7), Some(300_000));
        assert_eq!(find(text, "nobody", 1001), Some(400_000));
        assert_eq!(find(text, "nobody", 7), None);
        assert_eq!(free(text), 465_536);
        assert_eq!(free(""), 100_000);
    }
}
