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
