//! What was traced in one pod.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::TracedPacket;

/// Packets traced in one namespace while one flow ran.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct PodTrace {
    /// Names of the interfaces there, by the index that stations carry.
    #[serde(with = "listed")]
    pub interfaces: BTreeMap<u32, String>,
    /// Packets, in the order they were first seen.
    pub packets: Vec<TracedPacket>,
}

impl PodTrace {
    /// The name of an interface; its index in words where the name was not told.
    pub fn interface(&self, index: u32) -> String {
        let name = self.interfaces.get(&index).cloned();
        name.unwrap_or_else(|| format!("interface {index}"))
    }
}

/// Interfaces as a list: JSON has no numbers as keys, and a key in quotes is no number in a value that is read in two
/// steps, as a line of the evidence file is.
mod listed {
    use std::collections::BTreeMap;

    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    #[derive(Serialize, Deserialize)]
    struct Interface {
        index: u32,
        name: String,
    }

    pub fn serialize<S: Serializer>(
        names: &BTreeMap<u32, String>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(names.iter().map(|(index, name)| Interface {
            index: *index,
            name: name.clone(),
        }))
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<BTreeMap<u32, String>, D::Error> {
        let list = Vec::<Interface>::deserialize(deserializer)?;
        Ok(list.into_iter().map(|it| (it.index, it.name)).collect())
    }
}
