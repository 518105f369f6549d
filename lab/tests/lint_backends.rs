//! The lint says what iptables-restore does: each text is given to hoplab and to both real programs.

mod command;
mod real_iptables;

use command::{Scratch, hoplab, run};
use real_iptables::Program;
use rstest::rstest;

/// Whether hoplab says that the backend refuses the text: as a complaint about the file (exit code 2), or as a
/// finding.
fn lint_refuses(text: &str, backend: &str) -> (bool, String) {
    let scratch = Scratch::new();
    let file = scratch.file("some.rules", text);
    let ended = run(&mut hoplab(&["rules", "lint", &file, "--backend", backend]));
    let said = ended.stdout + &ended.stderr;
    let finding = said.contains(": refused: ") || said.contains(": loop: ");
    (ended.status.code() == Some(2) || finding, said)
}

fn table(name: &str, lines: &str) -> String {
    format!("*{name}\n-N C\n{}\nCOMMIT\n", lines.replace("; ", "\n"))
}

#[rstest]
// Owners are known where a process sends.
#[case::owner_in_output("nat", "-A OUTPUT -m owner --uid-owner 5 -j RETURN")]
#[case::owner_in_postrouting("nat", "-A POSTROUTING -m owner --uid-owner 5 -j RETURN")]
#[case::owner_in_prerouting("nat", "-A PREROUTING -m owner --uid-owner 5 -j RETURN")]
#[case::owner_in_input("nat", "-A INPUT -m owner --gid-owner 5 -j RETURN")]
#[case::socket_in_prerouting("nat", "-A PREROUTING -m owner --socket-exists -j RETURN")]
#[case::owner_in_forward("filter", "-A FORWARD -m owner --uid-owner 5 -j DROP")]
#[case::owner_below_prerouting("nat", "-A PREROUTING -j C; -A C -m owner --uid-owner 5 -j RETURN")]
#[case::owner_in_a_chain_nobody_enters("nat", "-A C -m owner --uid-owner 5 -j RETURN")]
#[case::owner_without_a_user("nat", "-A OUTPUT -m owner --uid-owner no-such-user -j RETURN")]
#[case::owner_without_a_group("nat", "-A OUTPUT -m owner ! --gid-owner no-such-group -j RETURN")]
#[case::owner_range("nat", "-A OUTPUT -m owner --uid-owner 1-5 -j RETURN")]
#[case::owner_range_upside_down("nat", "-A OUTPUT -m owner --uid-owner 5-1 -j RETURN")]
// Targets and their tables and hooks.
#[case::redirect_in_output("nat", "-A OUTPUT -p tcp -j REDIRECT --to-ports 1")]
#[case::redirect_in_postrouting("nat", "-A POSTROUTING -p tcp -j REDIRECT --to-ports 1")]
#[case::redirect_in_input("nat", "-A INPUT -p tcp -j REDIRECT --to-ports 1")]
#[case::redirect_below_input("nat", "-A INPUT -j C; -A C -p tcp -j REDIRECT --to-ports 1")]
#[case::redirect_in_a_chain_nobody_enters("nat", "-A C -p tcp -j REDIRECT --to-ports 1")]
#[case::redirect_in_filter("filter", "-A OUTPUT -p tcp -j REDIRECT --to-ports 1")]
#[case::redirect_in_mangle_where_nobody_enters("mangle", "-A C -p tcp -j REDIRECT --to-ports 1")]
#[case::redirect_without_protocol("nat", "-A OUTPUT -j REDIRECT --to-ports 1")]
#[case::redirect_without_ports("nat", "-A OUTPUT -j REDIRECT")]
#[case::redirect_range_upside_down("nat", "-A OUTPUT -p tcp -j REDIRECT --to-ports 20-10")]
#[case::tproxy_in_prerouting("mangle", "-A PREROUTING -p tcp -j TPROXY --on-port 1")]
#[case::tproxy_in_output("mangle", "-A OUTPUT -p tcp -j TPROXY --on-port 1")]
#[case::tproxy_in_nat("nat", "-A PREROUTING -p tcp -j TPROXY --on-port 1")]
#[case::tproxy_without_protocol("mangle", "-A PREROUTING -j TPROXY --on-port 1")]
#[case::tproxy_with_the_protocol_above_it(
    "mangle",
    "-A PREROUTING -p tcp -j C; -A C -j TPROXY --on-port 1"
)]
#[case::snat_in_prerouting("nat", "-A PREROUTING -j SNAT --to-source 1.2.3.4")]
#[case::snat_in_output("nat", "-A OUTPUT -j SNAT --to-source 1.2.3.4")]
#[case::snat_in_input("nat", "-A INPUT -j SNAT --to-source 1.2.3.4")]
#[case::masquerade_in_postrouting("nat", "-A POSTROUTING -j MASQUERADE")]
#[case::masquerade_in_input("nat", "-A INPUT -j MASQUERADE")]
#[case::masquerade_below_two("nat", "-A OUTPUT -j C; -A POSTROUTING -j C; -A C -j MASQUERADE")]
#[case::dnat_in_input("nat", "-A INPUT -p tcp -j DNAT --to-destination 1.2.3.4")]
#[case::dnat_port_without_protocol("nat", "-A OUTPUT -j DNAT --to-destination 1.2.3.4:5")]
#[case::reject_in_nat("nat", "-A OUTPUT -j REJECT")]
#[case::reject_in_filter("filter", "-A INPUT -j REJECT")]
#[case::reset_without_tcp("filter", "-A INPUT -j REJECT --reject-with tcp-reset")]
#[case::drop_in_nat("nat", "-A OUTPUT -j DROP")]
#[case::drop_in_nat_where_nobody_enters("nat", "-A C -j DROP")]
#[case::zone_in_raw("raw", "-A OUTPUT -j CT --zone 1")]
#[case::zone_in_mangle("mangle", "-A OUTPUT -j CT --zone 1")]
#[case::trace_in_raw("raw", "-A OUTPUT -j TRACE")]
#[case::trace_in_nat("nat", "-A OUTPUT -j TRACE")]
#[case::mark_in_nat("nat", "-A OUTPUT -j MARK --set-mark 1")]
#[case::connmark_in_raw("raw", "-A OUTPUT -j CONNMARK --set-mark 1")]
#[case::dscp_in_nat("nat", "-A OUTPUT -j DSCP --set-dscp 1")]
#[case::ttl_in_nat("nat", "-A OUTPUT -j TTL --ttl-set 5")]
// Interfaces.
#[case::in_by_at_output("nat", "-A OUTPUT -i eth0 -j RETURN")]
#[case::not_in_by_at_output("nat", "-A OUTPUT ! -i eth0 -j RETURN")]
#[case::out_by_at_prerouting("nat", "-A PREROUTING -o eth0 -j RETURN")]
#[case::out_by_at_input("nat", "-A INPUT -o eth0 -j RETURN")]
#[case::in_by_at_postrouting("nat", "-A POSTROUTING -i eth0 -j RETURN")]
#[case::in_by_below_output("nat", "-A OUTPUT -j C; -A C -i eth0 -j RETURN")]
#[case::interface_of_15("nat", "-A OUTPUT -o abcdefghijklmno -j RETURN")]
#[case::interface_of_16("nat", "-A OUTPUT -o abcdefghijklmnop -j RETURN")]
// Chains.
#[case::jump_to_nowhere("nat", "-A OUTPUT -j NOPE")]
#[case::goto_nowhere("nat", "-A OUTPUT -g NOPE")]
#[case::jump_to_a_built_in_chain("nat", "-A OUTPUT -j PREROUTING")]
#[case::rule_of_a_missing_chain("nat", "-A NOPE -j RETURN")]
#[case::chain_of_28("nat", "-N CCCCCCCCCCCCCCCCCCCCCCCCCCCC")]
#[case::chain_of_29("nat", "-N CCCCCCCCCCCCCCCCCCCCCCCCCCCCC")]
#[case::chain_named_as_a_target("nat", "-N REDIRECT")]
#[case::chain_twice("nat", "-N C")]
#[case::a_loop("nat", "-A OUTPUT -j C; -A C -j C")]
// Lists, ports and addresses.
#[case::ports_15(
    "nat",
    "-A OUTPUT -p tcp -m multiport --dports 1,2,3,4,5,6,7,8,9,10,11,12,13,14,15 -j RETURN"
)]
#[case::ports_16(
    "nat",
    "-A OUTPUT -p tcp -m multiport --dports 1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16 -j RETURN"
)]
#[case::eight_ranges(
    "nat",
    "-A OUTPUT -p tcp -m multiport --dports 1:2,4:5,7:8,10:11,13:14,16:17,19:20,22:23 -j RETURN"
)]
#[case::ports_without_protocol("nat", "-A OUTPUT -m multiport --dports 1 -j RETURN")]
#[case::port_without_protocol("nat", "-A OUTPUT --dport 1 -j RETURN")]
#[case::not_every_destination("nat", "-A OUTPUT ! -d 0.0.0.0/0 -j RETURN")]
#[case::not_every_source("nat", "-A OUTPUT ! -s 0.0.0.0/0 -j RETURN")]
fn the_lint_refuses_what_the_program_refuses(
    #[case] name: &str,
    #[case] lines: &str,
    #[values("nft", "legacy")] backend: &'static str,
) {
    let text = table(name, lines);
    let real = Program::new(backend, false).load(&text);
    let (refused, said) = lint_refuses(&text, backend);
    assert_eq!(
        refused,
        real.is_err(),
        "iptables-{backend} said {real:?}\nhoplab said\n{said}"
    );
}

/// Both programs take what the reader of rules does not; whoever changes one of these sees it here.
#[rstest]
#[case::not_tcp_with_ports("-A OUTPUT ! -p tcp -j REDIRECT --to-ports 5")]
#[case::a_chain_declared_twice(":D - [0:0]; :D - [0:0]")]
fn known_texts_that_only_the_programs_take(
    #[case] lines: &str,
    #[values("nft", "legacy")] backend: &'static str,
) {
    let text = table("nat", lines);
    assert!(Program::new(backend, false).load(&text).is_ok());
    assert!(lint_refuses(&text, backend).0);
}
