//! Two connected network namespaces of the test's own, on threads; without root, inside a user namespace.

use std::{
    fs::{self, File},
    io::Write as _,
    net::{IpAddr, SocketAddr},
    os::fd::{AsFd, AsRawFd, BorrowedFd},
    process::{Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use hoplab::{
    net::{Inside, Namespace},
    netfilter::{Backend, Tool},
    rules::{self, Family, RuleSet},
};
use netlink_packet_route::link::{InfoData, InfoKind, InfoVeth, LinkAttribute, LinkMessage};
use nix::{
    libc,
    sched::{CloneFlags, unshare},
    unistd::Uid,
};
use rtnetlink::{LinkMessageBuilder, LinkVeth};

/// Where what runs is in a user namespace already.
const INNER: &str = "HOPLAB_TEST_IN_USER_NAMESPACE";

/// A pod with rules, and a client on the other end of its link.
pub struct Pair {
    pub pod: Namespace,
    pub client: Namespace,
    pub family: Family,
    pub backend: Backend,
}

pub const POD: u8 = 2;
pub const CLIENT: u8 = 1;

/// Address of a host of the pair.
pub fn address(family: Family, host: u8) -> IpAddr {
    match family {
        Family::V4 => IpAddr::from([10, 99, 0, host]),
        Family::V6 => IpAddr::from([0xfd99, 0, 0, 0, 0, 0, 0, u16::from(host)]),
    }
}

/// The address of lo.
pub fn loopback(family: Family) -> IpAddr {
    match family {
        Family::V4 => IpAddr::from([127, 0, 0, 1]),
        Family::V6 => IpAddr::from([0, 0, 0, 0, 0, 0, 0, 1]),
    }
}

/// Runs the body of a test where it may make namespaces: as root here, otherwise as root of a user namespace, in a
/// process of its own.
pub fn in_sandbox(body: impl FnOnce()) {
    match Uid::effective().is_root() {
        true => body(),
        false => in_user_namespace(&["--map-auto"], body),
    }
}

/// Runs the body of a test as root of a user namespace, in a process of its own; without `--map-auto` there is no other
/// user in it.
pub fn in_user_namespace(more: &[&str], body: impl FnOnce()) {
    if std::env::var_os(INNER).is_some() {
        assert!(Uid::effective().is_root(), "no root in the user namespace");
        return body();
    }
    let test = thread::current()
        .name()
        .expect("libtest names it")
        .to_owned();
    let ended = Command::new("unshare")
        .args(["--user", "--map-root-user"])
        .args(more)
        .arg("--")
        .arg(std::env::current_exe().expect("it has a path"))
        .args(["--exact", &test, "--nocapture", "--include-ignored"])
        .env(INNER, "1")
        .output()
        .expect("unshare of util-linux 2.38 or later, and newuidmap");
    let words = String::from_utf8_lossy(&ended.stdout) + String::from_utf8_lossy(&ended.stderr);
    assert!(ended.status.success(), "in a user namespace:\n{words}");
    assert!(words.contains("1 passed"), "it did not run:\n{words}");
}

/// A namespace and its thread.
pub fn namespace() -> Namespace {
    let made = thread::spawn(|| {
        unshare(CloneFlags::CLONE_NEWNET).expect("a network namespace");
        // Its thread inherits the namespace of this one.
        Namespace::node().expect("a thread in it")
    });
    let made = made.join().expect("it does not panic");
    made.job(|inside| inside.netlink.set_up("lo", &[]).expect("lo is there"))
        .wait()
        .expect("the thread lives");
    made
}

impl Pair {
    pub fn new(backend: Backend, family: Family) -> Self {
        let pair = Self {
            pod: namespace(),
            client: namespace(),
            family,
            backend,
        };
        let at_pod = pair.in_pod(|_| File::open("/proc/thread-self/ns/net").expect("a namespace"));
        pair.in_client(move |_| add_veth(at_pod.as_fd()));
        for (place, host) in [(&pair.client, CLIENT), (&pair.pod, POD)] {
            let addresses = [
                (address(Family::V4, host), 24),
                (address(Family::V6, host), 64),
            ];
            run(place, move |it| {
                it.netlink.set_up("eth0", &addresses).expect("it is there");
            });
        }
        for (place, host) in [(&pair.client, CLIENT), (&pair.pod, POD)] {
            run(place, move |_| wait_for_own_route(host));
        }
        pair
    }

    pub fn in_pod<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut Inside) -> T + Send + 'static,
    ) -> T {
        run(&self.pod, work)
    }

    pub fn in_client<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut Inside) -> T + Send + 'static,
    ) -> T {
        run(&self.client, work)
    }

    pub fn pod_at(&self, port: u16) -> SocketAddr {
        SocketAddr::new(address(self.family, POD), port)
    }

    pub fn client_at(&self, port: u16) -> SocketAddr {
        SocketAddr::new(address(self.family, CLIENT), port)
    }

    /// Applies rules in the pod.
    pub fn apply(&self, rules: &str) {
        let (backend, family, rules) = (self.backend, self.family, rules.to_owned());
        self.in_pod(move |_| restore(backend, family, &rules));
    }

    /// The pod's rules with their counters.
    #[allow(
        dead_code,
        reason = "each test binary compiles this module and uses a part of it"
    )]
    pub fn saved(&self) -> RuleSet {
        let (backend, family) = (self.backend, self.family);
        self.in_pod(move |_| save(backend, family))
    }
}

/// A veth pair that asks for its neighbours, as an ordinary one does; a lab's are told them and ask for none.
fn add_veth(pod: BorrowedFd<'_>) {
    let mut far = LinkMessage::default();
    far.attributes
        .push(LinkAttribute::IfName("eth0".to_owned()));
    far.attributes.push(LinkAttribute::NetNsFd(pod.as_raw_fd()));
    let peer = InfoData::Veth(InfoVeth::Peer(far));
    let near = LinkMessageBuilder::<LinkVeth>::new_with_info_kind(InfoKind::Veth)
        .name("eth0".to_owned())
        .set_info_data(peer)
        .build();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime");
    runtime.block_on(async {
        let (connection, handle, _) = rtnetlink::new_connection().expect("a netlink socket");
        tokio::spawn(connection);
        handle.link().add(near).execute().await.expect("a link");
    });
}

pub fn run<T: Send + 'static>(
    place: &Namespace,
    work: impl FnOnce(&mut Inside) -> T + Send + 'static,
) -> T {
    place.job(work).wait().expect("the job does not panic")
}

fn tool(backend: Backend, family: Family, tool: Tool) -> Command {
    let mut command = Command::new(backend.find(family, tool).expect("iptables"));
    // Legacy iptables would lock the file of the machine otherwise. This one can be locked as well, and is there.
    command.env("XTABLES_LOCKFILE", "/dev/null");
    command
}

pub fn restore(backend: Backend, family: Family, rules: &str) {
    let mut child = tool(backend, family, Tool::Restore)
        .arg("--noflush")
        .stdin(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("iptables-restore");
    let mut stdin = child.stdin.take().expect("it is piped");
    stdin.write_all(rules.as_bytes()).expect("it reads");
    drop(stdin);
    let ended = child.wait_with_output().expect("it ends");
    let words = String::from_utf8_lossy(&ended.stderr);
    assert!(ended.status.success(), "{words}\n{rules}");
}

#[allow(
    dead_code,
    reason = "each test binary compiles this module and uses a part of it"
)]
fn save(backend: Backend, family: Family) -> RuleSet {
    let ended = tool(backend, family, Tool::Save)
        .arg("-c")
        .output()
        .expect("iptables-save");
    let text = String::from_utf8_lossy(&ended.stdout);
    rules::parse(&text, family, "iptables-save").expect("it prints what we read")
}

/// The kernel makes the local route of an IPv6 address later than the address; until then what is sent to the own
/// address goes to the link.
fn wait_for_own_route(host: u8) {
    const LOCAL: u32 = 0x8000_0000;
    let IpAddr::V6(own) = address(Family::V6, host) else {
        unreachable!()
    };
    let own: String = own
        .octets()
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect();
    let deadline = Instant::now() + Duration::from_secs(20);
    loop {
        let routes = fs::read_to_string("/proc/thread-self/net/ipv6_route").expect("a file");
        let is_local = |line: &str| {
            // Destination, its length, six more, flags, interface.
            let words: Vec<&str> = line.split_whitespace().collect();
            let flags = words.get(8).and_then(|it| u32::from_str_radix(it, 16).ok());
            words[0] == own && flags.is_some_and(|it| it & LOCAL != 0)
        };
        if routes.lines().any(is_local) {
            return;
        }
        assert!(Instant::now() < deadline, "no local route:\n{routes}");
        thread::yield_now();
    }
}

/// Runs something as another user and group, on a thread of its own in the namespace of the calling thread.
pub fn as_user<T: Send>(uid: u32, gid: u32, work: impl FnOnce() -> T + Send) -> T {
    thread::scope(|scope| {
        let done = scope.spawn(move || {
            // The system calls themselves: libc's functions change the whole process.
            // SAFETY: numbers only; the thread ends after the work.
            let codes = unsafe {
                [
                    libc::syscall(libc::SYS_setresgid, gid, gid, gid),
                    libc::syscall(libc::SYS_setresuid, uid, uid, uid),
                ]
            };
            assert_eq!(codes, [0, 0], "{}", std::io::Error::last_os_error());
            work()
        });
        done.join().expect("it does not panic")
    })
}
