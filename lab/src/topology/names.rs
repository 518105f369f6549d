//! Names the kernel limits, and one that the lab uses itself.

use serde::{Deserialize, Serialize};

/// What the node is called where pods have names, and what its processes call their pod in the logs.
pub const NODE: &str = "node";

/// Longest interface name: IFNAMSIZ (16) less the terminating zero.
pub const MAX_INTERFACE_NAME: usize = 15;

/// A network interface name the kernel will take.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct InterfaceName(String);

impl InterfaceName {
    /// Checks a name as the kernel's `dev_valid_name` does: 1 to 15 bytes, no `/`, `:` or white space, not `.` or `..`.
    ///
    /// # Errors
    /// A sentence that says which of these it breaks.
    pub fn new(name: &str) -> Result<Self, String> {
        if name.is_empty() {
            return Err("an interface name can't be empty".into());
        }
        if name.len() > MAX_INTERFACE_NAME {
            return Err(format!(
                "interface name `{name}` is {} bytes long; the kernel takes {MAX_INTERFACE_NAME}",
                name.len()
            ));
        }
        if name == "."
            || name == ".."
            || name.contains(['/', ':'])
            || name.contains(char::is_whitespace)
        {
            return Err(format!(
                "interface name `{name}` holds a character the kernel refuses (`/`, `:` or white space)"
            ));
        }
        Ok(Self(name.to_string()))
    }

    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl std::fmt::Display for InterfaceName {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}
