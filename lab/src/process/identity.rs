//! From root of the lab to an ordinary user, for good.

use std::io;

use nix::{
    errno::Errno,
    libc,
    unistd::{Gid, Uid, setgroups, setresgid, setresuid},
};

/// Groups, then user, then no way back: no supplementary groups but those given, no_new_privs, and no capabilities but
/// CAP_NET_ADMIN where it is asked for.
///
/// Must come before the first socket: `-m owner` compares the ids a socket was created with.
///
/// # Errors
/// An id that is not mapped (EINVAL), or no right to change ids.
pub(crate) fn become_user(uid: u32, gid: u32, groups: &[u32], net_admin: bool) -> io::Result<()> {
    if uid == 0 && gid == 0 && groups.is_empty() && !net_admin {
        // The node's own probes, as the kubelet's: root of the lab, as it is.
        return Ok(());
    }
    // SAFETY: prctl with integer arguments only.
    let prctl =
        |option: i32, value: u64| unsafe { Errno::result(libc::prctl(option, value, 0, 0, 0)) };
    let groups: Vec<Gid> = groups.iter().copied().map(Gid::from_raw).collect();
    setgroups(&groups)?;
    setresgid(Gid::from_raw(gid), Gid::from_raw(gid), Gid::from_raw(gid))?;
    let uid = Uid::from_raw(uid);
    if net_admin {
        // Else leaving uid 0 takes the permitted ones along.
        prctl(libc::PR_SET_KEEPCAPS, 1)?;
    }
    setresuid(uid, uid, uid)?;
    if uid.is_root() || net_admin {
        set_capabilities(if net_admin { 1 << CAP_NET_ADMIN } else { 0 })?;
    }
    prctl(libc::PR_SET_NO_NEW_PRIVS, 1)?;
    // Changing ids hides /proc/PID from its own user; people look there.
    prctl(libc::PR_SET_DUMPABLE, 1)?;
    Ok(())
}

/// The name `ps` and `ss` show; exec through /proc/self/exe leaves `exe`.
pub(super) fn set_name(name: &str) {
    if let Ok(name) = std::ffi::CString::new(name) {
        // SAFETY: PR_SET_NAME reads a string that ends in zero, and copies at most 16 bytes of it.
        unsafe { libc::prctl(libc::PR_SET_NAME, name.as_ptr(), 0, 0, 0) };
    }
}

/// From linux/capability.h: what IP_TRANSPARENT, SO_MARK and binding a foreign address ask for.
const CAP_NET_ADMIN: u32 = 12;

/// Leaving uid 0 drops capabilities by itself; staying (a proxy as 0:1337) needs it done. `kept` are bits below 32.
fn set_capabilities(kept: u32) -> io::Result<()> {
    #[repr(C)]
    struct Header {
        version: u32,
        pid: i32,
    }
    #[repr(C)]
    struct Data {
        effective: u32,
        permitted: u32,
        inheritable: u32,
    }
    const VERSION_3: u32 = 0x2008_0522;
    let header = Header {
        version: VERSION_3,
        pid: 0,
    };
    let data = |bits| Data {
        effective: bits,
        permitted: bits,
        inheritable: 0,
    };
    let capabilities = [data(kept), data(0)];
    // SAFETY: both structures have the layout of linux/capability.h, version 3.
    let result =
        unsafe { libc::syscall(libc::SYS_capset, &raw const header, &raw const capabilities) };
    Errno::result(result).map(drop).map_err(io::Error::from)
}
