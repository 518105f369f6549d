//! Processes of a lab: started as the right user inside a namespace, watched by their output, stopped by the end
//! of their input.

mod error;
mod identity;
mod spawn;

pub use error::ProcessError;
pub(crate) use identity::become_user;
pub use spawn::{Exit, Input, Report, Sink, Spawned, Stub, spawn};

use std::process::ExitCode;

/// First argument that makes a binary of ours a stub; see `entry`.
pub(crate) const STUB_ARG: &str = "__stub";

/// Last argument of a stub that keeps CAP_NET_ADMIN.
pub(crate) const NET_ADMIN_ARG: &str = "net-admin";

/// Takes on the identity given as `ROLE POD UID GID[+GROUP…] [net-admin]`, then runs the stub.
pub(crate) fn stub_main(args: impl Iterator<Item = String>) -> ExitCode {
    let args: Vec<String> = args.collect();
    let ids = |i: usize| -> Option<Vec<u32>> {
        let ids = args.get(i)?.split('+').map(|id| id.parse().ok());
        ids.collect()
    };
    let (users, groups) = (ids(2), ids(3));
    let (Some([uid]), Some([gid, groups @ ..])) = (users.as_deref(), groups.as_deref()) else {
        eprintln!(
            "a stub is started by the lab, as: {STUB_ARG} ROLE POD UID GID[+GROUP…] [{NET_ADMIN_ARG}]"
        );
        return ExitCode::FAILURE;
    };
    identity::set_name(&format!("stub-{}", args[0]));
    let net_admin = args.get(4).is_some_and(|last| last == NET_ADMIN_ARG);
    if let Err(error) = identity::become_user(*uid, *gid, groups, net_admin) {
        eprintln!("could not become {uid}:{gid}: {error}");
        return ExitCode::FAILURE;
    }
    hoplab_proxies::run_stub()
}
