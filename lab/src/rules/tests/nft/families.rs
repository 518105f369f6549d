//! A table for both families, seen by each.

use super::*;
use crate::model::{Hook, Packet, TryResult, evaluate};

fn packet(family: Family) -> Packet {
    let (from, to) = match family {
        Family::V4 => ("192.0.2.2:40000", "192.0.2.3:80"),
        Family::V6 => ("[2001:db8::2]:40000", "[2001:db8::3]:80"),
    };
    let address = |text: &str| text.parse().expect("an address");
    Packet::tcp(address(from), address(to)).leaving_by("eth0")
}

/// Why the first rule of filter OUTPUT does not match, or that it does.
fn verdict(family: Family, rule: &str, packet: &Packet) -> String {
    let sets = sets(&listing("inet", rule));
    let set = sets
        .iter()
        .find(|it| it.family == family)
        .expect("inet is for both");
    let walk = evaluate(set, Table::Filter, Hook::Output, packet);
    match &walk.tried[0].result {
        TryResult::Failed(why) => why.to_string(),
        other => format!("{other:?}"),
    }
}

#[rstest]
#[case::an_address(
    "ip daddr != 127.0.0.1 accept",
    Family::V6,
    "wanted family IPv4, had IPv6"
)]
#[case::an_address_of_ipv6("ip6 daddr ::1 accept", Family::V4, "wanted family IPv6, had IPv4")]
#[case::a_set("ip daddr @probes accept", Family::V6, "wanted family IPv4, had IPv6")]
#[case::a_statement(
    "tproxy ip to :15006 meta mark set 1 accept",
    Family::V6,
    "wanted family IPv4, had IPv6"
)]
#[case::asked_by_name("meta nfproto ipv4 accept", Family::V6, "wanted family IPv4, had IPv6")]
#[case::asked_for_the_other(
    "meta nfproto != ipv4 accept",
    Family::V4,
    "wanted family IPv6, had IPv4"
)]
#[case::its_own("meta nfproto ipv6 accept", Family::V6, "Matched")]
#[case::neither("counter accept", Family::V6, "Matched")]
fn a_rule_for_one_family_never_matches_in_the_other(
    #[case] rule: &str,
    #[case] family: Family,
    #[case] verdict: &str,
) {
    assert_eq!(
        super::families::verdict(family, rule, &packet(family)),
        verdict
    );
}

#[test]
fn both_families_have_every_rule_at_its_place() {
    let rules = "ip daddr 10.0.0.0/8 accept\nip6 daddr fd00::/8 accept\ncounter drop";
    let lengths: Vec<usize> = sets(&listing("inet", rules))
        .iter()
        .map(RuleSet::len)
        .collect();
    assert_eq!(lengths, [3, 3]);
}

#[test]
fn a_table_of_one_family_is_for_that_one_alone() {
    let families = |table| -> Vec<Family> {
        sets(&listing(table, "accept"))
            .iter()
            .map(|it| it.family)
            .collect()
    };
    assert_eq!(families("ip"), [Family::V4]);
    assert_eq!(families("ip6"), [Family::V6]);
}

/// nft_meta's skuid breaks off without a socket, whatever is compared; xt_owner's `!` holds.
#[rstest]
#[case("skuid != 1337 accept", "wanted a socket one, had none")]
#[case("skuid 1337 accept", "wanted owner uid 1337, had no socket")]
fn without_a_socket_no_question_about_its_owner_holds(#[case] rule: &str, #[case] why: &str) {
    assert_eq!(verdict(Family::V4, rule, &packet(Family::V4)), why);
    let of_iptables = one("-m owner ! --uid-owner 1337 -j ACCEPT");
    assert_ne!(
        seen(Family::V4, "inet", "skuid != 1337 accept").spec,
        of_iptables
    );
}

#[rstest]
#[case(1000, "Matched")]
#[case(1337, "wanted owner uid !1337, had 1337")]
fn with_a_socket_an_inverted_owner_is_the_same_as_with_iptables(
    #[case] uid: u32,
    #[case] verdict: &str,
) {
    let packet = packet(Family::V4).owned_by(uid, uid);
    assert_eq!(
        super::families::verdict(Family::V4, "skuid != 1337 accept", &packet),
        verdict
    );
}

#[test]
fn a_restore_text_leaves_out_what_iptables_cannot_say_and_never_matches() {
    let sets = sets(&listing("inet", "ip daddr 10.0.0.0/8 accept\ncounter drop"));
    let text = to_restore(&sets[1]);
    assert!(
        text.contains("\n# -A OUTPUT -m nft --expr \"ip daddr 10.0.0.0/8\" -j ACCEPT\n"),
        "{text}"
    );
    let again = parse(&text, Family::V6, "rendered").expect("it is readable");
    assert_eq!(again.len(), 1);
}
