//! Any combination of options.

use hoplab::rules::{Family, to_restore};
use proptest::prelude::*;

use crate::{KUMA, LINKERD, assert_same, kuma_texts, linkerd_texts, parsed, picked};

/// The text is read, nothing of it is lost, and it says the same when it is written out again.
fn reads_back(texts: Vec<(Family, String)>) {
    for (family, text) in texts {
        let set = parsed(&text, family, "generated");
        let rules = text
            .lines()
            .filter(|line| line.starts_with("-A ") || line.starts_with("-I "));
        assert_eq!(set.len(), rules.count(), "{text}");
        assert_same(&text, &to_restore(&set), family, "written out again");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_options_of_kuma_give_text_that_reads_back_the_same(bits in any::<u32>()) {
        reads_back(kuma_texts(&picked(KUMA, bits)));
    }

    #[test]
    fn any_options_of_linkerd_give_text_that_reads_back_the_same(bits in any::<u32>()) {
        reads_back(linkerd_texts(&picked(LINKERD, bits)));
    }
}

/// The pools above are worth something only when they hold every flag.
#[test]
fn every_flag_that_changes_a_rule_is_in_the_pools() {
    use hoplab::{kuma, linkerd, mesh::Configuration};
    let known = |pool: &[(&'static str, &[&'static str])], name: &str| {
        pool.iter().any(|(it, _)| *it == name)
    };
    let kuma = kuma::Config::FLAGS
        .iter()
        .filter(|flag| !flag.help.contains("changes no rule"));
    let missing: Vec<_> = kuma
        .map(|flag| flag.name)
        .filter(|name| !known(KUMA, name))
        .collect();
    assert_eq!(missing, [""; 0]);
    let linkerd = linkerd::Config::FLAGS.iter().filter(|flag| {
        !flag.help.contains("no rule;")
            && !flag.help.contains("changes no rule")
            && !flag.help.contains("changes the commands")
    });
    let missing: Vec<_> = linkerd
        .map(|flag| flag.name)
        .filter(|name| !known(LINKERD, name))
        .collect();
    assert_eq!(missing, ["subnets-to-ignore"]);
}
