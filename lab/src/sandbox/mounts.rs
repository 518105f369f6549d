//! The supervisor's own view of the file system: nothing it mounts or writes is seen outside.

use std::{
    fs,
    path::{Path, PathBuf},
};

use nix::mount::{MsFlags, mount};

use super::SandboxError;

/// Where the lab keeps its own files; a tmpfs of its own, so that names are private and nothing stays.
pub const RUN_DIR: &str = "/run/hoplab";

/// Makes mounts private, gives the PID namespace its /proc, and puts a tmpfs on /run.
///
/// The tmpfs also gives each lab its own /run/xtables.lock: legacy iptables waits on it even without `-w`.
///
/// # Errors
/// A mount that the kernel refuses, or a file that can't be written.
pub(crate) fn prepare_mounts(hosts: &str) -> Result<(), SandboxError> {
    let none: Option<&str> = None;
    let refused = |what, at: &str| {
        let at = PathBuf::from(at);
        move |source| SandboxError::Mount { what, at, source }
    };
    mount(none, "/", none, MsFlags::MS_REC | MsFlags::MS_PRIVATE, none)
        .map_err(refused("nothing (private propagation)", "/"))?;
    let plain = MsFlags::MS_NOSUID | MsFlags::MS_NODEV;
    mount(
        Some("proc"),
        "/proc",
        Some("proc"),
        plain | MsFlags::MS_NOEXEC,
        none,
    )
    .map_err(refused("proc", "/proc"))?;
    mount(
        Some("tmpfs"),
        "/run",
        Some("tmpfs"),
        plain,
        Some("mode=755"),
    )
    .map_err(refused("tmpfs", "/run"))?;
    let at = Path::new(RUN_DIR);
    fs::create_dir_all(at).map_err(|source| SandboxError::File {
        path: at.into(),
        source,
    })?;
    // Names resolve through /etc/hosts, as they do in a pod.
    let path = at.join("hosts");
    fs::write(&path, hosts).map_err(|source| SandboxError::File {
        path: path.clone(),
        source,
    })?;
    mount(Some(&path), "/etc/hosts", none, MsFlags::MS_BIND, none)
        .map_err(refused("the lab's hosts file", "/etc/hosts"))
}
