//! The supervisor's own view of the file system: nothing it mounts or writes is seen outside.

use std::{
    fs,
    path::{Path, PathBuf},
};

use nix::mount::{MsFlags, mount, umount};

use super::SandboxError;
use crate::plan::Files;

/// Where the lab keeps its own files; a tmpfs of its own, so that names are private and nothing stays.
pub const RUN_DIR: &str = "/run/hoplab";

/// Makes mounts private, gives the PID namespace its /proc, and puts a tmpfs on /run.
///
/// The tmpfs also gives each lab its own /run/xtables.lock: legacy iptables waits on it even without `-w`.
///
/// # Errors
/// A mount that the kernel refuses, or a file that can't be written.
pub(crate) fn prepare_mounts(files: &Files) -> Result<(), SandboxError> {
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
    for (name, text) in of_etc(files) {
        if let Some(text) = text {
            cover(name, text)?;
        }
    }
    Ok(())
}

fn of_etc(files: &Files) -> [(&'static str, Option<&String>); 4] {
    [
        ("hosts", Some(&files.hosts)),
        ("resolv.conf", files.resolv_conf.as_ref()),
        ("passwd", files.passwd.as_ref()),
        ("group", files.group.as_ref()),
    ]
}

/// Puts other files over those of /etc, in place of the lab's own so far: who has one open reads the new text.
///
/// # Errors
/// A mount that the kernel refuses, or a file that can't be written.
pub(crate) fn renew_files(now: &Files, wanted: &Files) -> Result<(), SandboxError> {
    let both = of_etc(now).into_iter().zip(of_etc(wanted));
    for ((name, was), (_, is)) in both.filter(|((_, was), (_, is))| was != is) {
        let path = Path::new(RUN_DIR).join(name);
        match (was, is) {
            (None, Some(text)) => cover(name, text)?,
            (Some(_), Some(text)) => {
                fs::write(&path, text).map_err(|source| SandboxError::File { path, source })?;
            }
            (_, None) => {
                let at = Path::new("/etc").join(name);
                umount(&at).map_err(|source| SandboxError::Mount {
                    what: "the machine's own file",
                    at,
                    source,
                })?;
            }
        }
    }
    Ok(())
}

/// Puts a file of the lab's own over one of /etc, as a pod has it.
fn cover(name: &'static str, text: &str) -> Result<(), SandboxError> {
    let failed = |path: &Path| {
        let path = path.to_path_buf();
        move |source| SandboxError::File { path, source }
    };
    let path = Path::new(RUN_DIR).join(name);
    fs::write(&path, text).map_err(failed(&path))?;
    let at = Path::new("/etc").join(name);
    // A link, as resolv.conf often is, may lead to what the tmpfs on /run covers by now: give it its end again.
    if let (Ok(link), false) = (fs::read_link(&at), at.exists()) {
        let end = Path::new("/etc").join(link);
        if let Some(parent) = end.parent() {
            fs::create_dir_all(parent).map_err(failed(&end))?;
        }
        fs::write(&end, text).map_err(failed(&end))?;
    }
    let none: Option<&str> = None;
    mount(Some(&path), &at, none, MsFlags::MS_BIND, none).map_err(|source| SandboxError::Mount {
        what: "a file of the lab's own",
        at,
        source,
    })
}
