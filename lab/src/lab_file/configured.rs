//! A lab under a configuration of Istio that stands in a list.

use super::{Families, LabFile};
use crate::{
    failure::Failure,
    istio::{Config, Configuration, Release},
};

impl LabFile {
    /// This lab under the rules that a release writes for a configuration, in nft's own language where that is asked
    /// for. What only the lab knows is the lab's: its DNS servers, and whether its pods have IPv6.
    ///
    /// # Errors
    /// A value that no rule can be made of.
    pub fn under(
        self,
        configuration: &Configuration,
        release: Release,
        families: Families,
        native_nftables: bool,
    ) -> Result<Self, Failure> {
        let mut warnings = Vec::new();
        let mut settings = configuration.settings([], &mut warnings)?;
        settings.native_nftables |= native_nftables;
        let config = Config::new(&settings, &self.host(families), &mut warnings)?;
        Ok(self.configured(&settings, &config, release))
    }
}
