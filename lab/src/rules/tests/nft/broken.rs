//! Complaints about nft's text and JSON, and texts that are none.

use proptest::prelude::*;

use super::*;

fn complaint(text: &str) -> String {
    let document = read(text, "x.nft", Family::V4);
    let rules = document.and_then(|it| it.rules());
    rules.expect_err("it is refused").to_string()
}

#[rstest]
#[case::an_open_brace(
    "table inet t {\n chain c {\n accept\n }\n",
    "x.nft:1:14: this brace is never closed\n   1 | table inet t {"
)]
#[case::a_jump_to_nowhere(
    "table inet t {\n chain istio-inbound {\n accept\n }\n chain c {\n jump istio-inbond\n }\n}\n",
    "x.nft:6:7: jump to chain `istio-inbond`, which does not exist\n   6 |  jump istio-inbond\n     |       ^^^^^^^^^^^^\n     \
     = help: did you mean `istio-inbound`?"
)]
#[case::a_chain_that_is_not_there(
    "add table inet t\nadd chain inet t output\nadd rule inet t outpt accept\n",
    "x.nft:3:17: there is no chain `outpt` in table `inet t`"
)]
#[case::a_table_that_is_not_there(
    "add rule inet t c accept\n",
    "x.nft:1:15: there is no table `inet t`"
)]
#[case::an_unknown_command(
    "add table inet t\nad rule inet t c accept\n",
    "x.nft:2:1: this line is no part of a rule set"
)]
#[case::an_unknown_object(
    "table inet t {\n chian c {\n }\n}\n",
    "x.nft:2:2: a table of nft holds no `chian`"
)]
#[case::no_priority(
    "table inet t {\n chain c {\n type nat hook output;\n }\n}\n",
    "x.nft:3:1: expected a hook and a priority"
)]
#[case::an_index_past_the_end(
    "add table inet t\nadd chain inet t c\ninsert rule inet t c index 3 accept\n",
    "x.nft:3:28: chain `c` has 0 rules, counted from 0"
)]
#[case::a_handle(
    "add table inet t\nadd chain inet t c\ninsert rule inet t c position 3 accept\n",
    "x.nft:3:22: a handle names a rule only the kernel knows"
)]
#[case::two_chains_for_one_place(
    "table inet a {\n chain o {\n type nat hook output priority 0;\n }\n}\ntable inet b {\n chain p {\n type nat hook \
     output priority 1;\n }\n}\n",
    "x.nft:7:8: a second chain for nat OUTPUT, after that of table `inet a`"
)]
#[case::broken_json(
    "{\"nftables\": [\n {\"table\": {\"family\": \"inet\" \"name\": \"t\"}}\n]}\n",
    "x.nft:2:30: this JSON can't be read: expected `,` or `}`"
)]
#[case::json_that_is_cut_off(
    "{\"nftables\": [\n {\"table\": {\"fam",
    "x.nft:2:16: this JSON can't be read: EOF"
)]
#[case::json_of_another_shape(
    "{\"nftables\": [\n {\"rule\": {\"family\": \"inet\", \"table\": \"t\", \"chain\": \"c\"}}\n]}\n",
    "x.nft:2:2: there is no table `inet t`"
)]
fn a_mistake_is_shown_where_it_stands(#[case] text: &str, #[case] said: &str) {
    let complaint = complaint(text);
    assert!(complaint.starts_with(said), "{complaint}");
}

const WORDS: [&str; 48] = [
    "table",
    "inet",
    "ip",
    "t",
    "{",
    "}",
    "chain",
    "c",
    "type",
    "nat",
    "hook",
    "output",
    "priority",
    "-100",
    ";",
    "policy",
    "accept",
    "\n",
    "tcp",
    "dport",
    "53",
    ",",
    "!=",
    "counter",
    "packets",
    "0",
    "bytes",
    "jump",
    "(",
    ")",
    "&",
    "|",
    "/",
    "mark",
    "set",
    "ct",
    "meta",
    "\"",
    "\\",
    "#",
    "daddr",
    "10.0.0.0/8",
    "add",
    "rule",
    "insert",
    "index",
    "flush",
    "tproxy",
];

proptest! {
    #[test]
    fn words_of_nft_in_any_order_never_panic(words in proptest::collection::vec(prop::sample::select(WORDS.to_vec()), 0..60)) {
        let text = format!("table inet t {{\n chain c {{\n {}", words.join(" "));
        let _ = read(&text, "x", Family::V4).map(|it| it.rules());
        let text = format!("add table inet t\nadd chain inet t c\nadd rule inet t c {}", words.join(" "));
        let _ = read(&text, "x", Family::V4).map(|it| it.rules());
    }

    #[test]
    fn json_of_any_shape_never_panics(text in "[\\[\\]{}\":, a-z0-9.]{0,80}") {
        let text = format!("{{\"nftables\": [{{\"rule\": {text}");
        let _ = read(&text, "x", Family::V4).map(|it| it.rules());
    }
}
