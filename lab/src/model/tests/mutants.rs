//! What the rules can be told apart by: the packet space derived from their own constants.

use std::collections::BTreeSet;

use super::*;

fn space(family: Family) -> Vec<(Hook, Packet)> {
    let Cast { pod, other, .. } = cast(family);
    let packets = interesting_packets(&istio(family), Table::Nat, PodAddresses { pod, other });
    packets.expect("they are few")
}

/// The rules whose absence changes what happens to a packet of the space.
fn noticed(family: Family, packets: &[(Hook, Packet)]) -> BTreeSet<String> {
    let whole = istio(family);
    let before: Vec<Outcome> = packets.iter().map(|it| ask(&whole, it).decided).collect();
    let ids = whole.rules(Table::Nat).map(|(id, _)| id);
    let changed = ids.filter(|id| {
        let less = whole.without(id);
        packets
            .iter()
            .zip(&before)
            .any(|(packet, before)| !ask(&less, packet).decided.same_effect(before))
    });
    changed.map(|id| id.short()).collect()
}

#[test]
fn nothing_in_the_space_is_unknown() {
    for family in [Family::V4, Family::V6] {
        let decided = space(family)
            .iter()
            .map(|it| ask(&istio(family), it).decided)
            .collect::<Vec<_>>();
        assert!(
            decided
                .iter()
                .all(|it| !matches!(it, Outcome::Unknown { .. } | Outcome::Dropped { .. }))
        );
        assert!(decided.len() > 1000);
    }
}

#[test]
fn rules_5_6_and_8_match_no_packet_whatever_its_owner() {
    for family in [Family::V4, Family::V6] {
        let moved: BTreeSet<RuleId> = space(family)
            .iter()
            .flat_map(|it| ask(&istio(family), it).moved())
            .collect();
        let all = istio(family);
        let idle = all
            .rules(Table::Nat)
            .map(|(id, _)| id)
            .filter(|id| !moved.contains(id));
        let idle: Vec<String> = idle.map(|id| id.short()).collect();
        assert_eq!(
            idle,
            ["ISTIO_OUTPUT 5", "ISTIO_OUTPUT 6", "ISTIO_OUTPUT 8"],
            "{family}"
        );
    }
}

#[test]
fn deleting_each_rule_is_noticed_for_15_of_18() {
    for family in [Family::V4, Family::V6] {
        let noticed = noticed(family, &space(family));
        assert_eq!(noticed.len(), 15, "{family}");
        let silent = ["ISTIO_OUTPUT 5", "ISTIO_OUTPUT 6", "ISTIO_OUTPUT 8"];
        assert!(silent.iter().all(|it| !noticed.contains(*it)), "{family}");
    }
}

#[test]
fn three_of_the_15_show_only_when_user_and_group_differ() {
    for family in [Family::V4, Family::V6] {
        let mut packets = space(family);
        let all = noticed(family, &packets);
        packets.retain(|(_, packet)| {
            packet.owner.is_some_and(|(uid, gid)| uid == gid) || packet.in_iface.is_some()
        });
        let same = noticed(family, &packets);
        let only: Vec<&String> = all.difference(&same).collect();
        assert_eq!(
            only,
            ["ISTIO_OUTPUT 3", "ISTIO_OUTPUT 4", "ISTIO_OUTPUT 7"],
            "{family}"
        );
    }
}
