//! From root of the lab to an ordinary user, for good.

use std::io;

use nix::{
    errno::Errno,
    libc,
    unistd::{Gid, Uid, setgroups, setresgid, setresuid},
};

/// Group, then user, then no way back: no supplementary groups, no capabilities, no_new_privs.
///
/// Must come before the first socket: `-m owner` compares the ids a socket was created with.
///
/// # Errors
/// An id that is not mapped (EINVAL), or no right to change ids.
pub(super) fn become_user(uid: u32, gid: u32) -> io::Result<()> {
    if uid == 0 && gid == 0 {
        // The node's own probes, as the kubelet's: root of the lab, as it is.
        return Ok(());
    }
    // SAFETY: prctl with integer arguments only.
    let prctl =
        |option: i32, value: u64| unsafe { Errno::result(libc::prctl(option, value, 0, 0, 0)) };
    setgroups(&[])?;
    setresgid(Gid::from_raw(gid), Gid::from_raw(gid), Gid::from_raw(gid))?;
    let uid = Uid::from_raw(uid);
    setresuid(uid, uid, uid)?;
    if uid.is_root() {
        drop_capabilities()?;
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

/// Leaving uid 0 drops capabilities by itself; staying (a proxy as 0:1337) needs it done.
fn drop_capabilities() -> io::Result<()> {
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
    let none = [const {
        Data {
            effective: 0,
            permitted: 0,
            inheritable: 0,
        }
    }; 2];
    // SAFETY: both structures have the layout of linux/capability.h, version 3.
    let result = unsafe { libc::syscall(libc::SYS_capset, &raw const header, &raw const none) };
    Errno::result(result).map(drop).map_err(io::Error::from)
}
