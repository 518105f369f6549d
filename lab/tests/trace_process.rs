//! `hoplab trace`: connections in a namespace that is not a lab's, and in a pod, through the binary, as a person sees
//! them.

mod command;
#[path = "trace_process/ends.rs"]
mod ends;
#[path = "trace_process/explained.rs"]
mod explained;
#[path = "trace_process/pods.rs"]
mod pods;
#[path = "trace_process/refusals.rs"]
mod refusals;
#[path = "trace/sandbox.rs"]
mod sandbox;
#[path = "trace_process/shown.rs"]
mod shown;
#[path = "trace_process/speed.rs"]
mod speed;
#[path = "trace_process/user_namespace.rs"]
mod user_namespace;

use std::{
    net::{SocketAddr, TcpListener, TcpStream, UdpSocket},
    process::{Child, Command, Stdio},
};

use hoplab::{builtin, netfilter::Backend, rules::Family, trace::observer_tables};

use command::{HOPLAB, Running};
use sandbox::{Pair, as_user, loopback};

const PROXY: u32 = 1337;
const APP: u32 = 1000;

/// A pod with a process in it that knows nothing of hoplab.
struct Pod {
    pair: Pair,
    process: Child,
}

impl Pod {
    fn new(backend: Backend, family: Family) -> Self {
        let pair = Pair::new(backend, family);
        let process = pair.in_pod(|_| {
            let mut cat = Command::new("cat");
            let cat = cat.stdin(Stdio::piped()).stdout(Stdio::null());
            cat.spawn().expect("cat starts")
        });
        Self { pair, process }
    }

    /// With the rules of a sidecar.
    fn with_sidecar(backend: Backend, family: Family) -> Self {
        let pod = Self::new(backend, family);
        let rules = builtin::rule_text("istio-1.13", family);
        pod.pair.apply(rules.expect("it is in the binary"));
        pod
    }

    /// Traces in it; once this returns, the observers are there.
    fn trace(&self, args: &[&str]) -> Running {
        let mut running = Running::start(&mut self.command(args));
        running.says("tracing net:[");
        running
    }

    fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(HOPLAB);
        command.arg("trace").args(["--pid", &self.pid()]).args(args);
        command.env("NO_COLOR", "1");
        command
    }

    fn pid(&self) -> String {
        self.process.id().to_string()
    }

    /// Tables of observers there.
    fn tables(&self) -> Vec<String> {
        self.pair
            .in_pod(|_| observer_tables().expect("netlink works"))
    }

    fn listens(&self, port: u16) -> TcpListener {
        let at = self.pair.pod_at(port);
        self.pair
            .in_pod(move |_| TcpListener::bind(at).expect("a free port"))
    }

    fn listens_at_lo(&self, port: u16) -> TcpListener {
        let at = SocketAddr::new(loopback(self.pair.family), port);
        self.pair
            .in_pod(move |_| TcpListener::bind(at).expect("a free port"))
    }

    /// The client connects to the pod.
    fn client_connects(&self, port: u16) -> TcpStream {
        let to = self.pair.pod_at(port);
        self.pair
            .in_client(move |_| TcpStream::connect(to).expect("somebody listens"))
    }

    /// A process in the pod connects to the client.
    fn connects(&self, owner: u32, port: u16) -> std::io::Result<TcpStream> {
        let to = self.pair.client_at(port);
        self.pair
            .in_pod(move |_| as_user(owner, owner, || TcpStream::connect(to)))
    }

    /// A socket in the pod, of this owner.
    fn datagrams(&self, owner: u32, at: SocketAddr) -> UdpSocket {
        self.pair
            .in_pod(move |_| as_user(owner, owner, || UdpSocket::bind(at).expect("a free port")))
    }
}

impl Drop for Pod {
    fn drop(&mut self) {
        drop(self.process.stdin.take());
        let _ = self.process.wait();
    }
}
