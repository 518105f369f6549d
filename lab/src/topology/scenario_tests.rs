//! Steps, variants, expectations: their order, what they need of each other, and every complaint about them.

use std::collections::BTreeSet;

use rstest::rstest;
use serde_json::Value;

use super::*;

const GOOD: &str = r#"name = "small"

[rules]
profile = "istio-1.13"

[[pod]]
name = "pod"
sidecar = true
app = { port = 9080 }

[[pod]]
name = "cli"

[[flow]]
name = "hold"
from = "cli/1:1"
to = "pod:9080"
hold = "client"

[[step]]
name = "stop"
stop = "pod/proxy"

[[flow]]
name = "resume"
from = "cli/1:1"
to = "pod:9080"
resume = "client"

[[step]]
name = "start"
start = "pod/proxy"

[[variant]]
name = "less"
edit = ["-D OUTPUT 1"]
flows = ["hold"]
"#;

#[test]
fn flows_and_steps_stand_in_the_order_of_the_file() {
    let topology = Topology::parse(GOOD, "f.toml").expect("valid");
    let script = [
        Entry::Flow(0),
        Entry::Step(0),
        Entry::Flow(1),
        Entry::Step(1),
    ];
    assert_eq!(topology.script, script);
}

#[test]
fn a_small_lab_is_given_its_addresses() {
    let topology = Topology::parse(GOOD, "f.toml").expect("valid");
    let cli = topology.pod("cli").expect("it is there");
    assert_eq!(cli.addr.v4.to_string(), "10.77.2.2");
    assert_eq!(cli.addr.v6.to_string(), "fd77:2::2");
    assert_eq!(topology.network.node.v4.to_string(), "10.77.0.1");
}

#[rstest]
#[case::held_twice(
    "resume = \"client\"",
    "hold = \"client\"",
    "28:8 connection `client` is held already"
)]
#[case::not_held(
    "resume = \"client\"",
    "resume = \"clint\"",
    "28:10 no connection `clint` is held here"
)]
#[case::other_ends(
    "to = \"pod:9080\"\nresume",
    "to = \"pod:9081\"\nresume",
    "28:10 connection `client` goes from cli/1:1 to pod:9080"
)]
#[case::stopped_twice(
    "start = \"pod/proxy\"",
    "stop = \"pod/proxy\"",
    "32:8 pod/proxy is stopped already"
)]
#[case::started_while_up(
    "stop = \"pod/proxy\"",
    "start = \"pod/proxy\"",
    "22:9 pod/proxy runs already"
)]
#[case::restarted_while_down(
    "start = \"pod/proxy\"",
    "restart = \"pod/proxy\"",
    "32:11 pod/proxy is stopped"
)]
#[case::no_such_process(
    "stop = \"pod/proxy\"",
    "stop = \"cli/proxy\"",
    "22:8 pod `cli` has no proxy"
)]
#[case::nothing_to_do("stop = \"pod/proxy\"\n", "", "21:8 step `stop` does nothing")]
#[case::two_things(
    "stop = \"pod/proxy\"",
    "stop = \"pod/proxy\"\nflush = \"pod\"",
    "23:9 a step does one thing"
)]
#[case::a_bad_edit(
    "stop = \"pod/proxy\"",
    "edit = [\"-X OUTPUT\"]",
    "22:9 `-X` changes no rule: -A, -I, -D, -R, -F, -N and -P do"
)]
#[case::flush_without_rules(
    "stop = \"pod/proxy\"",
    "flush = \"cli\"",
    "22:9 conntrack sleeps in pod `cli`"
)]
#[case::steps_of_one_name(
    "name = \"start\"",
    "name = \"stop\"",
    "31:8 step `stop` stands here twice"
)]
#[case::plugged_at_the_bridge(
    "stop = \"pod/proxy\"",
    "plug = \"cli\"",
    "22:8 pod `cli` is behind no other"
)]
#[case::plugged_while_there(
    "name = \"cli\"\n",
    "name = \"cli\"\nbehind = \"pod\"\n[[step]]\nname = \"more\"\nplug = \"cli\"\n",
    "16:8 the link of pod `cli` is there already"
)]
#[case::unplugged_twice(
    "name = \"cli\"\n",
    "name = \"cli\"\nbehind = \"pod\"\nplugged = false\n[[step]]\nname = \"less\"\nunplug = \"cli\"\n",
    "17:10 pod `cli` has no link here"
)]
#[case::unplugged_while_held(
    "name = \"cli\"\n",
    "name = \"cli\"\nbehind = \"pod\"\n[[flow]]\nname = \"h\"\nfrom = \"cli/1:1\"\nto = \"pod:9080\"\nhold = \"h\"\n\
     [[step]]\nname = \"less\"\nunplug = \"cli\"\n",
    "21:10 connection `h` of pod `cli` is held here"
)]
#[case::sent_to_without_a_link(
    "name = \"cli\"\n",
    "name = \"cli\"\nbehind = \"pod\"\nplugged = false\n[[flow]]\nname = \"in\"\nfrom = \"pod\"\nto = \"cli:80\"\n",
    "18:6 pod `cli` has no link here"
)]
#[case::unplugged_at_the_bridge(
    "name = \"cli\"\n",
    "name = \"cli\"\nplugged = false\n",
    "13:11 pod `cli` is behind no other"
)]
#[case::behind_without_a_default_route(
    "name = \"cli\"\n",
    "name = \"cli\"\nbehind = \"pod\"\ndefault_route = false\n",
    "14:17 pod `cli` is behind another"
)]
#[case::behind_one_without_a_default_route(
    "app = { port = 9080 }\n\n[[pod]]\nname = \"cli\"\n",
    "app = { port = 9080 }\ndefault_route = false\n\n[[pod]]\nname = \"cli\"\nbehind = \"pod\"\n",
    "14:10 pod `pod` has no default route"
)]
#[case::moves_of_a_step_that_is_not_over(
    "stop = \"pod/proxy\"",
    "stop = \"pod/proxy\"\nmoves = {}",
    "23:9 which rules this step moves is not judged"
)]
#[case::moves_no_rule(
    "stop = \"pod/proxy\"",
    "flush = \"pod\"\nmoves = { pod = [\"nat OUTPUT\"] }",
    "23:18 `nat OUTPUT` is not a rule by its place"
)]
#[case::moves_in_a_pod_without_rules(
    "stop = \"pod/proxy\"",
    "flush = \"pod\"\nmoves = { cli = [] }",
    "23:11 pod `cli` has no rules that could move"
)]
#[case::a_pod_and_no_rules_changed(
    "stop = \"pod/proxy\"",
    "stop = \"pod/proxy\"\npod = \"pod\"",
    "23:7 this step changes no rules"
)]
#[case::a_pod_with_the_rules_of_the_lab(
    "stop = \"pod/proxy\"",
    "edit = [\"-F OUTPUT\"]\npod = \"pod\"",
    "23:7 pod `pod` has the lab's rules"
)]
#[case::a_variant_of_nothing(
    "edit = [\"-D OUTPUT 1\"]\n",
    "",
    "35:8 variant `less` changes nothing"
)]
#[case::refuted_flows_unnamed(
    "flows = [\"hold\"]\n",
    "",
    "35:8 a variant that is refuted names the flows that are"
)]
#[case::no_such_flow(
    "flows = [\"hold\"]",
    "flows = [\"held\"]",
    "37:10 there is no flow `held`"
)]
#[case::no_such_verdict(
    "flows = [\"hold\"]",
    "verdict = \"red\"\nflows = [\"hold\"]",
    "37:11 `red` is not a verdict"
)]
#[case::holds_and_refutes(
    "flows = [\"hold\"]",
    "verdict = \"holds\"\nflows = [\"hold\"]",
    "38:10 a variant that holds refutes nothing"
)]
#[case::no_such_way("hold = \"client\"", "way = \"around\"", "18:7 `around` is not a way")]
#[case::nobody_sees_it(
    "hold = \"client\"",
    "answer = \"refused\"\nway = \"direct\"",
    "19:7 nobody sees a connection that is not made"
)]
#[case::no_such_source(
    "hold = \"client\"",
    "seen_source = \"pot\"",
    "18:15 `pot` is not a source"
)]
#[case::options_without_profile(
    "profile = \"istio-1.13\"",
    "file = \"a\"\noptions = [\"-b\", \"80\"]",
    "3:1 `options` goes with `profile`"
)]
#[case::no_such_option(
    "profile = \"istio-1.13\"",
    "profile = \"kuma\"\noptions = [\"--redirect-everything\"]",
    "5:11 Flags of kumactl install transparent-proxy has no flag `--redirect-everything`"
)]
#[case::no_such_backend(
    "[rules]",
    "backends = [\"nftables\"]\n[rules]",
    "3:13 `nftables` is not one of them"
)]
fn what_does_not_fit_is_told_where_it_stands(
    #[case] old: &str,
    #[case] new: &str,
    #[case] complaint: &str,
) {
    assert!(GOOD.contains(old), "the good file has no `{old}`");
    let text = GOOD.replacen(old, new, 1);
    let d = Topology::parse(&text, "f.toml").expect_err("it is refused");
    assert_eq!(format!("{}:{} {}", d.line, d.column, d.message), complaint);
    let explained = d.help.is_some() || complaint.contains("has no flag");
    assert!(explained, "no help with: {complaint}");
}

/// The keys that the parser says it knows, by what it says of one that it does not.
fn keys_of_the_parser(table: &str) -> BTreeSet<String> {
    let text = format!("{table}\n");
    let complaint = Topology::parse(&text, "f.toml").expect_err("an unknown key");
    let (_, known) = complaint
        .message
        .split_once("expected")
        .unwrap_or_else(|| panic!("no keys in: {complaint}"));
    known
        .split('`')
        .skip(1)
        .step_by(2)
        .map(str::to_owned)
        .collect()
}

#[rstest]
#[case::top_level("", "zzz = 1")]
#[case::network("network", "[network]\nzzz = 1")]
#[case::rules("rules", "[rules]\nzzz = 1")]
#[case::dns("dns", "[dns]\nzzz = 1")]
#[case::dns_host("dns_host", "[dns.hosts.\"a.b\"]\nzzz = 1")]
#[case::service("service", "[[service]]\nzzz = 1")]
#[case::pod("pod", "[[pod]]\nzzz = 1")]
#[case::app("app", "[[pod]]\n[pod.app]\nzzz = 1")]
#[case::gateway("gateway", "[[pod]]\n[pod.gateway]\nzzz = 1")]
#[case::flow("flow", "[[flow]]\nzzz = 1")]
#[case::step("step", "[[step]]\nzzz = 1")]
#[case::variant("variant", "[[variant]]\nzzz = 1")]
#[case::ids("ids", "[[variant]]\napp.pod = { zzz = 1 }")]
#[case::notes("notes", "[notes]\nzzz = 1")]
#[case::reading("reading", "[notes.reply]\nzzz = 1")]
fn the_schema_for_editors_has_the_keys_of_the_parser(#[case] part: &str, #[case] table: &str) {
    let schema: Value = serde_json::from_str(crate::lab_file::SCHEMA).expect("it is JSON");
    let part = match part {
        "" => &schema,
        part => &schema["$defs"][part],
    };
    assert_eq!(part["additionalProperties"], Value::Bool(false));
    let properties = part["properties"].as_object().expect("it has properties");
    let keys: BTreeSet<String> = properties.keys().cloned().collect();
    assert_eq!(keys, keys_of_the_parser(table));
    for key in part["required"].as_array().into_iter().flatten() {
        let key = key.as_str().expect("a name");
        assert!(keys.contains(key), "`{key}` is required, and no key");
    }
}
