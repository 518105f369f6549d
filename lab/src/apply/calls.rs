//! Calls to a pod while rules are applied in it, one after the other without a break: who takes each of them.
//!
//! What a change of rules lets by is in no rule set before or after it. It shows in who answers: the listener that rules
//! turn a call to, or the one it was meant for.

use std::{
    io::{self, Read, Write},
    net::{IpAddr, Ipv4Addr, SocketAddr},
    os::fd::{AsFd, AsRawFd},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
    time::Instant,
};

use nix::{
    poll::{PollFd, PollFlags, PollTimeout, poll},
    sys::socket::{Shutdown, shutdown},
};
use socket2::{Domain, Socket, Type};

use super::tally::{End, LIMIT, Tally};
use crate::{
    behaviour::Stage,
    failure::{Class, Failure},
    net::{Job, Namespace},
    probe,
    rules::Family,
};

/// Milliseconds until the next call, whatever became of the last one: a call that hangs must not hide what the next one
/// would have met.
const PACE_MS: u8 = 1;
/// Calls that are under way at once.
const MOST: usize = 512;
/// Connections that may wait at a listener.
const BACKLOG: i32 = 1024;

/// A machine outside that calls a pod, and the two listeners in the pod.
pub(super) struct Callers {
    outside: Namespace,
    tally: Tally,
    stop: Arc<AtomicBool>,
    calling: Job<io::Result<()>>,
    ears: Vec<(Socket, JoinHandle<()>)>,
}

impl Callers {
    /// Links the pod to a machine outside, which calls `app`. Rules turn calls to `proxy`.
    pub fn start(pod: &Namespace, stage: &Stage, app: u16, proxy: u16) -> Result<Self, Failure> {
        let outside = Namespace::create("outside")?;
        probe::link(stage, pod, &outside)?;
        let open = move |port, word| pod.job(move |_| ear(port, word)).wait();
        let failed = |error: io::Error| {
            Failure::new(Class::State, "the pod has no listener").cause(error.to_string())
        };
        let ears = vec![
            open(app, APP)?.map_err(failed)?,
            open(proxy, PROXY)?.map_err(failed)?,
        ];
        let (tally, stop) = (Tally::default(), Arc::new(AtomicBool::new(false)));
        let to = SocketAddr::new(stage.pod(Family::V4), app);
        let (counted, stopped) = (tally.clone(), Arc::clone(&stop));
        let calling = outside.job(move |_| keep_calling(to, &counted, &stopped));
        Ok(Self {
            outside,
            tally,
            stop,
            calling,
            ears,
        })
    }

    /// What the calls are counted in.
    pub fn tally(&self) -> Tally {
        self.tally.clone()
    }

    /// Ends the calls, and the machine outside.
    pub fn end(self) -> Result<(), Failure> {
        self.stop.store(true, Ordering::Relaxed);
        self.calling.wait()?.map_err(|error| {
            Failure::new(Class::State, "the calls came to an end").cause(error.to_string())
        })?;
        for (socket, thread) in self.ears {
            // It ends the accept that the thread is in.
            let _ = shutdown(socket.as_raw_fd(), Shutdown::Both);
            thread
                .join()
                .map_err(|_| Failure::new(Class::State, "a listener of the pod panicked"))?;
        }
        self.outside.remove()?;
        Ok(())
    }
}

/// What the listeners say.
const APP: u8 = b'a';
const PROXY: u8 = b'p';

/// A listener that says one word to whoever calls. It is transparent, as one has to be that TPROXY hands packets to.
fn ear(port: u16, word: u8) -> io::Result<(Socket, JoinHandle<()>)> {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None)?;
    socket.set_reuse_address(true)?;
    socket.set_ip_transparent_v4(true)?;
    let at = SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), port);
    socket.bind(&at.into())?;
    socket.listen(BACKLOG)?;
    let listener = socket.try_clone()?;
    let name = format!("ear:{port}");
    let thread = thread::Builder::new().name(name).spawn(move || {
        while let Ok((mut connection, _)) = listener.accept() {
            // A caller that is gone has its own end in the tally.
            let _ = connection.write_all(&[word]);
        }
    })?;
    Ok((socket, thread))
}

/// A call under way: its number in the tally, when it began, and its socket.
type Pending = (usize, Instant, Socket);

/// Calls at an even pace until it is told to stop, and takes note of how each call ends.
fn keep_calling(to: SocketAddr, tally: &Tally, stop: &AtomicBool) -> io::Result<()> {
    let mut pending: Vec<Pending> = Vec::new();
    while !stop.load(Ordering::Relaxed) || !pending.is_empty() {
        if pending.len() < MOST && !stop.load(Ordering::Relaxed) {
            let socket = Socket::new(Domain::IPV4, Type::STREAM, None)?;
            socket.set_nonblocking(true)?;
            pending.push((tally.begin(), Instant::now(), socket));
            let (number, _, socket) = &pending[pending.len() - 1];
            let refused = |it: &io::Error| it.raw_os_error() != Some(nix::libc::EINPROGRESS);
            if let Err(error) = socket.connect(&to.into()).or_else(|it| match refused(&it) {
                true => Err(it),
                false => Ok(()),
            }) {
                tally.end(*number, ended(&error));
                pending.pop();
            }
        }
        // The one who takes a call speaks first.
        let mut asked: Vec<PollFd> = pending
            .iter()
            .map(|(_, _, socket)| PollFd::new(socket.as_fd(), PollFlags::POLLIN))
            .collect();
        poll(&mut asked, PollTimeout::from(PACE_MS))?;
        let spoke: Vec<bool> = asked.iter().map(|it| it.any().unwrap_or(true)).collect();
        let mut spoke = spoke.into_iter();
        pending.retain(|(number, began, socket)| {
            let end = match spoke.next() {
                Some(true) => said(socket),
                _ => (began.elapsed() > LIMIT).then_some(End::Lost),
            };
            end.inspect(|end| tally.end(*number, *end)).is_none()
        });
    }
    Ok(())
}

/// What was said on a connection; none when it was nothing yet.
fn said(mut socket: &Socket) -> Option<End> {
    let mut word = [0];
    match socket.read(&mut word) {
        Ok(1) if word[0] == PROXY => Some(End::Proxied),
        Ok(1) => Some(End::Direct),
        Ok(_) => Some(End::Refused),
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => None,
        Err(error) => Some(ended(&error)),
    }
}

fn ended(error: &io::Error) -> End {
    match error.kind() {
        io::ErrorKind::ConnectionRefused | io::ErrorKind::ConnectionReset => End::Refused,
        _ => End::Lost,
    }
}
