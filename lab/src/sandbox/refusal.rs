//! Why a machine refuses new namespaces, and what to do about it.

use std::fs;

use nix::errno::Errno;

/// Limits on namespaces, per user namespace.
const LIMITS: &[&str] = &[
    "user/max_user_namespaces",
    "user/max_pid_namespaces",
    "user/max_mnt_namespaces",
    "user/max_net_namespaces",
    "user/max_uts_namespaces",
    "user/max_ipc_namespaces",
];

/// The repair, as far as this machine's settings tell. `rootless`: a user namespace was asked for too.
pub(crate) fn namespaces_fix(errno: Errno, rootless: bool) -> String {
    fix(errno, rootless, |key| {
        let text = fs::read_to_string(format!("/proc/sys/{key}")).ok()?;
        text.trim().parse().ok()
    })
}

fn fix(errno: Errno, rootless: bool, setting: impl Fn(&str) -> Option<u64>) -> String {
    let mut lines: Vec<String> = LIMITS
        .iter()
        .filter(|key| rootless || **key != "user/max_user_namespaces")
        .filter(|key| setting(key) == Some(0))
        .map(|key| {
            format!(
                "as root: sysctl -w {}=10000 (it is 0)",
                key.replace('/', ".")
            )
        })
        .collect();
    if rootless {
        for (key, refuses, value) in [
            ("kernel/apparmor_restrict_unprivileged_userns", 1, 0),
            ("kernel/unprivileged_userns_clone", 0, 1),
        ] {
            if setting(key) == Some(refuses) {
                let name = key.replace('/', ".");
                lines.push(format!(
                    "as root: sysctl -w {name}={value} (it is {refuses})"
                ));
            }
        }
    }
    if lines.is_empty() {
        lines.push(match (errno, rootless) {
            (Errno::ENOSPC | Errno::EUSERS, _) => {
                "a limit is used up: raise user.max_net_namespaces and the like (sysctl -a --pattern '^user.max'), or \
                 end what holds namespaces (lsns); more than 32 namespaces deep nothing helps"
                    .into()
            }
            (Errno::EINVAL | Errno::ENOSYS, _) => {
                "use a kernel with CONFIG_USER_NS, CONFIG_PID_NS, CONFIG_NET_NS, CONFIG_UTS_NS and CONFIG_IPC_NS".into()
            }
            (_, true) => "in a container: run it privileged (podman run --privileged …); elsewhere: run as root".into(),
            (_, false) => "this root lacks CAP_SYS_ADMIN: run the container privileged (podman run --privileged …)".into(),
        });
    }
    lines.push("the tests that need no namespaces: just test-pure".into());
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(errno: Errno, rootless: bool, settings: &[(&str, u64)]) -> String {
        let text = fix(errno, rootless, |key| {
            let found = settings.iter().find(|(k, _)| *k == key);
            found.map(|(_, value)| *value)
        });
        text.lines().next().unwrap_or_default().to_string()
    }

    #[test]
    fn a_setting_that_forbids_is_named_with_the_command_that_allows() {
        assert_eq!(
            said(Errno::ENOSPC, false, &[("user/max_net_namespaces", 0)]),
            "as root: sysctl -w user.max_net_namespaces=10000 (it is 0)"
        );
        assert_eq!(
            said(
                Errno::EPERM,
                true,
                &[("kernel/apparmor_restrict_unprivileged_userns", 1)]
            ),
            "as root: sysctl -w kernel.apparmor_restrict_unprivileged_userns=0 (it is 1)"
        );
        assert_eq!(
            said(
                Errno::EPERM,
                true,
                &[("kernel/unprivileged_userns_clone", 0)]
            ),
            "as root: sysctl -w kernel.unprivileged_userns_clone=1 (it is 0)"
        );
    }

    #[test]
    fn settings_for_ordinary_users_are_not_blamed_for_what_root_may_not() {
        let restricted = [("kernel/unprivileged_userns_clone", 0)];
        assert!(said(Errno::EPERM, false, &restricted).contains("CAP_SYS_ADMIN"));
    }
}
