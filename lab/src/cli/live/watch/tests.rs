use ratatui::{Terminal, backend::TestBackend};

use super::{
    draw::draw,
    view::{Connection, Counted, Happening, Key, Pod, View, Wish},
};
use crate::rules::{Family, Holder, RuleId, Table};

fn pod(name: &str, proxy_is_there: bool) -> Pod {
    let processes = [("app", true), ("proxy", proxy_is_there)];
    Pod {
        name: name.to_owned(),
        processes: processes.map(|(role, it)| (role.to_owned(), it)).into(),
    }
}

fn rule(chain: &str, ordinal: u32, text: &str, packets: Option<u64>) -> Counted {
    Counted {
        by: Holder::IptablesNft,
        id: RuleId::new(Family::V4, Table::Nat, chain.to_owned(), ordinal),
        text: text.to_owned(),
        packets,
    }
}

/// The rules of a pod that was called this often.
fn rules(calls: u64) -> Happening {
    Happening::Rules(vec![
        rule("PREROUTING", 1, "-p tcp -j ISTIO_INBOUND", Some(calls)),
        rule(
            "ISTIO_INBOUND",
            1,
            "-p tcp -m tcp --dport 15008 -j RETURN",
            Some(0),
        ),
        rule(
            "ISTIO_INBOUND",
            5,
            "-p tcp -j ISTIO_IN_REDIRECT",
            Some(calls),
        ),
        rule(
            "ISTIO_REDIRECT",
            1,
            "-p tcp -j REDIRECT --to-ports 15001",
            None,
        ),
    ])
}

fn connection() -> Happening {
    Happening::Connection(Connection {
        ends: "tcp 10.77.0.10:40000 → 10.77.0.11:9080".to_owned(),
        path: "PREROUTING 1 > ISTIO_INBOUND 5".to_owned(),
        became: Some("⇒ 10.77.0.11:15006".to_owned()),
    })
}

/// Two pods, five calls before the view and two since, of which one is new.
fn view() -> View {
    let pods = vec![pod("caller", true), pod("called", false)];
    let mut view = View::new("small", pods, 1);
    for happening in [rules(5), rules(6), connection(), rules(7)] {
        assert_eq!(view.update(happening), Wish::Nothing);
    }
    view
}

fn drawn(view: &View, columns: u16, lines: u16) -> String {
    let mut terminal = Terminal::new(TestBackend::new(columns, lines)).expect("it is memory");
    terminal
        .draw(|frame| draw(view, frame))
        .expect("it is memory");
    terminal.backend().to_string()
}

#[test]
fn a_small_window_has_everything_but_the_list_of_pods() {
    insta::assert_snapshot!(drawn(&view(), 60, 15));
}

#[test]
fn a_wide_window_lists_the_pods() {
    insta::assert_snapshot!(drawn(&view(), 110, 20));
}

#[rstest::rstest]
fn no_window_is_too_small_to_draw_in(
    #[values((1, 1), (10, 3), (200, 2), (3, 60))] size: (u16, u16),
) {
    drawn(&view(), size.0, size.1);
}

#[test]
fn counts_begin_where_the_view_does_and_at_z() {
    let mut view = view();
    let counts = |view: &View| -> Vec<(u64, u64)> {
        view.rows().iter().map(|it| (it.since, it.newly)).collect()
    };
    assert_eq!(counts(&view), [(2, 1), (0, 0), (2, 1), (0, 0)]);
    view.update(Happening::Key(Key::Zero));
    assert_eq!(counts(&view), [(0, 0); 4]);
    view.update(rules(9));
    assert_eq!(counts(&view)[0], (2, 2));
}

#[test]
fn a_rule_that_was_replaced_counts_from_nothing() {
    let mut view = view();
    view.update(rules(1));
    assert_eq!(view.rows()[0].since, 1);
}

#[test]
fn only_what_moved_is_shown_on_request() {
    let mut view = view();
    view.update(Happening::Key(Key::MovedOnly));
    let rows = view.rows();
    let chains: Vec<&str> = rows.iter().map(|it| it.rule.id.chain.as_str()).collect();
    assert_eq!(chains, ["PREROUTING", "ISTIO_INBOUND"]);
}

#[test]
fn another_pod_begins_anew_and_after_the_last_comes_the_first() {
    let mut view = view();
    assert_eq!(view.update(Happening::Key(Key::NextPod)), Wish::Look);
    assert_eq!(
        (view.pod(), view.rows().len(), view.connections.len()),
        ("caller", 0, 0)
    );
    assert_eq!(view.update(Happening::Key(Key::PreviousPod)), Wish::Look);
    assert_eq!(view.pod(), "called");
}

#[test]
fn a_view_of_one_pod_has_no_other_to_go_to() {
    let mut view = View::new("small", vec![pod("called", true)], 0);
    assert_eq!(view.update(Happening::Key(Key::NextPod)), Wish::Nothing);
}

#[test]
fn a_paused_view_stands_still() {
    let mut view = view();
    view.update(Happening::Key(Key::Pause));
    view.update(rules(100));
    view.update(connection());
    assert_eq!((view.rows()[0].since, view.connections.len()), (2, 1));
}

#[test]
fn scrolling_ends_at_the_last_line_and_in_the_part_that_is_chosen() {
    let mut view = view();
    for _ in 0..9 {
        view.update(Happening::Key(Key::Down));
    }
    assert_eq!(view.scrolled, [3, 0]);
    view.update(Happening::Key(Key::OtherPane));
    view.update(Happening::Key(Key::Down));
    view.update(Happening::Key(Key::Up));
    assert_eq!(view.scrolled, [3, 0]);
}

#[test]
fn a_note_and_an_ended_process_are_in_the_heading() {
    let mut view = view();
    view.update(Happening::Note(Some(
        "no process of it is left\u{1b}[2J".to_owned(),
    )));
    let screen = drawn(&view, 80, 15);
    assert!(screen.contains("proxy ended"), "{screen}");
    assert!(
        screen.contains("no process of it is left") && !screen.contains('\u{1b}'),
        "{screen}"
    );
}
