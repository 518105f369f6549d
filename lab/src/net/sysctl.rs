//! Sysctls of the namespace the calling thread is in.

use std::{fs, path::Path};

use super::NetError;

/// Writes sysctls given in path form, such as `net/ipv4/ip_forward`.
///
/// # Errors
/// The first one the kernel refuses.
pub fn write_sysctls(sysctls: &[(String, String)]) -> Result<(), NetError> {
    for (key, value) in sysctls {
        fs::write(Path::new("/proc/sys").join(key), value).map_err(|source| NetError::Sysctl {
            key: key.clone(),
            value: value.clone(),
            source,
        })?;
    }
    Ok(())
}

/// As [`write_sysctls`], but for those that are not there: what a module brings along that may not be loaded.
///
/// # Errors
/// The first one the kernel refuses.
pub fn write_sysctls_if_there(sysctls: &[(String, String)]) -> Result<(), NetError> {
    let there = sysctls.iter();
    let there = there.filter(|(key, _)| Path::new("/proc/sys").join(key).exists());
    write_sysctls(&there.cloned().collect::<Vec<_>>())
}
