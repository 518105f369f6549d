//! Which logger ip_tables' TRACE lines go to, in one namespace: `net.netfilter.nf_log.2` and `.10`.
//!
//! The kernel sets it back for nobody: no process owns a sysctl, so after SIGKILL it keeps our value for as long as the
//! namespace lives. A lab's namespaces end with its supervisor, unless somebody outside the lab is in one of them; and
//! in a lab that is kept it is set only while a flow is sent. In a container it stays until somebody writes it back
//! (`sysctl net.netfilter.nf_log.2=nf_log_ipv4` is the kernel's default, if that module is there, else NONE). Packets
//! and verdicts are the same; what differs is where lines of `-j LOG` go: to nflog group 0, which nobody reads, in place of
//! the kernel's log. Of a namespace other than the machine's that log has none anyway, unless
//! `net.netfilter.nf_log_all_netns` is set.

use std::{
    fs::{File, OpenOptions},
    io::{self, Read, Seek, Write},
};

use super::{TableFamily, TraceError};
use crate::rules::Family;

const NFLOG: &str = "nfnetlink_log";

/// The logger of one family while it is ours; dropping this sets back the one before.
pub(super) struct Logger {
    // The open file belongs to the namespace it was opened in, whichever thread writes to it later.
    file: File,
    path: String,
    before: String,
}

impl Logger {
    /// Sends the TRACE lines of the namespace the calling thread is in to nflog.
    pub fn take_over(family: Family) -> Result<Self, TraceError> {
        let number = TableFamily::of(family).number();
        let path = format!("/proc/sys/net/netfilter/nf_log/{number}");
        let failed = |what| {
            let path = path.clone();
            move |source| TraceError::Logger { what, path, source }
        };
        let open = || {
            let mut file = OpenOptions::new().read(true).write(true).open(&path)?;
            let mut before = String::new();
            file.read_to_string(&mut before)?;
            Ok((file, before.trim().to_owned()))
        };
        let (file, before) = open().map_err(failed("read"))?;
        let mut logger = Self {
            file,
            path: path.clone(),
            before,
        };
        logger.set(NFLOG).map_err(failed("set"))?;
        Ok(logger)
    }

    fn set(&mut self, name: &str) -> io::Result<()> {
        self.file.rewind()?;
        self.file.write_all(name.as_bytes())
    }
}

impl Drop for Logger {
    fn drop(&mut self) {
        let before = self.before.clone();
        if before == NFLOG {
            return;
        }
        if let Err(error) = self.set(&before) {
            tracing::warn!(path = self.path, before, %error, "could not set back the netfilter logger");
        }
    }
}
