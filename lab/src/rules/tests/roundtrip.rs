use std::collections::BTreeSet;

use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use proptest::collection::{btree_set, vec};
use proptest::option;
use proptest::prelude::*;

use super::*;

const CHAINS: [&str; 4] = ["ISTIO_A", "ISTIO_B", "a-z", "链"];

fn negatable<T: std::fmt::Debug>(
    value: impl Strategy<Value = T>,
) -> impl Strategy<Value = Negatable<T>> {
    (any::<bool>(), value).prop_map(|(negated, value)| Negatable { negated, value })
}

fn network(family: Family) -> BoxedStrategy<IpNet> {
    match family {
        Family::V4 => (any::<u32>(), 1..=32_u8)
            .prop_map(|(bits, prefix)| {
                Ipv4Net::new(bits.into(), prefix)
                    .expect("the prefix fits")
                    .trunc()
                    .into()
            })
            .boxed(),
        Family::V6 => (any::<u128>(), 1..=128_u8)
            .prop_map(|(bits, prefix)| {
                Ipv6Net::new(bits.into(), prefix)
                    .expect("the prefix fits")
                    .trunc()
                    .into()
            })
            .boxed(),
    }
}

fn ports() -> impl Strategy<Value = PortRange> {
    (any::<u16>(), any::<u16>())
        .prop_map(|(a, b)| PortRange::new(a.min(b), a.max(b)).expect("in order"))
}

fn owner() -> impl Strategy<Value = OwnerId> {
    prop_oneof![
        (any::<u32>(), any::<u32>()).prop_map(|(a, b)| OwnerId::Range {
            first: a.min(b),
            last: a.max(b)
        }),
        "[a-z][a-z ]{0,5}".prop_map(OwnerId::Name),
    ]
}

fn states() -> impl Strategy<Value = BTreeSet<CtState>> {
    btree_set(prop::sample::select(CtState::ALL.to_vec()), 1..4)
}

fn mark() -> impl Strategy<Value = MarkValue> {
    (any::<u32>(), any::<u32>()).prop_map(|(value, mask)| MarkValue { value, mask })
}

fn verbatim() -> impl Strategy<Value = Match> {
    let kept = |module: Option<&str>, words: &str| Match::Verbatim {
        module: module.map(str::to_owned),
        words: words.split_whitespace().map(str::to_owned).collect(),
    };
    prop_oneof![
        Just(kept(Some("limit"), "--limit 5/sec")),
        Just(kept(Some("set"), "--match-set probes dst")),
        Just(kept(Some("socket"), "")),
        Just(kept(Some("addrtype"), "--limit-iface-in")),
        Just(kept(Some("conntrack"), "--ctorigdst 1.2.3.4")),
        Just(kept(None, "! -f")),
    ]
}

fn port_list() -> impl Strategy<Value = Negatable<BTreeSet<PortRange>>> {
    negatable(btree_set(ports(), 1..7))
}

fn tcp_flags() -> impl Strategy<Value = TcpFlags> {
    (0..=0x3f_u8).prop_map(|bits| TcpFlags::from_bits(bits).expect("six bits"))
}

fn condition(protocol: Option<Protocol>) -> BoxedStrategy<Match> {
    let end = || prop_oneof![Just(End::Source), Just(End::Destination)];
    let kinds = btree_set(prop::sample::select(AddressKind::ALL.to_vec()), 1..4);
    let other = prop_oneof![
        negatable(owner()).prop_map(Match::OwnerUid),
        negatable(owner()).prop_map(Match::OwnerGid),
        any::<bool>().prop_map(Match::SocketExists),
        negatable(states()).prop_map(Match::CtState),
        negatable(mark()).prop_map(Match::Mark),
        negatable(mark()).prop_map(Match::ConnMark),
        (end(), negatable(kinds)).prop_map(|(end, kinds)| Match::AddressKind { end, kinds }),
        "[ -~]{0,12}".prop_map(Match::Comment),
        verbatim(),
    ];
    let test = (tcp_flags(), tcp_flags()).prop_map(|(mask, wanted)| TcpFlagTest { mask, wanted });
    let lists =
        (option::of(end()), port_list()).prop_map(|(end, ports)| Match::Ports { end, ports });
    let ported = prop_oneof![
        lists,
        negatable(ports()).prop_map(Match::SourcePort),
        negatable(ports()).prop_map(Match::DestinationPort),
    ];
    match protocol {
        Some(Protocol::Tcp) => {
            prop_oneof![other, ported, negatable(test).prop_map(Match::TcpFlags)].boxed()
        }
        Some(Protocol::Udp) => prop_oneof![other, ported].boxed(),
        _ => other.boxed(),
    }
}

fn address(family: Family) -> BoxedStrategy<std::net::IpAddr> {
    match family {
        Family::V4 => any::<[u8; 4]>().prop_map(Into::into).boxed(),
        Family::V6 => any::<[u8; 16]>().prop_map(Into::into).boxed(),
    }
}

fn nat_range(family: Family, transport: bool) -> impl Strategy<Value = NatRange> {
    let ports = if transport {
        option::of(ports()).boxed()
    } else {
        Just(None).boxed()
    };
    let pick = any::<[bool; 3]>().prop_map(|[random, random_fully, persistent]| NatPick {
        random,
        random_fully,
        persistent,
    });
    let addresses = (address(family), address(family));
    (addresses, ports, pick).prop_map(|(addresses, ports, pick)| NatRange {
        addresses: Some(addresses),
        ports,
        pick,
    })
}

fn marking(family: Family) -> impl Strategy<Value = Target> {
    let change = || any::<(u32, u32)>().prop_map(|(value, mask)| MarkChange { value, mask });
    let specified = address(family).prop_filter("stored as none", |it| !it.is_unspecified());
    let zone = prop_oneof![
        any::<u16>().prop_map(ZoneId::Number),
        Just(ZoneId::FromMark)
    ];
    let direction = prop_oneof![Just(ZoneDirection::Original), Just(ZoneDirection::Reply)];
    let masks = || any::<(u32, u32)>();
    prop_oneof![
        change().prop_map(Target::Mark),
        change().prop_map(|it| Target::Connmark(ConnmarkAction::Set(it))),
        masks()
            .prop_map(|(nfmask, ctmask)| Target::Connmark(ConnmarkAction::Save { nfmask, ctmask })),
        masks().prop_map(
            |(nfmask, ctmask)| Target::Connmark(ConnmarkAction::Restore { nfmask, ctmask })
        ),
        (zone, option::of(direction))
            .prop_map(|(zone, direction)| Target::Zone { zone, direction }),
        Just(Target::Notrack),
        (any::<u16>(), option::of(specified), change()).prop_map(|(port, address, mark)| {
            Target::Tproxy {
                port,
                address,
                mark,
            }
        }),
    ]
}

fn telling(family: Family) -> impl Strategy<Value = Target> {
    let details = btree_set(
        prop::sample::select(LogDetail::ALL.map(|it| it.0).to_vec()),
        0..5,
    );
    let prefix = || "[ -~]{0,8}";
    let answer = match family {
        Family::V4 => "icmp-host-unreachable",
        Family::V6 => "icmp6-no-route",
    };
    prop_oneof![
        (0..8_u8, prefix(), details).prop_map(|(level, prefix, details)| Target::Log(Log {
            level,
            prefix,
            details
        })),
        (
            any::<u16>(),
            prefix(),
            option::of(any::<u32>()),
            any::<u16>()
        )
            .prop_map(|(group, prefix, size, threshold)| Target::Nflog(Nflog {
                group,
                prefix,
                size,
                threshold
            })),
        Just(Target::Trace),
        Just(Target::Reject {
            with: "tcp-reset".to_owned()
        }),
        Just(Target::Reject {
            with: answer.to_owned()
        }),
    ]
}

fn target(family: Family, transport: bool) -> BoxedStrategy<Target> {
    let chain = || prop::sample::select(&CHAINS[..]).prop_map(str::to_owned);
    let words =
        |words: &[&str]| Target::Verbatim(words.iter().map(|it| (*it).to_owned()).collect());
    let to_ports = || {
        if transport {
            option::of(ports()).boxed()
        } else {
            Just(None).boxed()
        }
    };
    let masquerade = (nat_range(family, false), to_ports()).prop_map(|(range, ports)| NatRange {
        addresses: None,
        ports,
        ..range
    });
    prop_oneof![
        Just(Target::None),
        chain().prop_map(Target::Jump),
        chain().prop_map(Target::Goto),
        Just(Target::Return),
        Just(Target::Accept),
        Just(Target::Drop),
        to_ports().prop_map(|ports| Target::Redirect { ports }),
        nat_range(family, transport).prop_map(Target::Dnat),
        nat_range(family, transport).prop_map(Target::Snat),
        masquerade.prop_map(Target::Masquerade),
        marking(family),
        telling(family),
        Just(words(&["CT", "--helper", "ftp"])),
        Just(words(&["AUDIT", "--type", "\"a b\""])),
    ]
    .boxed()
}

fn rule(family: Family) -> impl Strategy<Value = Rule> {
    let protocol = prop_oneof![
        Just(None),
        Just(Some(Negatable::is(Protocol::Tcp))),
        Just(Some(Negatable::is(Protocol::Udp))),
        negatable((1..=u8::MAX).prop_map(Protocol::from_number)).prop_map(Some),
    ];
    let interface = || {
        option::of(negatable(
            "[a-z]{1,4}[0-9]\\+?".prop_map(|it| Interface::new(&it).expect("fits")),
        ))
    };
    protocol.prop_flat_map(move |protocol| {
        let named = protocol
            .as_ref()
            .filter(|it| !it.negated)
            .map(|it| it.value);
        let transport = matches!(named, Some(Protocol::Tcp | Protocol::Udp));
        let networks = (
            option::of(negatable(network(family))),
            option::of(negatable(network(family))),
        );
        let conditions = vec(condition(named), 0..4);
        let parts = (
            networks,
            interface(),
            interface(),
            conditions,
            target(family, transport),
        );
        parts.prop_map(
            move |((source, destination), in_interface, out_interface, conditions, target)| {
                let mut matches = Matches::default();
                matches.protocol.clone_from(&protocol);
                (matches.source, matches.destination) = (source, destination);
                (matches.in_interface, matches.out_interface) = (in_interface, out_interface);
                conditions.into_iter().for_each(|it| matches.add(it));
                Rule::new(RuleSpec { matches, target })
            },
        )
    })
}

fn rule_set() -> impl Strategy<Value = RuleSet> {
    let family = prop_oneof![Just(Family::V4), Just(Family::V6)];
    family.prop_flat_map(|family| {
        let placed = vec(
            (0..Table::ALL.len(), 0..CHAINS.len() + 1, rule(family)),
            0..8,
        );
        placed.prop_map(move |placed| {
            let mut set = RuleSet::empty(family);
            for (table, chain, rule) in placed {
                let table = Table::ALL[table];
                let rules = set
                    .tables
                    .entry(table)
                    .or_insert_with(|| TableRules::empty(table));
                CHAINS.iter().for_each(|name| _ = rules.chain_or_new(name));
                let chain = CHAINS.get(chain).copied().unwrap_or("OUTPUT");
                rules.chain_or_new(chain).rules.push(rule);
            }
            set
        })
    })
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn what_is_rendered_reads_back_as_the_same_rules(set in rule_set()) {
        let text = to_restore(&set);
        let read = parse(&text, set.family, "rendered").map_err(|error| TestCaseError::fail(error.to_string()))?;
        prop_assert_eq!(&read, &set, "{}", text);
        prop_assert_eq!(diff(&set, &read, &Table::ALL), []);
        prop_assert_eq!(read.fingerprint(), set.fingerprint());
        let saved = parse(&to_save(&set), set.family, "saved").map_err(|error| TestCaseError::fail(error.to_string()))?;
        prop_assert_eq!(saved.without_counters(), set);
    }

    #[test]
    fn no_text_makes_the_reader_panic(text in any::<String>()) {
        let _ = parse(&text, Family::V4, "any").map_err(|error| error.to_string());
    }

    #[test]
    fn no_bytes_make_the_reader_panic(bytes in vec(any::<u8>(), 0..200)) {
        let _ = parse(&String::from_utf8_lossy(&bytes), Family::V6, "any").map_err(|error| error.to_string());
    }

    #[test]
    fn nothing_in_a_rule_makes_the_reader_panic(line in rule_like()) {
        let read = nat(&format!("{line}\n"));
        match read {
            Err(error) => prop_assert!(error.to_string().contains(&error.message)),
            Ok(set) => {
                let again = parse(&to_restore(&set), Family::V4, "again");
                let again = again.map_err(|error| TestCaseError::fail(error.to_string()))?;
                prop_assert_eq!(again, set.without_counters());
            }
        }
    }
}

/// Lines that get far into the reader: words of the language in any order.
fn rule_like() -> impl Strategy<Value = String> {
    let words = [
        "-A",
        "-I",
        "-N",
        "OUTPUT",
        "SUB",
        "1",
        "!",
        "-p",
        "tcp",
        "udp",
        "-s",
        "-d",
        "10.0.0.0/8",
        "::1",
        "-o",
        "lo",
        "-m",
        "owner",
        "--uid-owner",
        "1337",
        "--dport",
        "80",
        "80:",
        "-j",
        "-g",
        "ACCEPT",
        "REDIRECT",
        "--to-ports",
        "mark",
        "--mark",
        "0x1/0x",
        "conntrack",
        "--ctstate",
        "NEW",
        "comment",
        "--comment",
        "\"a b\"",
        "\"",
        "[1:60]",
        ":SUB",
        "--syn",
        "-f",
        "limit",
        "--limit",
        "--limit-burst",
        "multiport",
        "--dports",
        "1,2:3",
        "--tcp-flags",
        "SYN,ACK",
        "ALL",
        "MARK",
        "--set-mark",
        "0x1/0xff",
        "CONNMARK",
        "--save-mark",
        "--mask",
        "TPROXY",
        "--on-port",
        "CT",
        "--zone",
        "DNAT",
        "--to-destination",
        "1.2.3.4:80-90",
        ":80",
        "LOG",
        "--log-prefix",
        "addrtype",
        "--dst-type",
        "LOCAL",
        "--socket-exists",
        "\"-x\"",
        "\\",
        "链",
        "-",
        "--",
        "-c",
        "/",
        ",",
    ];
    let prefix = prop_oneof![
        Just("-A OUTPUT "),
        Just("-A OUTPUT -p tcp "),
        Just("-A SUB -m owner "),
        Just("")
    ];
    let words = vec(prop::sample::select(words.to_vec()), 0..9);
    (prefix, words).prop_map(|(prefix, words)| prefix.to_owned() + &words.join(" "))
}
