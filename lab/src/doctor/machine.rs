//! What can be seen from outside the sandbox: who asks, with which ids, and where the programs are.

use std::{env, fs, io, path::PathBuf};

use nix::{
    errno::Errno,
    sys::utsname::uname,
    unistd::{Uid, User},
};

use super::{
    ability::BACKENDS,
    check::NeededBy,
    sheet::{Found, Sheet, Step, Trial},
};
use crate::{
    failure::Failure,
    netfilter::{Backend, NetfilterError, Tool},
    rules::Family,
    sandbox::{SandboxError, Supervisor, subordinate_ids},
};

/// Examines the machine, then starts a sandbox.
pub(super) fn examine(sheet: &mut Sheet) -> Step<Supervisor> {
    let kernel = Trial::new("kernel", "uname", NeededBy::EveryLab, "");
    sheet.try_first(kernel, || {
        let name = uname().map_err(|e| super::machine_failure("no uname", e))?;
        let (system, release) = (name.sysname(), name.release());
        Ok((
            (),
            format!("{} {}", system.to_string_lossy(), release.to_string_lossy()),
        ))
    });
    let user = Uid::effective();
    let who = Trial::new("user", "who asks", NeededBy::EveryLab, "");
    let mut ids = sheet.try_first(who, || Ok(((), describe(user))));
    if !user.is_root() {
        ids = ordinary_user(sheet, ids);
    }
    for backend in BACKENDS {
        let id = programs_id(backend);
        let tried = "iptables-restore and -save, for IPv4 and IPv6";
        let trial = Trial::new(id, tried, NeededBy::Backend(backend), "");
        sheet.try_first(trial, || find_programs(backend));
    }
    let (tried, needed_by) = if user.is_root() {
        ("new PID, mount and network namespaces", NeededBy::EveryLab)
    } else {
        (
            "new user, PID, mount and network namespaces",
            NeededBy::OrdinaryUser,
        )
    };
    let trial = Trial::new("namespaces", tried, needed_by, "run as root");
    sheet.try_after(ids, trial, |()| {
        let supervisor = Supervisor::start()?;
        Ok((supervisor, tried.to_string()))
    })
}

/// What the programs of a backend leave for checks inside, where their own check is not made again.
pub(super) fn programs_step(backend: Backend) -> Step<()> {
    find_programs(backend).map_or_else(|_| Step::failed(programs_id(backend)), |_| Step::done(()))
}

fn programs_id(backend: Backend) -> String {
    format!("iptables-{backend}")
}

fn describe(user: Uid) -> String {
    if user.is_root() {
        let map = fs::read_to_string("/proc/self/uid_map").unwrap_or_default();
        return match mapped(&map) {
            Some(ids) => format!("root of a user namespace; ids in it: {ids}"),
            None => "root, so no user namespace is needed".into(),
        };
    }
    let name = User::from_uid(user).ok().flatten().map(|u| u.name);
    format!(
        "{}, an ordinary user: a user namespace maps 65536 ids",
        name.unwrap_or_else(|| format!("uid {user}"))
    )
}

/// How many ids a user namespace has; none where it has all of them, as the machine's own does.
fn mapped(map: &str) -> Option<u64> {
    let lengths = map
        .lines()
        .filter_map(|line| line.split_whitespace().nth(2)?.parse::<u64>().ok());
    Some(lengths.sum()).filter(|ids| *ids < u64::from(u32::MAX))
}

fn ordinary_user(sheet: &mut Sheet, start: Step<()>) -> Step<()> {
    let mut all = start;
    for program in ["newuidmap", "newgidmap"] {
        let trial = Trial::new(program, "the program", NeededBy::OrdinaryUser, "");
        let found = sheet.try_first(trial, || on_path(program));
        all = all.and(found).bare();
    }
    for (id, file) in [("subuid", "/etc/subuid"), ("subgid", "/etc/subgid")] {
        let tried = format!("a range of subordinate ids in {file}");
        let trial = Trial::new(id, tried, NeededBy::OrdinaryUser, "");
        let range = sheet.try_first(trial, || {
            let start = subordinate_ids(file)?;
            Ok(((), format!("{file}: 65535 ids or more, from {start}")))
        });
        all = all.and(range).bare();
    }
    all
}

fn on_path(program: &'static str) -> Found<()> {
    let path = env::var_os("PATH").unwrap_or_default();
    let found = env::split_paths(&path)
        .map(|dir| dir.join(program))
        .find(|candidate| candidate.is_file());
    match found {
        Some(at) => Ok(((), at.display().to_string())),
        None => {
            let source = io::Error::from(Errno::ENOENT);
            Err(SandboxError::IdMap { program, source }.into())
        }
    }
}

fn find_programs(backend: Backend) -> Found<()> {
    let mut found: Vec<PathBuf> = Vec::new();
    for family in [Family::V4, Family::V6] {
        for tool in [Tool::Restore, Tool::Save] {
            let program: Result<PathBuf, NetfilterError> = backend.find(family, tool);
            found.push(program.map_err(Failure::from)?);
        }
    }
    Ok(((), format!("{} and three more", found[0].display())))
}

#[cfg(test)]
mod tests {
    use super::mapped;

    #[test]
    fn ids_of_a_user_namespace_are_counted() {
        assert_eq!(mapped("         0          0 4294967295\n"), None);
        assert_eq!(mapped("0 1000 1\n1 100000 65535\n"), Some(65_536));
        assert_eq!(mapped("0 0 1\n"), Some(1));
    }
}
