//! What of a running lab is reached without its supervisor: the namespace of a pod, and the logs.

use std::path::PathBuf;

use super::RunningLab;
use crate::{
    failure::Failure,
    net::ProcessNamespace,
    sandbox::{full_log_path, log_path},
};

impl RunningLab {
    /// The network namespace of a pod, or of the `node`.
    ///
    /// # Errors
    /// The lab has no such pod, every process of it has ended, or the kernel does not let the caller look.
    pub fn namespace_of(&self, pod: &str) -> Result<ProcessNamespace, Failure> {
        let pid = match pod {
            "node" => self.pid().unsigned_abs(),
            pod => self.pid_in(pod)?,
        };
        Ok(ProcessNamespace::open(pid)?)
    }

    /// The log of a process (`app`, `proxy`, `dns`) or of `istio-init` in a pod or in `node`, as this machine reaches it:
    /// the part before, if it was full once, and the part that is being written. Either may not be there.
    pub fn log_of(&self, pod: &str, process: &str) -> [PathBuf; 2] {
        let root = PathBuf::from(format!("/proc/{}/root", self.pid()));
        [full_log_path(pod, process), log_path(pod, process)].map(|path| {
            let inside = path.strip_prefix("/").unwrap_or(&path);
            root.join(inside)
        })
    }
}
