//! What the table of observers is made of.

use hoplab_proxies::record::Transport;
use rstest::rstest;

use crate::trace::{
    Packets, Selection,
    observers::{NEW_CHAIN, NEW_RULE, NEW_TABLE, Observers, Order},
    wire::{attributes, text},
};

fn orders(selection: &Selection, conntrack: bool) -> Vec<Order> {
    let observers = Observers {
        table: "hoplab-trace-1",
        group: 5,
        selection,
        conntrack,
    };
    observers.orders()
}

fn count(orders: &[Order], kind: u8) -> usize {
    orders.iter().filter(|it| it.kind == kind).count()
}

/// Does any rule use the expression of this name?
fn uses(orders: &[Order], name: &str) -> bool {
    let name = [name.as_bytes(), &[0]].concat();
    let rules = orders.iter().filter(|it| it.kind == NEW_RULE);
    rules.into_iter().any(|it| {
        it.attributes
            .as_bytes()
            .windows(name.len())
            .any(|at| at == name)
    })
}

#[test]
fn by_default_there_are_nine_chains_and_no_mention_of_conntrack() {
    let orders = orders(&Selection::default(), true);
    assert_eq!(orders[0].kind, NEW_TABLE);
    // Two that mark, seven that show; TCP, UDP and ICMP of both families in each of the two.
    assert_eq!(
        (count(&orders, NEW_CHAIN), count(&orders, NEW_RULE)),
        (9, 8)
    );
    assert!(!uses(&orders, "ct"), "it would switch conntrack on");
}

#[rstest]
#[case::in_use(true)]
#[case::asleep(false)]
fn a_filter_asks_conntrack_where_it_is_in_use_anyway(#[case] conntrack: bool) {
    let selection = Selection {
        ports: vec![9080],
        ..Selection::default()
    };
    assert_eq!(uses(&orders(&selection, conntrack), "ct"), conntrack);
}

#[test]
fn a_filter_grows_with_the_sum_of_its_parts_and_not_with_their_product() {
    let selection = Selection {
        packets: Packets::All,
        protocols: vec![Transport::Tcp],
        ports: (1..=20).collect(),
        addresses: (1..=20).map(|n| [10, 0, 0, n].into()).collect(),
    };
    let orders = orders(&selection, false);
    assert_eq!(count(&orders, NEW_RULE), 2 * (40 + 40 + 1));
    assert_eq!(count(&orders, NEW_CHAIN), 9 + 2 * 2);
}

#[test]
fn all_packets_need_one_rule_a_hook() {
    let selection = Selection {
        packets: Packets::All,
        ..Selection::default()
    };
    assert_eq!(count(&orders(&selection, false), NEW_RULE), 2);
}

#[test]
fn of_first_packets_alone_there_are_two_kinds_of_segments_and_datagrams() {
    let selection = Selection {
        packets: Packets::First,
        ..Selection::default()
    };
    assert_eq!(count(&orders(&selection, false), NEW_RULE), 2 * 3);
}

#[test]
fn every_chain_has_a_name_of_its_own_and_every_rule_a_chain_that_is_there() {
    let selection = Selection {
        ports: vec![1],
        addresses: vec![[10, 0, 0, 1].into(), std::net::Ipv6Addr::LOCALHOST.into()],
        ..Selection::default()
    };
    let mut chains = Vec::new();
    for order in orders(&selection, true) {
        let attributes = attributes(order.attributes.as_bytes(), "test").expect("attributes");
        let name = |kind| {
            let (_, value) = attributes.iter().find(|it| it.0 == kind).expect("a name");
            text(value, "test").expect("text")
        };
        match order.kind {
            NEW_CHAIN => {
                assert!(!chains.contains(&name(3)), "{}", name(3));
                chains.push(name(3));
            }
            NEW_RULE => assert!(chains.contains(&name(2)), "{}", name(2)),
            _ => {}
        }
    }
}
