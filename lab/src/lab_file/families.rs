//! The families that the flows of a run go over.

use serde::{Deserialize, Serialize};

use crate::rules::Family;

/// Families that the flows of a run go over: one, or each flow over both.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Families {
    /// One. IPv6 has the IPv4 rules beside it, as in a pod whose first address is an IPv6 one.
    One(Family),
    /// Both.
    Dual,
}

impl Families {
    /// The families, IPv4 first.
    pub fn iter(self) -> impl Iterator<Item = Family> {
        let all = [Family::V4, Family::V6].into_iter();
        all.filter(move |family| self.has(*family))
    }

    /// True when flows go over this family.
    pub fn has(self, family: Family) -> bool {
        self == Self::Dual || self == Self::One(family)
    }

    /// The one a flow goes over when nobody says which.
    pub fn first(self) -> Family {
        match self {
            Self::One(family) => family,
            Self::Dual => Family::V4,
        }
    }
}

impl From<Family> for Families {
    fn from(family: Family) -> Self {
        Self::One(family)
    }
}
