//! What runs in a pod is what runs in a pod of Istio: who the processes are, what istio-init logs, and an admin port
//! that changes the log level while the proxy works.

use std::{
    fs::File,
    io::{Read, Write},
    net::{Ipv4Addr, TcpStream},
    thread,
};

use hoplab::{
    evidence::{PodUp, ProcessUp},
    rules::{self, Family, Table},
};
use hoplab_proxies::record::Role;
use hoplab_scenarios::{
    Backend, Lab, Options, bookinfo, outer_pid, status_field, up, with_pod_setting,
};
use nix::sched::{CloneFlags, setns};
use rstest::rstest;

fn pod<'a>(lab: &'a Lab, name: &str) -> &'a PodUp {
    let mut pods = lab.came_up().pods.iter();
    pods.find(|pod| pod.name == name)
        .expect("the pod is in the lab")
}

fn process<'a>(lab: &'a Lab, name: &str, role: Role) -> &'a ProcessUp {
    let mut processes = pod(lab, name).processes.iter();
    processes
        .find(|it| it.role == role)
        .expect("the process is in the pod")
}

#[rstest]
#[case::proxy(Role::Proxy, "1337")]
#[case::app(Role::App, "1000")]
fn a_process_is_an_ordinary_user_without_any_privilege(
    #[case] role: Role,
    #[case] id: &str,
    #[values(
        "productpage-v1",
        "details-v1",
        "reviews-v1",
        "reviews-v2",
        "reviews-v3",
        "ratings-v1"
    )]
    name: &str,
    bookinfo: Lab,
) {
    let pid = outer_pid(&bookinfo, process(&bookinfo, name, role).pid);
    let field = |name| status_field(pid, name).unwrap_or_else(|| panic!("no {name} of {pid}"));
    // Real, effective, saved and file system id.
    assert_eq!(field("Uid"), [id; 4].join("\t"));
    assert_eq!(field("Gid"), [id; 4].join("\t"));
    assert_eq!(field("Groups"), "");
    for set in ["CapInh", "CapPrm", "CapEff", "CapAmb"] {
        assert_eq!(field(set), "0000000000000000", "{set}");
    }
    assert_eq!(field("NoNewPrivs"), "1");
}

/// What a scenario on owner matches relies on: that the group is there, and only beside the others.
#[test]
fn a_proxy_has_the_supplementary_groups_that_its_pod_names() {
    let file = with_pod_setting("details-v1", "proxy_groups = [2000, 1337]");
    let lab = up(file, Options::default());
    let pid = outer_pid(&lab, process(&lab, "details-v1", Role::Proxy).pid);
    assert_eq!(status_field(pid, "Groups").as_deref(), Some("1337 2000"));
    assert_eq!(status_field(pid, "Gid"), Some(["1337"; 4].join("\t")));
}

#[rstest]
#[case::proxy(Role::Proxy, &["0.0.0.0:15001", "0.0.0.0:15006", "0.0.0.0:15020", "0.0.0.0:15021", "0.0.0.0:15090", "127.0.0.1:15000"])]
#[case::app(Role::App, &["0.0.0.0:9080"])]
fn a_process_listens_where_istio_has_it_listen(
    #[case] role: Role,
    #[case] wanted: &[&str],
    bookinfo: Lab,
) {
    let listeners = process(&bookinfo, "reviews-v1", role).listeners.iter();
    let mut v4: Vec<String> = listeners
        .filter(|it| it.is_ipv4())
        .map(ToString::to_string)
        .collect();
    v4.sort();
    assert_eq!(v4, wanted);
}

#[rstest]
fn every_pod_with_rules_and_no_other_keeps_an_istio_init_log(bookinfo: Lab) {
    let pods = bookinfo.came_up().pods.iter();
    let with_log = pods
        .filter(|pod| pod.istio_init.is_some())
        .map(|pod| pod.name.as_str());
    let topology = &bookinfo.file().topology;
    let sidecars = topology.pods.iter().filter(|pod| pod.is_sidecar());
    let wanted: Vec<&str> = sidecars.map(|pod| pod.name.as_str()).collect();
    assert_eq!(with_log.collect::<Vec<_>>(), wanted);
}

#[rstest]
fn the_istio_init_log_has_the_sections_of_istios_own_in_order(
    #[values(Backend::Nft, Backend::Legacy)] backend: Backend,
    #[with(backend)] bookinfo: Lab,
) {
    let log = pod(&bookinfo, "reviews-v1")
        .istio_init
        .as_deref()
        .expect("a log");
    let sections: Vec<String> = log.lines().filter_map(section).collect();
    let run = "/run/hoplab";
    let wanted = [
        "Istio iptables environment:".to_string(),
        "Istio iptables variables:".to_string(),
        format!("Writing following contents to rules file: {run}/iptables-rules-reviews-v1.txt"),
        format!(
            "Running command: iptables-{backend}-restore --noflush {run}/iptables-rules-reviews-v1.txt"
        ),
        format!("Writing following contents to rules file: {run}/ip6tables-rules-reviews-v1.txt"),
        format!(
            "Running command: ip6tables-{backend}-restore --noflush {run}/ip6tables-rules-reviews-v1.txt"
        ),
        format!("Running command: iptables-{backend}-save -c"),
        "Command output: ".to_string(),
    ];
    assert_eq!(sections, wanted);
}

/// Text of a line that begins with a time stamp, as `2022-04-21T10:19:44.852472Z<tab>info<tab>text`.
fn section(line: &str) -> Option<String> {
    let (time, text) = line.split_once("\tinfo\t")?;
    let digits = time
        .chars()
        .map(|c| if c.is_ascii_digit() { '0' } else { c });
    assert_eq!(digits.collect::<String>(), "0000-00-00T00:00:00.000000Z");
    Some(text.to_string())
}

#[rstest]
fn the_istio_init_log_shows_the_variables_the_rules_written_and_the_rules_the_kernel_holds(
    bookinfo: Lab,
) {
    let log = pod(&bookinfo, "reviews-v1")
        .istio_init
        .as_deref()
        .expect("a log");
    for variable in [
        "PROXY_PORT=15001",
        "PROXY_UID=1337",
        "INBOUND_PORTS_EXCLUDE=15090,15021,15020",
    ] {
        assert!(
            log.lines().any(|line| line == variable),
            "no {variable} in\n{log}"
        );
    }
    let (before_save, save) = log.split_once("Command output: \n").expect("a save");
    let reference = bookinfo
        .file()
        .reference(Family::V4)
        .expect("the lab has rules");
    let written = before_save
        .lines()
        .filter(|line| line.starts_with("-A "))
        .count();
    assert_eq!((written, reference.len()), (18, 18));
    let held = rules::parse(save, Family::V4, "the final save").expect("a save can be read");
    assert_eq!(rules::diff(&reference, &held, &[Table::Nat]), []);
}

#[rstest]
fn the_admin_port_changes_the_log_level_while_the_proxy_works(mut bookinfo: Lab) {
    let pid = outer_pid(&bookinfo, process(&bookinfo, "reviews-v1", Role::Proxy).pid);
    let ask = |request: &'static str| ask_admin(pid, request);
    assert!(ask("GET /logging").ends_with("level: info\n"));
    assert!(ask("POST /logging?level=trace").ends_with("level: trace\n"));
    assert!(ask("GET /logging").ends_with("level: trace\n"));
    let refused = ask("POST /logging?level=loud");
    assert!(refused.starts_with("HTTP/1.1 400 "), "{refused}");
    assert!(ask("GET /logging").ends_with("level: trace\n"));
    let sent = bookinfo
        .drive("outside-to-reviews")
        .expect("the proxy works on");
    assert!(!sent.records.is_empty());
    let down = bookinfo.down().expect("the lab goes down in order");
    let lines = down
        .stderr
        .get("proxy of reviews-v1")
        .expect("it wrote something");
    assert!(
        lines.iter().any(|line| line.contains("TRACE")),
        "nothing was logged at the new level: {lines:#?}"
    );
}

/// Sends one request to a proxy's admin port, from inside its pod.
fn ask_admin(pid: i32, request: &'static str) -> String {
    let inside = thread::spawn(move || {
        let namespace = File::open(format!("/proc/{pid}/ns/net")).expect("the proxy is there");
        #[expect(
            clippy::disallowed_methods,
            reason = "this thread does nothing else and ends in the namespace it enters"
        )]
        setns(namespace, CloneFlags::CLONE_NEWNET).expect("its namespace can be entered");
        let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, 15000)).expect("it listens");
        let head = format!(
            "{request} HTTP/1.1\r\nHost: admin\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"
        );
        stream.write_all(head.as_bytes()).expect("it reads");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).expect("it answers");
        answer
    });
    inside.join().expect("the request was sent")
}
