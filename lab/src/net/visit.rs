//! A look into the network namespace a process is in, by a thread that lives no longer than that.

use std::{fs::File, io, os::unix::fs::MetadataExt, path::Path, thread};

use nix::sched::CloneFlags;

use super::NetError;

/// Runs a closure in the network namespace of a process. It runs on a thread of its own, which enters the namespace
/// and dies with the closure; what the closure starts is in the namespace too. Where the caller is in it already,
/// nothing is entered, and no capability is needed for that.
///
/// # Errors
/// There is no such process, or the kernel lets the caller not look at it or not enter.
pub fn in_namespace_of<T: Send>(pid: u32, look: impl FnOnce() -> T + Send) -> Result<T, NetError> {
    let visit = |what| move |source| NetError::Visit { pid, what, source };
    let path = format!("/proc/{pid}/ns/net");
    let namespace = File::open(&path).map_err(|source| match source.kind() {
        io::ErrorKind::NotFound => NetError::NoSuchProcess { pid },
        _ => visit("look at")(source),
    })?;
    let there = namespace.metadata().map_err(visit("look at"))?;
    let work = move || {
        let here = Path::new("/proc/thread-self/ns/net")
            .metadata()
            .map_err(visit("enter"))?;
        if (here.dev(), here.ino()) != (there.dev(), there.ino()) {
            #[expect(
                clippy::disallowed_methods,
                reason = "this is the thread that lives and dies in the namespace"
            )]
            nix::sched::setns(&namespace, CloneFlags::CLONE_NEWNET)
                .map_err(|errno| visit("enter")(errno.into()))?;
        }
        Ok(look())
    };
    let gone = || NetError::ThreadGone {
        name: format!("of process {pid}"),
    };
    thread::scope(|scope| {
        let thread = thread::Builder::new().name(format!("ns:pid {pid}"));
        let thread = thread.spawn_scoped(scope, work).map_err(visit("enter"))?;
        thread.join().map_err(|_| gone())?
    })
}
