//! Controls: each of the default rules taken out of a running pod in turn, and a DROP put into each chain that may hold
//! one. The trace names the rule and the hop. One lab for each backend.

use hoplab::{
    LabFile,
    judge::{self, Check, Finding, Judgement, Verdict, Witness},
    rules::{Family, RuleId, RuleSet, Table, to_restore},
};
use rstest::rstest;
use serde_json::Value;

use super::{command::runtime::Runtime, hops, witnesses};

const LAB: &str = include_str!("controls.toml");
const POD: &str = "pod";

/// What is not over by then is not going to be.
const DEADLINE_MS: u64 = 250;

/// A rule, and the flow that shows that it is gone; none where the rules after it do the same.
const RULES: [(&str, u32, Option<&str>); 18] = [
    ("PREROUTING", 1, Some("in")),
    ("OUTPUT", 1, Some("app-out")),
    ("ISTIO_INBOUND", 1, Some("in-15008")),
    ("ISTIO_INBOUND", 2, Some("in-15090")),
    ("ISTIO_INBOUND", 3, Some("in-15021")),
    ("ISTIO_INBOUND", 4, Some("in-15020")),
    ("ISTIO_INBOUND", 5, Some("in")),
    ("ISTIO_IN_REDIRECT", 1, Some("in")),
    ("ISTIO_OUTPUT", 1, Some("in")),
    ("ISTIO_OUTPUT", 2, Some("proxy-to-own-ip")),
    ("ISTIO_OUTPUT", 3, Some("app-to-own-ip")),
    ("ISTIO_OUTPUT", 4, Some("proxy-out")),
    ("ISTIO_OUTPUT", 5, None),
    ("ISTIO_OUTPUT", 6, None),
    ("ISTIO_OUTPUT", 7, Some("gid-out")),
    ("ISTIO_OUTPUT", 8, None),
    ("ISTIO_OUTPUT", 9, Some("app-out")),
    ("ISTIO_REDIRECT", 1, Some("app-out")),
];

struct Running {
    runtime: Runtime,
    backend: &'static str,
}

impl Running {
    fn up(backend: &'static str) -> Self {
        let runtime = Runtime::new();
        let file = runtime.file("controls.toml", LAB);
        runtime.output(&["up", &file, "--backend", backend]);
        Self { runtime, backend }
    }

    /// Loads tables in the pod in place of what is in them.
    fn load(&self, tables: &str) {
        let script = format!("iptables-{}-restore <<'END'\n{tables}END", self.backend);
        let words = ["exec", POD, "--as", "root", "--", "sh", "-c", &script];
        self.runtime.output(&words);
    }

    /// Sends flows, and judges them by what the lab file expects.
    fn judged(&self, flows: &[&str]) -> Judgement {
        let running = self.runtime.find("controls");
        let mut lab = running
            .attach()
            .unwrap_or_else(|failure| panic!("{failure}"));
        lab.set_deadline_ms(DEADLINE_MS);
        for flow in flows {
            lab.drive(flow)
                .unwrap_or_else(|failure| panic!("{flow}: {failure}"));
        }
        let evidence = lab.observed().unwrap_or_else(|failure| panic!("{failure}"));
        judge::judge(lab.file(), &evidence).unwrap_or_else(|failure| panic!("{failure}"))
    }
}

/// What the pod's trace has against the run.
fn against(judgement: &Judgement) -> Vec<String> {
    let flows = judgement.flows.iter().flat_map(|it| &it.claims);
    let checks = flows.flat_map(|it| &it.checks);
    let is = |it: &&Check| {
        let traced = it.witness
            == Witness::Trace {
                pod: POD.to_owned(),
            };
        traced
            && matches!(
                it.finding,
                Finding::Contradicts { .. } | Finding::Disagrees { .. }
            )
    };
    checks.filter(is).map(ToString::to_string).collect()
}

fn whole() -> RuleSet {
    let file = LabFile::parse(LAB, "controls.toml").unwrap_or_else(|failure| panic!("{failure}"));
    file.reference(Family::V4)
        .expect("the lab has rules")
        .clone()
}

#[rstest]
fn without_a_rule_the_trace_says_which_one_was_wanted_and_where_the_packet_went(
    #[values("nft", "legacy")] backend: &'static str,
) {
    let lab = Running::up(backend);
    let whole = whole();
    assert_eq!(whole.len(), RULES.len());
    for (chain, ordinal, flow) in RULES {
        let rule = RuleId::new(Family::V4, Table::Nat, chain, ordinal);
        lab.load(&to_restore(&whole.without(&rule)));
        let Some(flow) = flow else {
            // Nothing a process of this pod can do meets it.
            let flows = [
                "in",
                "proxy-to-own-ip",
                "app-to-own-ip",
                "gid-out",
                "app-out",
            ];
            let judgement = lab.judged(&flows);
            let held = judgement
                .flows
                .iter()
                .all(|it| it.verdict == Verdict::Holds);
            assert!(
                held,
                "without {chain} {ordinal}: {:#?}",
                against(&judgement)
            );
            continue;
        };
        let judgement = lab.judged(&[flow]);
        assert_eq!(
            judgement.verdict,
            Verdict::Refuted,
            "without {chain} {ordinal}"
        );
        let hook = if flow.starts_with("in") && chain != "ISTIO_OUTPUT" {
            "PREROUTING 1"
        } else {
            "OUTPUT 1"
        };
        let named = format!("{chain} {ordinal} `-A {chain} ");
        let found = against(&judgement);
        let wanted = found.iter().filter_map(|it| it.split_once(", had "));
        let is = |(wanted, _): &(&str, &str)| wanted.contains(&named) && wanted.contains(hook);
        assert!(
            wanted.clone().any(|it| is(&it)),
            "without {chain} {ordinal} at {hook}: {found:#?}"
        );
    }
    lab.runtime.down("controls");
}

/// Table, chain, hook, and the port and flow by which its DROP meets a packet. nat refuses to hold a DROP.
const DROPS: [(&str, &str, &str, u16); 8] = [
    ("raw", "PREROUTING", "prerouting", 9080),
    ("mangle", "PREROUTING", "prerouting", 9080),
    ("mangle", "INPUT", "input", 15006),
    ("filter", "INPUT", "input", 15006),
    ("raw", "OUTPUT", "output", 9080),
    ("mangle", "OUTPUT", "output", 9080),
    ("filter", "OUTPUT", "output", 9080),
    ("mangle", "POSTROUTING", "postrouting", 9080),
];

#[rstest]
fn a_drop_in_any_chain_is_the_last_hop_and_the_trace_saw_it(
    #[values("nft", "legacy")] backend: &'static str,
) {
    let lab = Running::up(backend);
    for (table, chain, hook, port) in DROPS {
        let spec = format!("-p tcp -m tcp --dport {port} -j DROP");
        let of = |name: &str| match name == table {
            true => format!("*{name}\n-A {chain} {spec}\nCOMMIT\n"),
            false => format!("*{name}\nCOMMIT\n"),
        };
        lab.load(&["raw", "mangle", "filter"].map(of).concat());
        // Inbound, over the hooks of a packet that comes in; then the proxy's own call of the app, over the others.
        let from = if matches!(hook, "prerouting" | "input") {
            "outside"
        } else {
            "pod/proxy"
        };
        let to = if from == "outside" {
            "pod:9080"
        } else {
            "outside:9080"
        };
        let deadline = DEADLINE_MS.to_string();
        let ended = lab
            .runtime
            .done(&["explain", from, to, "--json", "--deadline", &deadline]);
        assert_eq!(
            ended.status.code(),
            Some(0),
            "{table} {chain}: {}{}",
            ended.stdout,
            ended.stderr
        );
        let path: Value = serde_json::from_str(&ended.stdout).expect("one value");
        assert_ne!(path["answer"], "200");
        let last = *hops(&path, "there").last().expect("hops");
        let had = ["table", "chain", "hook", "text", "verdict"]
            .map(|key| last[key].as_str().unwrap_or_default());
        assert_eq!(had, [table, chain, hook, &spec, "drop"], "{last:#}");
        assert_eq!(last["ordinal"], 1);
        assert_eq!(witnesses(last), ["trace", "counter", "model"], "{last:#}");
        assert!(hops(&path, "back").is_empty());
    }
    lab.runtime.down("controls");
}
