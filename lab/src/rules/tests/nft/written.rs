//! Rules of native nft, written again.

use rstest::rstest;

use super::*;
use crate::rules::to_nft;

fn written(sets: &[RuleSet]) -> Result<String, String> {
    to_nft(&sets.iter().collect::<Vec<_>>())
}

#[rstest]
#[case::sidecar("istio-nft")]
#[case::ambient("ambient-nft")]
fn what_a_profile_says_is_read_back_from_what_is_written(#[case] name: &str) {
    let profile = crate::profiles::find(name).expect("a profile");
    let crate::profiles::Rules::Nft(text) = profile.rules else {
        panic!("{name} is of nft");
    };
    let read = sets(&text);
    let text = written(&read).expect("nft has words for it");
    assert_eq!(sets(&text), read, "{text}");
}

#[rstest]
#[case("tcp dport { 15008, 15020-15021 } counter return")]
#[case("meta l4proto tcp tcp dport != 22 meta skuid != 1337 counter drop")]
#[case("iifname \"net*\" meta l4proto udp udp sport 53 counter notrack")]
#[case("ip daddr != 10.0.0.0/8 counter accept")]
#[case("ip6 saddr fd00::/8 counter accept")]
#[case("ct state invalid counter drop")]
#[case("ct state != { established, related } counter drop")]
#[case("meta mark & 0xfff != 0x539 counter ct mark set ct mark & 0xfffff000 | 0x111")]
#[case("ct mark & 0xfff == 0x111 counter meta mark set ct mark")]
#[case("fib daddr type local counter return")]
#[case("meta l4proto tcp tproxy ip to :15006 meta mark set 1337 counter accept")]
#[case("meta l4proto tcp tproxy ip6 to :15006 accept")]
#[case("udp dport 53 counter ct zone set 1 comment \"for DNS\"")]
#[case("reject with tcp reset")]
fn a_rule_is_read_back_from_what_is_written(#[case] rule: &str) {
    let text = format!(
        "add table inet t\nadd chain inet t o {{ type filter hook output priority -150 ; }}\nadd rule inet t o {rule}\n"
    );
    let read = sets(&text);
    assert!(
        read.iter()
            .all(|it| it.rules(Table::Mangle).all(|(_, it)| it.spec.is_modelled()))
    );
    for order in [[0, 1], [1, 0]] {
        let text = to_nft(&order.map(|at| &read[at])).expect("nft has words for it");
        assert_eq!(sets(&text), read, "{text}");
    }
}

#[rstest]
#[case::of_iptables(
    "*nat\n-A OUTPUT -p tcp --dport 1 -j CLUSTERIP\n-N MINE\nCOMMIT\n",
    "is of no one table"
)]
fn what_nft_can_not_say_is_an_error(#[case] text: &str, #[case] why: &str) {
    let set = parse(text, Family::V4, "a test").expect("valid rules");
    let error = to_nft(&[&set]).expect_err("no words for it");
    assert!(error.contains(why), "{error}");
}

#[test]
fn a_match_without_words_of_nft_is_named() {
    let read = sets(&listing("inet", "tcp flags syn / syn,ack accept"));
    let error = written(&read).expect_err("no words for it");
    assert!(error.contains("-m protocol"), "{error}");
}
