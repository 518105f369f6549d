//! Every profile loads and reads back the same.

use hoplab::{
    netfilter::Backend,
    profiles::{self, Rules},
    rules::Family,
};
use rstest::rstest;

use crate::{assert_same, load::saved};

#[rstest]
fn the_kernel_holds_what_a_profile_means(
    #[values(Backend::Nft, Backend::Legacy)] backend: Backend,
    #[values(Family::V4, Family::V6)] family: Family,
) {
    let all = profiles::all();
    let texts = all
        .iter()
        .filter_map(|it| Some((&it.name, it.rules.iptables(family)?)));
    let mut tried = 0;
    for (name, text) in texts {
        assert_same(
            text,
            &saved(text, backend, family),
            family,
            &format!("{name}, {backend}"),
        );
        tried += 1;
    }
    let nft = all
        .iter()
        .filter(|it| matches!(it.rules, Rules::Nft(_)))
        .count();
    let v4_only = if family == Family::V6 {
        ["ztunnel", "ztunnel-dedicated", "linkerd-1"].len()
    } else {
        0
    };
    assert_eq!(tried, all.len() - nft - v4_only);
}
