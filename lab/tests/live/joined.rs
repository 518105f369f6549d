//! Commands that join a running lab: each starts from now, one at a time, and none takes the lab with it.

use std::{
    io::{BufRead, BufReader, Write},
    net::SocketAddr,
    os::unix::net::UnixStream,
    sync::mpsc,
    thread,
    time::{Duration, Instant},
};

use hoplab::{
    Lab,
    judge::{self, Verdict},
    live::RunningLab,
    netfilter::Backend,
    rules::Family,
    sandbox::protocol::{Greeting, Message, Order, Request},
    topology::{Ask, Sender},
    traced::{Ordinal, Step, Verdict as OfRule},
};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};

use rstest::rstest;

use super::{
    SMALL,
    command::{netns::enter, runtime::Runtime, wait_for},
    small,
};

fn verdict(lab: &mut Lab) -> Verdict {
    let evidence = lab.observed().unwrap_or_else(|failure| panic!("{failure}"));
    let judged = judge::judge(lab.file(), &evidence);
    judged.unwrap_or_else(|failure| panic!("{failure}")).verdict
}

fn attach(lab: &RunningLab) -> Lab {
    lab.attach().unwrap_or_else(|failure| panic!("{failure}"))
}

#[test]
fn flows_of_a_command_that_joins_hold_as_in_a_lab_of_its_own() {
    let runtime = Runtime::new();
    small(&runtime);
    let running = runtime.find("small");
    let mut lab = attach(&running);
    assert_eq!(lab.pid(), running.pid());
    lab.drive("call").expect("it is sent");
    lab.drive("probe").expect("it is sent");
    assert_eq!(verdict(&mut lab), Verdict::Holds);
    drop(lab);
    // The lab hears of it by the end of a socket.
    wait_for("the end of its turn", || {
        (running.is_in_use() == Some(false)).then_some(())
    });
    runtime.down("small");
    runtime.assert_empty();
}

/// What one command sent, and never asked about, is no part of what the next one sees.
#[test]
fn each_command_starts_from_now() {
    let runtime = Runtime::new();
    small(&runtime);
    let running = runtime.find("small");
    let mut first = attach(&running);
    first.drive("call").expect("it is sent");
    drop(first);
    let mut second = attach(&running);
    let counted = |lab: &Lab| -> u64 {
        let pods = lab.came_up().pods.iter();
        let counters = pods.flat_map(|pod| &pod.counters);
        counters
            .flat_map(|it| it.rules.values())
            .map(|it| it.packets)
            .sum()
    };
    assert!(counted(&second) >= 5, "the rules that the first one moved");
    second.drive("call").expect("it is sent");
    assert_eq!(verdict(&mut second), Verdict::Holds);
    drop(second);
    runtime.down("small");
}

/// A person at work in a pod, between two commands.
#[test]
fn traffic_of_others_before_a_command_joins_is_in_no_window_of_it() {
    let runtime = Runtime::new();
    small(&runtime);
    let running = runtime.find("small");
    let pid = running.pid_in("caller").expect("it lives").to_string();
    let get = "exec 3<>/dev/tcp/10.77.0.11/9080; printf 'GET / HTTP/1.0\\r\\n\\r\\n' >&3; cat <&3";
    let mut curl = enter(&pid, &["-n"]);
    curl.args(["bash", "-c", get]);
    let output = curl.output().expect("nsenter and bash are installed");
    assert!(
        String::from_utf8_lossy(&output.stdout).contains("200"),
        "{output:?}"
    );
    let mut lab = attach(&running);
    lab.drive("call").expect("it is sent");
    assert_eq!(verdict(&mut lab), Verdict::Holds);
    drop(lab);
    runtime.down("small");
}

#[test]
fn rules_that_were_changed_meanwhile_are_read_anew() {
    let runtime = Runtime::new();
    small(&runtime);
    let running = runtime.find("small");
    let pid = running.pid_in("called").expect("it lives").to_string();
    let mut edit = enter(&pid, &["-n", "-m"]);
    edit.args(["iptables-nft", "-t", "nat"]);
    edit.args(["-D", "ISTIO_INBOUND", "3"]);
    assert!(edit.status().expect("nsenter is installed").success());
    let mut lab = attach(&running);
    let held = lab.came_up().pods[1]
        .rules
        .of(Family::V4)
        .expect("it has rules");
    assert!(!held.contains("--dport 15021"), "{held}");
    lab.drive("probe").expect("it is sent");
    assert_eq!(verdict(&mut lab), Verdict::Refuted);
    drop(lab);
    runtime.down("small");
}

/// Where an answer ends, there is no time in which others could look: a person's command comes after it.
#[rstest]
fn nothing_of_hoplabs_own_is_in_a_pod_while_nobody_sends(
    #[values(Backend::Nft, Backend::Legacy)] backend: Backend,
) {
    let runtime = Runtime::new();
    let file = runtime.file("small.toml", SMALL);
    runtime.output(&["up", &file, "--backend", &backend.to_string()]);
    let running = runtime.find("small");
    let look = || Look::at(&running, "called");
    let first = look();
    let mut lab = attach(&running);
    assert_eq!(look(), first, "after it was joined");
    let window = lab.drive("call").expect("it is sent");
    assert!(
        window.traces["called"].packets.len() >= 4,
        "two connections, traced: {:#?}",
        window.traces
    );
    assert_eq!(look(), first, "after a flow");
    assert_eq!(verdict(&mut lab), Verdict::Holds);
    drop(lab);
    assert!(!first.tables.contains("hoplab"), "{first:#?}");
    assert!(!first.loggers.concat().contains("nfnetlink"), "{first:#?}");
    runtime.down("small");
}

/// What a person finds in a pod who looks around.
#[derive(Debug, PartialEq, Eq)]
struct Look {
    /// `nft list tables`
    tables: String,
    /// Loggers of both families.
    loggers: [String; 2],
}

impl Look {
    fn at(lab: &RunningLab, pod: &str) -> Self {
        let pid = lab.pid_in(pod).expect("it lives").to_string();
        let inside = |words: &[&str]| {
            let output = enter(&pid, &["-n"]).args(words).output();
            let output = output.expect("nsenter is installed");
            assert!(output.status.success(), "{words:?}: {output:?}");
            String::from_utf8(output.stdout).expect("text")
        };
        let logger = |family| {
            let path = format!("/proc/sys/net/netfilter/nf_log/{family}");
            inside(&["cat", &path]).trim().to_owned()
        };
        Self {
            tables: inside(&["nft", "list", "tables"]),
            loggers: [logger("2"), logger("10")],
        }
    }
}

/// On legacy iptables the kernel tells places only: what is there has to be what is there now.
#[rstest]
fn after_a_rule_was_put_before_others_by_hand_the_trace_says_what_is_at_each_place(
    #[values(Backend::Nft, Backend::Legacy)] backend: Backend,
) {
    let runtime = Runtime::new();
    let file = runtime.file("small.toml", SMALL);
    runtime.output(&["up", &file, "--backend", &backend.to_string()]);
    let running = runtime.find("small");
    let pid = running.pid_in("called").expect("it lives");
    let mut edit = enter(pid, &["-n", "-m"]);
    edit.arg(format!("iptables-{backend}"));
    // It decides nothing, and moves the last rule to a place that there was not before.
    edit.args(["-t", "nat", "-I", "ISTIO_INBOUND", "1", "-p", "tcp"]);
    assert!(edit.status().expect("nsenter is installed").success());
    let mut lab = attach(&running);
    let window = lab.drive("call").expect("it is sent");
    let packets = &window.traces["called"].packets;
    let steps = packets
        .iter()
        .flat_map(|it| &it.stations)
        .flat_map(|it| &it.steps);
    let in_chain = steps.filter_map(|step| match step {
        Step::Rule { place, verdict, .. } if place.chain.chain == "ISTIO_INBOUND" => {
            Some((place.ordinal.clone(), verdict.clone()))
        }
        _ => None,
    });
    let jump = OfRule::Jump("ISTIO_IN_REDIRECT".to_owned());
    let wanted = [
        (Ordinal::Known(1), OfRule::Continue),
        (Ordinal::Known(6), jump),
    ];
    assert_eq!(in_chain.collect::<Vec<_>>(), wanted, "{packets:#?}");
    assert!(
        packets.iter().all(|it| it.doubts.is_empty()),
        "{packets:#?}"
    );
    drop(lab);
    runtime.down("small");
}

#[test]
fn a_second_command_waits_until_the_first_is_done() {
    let runtime = Runtime::new();
    small(&runtime);
    let running = runtime.find("small");
    let first = attach(&running);
    assert_eq!(running.is_in_use(), Some(true));
    let (waits, waiting) = mpsc::channel();
    let (ended, end) = mpsc::channel();
    thread::scope(|scope| {
        scope.spawn(|| {
            let lab = running.attach_or_wait(move || waits.send(()).expect("it listens"));
            let mut lab = lab.unwrap_or_else(|failure| panic!("{failure}"));
            lab.drive("call").expect("it is sent");
            ended.send(verdict(&mut lab)).expect("it listens");
        });
        waiting.recv().expect("it says that it waits");
        let early = end.recv_timeout(Duration::from_millis(200));
        assert!(early.is_err(), "it did not wait: {early:?}");
        drop(first);
        assert_eq!(end.recv(), Ok(Verdict::Holds));
    });
    runtime.down("small");
}

/// A client that can end in the middle of anything, as a process that is killed does.
struct Client(BufReader<UnixStream>);

impl Client {
    fn connect(runtime: &Runtime) -> Self {
        let stream = runtime.registry().connect("small").expect("it listens");
        Self(BufReader::new(stream))
    }

    fn hear<T: serde::de::DeserializeOwned>(&mut self) -> T {
        let mut line = String::new();
        self.0.read_line(&mut line).expect("it speaks");
        serde_json::from_str(&line).unwrap_or_else(|error| panic!("{error}: {line}"))
    }

    fn say(&mut self, request: &Request) {
        let line = serde_json::to_string(request).expect("JSON") + "\n";
        self.0
            .get_mut()
            .write_all(line.as_bytes())
            .expect("it listens");
    }
}

/// The probe of the small lab, whose packets vanish: nothing ends it for ten minutes.
fn endless() -> Order {
    Order {
        source: None,
        connection: Default::default(),
        flow: "endless".to_owned(),
        family: Family::V4,
        pod: None,
        sender: Sender::of(0, 0),
        to: SocketAddr::from(([10, 77, 0, 11], 15021)),
        host: "localhost".to_owned(),
        ask: Ask::Get {
            path: "/healthz/ready".to_owned(),
        },
        request_id: "endless-1".to_owned(),
        watch: Vec::new(),
        deadline_ms: 600_000,
        give_up_ms: None,
    }
}

/// Rules that let a probe's first packet vanish, beside the lab's own.
fn up_with_black_hole(runtime: &Runtime) {
    small(runtime);
    let pid = runtime
        .find("small")
        .pid_in("called")
        .expect("it lives")
        .to_string();
    let mut edit = enter(&pid, &["-n", "-m"]);
    edit.args(["iptables-nft", "-t", "filter", "-A", "INPUT"]);
    edit.args(["-p", "tcp", "--dport", "15021", "-j", "DROP"]);
    assert!(edit.status().expect("nsenter is installed").success());
}

/// A client in the middle of a flow that does not end.
fn in_the_middle(runtime: &Runtime) -> Client {
    let mut client = Client::connect(runtime);
    assert_eq!(client.hear::<Greeting>(), Greeting::Turn);
    client.say(&Request::Attach);
    assert!(matches!(client.hear(), Message::Up(_)));
    client.say(&Request::Drive(Box::new(endless())));
    let supervisor = runtime.pid("small");
    wait_for("a connect that gets no answer", || {
        let path = format!("/proc/{supervisor}/net/tcp");
        let sockets = std::fs::read_to_string(path).unwrap_or_default();
        let mut states = sockets
            .lines()
            .filter_map(|line| line.split_whitespace().nth(3));
        states.any(|state| state == "02").then_some(())
    });
    client
}

#[test]
fn a_command_that_is_killed_in_the_middle_of_a_flow_frees_the_lab_at_once() {
    let runtime = Runtime::new();
    up_with_black_hole(&runtime);
    let running = runtime.find("small");
    let client = in_the_middle(&runtime);
    let processes = |lab: &RunningLab| hoplab::sandbox::processes(lab.pid()).len();
    assert_eq!(
        processes(&running),
        5,
        "supervisor, three processes, the probe"
    );
    drop(client);
    wait_for("the end of the probe", || {
        (processes(&running) == 4).then_some(())
    });
    let started = Instant::now();
    let mut lab = attach(&running);
    assert!(
        started.elapsed() < Duration::from_secs(5),
        "{:?}",
        started.elapsed()
    );
    let window = lab.drive("call").expect("it is sent");
    let flows: Vec<_> = window.records.iter().map(|record| &record.pod).collect();
    assert!(
        !flows.iter().any(|pod| *pod == "node"),
        "nothing of the probe: {flows:?}"
    );
    drop(lab);
    runtime.down("small");
    runtime.assert_empty();
}

/// The app itself lives on; what it was told to send does not.
#[test]
fn a_call_of_an_app_ends_with_the_command_that_wanted_it() {
    let runtime = Runtime::new();
    up_with_black_hole(&runtime);
    let running = runtime.find("small");
    let from_app = Order {
        pod: Some("caller".to_owned()),
        sender: Sender::App,
        ..endless()
    };
    let caller = running.pid_in("caller").expect("it lives");
    let connecting = || {
        let path = format!("/proc/{caller}/net/tcp");
        let sockets = std::fs::read_to_string(path).unwrap_or_default();
        let mut states = sockets
            .lines()
            .filter_map(|line| line.split_whitespace().nth(3));
        states.any(|state| state == "02")
    };
    let mut client = Client::connect(&runtime);
    assert_eq!(client.hear::<Greeting>(), Greeting::Turn);
    client.say(&Request::Attach);
    assert!(matches!(client.hear(), Message::Up(_)));
    client.say(&Request::Drive(Box::new(from_app)));
    wait_for("a connect that gets no answer", || {
        connecting().then_some(())
    });
    drop(client);
    wait_for("the end of the connect", || (!connecting()).then_some(()));
    let mut lab = attach(&running);
    lab.drive("call").expect("the app is there");
    assert_eq!(verdict(&mut lab), Verdict::Holds);
    drop(lab);
    runtime.down("small");
    runtime.assert_empty();
}

#[test]
fn down_does_not_wait_for_a_command_that_uses_the_lab_and_that_one_is_told() {
    let runtime = Runtime::new();
    up_with_black_hole(&runtime);
    let mut client = in_the_middle(&runtime);
    let started = Instant::now();
    let said = runtime.down("small").stdout;
    assert!(said.contains("was told to end, and did"), "{said}");
    assert!(
        started.elapsed() < Duration::from_secs(8),
        "{:?}",
        started.elapsed()
    );
    match client.hear() {
        Message::Failed(failure) => {
            assert_eq!(failure.what, "the lab was told to stop during a flow");
        }
        other => panic!("{other:?}"),
    }
    runtime.assert_empty();
}

#[test]
fn a_command_whose_lab_goes_away_says_so() {
    let runtime = Runtime::new();
    small(&runtime);
    let mut lab = attach(&runtime.find("small"));
    runtime.down("small");
    let failure = lab.drive("call").expect_err("the lab is gone");
    assert_eq!(failure.what, "the lab went down while this command used it");
}

#[test]
fn what_is_no_request_is_refused_and_the_lab_goes_on() {
    let runtime = Runtime::new();
    small(&runtime);
    let mut client = Client::connect(&runtime);
    assert_eq!(client.hear::<Greeting>(), Greeting::Turn);
    client
        .0
        .get_mut()
        .write_all(b"{\"Explode\":1}\n")
        .expect("it listens");
    assert!(matches!(client.hear(), Message::Failed(_)));
    client.say(&Request::Totals);
    assert!(matches!(client.hear(), Message::Totals(_)));
    drop(client);
    runtime.down("small");
}

#[test]
fn a_process_that_died_is_named_by_status_and_by_the_next_flow() {
    let runtime = Runtime::new();
    small(&runtime);
    let running = runtime.find("small");
    let processes = running.processes_in("called").expect("it has the pod");
    let app = processes.iter().find(|it| it.came_up.owner.uid == 1000);
    let pid = app.and_then(|it| it.pid).expect("it lives");
    kill(Pid::from_raw(pid), Signal::SIGKILL).expect("it is there");
    wait_for("its end", || {
        let now = running.processes_in("called").ok()?;
        now.iter().any(|it| it.pid.is_none()).then_some(())
    });
    let status = runtime.done(&["status"]);
    assert_eq!(status.status.code(), Some(4), "{status:#?}");
    assert!(
        status.stdout.contains("1000:1000   has ended"),
        "{}",
        status.stdout
    );
    // Again and again, and not only the first time.
    for _ in 0..2 {
        let mut lab = attach(&running);
        let failure = lab.drive("call").expect_err("its app is gone");
        assert!(
            failure
                .what
                .contains("the app of called ended by itself (signal: 9 (SIGKILL))"),
            "{failure}"
        );
    }
    assert!(running.pid_in("called").is_ok(), "the proxy lives");
    runtime.down("small");
    runtime.assert_empty();
}

#[test]
fn a_flow_of_the_lab_file_is_known_to_the_lab_that_was_found_by_name_only() {
    let runtime = Runtime::new();
    let file = small(&runtime);
    std::fs::remove_file(file).expect("it is ours");
    let restored = runtime.find("small").lab_file().expect("as it was saved");
    assert_eq!(
        restored,
        hoplab::LabFile::parse(SMALL, &restored_origin(&restored)).expect("a lab")
    );
    runtime.down("small");
}

fn restored_origin(lab: &hoplab::LabFile) -> String {
    lab.save().origin().to_owned()
}
