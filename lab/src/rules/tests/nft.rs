//! Rules of native nft, read for the model of iptables.

use rstest::rstest;

use super::*;

mod broken;
mod families;
mod unmodelled;
mod written;

/// What `nft list ruleset` prints with these rules in chain `o`, a filter chain at output.
fn listing(family: &str, rules: &str) -> String {
    format!(
        "table {family} t {{\n\tchain sub {{\n\t}}\n\tchain o {{\n\t\ttype filter hook output priority filter; policy \
         accept;\n{rules}\n\t}}\n}}\n"
    )
}

fn sets(text: &str) -> Vec<RuleSet> {
    let document = read(text, "x.nft", Family::V4).unwrap_or_else(|error| panic!("{error}"));
    document.rules().unwrap_or_else(|error| panic!("{error}"))
}

/// What a family sees of one rule in filter OUTPUT.
fn seen(family: Family, table: &str, rule: &str) -> Rule {
    let sets = sets(&listing(table, rule));
    let set = sets.iter().find(|set| set.family == family);
    let set = set.expect("the table is for it");
    let (_, rule) = set.rules(Table::Filter).next().expect("one was written");
    rule.clone()
}

#[rstest]
#[case("accept", "-j ACCEPT")]
#[case("counter drop", "-j DROP")]
#[case("counter", "")]
#[case("continue", "")]
#[case("jump sub", "-j SUB")]
#[case("goto sub", "-g SUB")]
#[case("meta l4proto tcp counter accept", "-p tcp -j ACCEPT")]
#[case(
    "meta l4proto tcp tcp dport 80 return",
    "-p tcp -m tcp --dport 80 -j RETURN"
)]
#[case("meta l4proto 132 accept", "-p sctp -j ACCEPT")]
#[case("meta l4proto != udp accept", "! -p udp -j ACCEPT")]
#[case("ip protocol tcp accept", "-p tcp -j ACCEPT")]
#[case(
    "meta l4proto udp th dport 53 accept",
    "-p udp -m udp --dport 53 -j ACCEPT"
)]
#[case("udp sport != 53 accept", "-p udp -m udp ! --sport 53 -j ACCEPT")]
#[case(
    "tcp dport 1000-2000 accept",
    "-p tcp -m tcp --dport 1000:2000 -j ACCEPT"
)]
#[case(
    "tcp dport >= 1024 accept",
    "-p tcp -m tcp --dport 1024:65535 -j ACCEPT"
)]
#[case(
    "tcp dport { 53, 15008 } accept",
    "-p tcp -m multiport --dports 53,15008 -j ACCEPT"
)]
#[case(
    "tcp dport != { 1-5, 9 } accept",
    "-p tcp -m multiport ! --dports 1:5,9 -j ACCEPT"
)]
#[case("tcp dport { 80 } accept", "-p tcp -m tcp --dport 80 -j ACCEPT")]
#[case("ip saddr 127.0.0.6/32 accept", "-s 127.0.0.6 -j ACCEPT")]
#[case("ip saddr 10.1.2.3/8 accept", "-s 10.0.0.0/8 -j ACCEPT")]
#[case("ip daddr != 127.0.0.1 accept", "! -d 127.0.0.1 -j ACCEPT")]
#[case("iifname \"eth*\" accept", "-i eth+ -j ACCEPT")]
#[case("oifname != lo accept", "! -o lo -j ACCEPT")]
#[case("meta oif \"lo\" accept", "-o lo -j ACCEPT")]
#[case("meta skuid 1337 accept", "-m owner --uid-owner 1337 -j ACCEPT")]
#[case("skgid 1000-2000 accept", "-m owner --gid-owner 1000-2000 -j ACCEPT")]
#[case("skgid java accept", "-m owner --gid-owner java -j ACCEPT")]
#[case(
    "ct state established,related accept",
    "-m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT"
)]
#[case("ct state != new accept", "-m conntrack ! --ctstate NEW -j ACCEPT")]
#[case(
    "ct state { new, untracked } accept",
    "-m conntrack --ctstate NEW,UNTRACKED -j ACCEPT"
)]
#[case("mark 1337 accept", "-m mark --mark 0x539 -j ACCEPT")]
#[case(
    "meta mark & 0x00000fff != 0x00000539 accept",
    "-m mark ! --mark 0x539/0xfff -j ACCEPT"
)]
#[case("ct mark 0x111 accept", "-m connmark --mark 0x111 -j ACCEPT")]
#[case(
    "fib daddr type local accept",
    "-m addrtype --dst-type LOCAL -j ACCEPT"
)]
#[case("tcp flags syn / fin,syn,rst,ack accept", "-p tcp --syn -j ACCEPT")]
#[case(
    "tcp flags & (fin | syn) != 0x0 accept",
    "-p tcp -m tcp ! --tcp-flags FIN,SYN NONE -j ACCEPT"
)]
#[case("tcp flags syn accept", "-p tcp -m tcp --tcp-flags SYN SYN -j ACCEPT")]
#[case("counter meta mark set 1337", "-j MARK --set-xmark 1337")]
#[case("meta mark set meta mark ^ 0xf", "-j MARK --xor-mark 0xf")]
#[case("ct mark set mark", "-j CONNMARK --save-mark")]
#[case(
    "ct mark set ct mark & 0xfffff111 | 0x00000111",
    "-j CONNMARK --set-xmark 0x111/0xfff"
)]
#[case("meta mark set ct mark", "-j CONNMARK --restore-mark")]
#[case("ct zone set 1", "-j CT --zone 1")]
#[case("ct original zone set 2", "-j CT --zone-orig 2")]
#[case("notrack", "-j CT --notrack")]
#[case("redirect to :15001", "-p tcp -j REDIRECT --to-ports 15001")]
#[case(
    "snat ip to 10.0.0.1-10.0.0.9:80-90 persistent",
    "-p tcp -j SNAT --to-source 10.0.0.1-10.0.0.9:80-90 --persistent"
)]
#[case("dnat to 10.0.0.1", "-j DNAT --to-destination 10.0.0.1")]
#[case(
    "masquerade random,fully-random",
    "-j MASQUERADE --random --random-fully"
)]
#[case("reject", "-j REJECT --reject-with icmp-port-unreachable")]
#[case(
    "meta l4proto tcp reject with tcp reset",
    "-p tcp -j REJECT --reject-with tcp-reset"
)]
#[case(
    "tproxy ip to :15006 meta mark set 1337 counter accept",
    "-p tcp -j TPROXY --on-port 15006 --tproxy-mark 1337"
)]
#[case(
    "log prefix \"in: \" level info",
    "-j LOG --log-prefix \"in: \" --log-level 6"
)]
#[case("log group 2", "-j NFLOG --nflog-group 2")]
#[case("meta nftrace set 1", "-j TRACE")]
#[case(
    "accept comment \"let it\"",
    "-m comment --comment \"let it\" -j ACCEPT"
)]
fn a_rule_of_nft_is_the_rule_of_iptables_that_does_the_same(
    #[case] nft: &str,
    #[case] iptables: &str,
) {
    let mut wanted = one(iptables);
    if let Target::Jump(chain) | Target::Goto(chain) = &mut wanted.target {
        chain.make_ascii_lowercase();
    }
    let rule = seen(Family::V4, "inet", nft);
    // iptables wants a protocol where nft has it from elsewhere.
    if !nft.contains("tcp ") {
        wanted.matches.protocol = rule.spec.matches.protocol.clone();
    }
    assert_eq!(rule.spec, wanted);
    assert!(rule.spec.is_modelled());
}

#[test]
fn a_listing_has_counters_and_a_transaction_has_none() {
    let counted = seen(Family::V4, "inet", "counter packets 52 bytes 2704 accept");
    let (packets, bytes) = (52, 2704);
    assert_eq!(counted.counters, Some(Counter { packets, bytes }));
    assert_eq!(seen(Family::V4, "inet", "counter accept").counters, None);
}

#[rstest]
#[case("type nat hook prerouting priority dstnat", Table::Nat, "PREROUTING", -100)]
#[case("type nat hook output priority -100", Table::Nat, "OUTPUT", -100)]
#[case(
    "type nat hook postrouting priority srcnat - 5",
    Table::Nat,
    "POSTROUTING",
    95
)]
#[case("type route hook output priority mangle", Table::Mangle, "OUTPUT", -150)]
#[case("type filter hook prerouting priority -150", Table::Mangle, "PREROUTING", -150)]
#[case("type filter hook output priority raw", Table::Raw, "OUTPUT", -300)]
#[case("type filter hook forward priority 0", Table::Filter, "FORWARD", 0)]
fn a_base_chain_is_found_by_its_hook_and_keeps_its_name(
    #[case] base: &str,
    #[case] table: Table,
    #[case] builtin: &str,
    #[case] priority: i32,
) {
    let text =
        format!("table inet mine {{ chain own {{ {base}; policy drop; counter accept; }} }}");
    for set in sets(&text) {
        let chain = set.tables[&table].chain(builtin).expect("it is built in");
        let nft = chain.nft.as_ref().expect("it is nft's");
        assert_eq!(
            (nft.table.as_str(), nft.chain.as_str()),
            ("inet mine", "own")
        );
        assert_eq!(nft.priority, priority);
        assert_eq!((chain.policy, chain.rules.len()), (Some(Policy::Drop), 1));
    }
}

#[test]
fn a_rule_is_inserted_before_the_index_it_names() {
    let text = "add table inet t\nadd chain inet t c\nadd rule inet t c tcp dport 1 accept\n\
        insert rule inet t c tcp dport 2 accept\nadd rule inet t c tcp dport 3 accept\n\
        insert rule inet t c index 1 tcp dport 4 accept\nadd rule inet t c index 0 tcp dport 5 accept\n";
    let set = &sets(text)[0];
    let ports: Vec<String> = set
        .rules(Table::Filter)
        .map(|(_, rule)| spec_text("c", &rule.spec))
        .map(|text| text.split(' ').nth(7).expect("a port").to_owned())
        .collect();
    assert_eq!(ports, ["2", "5", "4", "1", "3"]);
}

#[test]
fn a_flush_forgets_what_stood_before_it() {
    let text = "add table inet t\nadd chain inet t c\nadd rule inet t c accept\nflush table inet t\n\
        add rule inet t c drop\n";
    assert_eq!(sets(text)[0].len(), 1);
}

#[test]
fn rules_are_found_in_the_middle_of_a_text() {
    let text = format!(
        "We ran this in the pod:\n\n$ nft list ruleset\n{}\nand nothing moved.\n",
        listing("inet", "counter packets 0 bytes 0 accept")
    );
    assert_eq!(sets(&text).iter().map(RuleSet::len).sum::<usize>(), 2);
}

#[test]
fn json_may_be_on_one_line_or_indented() {
    let json = r#"{"nftables": [{"table": {"family": "ip", "name": "t"}}, {"chain": {"family": "ip", "table": "t",
        "name": "o", "type": "filter", "hook": "output", "prio": 0, "policy": "accept"}}, {"rule": {"family": "ip",
        "table": "t", "chain": "o", "expr": [{"counter": {"packets": 1, "bytes": 60}}, {"accept": null}]}}]}"#;
    let one_line: String = json.lines().map(str::trim).collect();
    let indented = serde_json::from_str::<serde_json::Value>(json).expect("it is JSON");
    let indented = format!("{indented:#}\n");
    assert!(indented.starts_with("{\n"), "{indented}");
    assert_eq!(sets(&one_line), sets(&indented));
    assert_eq!(sets(json), sets(&indented));
    assert_eq!(sets(json)[0].len(), 1);
}
