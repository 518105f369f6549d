//! A lab whose process ends by itself says which, how, and with what last words; nothing of it stays.

use hoplab::{
    Expect, GivenRules,
    evidence::Quiet,
    failure::{Class, Failure},
    judge::{Verdict, judge},
    rules::Family,
};
use hoplab_proxies::record::Role;
use hoplab_scenarios::{Lab, LabFile, Options, bookinfo, bookinfo_file, kill_and_wait, outer_pid};
use rstest::rstest;

/// A lab file can't ask for this: its check knows the proxy's ports.
#[rstest]
fn an_app_that_can_not_bind_its_port_is_named_with_its_last_words(mut bookinfo_file: LabFile) {
    let pods = bookinfo_file.topology.pods.iter_mut();
    let details = pods.filter(|pod| pod.name == "details-v1");
    for app in details.filter_map(|pod| pod.app.as_mut()) {
        app.ports = vec![15006];
    }
    let failure = Lab::up(bookinfo_file, Options::default()).expect_err("one of the two can't");
    assert_eq!(failure.class, Class::State);
    let words = failure.to_string();
    let who = ["the app of details-v1", "the proxy of details-v1"];
    assert!(who.iter().any(|who| words.starts_with(who)), "{words}");
    assert!(
        words.contains("ended by itself (exit status: 1); it wrote:\n"),
        "{words}"
    );
    assert!(words.contains(":15006"), "{words}");
    assert!(words.contains("EADDRINUSE"), "{words}");
}

#[rstest]
#[case::app(Role::App, "the app of reviews-v1")]
#[case::proxy(Role::Proxy, "the proxy of reviews-v1")]
fn a_process_that_was_killed_is_named_by_the_next_flow(
    #[case] role: Role,
    #[case] name: &str,
    mut bookinfo: Lab,
) {
    let pods = &bookinfo.came_up().pods;
    let pod = pods
        .iter()
        .find(|pod| pod.name == "reviews-v1")
        .expect("it is up");
    let process = pod
        .processes
        .iter()
        .find(|it| it.role == role)
        .expect("it is up");
    kill_and_wait(outer_pid(&bookinfo, process.pid));
    let failure: Failure = bookinfo
        .drive("outside-to-reviews")
        .expect_err("it is gone");
    let words = failure.to_string();
    assert!(
        words.starts_with(&format!("{name} ended by itself (signal: 9")),
        "{words}"
    );
}

/// What redirects all that an app sends back to the app once kept a lab busy without end.
#[rstest]
fn rules_that_make_an_app_call_itself_end_in_a_verdict(bookinfo_file: LabFile) {
    let text = "*nat\n-A OUTPUT -p tcp -j REDIRECT\nCOMMIT\n";
    let given = GivenRules::read(text, "all-to-itself.rules", Family::V4).expect("rules");
    let file = bookinfo_file.with_rules(given, Expect::Rules);
    let mut lab = Lab::up(file.clone(), Options::default()).expect("up");
    let window = lab.drive("ingress-reviews-v1").expect("driven");
    assert_eq!(window.quiet, Quiet::Closed);
    let judgement = judge(&file, &lab.observed().expect("observed")).expect("judged");
    assert_eq!(judgement.verdict, Verdict::Holds, "{judgement:#?}");
}
