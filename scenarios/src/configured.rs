//! Bookinfo under a configuration of Istio, as words on a command line have it.

use hoplab::{
    Families, LabFile,
    istio::{Configuration, Release},
};

/// What istio-init is told in an ordinary pod: capture everything but the proxy's own ports.
pub const INJECTED: &str = "-b * -i * -d 15090,15021,15020";

/// A lab under the rules that a release writes for a configuration: variables (`NAME=VALUE`), short and long flags.
pub fn configured(lab: LabFile, words: &str, release: Release, families: Families) -> LabFile {
    let configuration = Configuration::parse("the words", words);
    let configuration = configuration.unwrap_or_else(|error| panic!("{error}"));
    under(lab, &configuration, release, (families, false))
}

/// A lab under a configuration of a list, by iptables or in nft's own language.
pub fn under(
    lab: LabFile,
    configuration: &Configuration,
    release: Release,
    (families, native_nftables): (Families, bool),
) -> LabFile {
    let lab = lab.under(configuration, release, families, native_nftables);
    lab.unwrap_or_else(|failure| panic!("{failure}"))
}
