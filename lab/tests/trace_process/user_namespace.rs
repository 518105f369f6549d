//! A container of an ordinary user's: its network namespace belongs to a user namespace.

use std::{
    io::{BufRead as _, BufReader, Write as _},
    net::TcpStream,
    process::{Command, Stdio},
};

use hoplab::net::Namespace;

use super::command::{Running, hoplab};

const READY: &str = "lo is up";

/// Nothing but the id of the process is needed: no nsenter, and no root.
#[test]
fn a_namespace_that_belongs_to_a_user_namespace_is_traced_with_the_ids_there() {
    let mut container = Command::new("unshare")
        // One after the other: /proc/net of a network namespace is for the root its user namespace has by then.
        .args(["--user", "--map-root-user", "unshare", "--net"])
        .arg(std::env::current_exe().expect("it has a path"))
        .args(["--exact", "user_namespace::lives_in_a_container"])
        .args(["--ignored", "--nocapture"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("unshare of util-linux");
    let said = BufReader::new(container.stdout.take().expect("it is piped")).lines();
    let mut said = said.map_while(Result::ok);
    assert!(said.any(|line| line.contains(READY)), "it never was ready");
    let mut orders = container.stdin.take().expect("it is piped");

    let pid = container.id().to_string();
    let args = ["trace", "--pid", &pid, "--count", "1", "--json"];
    let mut trace = Running::start(&mut hoplab(&args));
    trace.says("tracing net:[");
    orders.write_all(b"connect\n").expect("it listens");
    let ended = trace.ended();
    ended.failed_with(0, &[]);
    let owner = r#""owner":{"socket":{"uid":0,"gid":0}}"#;
    assert!(ended.stdout.contains(owner), "{}", ended.stdout);
    drop(orders);
    container.wait().expect("it ends with its orders");
}

#[test]
#[ignore = "a child process of another test"]
fn lives_in_a_container() {
    let namespace = Namespace::node().expect("a thread");
    let up = namespace.job(|inside| {
        inside
            .netlink
            .set_up("lo", &[])
            .map_err(|it| it.to_string())
    });
    up.wait().expect("the thread lives").expect("lo is there");
    println!("{READY}");
    for _ in std::io::stdin().lines() {
        TcpStream::connect("127.0.0.1:9").expect_err("nobody listens");
    }
}
