use super::*;

#[track_caller]
fn same(a: &str, b: &str) {
    assert_eq!(one(a), one(b));
}

#[test]
fn the_order_of_options_does_not_count() {
    same(
        "-o lo -s 127.0.0.6/32 -j RETURN",
        "-j RETURN -s 127.0.0.6 -o lo",
    );
    same(
        "-p tcp -m owner --uid-owner 1 -m mark --mark 2 --dport 3 -j RETURN",
        "-p tcp -m tcp --dport 3 -m mark --mark 0x2 -m owner --uid-owner 1 -j RETURN",
    );
}

#[test]
fn spellings_of_one_rule_are_equal() {
    same("-p tcp --dport 53", "-p 6 -m tcp --destination-port 53");
    same("-p tcp -m tcp -j ACCEPT", "-p TCP -j ACCEPT");
    same(
        "-p udp -j REDIRECT --to-port 15053",
        "-p udp -j REDIRECT --to-ports 15053",
    );
    same(
        "-m mark -m owner --uid-owner 1 --mark 2",
        "-m owner --uid-owner 1 -m mark --mark 2",
    );
    same("-d 127.0.0.1/8", "-d 127.0.0.0/255.0.0.0");
    same("-s 0.0.0.0/0 -p all -o +", "");
    same("-p tcp --sport 1024:", "-p tcp --sport 1024:65535");
    same(
        "-m conntrack --ctstate RELATED,ESTABLISHED",
        "-m conntrack --ctstate ESTABLISHED,RELATED",
    );
    same("-m mark --mark 1337", "-m mark --mark 0x539/0xffffffff");
    same("-m comment --comment \"a\"", "-m comment --comment a");
}

#[test]
fn the_words_of_a_rule_and_the_kernels_words_for_it_are_equal() {
    // Left what a person writes, right what `iptables-save` 1.8.9 prints for it.
    same(
        "-j MARK --set-mark 1337",
        "-j MARK --set-xmark 0x539/0xffffffff",
    );
    same(
        "-j MARK --set-mark 0x1/0xf0",
        "-j MARK --set-xmark 0x1/0xf1",
    );
    same(
        "-j MARK --and-mark 0xf0",
        "-j MARK --set-xmark 0x0/0xffffff0f",
    );
    same("-j MARK --or-mark 0xf0", "-j MARK --set-xmark 0xf0/0xf0");
    same("-j MARK --xor-mark 0xf0", "-j MARK --set-xmark 0xf0/0x0");
    same(
        "-j CONNMARK --set-mark 0x1/0xf0",
        "-j CONNMARK --set-xmark 0x1/0xf1",
    );
    same(
        "-j CONNMARK --save-mark",
        "-j CONNMARK --save-mark --nfmask 0xffffffff --ctmask 0xffffffff",
    );
    same(
        "-j CONNMARK --restore-mark --mask 0xff",
        "-j CONNMARK --restore-mark --nfmask 0xff --ctmask 0xff",
    );
    same(
        "-p tcp -j TPROXY --tproxy-mark 1337/0xffffffff --on-port 15006",
        "-p tcp -j TPROXY --on-port 15006 --on-ip 0.0.0.0 --tproxy-mark 0x539/0xffffffff",
    );
    same(
        "-p tcp -j TPROXY --on-port 1",
        "-p tcp -j TPROXY --on-port 1 --on-ip 0.0.0.0 --tproxy-mark 0x0/0x0",
    );
    same(
        "-p tcp --syn",
        "-p tcp -m tcp --tcp-flags FIN,SYN,RST,ACK SYN",
    );
    same(
        "-p tcp ! --tcp-flags ALL NONE",
        "-p tcp -m tcp ! --tcp-flags FIN,SYN,RST,PSH,ACK,URG NONE",
    );
    same(
        "-p tcp -m multiport --dports 80,1:20,53",
        "-m multiport -p tcp --destination-ports 53,80,1:20",
    );
    // As Kuma writes them.
    same(
        "-m owner --uid-owner 106:108",
        "-m owner --uid-owner 106-108",
    );
    same(
        "-m multiport -p tcp --dport 53,3000:5000",
        "-p tcp -m multiport --dports 53,3000:5000",
    );
    same(
        "-m addrtype --dst-type LOCAL,UNICAST ! --src-type LOCAL",
        "-m addrtype ! --src-type LOCAL --dst-type UNICAST,LOCAL",
    );
    same("-m state --state NEW", "-m conntrack --ctstate NEW");
    same("-j LOG --log-level debug", "-j LOG --log-level 7");
    same("-j LOG --log-level warning", "-j LOG");
    same("-j NOTRACK", "-j CT --notrack");
    same("-j REJECT", "-j REJECT --reject-with icmp-port-unreachable");
    same(
        "-j REJECT --reject-with host-unreach",
        "-j REJECT --reject-with icmp-host-unreachable",
    );
    same(
        "-j SNAT --to-source 1.2.3.4-1.2.3.4",
        "-j SNAT --to-source 1.2.3.4",
    );
}

#[test]
fn rules_that_differ_are_not_equal() {
    for (a, b) in [
        ("! -d 127.0.0.1", "-d 127.0.0.1"),
        ("-p tcp --dport 53", "-p udp --dport 53"),
        ("-p tcp --dport 53", "-p tcp --sport 53"),
        ("-j SUB", "-g SUB"),
        ("-i lo", "-o lo"),
        ("! -s 0/0", ""),
        ("-m owner ! --socket-exists", "-m owner --socket-exists"),
        ("-m mark --mark 1", "-m connmark --mark 1"),
        (
            "-j MARK --set-mark 0x1/0xff",
            "-j MARK --set-xmark 0x1/0xfe",
        ),
        ("-j CT --zone 1", "-j CT --zone-orig 1"),
        ("-p tcp -m multiport --dports 1", "-p tcp --dport 1"),
        ("-j MASQUERADE", "-j MASQUERADE --random-fully"),
        (
            "-m limit --limit 1/s -m owner --uid-owner 1",
            "-m owner --uid-owner 1 -m limit --limit 1/s",
        ),
    ] {
        assert_ne!(one(a), one(b), "{a} | {b}");
    }
}

#[test]
fn what_is_not_modelled_is_kept_word_for_word_and_flagged() {
    for text in [
        "-s 1.0.3.0/255.0.255.0",
        "-f -j ACCEPT",
        "! -f -j ACCEPT",
        "-p tcp -m socket -j RETURN",
        "-m conntrack --ctstate NEW --ctorigdst 1.2.3.4",
        "-m string --string \"--dport 5\" --algo bm",
        "-p sctp -m sctp --dport 5 -j RETURN",
        "-p tcp -j DNAT --to-destination 1.2.3.4:80-90/100",
        "-j CT --helper ftp",
        "-m addrtype --dst-type LOCAL --limit-iface-in",
        "-m owner --gid-owner 5 --suppl-groups",
        "-j NFQUEUE --queue-num 5",
        "-p icmp -m icmp --icmp-type 8 -j RETURN",
        "-p tcp -j REDIRECT --to-ports 1-100 --random",
        "-m limit --limit 1/s -m limit --limit 5/m",
    ] {
        let spec = one(text);
        assert!(!spec.is_modelled(), "{text}");
        assert_eq!(
            spec_text("OUTPUT", &spec),
            format!("-A OUTPUT {text}").trim_end()
        );
    }
}

#[test]
fn the_protocol_brings_its_match_for_an_option_that_needs_it() {
    same("-p icmp --icmp-type 8", "-p icmp -m icmp --icmp-type 8");
    same(
        "-p tcp --tcp-flags SYN SYN",
        "-p tcp -m tcp --tcp-flags SYN SYN",
    );
}

#[test]
fn names_of_owners_are_kept_as_text() {
    let spec = one("-m owner --uid-owner java");
    assert_eq!(
        spec.matches.extensions(),
        [Match::OwnerUid(Negatable::is(OwnerId::Name(
            "java".to_owned()
        )))]
    );
}

#[test]
fn inserted_rules_take_their_place() {
    let set = nat("-A OUTPUT -j ACCEPT\n-I OUTPUT -o a -j ACCEPT\n-I OUTPUT 2 -o b -j ACCEPT\n");
    let set = set.unwrap_or_else(|error| panic!("{error}"));
    let texts = set
        .rules(Table::Nat)
        .map(|(id, rule)| spec_text(&id.chain, &rule.spec));
    let expected = [
        "-A OUTPUT -o a -j ACCEPT",
        "-A OUTPUT -o b -j ACCEPT",
        "-A OUTPUT -j ACCEPT",
    ];
    assert_eq!(texts.collect::<Vec<_>>(), expected);
}

#[test]
fn counters_are_read_from_either_place() {
    let set =
        nat("[3:180] -A OUTPUT -j ACCEPT\n-A OUTPUT -c 4 240 -j ACCEPT\n-A OUTPUT -j ACCEPT\n");
    let set = set.unwrap_or_else(|error| panic!("{error}"));
    let counted: Vec<_> = set
        .rules(Table::Nat)
        .map(|(_, rule)| rule.counters)
        .collect();
    let counter = |packets, bytes| Some(Counter { packets, bytes });
    assert_eq!(counted, [counter(3, 180), counter(4, 240), None]);
}

#[test]
fn a_rule_id_is_a_json_map_key() {
    let id = v4("ISTIO_OUTPUT", 4);
    assert_eq!(
        (id.to_string(), id.short()),
        ("nat ISTIO_OUTPUT 4".to_owned(), "ISTIO_OUTPUT 4".to_owned())
    );
    assert_eq!(id.key().parse(), Ok(id.clone()));
    let map = std::collections::BTreeMap::from([(id, 1)]);
    let json = serde_json::to_string(&map).expect("a map of strings is JSON");
    assert_eq!(json, r#"{"ipv4 nat ISTIO_OUTPUT 4":1}"#);
    assert_eq!(
        serde_json::from_str::<std::collections::BTreeMap<RuleId, i32>>(&json).ok(),
        Some(map)
    );
    for wrong in [
        "",
        "ipv4 nat A",
        "ipv4 nat A 0",
        "ipv5 nat A 1",
        "ipv4 natt A 1",
        "ipv4 nat A x",
        "ipv4 nat  1",
    ] {
        assert!(wrong.parse::<RuleId>().is_err(), "{wrong}");
    }
}
