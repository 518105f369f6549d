//! Where the supervisor keeps the logs of a lab's processes: files in its own /run, which end with the lab.

use std::path::PathBuf;

use super::RUN_DIR;

/// Bytes after which a log goes on in a new file; the one before is kept, older ones are not.
pub(crate) const LOG_ROOM: u64 = 1 << 20;

/// The log of a process (`app`, `proxy`, `dns`) or of `istio-init` in a pod, or in `node`, as processes of the lab see it.
pub(crate) fn log_path(pod: &str, process: &str) -> PathBuf {
    PathBuf::from(RUN_DIR)
        .join("log")
        .join(pod)
        .join(format!("{process}.log"))
}

/// What a log that was full is called.
pub(crate) fn full_log_path(pod: &str, process: &str) -> PathBuf {
    log_path(pod, process).with_extension("log.1")
}
