//! Owner groups: whose outbound traffic is captured.

use super::{
    BadValue, Warning,
    items::{Owner, items},
};

/// Groups whose outbound traffic is captured.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum OwnerGroups {
    /// All but these.
    AllBut(Vec<Owner>),
    /// Only these.
    Only(Vec<Owner>),
}

/// The most `--gid-owner` matches one rule gets.
const LONGEST_INCLUDE_LIST: usize = 64;

const INCLUDE: &str = "ISTIO_OUTBOUND_OWNER_GROUPS";
const EXCLUDE: &str = "ISTIO_OUTBOUND_OWNER_GROUPS_EXCLUDE";

impl OwnerGroups {
    pub(super) fn new(
        include: &str,
        exclude: &str,
        warnings: &mut Vec<Warning>,
    ) -> Result<Self, BadValue> {
        if include == "*" {
            return items(EXCLUDE, exclude, warnings).map(Self::AllBut);
        }
        if !exclude.is_empty() {
            warnings.push(Warning::GroupExclusionsIgnored);
        }
        let groups: Vec<Owner> = items(INCLUDE, include, warnings)?;
        if groups.len() > LONGEST_INCLUDE_LIST {
            let why = format!(
                "{} groups are more than the {LONGEST_INCLUDE_LIST} Istio takes",
                groups.len()
            );
            return Err(BadValue::new(
                INCLUDE,
                include,
                why,
                "name fewer groups, or exclude groups from `*`",
            ));
        }
        if groups.is_empty() {
            warnings.push(Warning::NoGroupCaptured);
        }
        Ok(Self::Only(groups))
    }

    /// Nobody is left out.
    pub(super) fn is_everybody(&self) -> bool {
        matches!(self, Self::AllBut(groups) if groups.is_empty())
    }
}
