//! From a handle, or from a line of ip_tables, to the place of a rule.

use rstest::rstest;

use super::{generation, nat};
use crate::{
    rules::{self, Family},
    trace::{
        Ordinal, Step, TableFamily, Told, Verdict,
        legacy::LegacyRules,
        rulebook::RuleBook,
        wire::{LineKind, TraceLine},
    },
};

fn changed(before: &[u64], after: &[u64], changes: u32) -> RuleBook {
    let chain = || (nat("SUB"), None);
    let of = |id, rules: &[u64]| generation(id, &[(chain().0, chain().1, rules)]);
    let mut book = RuleBook::new(of(7, before));
    book.advance(of(7 + changes, after));
    book
}

#[test]
fn a_rule_set_that_stands_still_tells_every_place() {
    let book = changed(&[4, 5, 6], &[4, 5, 6], 0);
    assert_eq!(book.ordinal(&nat("SUB"), 6), Ordinal::Known(3));
    assert!(matches!(book.ordinal(&nat("SUB"), 9), Ordinal::Unknown(_)));
    assert!(matches!(
        book.ordinal(&nat("OTHER"), 4),
        Ordinal::Unknown(_)
    ));
    assert_eq!(book.rules_in(&nat("SUB")), Some(3));
}

#[rstest]
#[case::put_before(&[4, 5], &[9, 4, 5], 5, "rule 2 before, 3 afterwards")]
#[case::removed_after_two_changes(&[4, 5], &[4], 5, "rule 2 before, gone afterwards")]
#[case::new_after_two_changes(&[4], &[4, 5], 5, "not there before, rule 2 afterwards")]
#[case::came_and_went(&[4], &[4], 5, "handle 5 came and went")]
#[case::moved_away_and_back(&[4], &[4], 4, "rule 1 before, 1 afterwards")]
fn a_place_that_may_have_been_another_one_is_not_guessed(
    #[case] before: &[u64],
    #[case] after: &[u64],
    #[case] handle: u64,
    #[case] why: &str,
) {
    let mut book = changed(before, after, 2);
    book.touch_chain(nat("SUB"));
    let Ordinal::Unknown(words) = book.ordinal(&nat("SUB"), handle) else {
        panic!("it is guessed");
    };
    assert!(words.ends_with(why), "{words}");
}

#[test]
fn one_change_tells_both_sides() {
    let mut book = changed(&[4, 5], &[4, 6], 1);
    book.touch_rule(nat("SUB"), 5);
    book.touch_rule(nat("SUB"), 6);
    let place = |handle| book.ordinal(&nat("SUB"), handle);
    let known = [1, 2, 2].map(Ordinal::Known);
    assert_eq!([place(4), place(5), place(6)], known);
}

#[test]
fn a_rule_that_took_the_place_of_another_has_its_handle_and_is_told_apart() {
    let mut book = changed(&[4, 5], &[4, 5], 1);
    book.touch_rule(nat("SUB"), 5);
    let why = "the chain changed meanwhile: rule 2 was replaced, and is rule 2 afterwards";
    assert_eq!(book.ordinal(&nat("SUB"), 5), Ordinal::Unknown(why.into()));
    assert_eq!(book.ordinal(&nat("SUB"), 4), Ordinal::Known(1));
}

#[test]
fn changes_elsewhere_leave_a_place_sure_unless_reports_were_lost() {
    let mut book = changed(&[4, 5], &[4, 5], 3);
    book.touch_chain(nat("OTHER"));
    assert_eq!(book.ordinal(&nat("SUB"), 5), Ordinal::Known(2));
    book.lose_sight();
    assert!(matches!(book.ordinal(&nat("SUB"), 5), Ordinal::Unknown(_)));
    book.settle();
    assert_eq!(book.ordinal(&nat("SUB"), 5), Ordinal::Known(2));
}

#[test]
fn a_table_made_anew_has_other_rules_under_the_same_handles() {
    let mut book = changed(&[4, 5], &[4, 5], 1);
    book.touch_table(TableFamily::Ip, "nat".into());
    assert!(matches!(book.ordinal(&nat("SUB"), 5), Ordinal::Unknown(_)));
    assert_eq!(book.rules_in(&nat("SUB")), Some(2));
}

const RULES: &str = "*nat
:OUTPUT DROP [0:0]
-N SUB
-A OUTPUT -p tcp -j SUB
-A OUTPUT -j ACCEPT
-A SUB -p tcp --dport 1 -g SUB
-A SUB -j RETURN
-A SUB -p tcp -j REDIRECT --to-ports 1
COMMIT
";

fn step(chain: &str, kind: LineKind, number: u32) -> (Step, Option<String>) {
    let set = rules::parse(RULES, Family::V4, "test").expect("rules");
    let line = TraceLine {
        table: "nat".into(),
        chain: chain.into(),
        kind,
        number,
    };
    LegacyRules(vec![set]).step(Family::V4, &line, 0)
}

#[rstest]
#[case("OUTPUT", LineKind::Rule, 1, Verdict::Jump("SUB".into()), Told::Target)]
#[case::unconditional_accept("OUTPUT", LineKind::Policy, 2, Verdict::Accept, Told::Target)]
#[case("SUB", LineKind::Rule, 1, Verdict::Goto("SUB".into()), Told::Target)]
#[case::unconditional_return("SUB", LineKind::Return, 2, Verdict::Return, Told::Target)]
#[case::may_drop("SUB", LineKind::Rule, 3, Verdict::NotTold, Told::Kernel)]
fn a_line_about_a_rule_takes_the_verdict_of_its_target(
    #[case] chain: &str,
    #[case] kind: LineKind,
    #[case] number: u32,
    #[case] wanted: Verdict,
    #[case] by: Told,
) {
    let (
        Step::Rule {
            place,
            verdict,
            told,
            ..
        },
        None,
    ) = step(chain, kind, number)
    else {
        panic!("it is a rule");
    };
    assert_eq!((verdict, told), (wanted, by));
    assert_eq!(place.ordinal, Ordinal::Known(number));
}

#[test]
fn the_line_behind_the_last_rule_is_the_end_or_the_policy() {
    let chain = nat("SUB");
    let end = Step::End {
        chain,
        rules: Some(3),
    };
    assert_eq!(step("SUB", LineKind::Return, 4), (end, None));
    let policy = Step::Policy {
        chain: nat("OUTPUT"),
        verdict: Verdict::Drop,
    };
    assert_eq!(step("OUTPUT", LineKind::Policy, 3), (policy, None));
}

#[rstest]
#[case(
    "SUB",
    LineKind::Return,
    7,
    "ip nat SUB has 6 rules in the kernel and 3 in the rule set that was given"
)]
#[case(
    "SUB",
    LineKind::Rule,
    5,
    "the kernel met place 5 of ip nat SUB, which has 3 rules in the rule set that was given"
)]
#[case(
    "NONE",
    LineKind::Rule,
    1,
    "ip nat NONE is not in the rule set that was given"
)]
fn a_line_that_does_not_fit_the_rule_set_is_a_doubt(
    #[case] chain: &str,
    #[case] kind: LineKind,
    #[case] number: u32,
    #[case] doubt: &str,
) {
    assert_eq!(step(chain, kind, number).1.as_deref(), Some(doubt));
}
