//! Sends flows, all of a batch at once, and waits for the end of each.

use std::{
    collections::HashMap,
    io::{self, Read as _, Write as _},
    net::SocketAddr,
    os::fd::AsFd,
    time::{Duration, Instant},
};

use nix::{
    errno::Errno,
    poll::{PollFd, PollFlags, PollTimeout, poll},
    sys::socket::{ControlMessageOwned, MsgFlags, SockaddrStorage, recvmsg},
};
use socket2::Socket;

use super::{ProbeError, sockets::Listener, stray::segment, told::Told};
use crate::{
    behaviour::{Arrival, Flow, Place, SeenEnd},
    failure::Failure,
    rules::{Family, Protocol},
    trace::TraceWatch,
};

/// How long nothing may happen, in sockets and trace, until what has not arrived is called silent. A first packet is
/// sent again after a second.
const QUIET: Duration = Duration::from_millis(300);
/// How long one look takes at most.
const LOOK: Duration = Duration::from_millis(20);

/// A flow under way.
pub(super) struct Sender<'a> {
    pub number: u32,
    pub flow: &'a Flow,
    pub port: u16,
    pub socket: Socket,
}

/// An accepted connection that has not said yet which flow it is.
struct Accepted {
    stream: Socket,
    arrival: Arrival,
}

/// Both namespaces' listeners.
pub(super) struct Ears {
    pub pod: Vec<Listener>,
    pub outside: Vec<Listener>,
}

impl Ears {
    fn all(&self) -> impl Iterator<Item = (Place, &Listener)> {
        let pod = self.pod.iter().map(|it| (Place::Pod, it));
        pod.chain(self.outside.iter().map(|it| (Place::Outside, it)))
    }
}

/// Sends a batch and gives the end of each flow, in order.
pub(super) fn drive(
    senders: &[Sender<'_>],
    ears: &Ears,
    watch: &mut TraceWatch,
    told: &mut Told,
) -> Result<Vec<SeenEnd>, Failure> {
    let mut batch = Batch {
        senders,
        ends: HashMap::new(),
        spoken: vec![false; senders.len()],
        accepted: Vec::new(),
    };
    for (at, sender) in senders.iter().enumerate() {
        batch.open(at, sender);
    }
    let mut last = Instant::now();
    loop {
        let heard = batch.listen(ears)?;
        let traced = told.add(watch.drain()?) > 0;
        let settled = batch.settle(told);
        if batch.is_over() {
            break;
        }
        if heard || traced || settled {
            last = Instant::now();
        } else if last.elapsed() > QUIET {
            break;
        }
    }
    Ok(batch.ended(told))
}

struct Batch<'a> {
    senders: &'a [Sender<'a>],
    /// By number of the flow.
    ends: HashMap<u32, SeenEnd>,
    /// Connections that have said which flow they are.
    spoken: Vec<bool>,
    accepted: Vec<Accepted>,
}

impl Batch<'_> {
    fn open(&mut self, at: usize, sender: &Sender<'_>) {
        let flow = sender.flow;
        let connected = match flow.stray {
            true => sender
                .socket
                .connect(&SocketAddr::new(flow.to.ip(), 0).into()),
            false => sender.socket.connect(&flow.to.into()),
        };
        let sent = match (connected, flow.protocol) {
            (Ok(()), _) if flow.stray => {
                self.spoken[at] = true;
                let from = SocketAddr::new(flow.source, sender.port);
                sender
                    .socket
                    .send(&segment(from, flow.to, sender.number))
                    .map(|_| ())
            }
            (Ok(()), Protocol::Udp) => {
                self.spoken[at] = true;
                sender.socket.send(&sender.number.to_be_bytes()).map(|_| ())
            }
            (Ok(()), _) => Ok(()),
            (Err(error), _) if error.raw_os_error() == Some(Errno::EINPROGRESS as i32) => Ok(()),
            (Err(error), _) => Err(error),
        };
        if let Err(error) = sent {
            let error = error.to_string();
            self.ends.insert(sender.number, SeenEnd::NotSent { error });
        }
    }

    fn is_over(&self) -> bool {
        self.ends.len() == self.senders.len()
    }

    fn is_open(&self, sender: &Sender<'_>) -> bool {
        !self.ends.contains_key(&sender.number)
    }

    /// Waits a little for sockets, and takes what is there. True when something was.
    fn listen(&mut self, ears: &Ears) -> Result<bool, ProbeError> {
        let listeners: Vec<(Place, &Listener)> = ears.all().collect();
        let waiting: Vec<usize> = (0..self.senders.len())
            .filter(|at| self.is_open(&self.senders[*at]))
            .collect();
        let ready = {
            let mut wanted: Vec<PollFd<'_>> = Vec::new();
            let heard = listeners.iter().map(|(_, it)| it.socket.as_fd());
            wanted.extend(heard.map(|it| PollFd::new(it, PollFlags::POLLIN)));
            let said = self.accepted.iter().map(|it| it.stream.as_fd());
            wanted.extend(said.map(|it| PollFd::new(it, PollFlags::POLLIN)));
            for at in &waiting {
                // What is connected and has spoken can only be told of a refusal.
                let events = match self.spoken[*at] {
                    true => PollFlags::empty(),
                    false => PollFlags::POLLOUT,
                };
                wanted.push(PollFd::new(self.senders[*at].socket.as_fd(), events));
            }
            let timeout = PollTimeout::try_from(LOOK).unwrap_or(PollTimeout::MAX);
            match poll(&mut wanted, timeout) {
                Ok(_) | Err(Errno::EINTR) => {}
                Err(errno) => return Err(ProbeError::socket("wait for sockets")(errno.into())),
            }
            let ready = wanted
                .iter()
                .map(|it| it.revents().is_some_and(|it| !it.is_empty()));
            ready.collect::<Vec<bool>>()
        };
        let (heard, rest) = ready.split_at(listeners.len());
        let (said, answered) = rest.split_at(self.accepted.len());
        let said = said.to_vec();
        for (at, _) in waiting.iter().zip(answered).filter(|(_, ready)| **ready) {
            self.answered(*at);
        }
        self.read_accepted(&said);
        for ((place, listener), _) in listeners.iter().zip(heard).filter(|(_, ready)| **ready) {
            match listener.protocol {
                Protocol::Udp => self.receive(*place, listener)?,
                _ => self.accept(*place, listener),
            }
        }
        Ok(ready.contains(&true))
    }

    /// A sender's socket is connected, or told why not.
    fn answered(&mut self, at: usize) {
        let sender = &self.senders[at];
        let refused = match sender.socket.take_error() {
            Ok(None) if self.spoken[at] => return,
            Ok(None) => {
                self.spoken[at] = true;
                let said = (&sender.socket).write_all(&sender.number.to_be_bytes());
                said.err()
            }
            Ok(Some(error)) | Err(error) => Some(error),
        };
        if let Some(error) = refused {
            let error = error.to_string();
            self.ends.insert(sender.number, SeenEnd::Refused { error });
        }
    }

    fn accept(&mut self, place: Place, listener: &Listener) {
        // A connection that ended before it was taken is no arrival.
        while let Ok((stream, _)) = listener.socket.accept() {
            let local = stream.local_addr().ok().and_then(|it| it.as_socket());
            let Some(local) = local else { continue };
            let original = match (place, listener.family) {
                (Place::Outside, _) => None,
                // Without an entry of conntrack there is no other destination.
                (Place::Pod, Family::V4) => Some(
                    stream
                        .original_dst_v4()
                        .map_or(local, |it| addressed(&it, local)),
                ),
                (Place::Pod, Family::V6) => Some(
                    stream
                        .original_dst_v6()
                        .map_or(local, |it| addressed(&it, local)),
                ),
            };
            // Accepted sockets do not inherit it.
            let _ = stream.set_nonblocking(true);
            self.accepted.push(Accepted {
                stream,
                arrival: Arrival {
                    place,
                    port: listener.port,
                    local,
                    original,
                },
            });
        }
    }

    fn read_accepted(&mut self, ready: &[bool]) {
        let mut kept = Vec::new();
        for (at, accepted) in std::mem::take(&mut self.accepted).into_iter().enumerate() {
            let mut number = [0; 4];
            match ready.get(at) {
                Some(true) => match (&accepted.stream).read_exact(&mut number) {
                    Ok(()) => self.arrived(number, accepted.arrival),
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => kept.push(accepted),
                    Err(_) => {}
                },
                _ => kept.push(accepted),
            }
        }
        self.accepted = kept;
    }

    fn arrived(&mut self, number: [u8; 4], arrival: Arrival) {
        let number = u32::from_be_bytes(number);
        if self.senders.iter().any(|it| it.number == number) {
            self.ends.entry(number).or_insert(SeenEnd::Reached(arrival));
        }
    }

    /// Takes datagrams, with the address each was sent to in the end.
    fn receive(&mut self, place: Place, listener: &Listener) -> Result<(), ProbeError> {
        loop {
            let mut number = [0; 4];
            let mut parts = [io::IoSliceMut::new(&mut number)];
            let mut room = nix::cmsg_space!(nix::libc::in_pktinfo, nix::libc::in6_pktinfo);
            let fd = std::os::fd::AsRawFd::as_raw_fd(&listener.socket);
            let message = match recvmsg::<SockaddrStorage>(
                fd,
                &mut parts,
                Some(&mut room),
                MsgFlags::empty(),
            ) {
                Ok(message) => message,
                Err(Errno::EAGAIN | Errno::EINTR) => return Ok(()),
                // An ICMP message about an earlier datagram.
                Err(Errno::ECONNREFUSED | Errno::EHOSTUNREACH) => continue,
                Err(errno) => return Err(ProbeError::socket("receive a datagram")(errno.into())),
            };
            let told = message
                .cmsgs()
                .map_err(|it| ProbeError::socket("read where a datagram was sent")(it.into()))?;
            let mut to = None;
            for part in told {
                match part {
                    ControlMessageOwned::Ipv4PacketInfo(it) => {
                        let octets = it.ipi_addr.s_addr.to_ne_bytes();
                        to = Some(SocketAddr::new(octets.into(), listener.port));
                    }
                    ControlMessageOwned::Ipv6PacketInfo(it) => {
                        to = Some(SocketAddr::new(it.ipi6_addr.s6_addr.into(), listener.port));
                    }
                    _ => {}
                }
            }
            let whole = message.bytes == number.len();
            if let Some(local) = to.filter(|_| whole) {
                let arrival = Arrival {
                    place,
                    port: listener.port,
                    local,
                    original: None,
                };
                self.arrived(number, arrival);
            }
        }
    }

    /// Ends what the trace shows to be dropped. True when there is such a flow.
    fn settle(&mut self, told: &Told) -> bool {
        let before = self.ends.len();
        for sender in self.senders {
            if self.is_open(sender)
                && let Some(by) = told.dropped(sender.flow, sender.port)
            {
                self.ends.insert(sender.number, SeenEnd::Dropped { by });
            }
        }
        self.ends.len() > before
    }

    fn ended(mut self, told: &Told) -> Vec<SeenEnd> {
        let ends = self.senders.iter().map(|sender| {
            let silent = || SeenEnd::Silent {
                last: told.last_hook(sender.flow, sender.port),
            };
            self.ends.remove(&sender.number).unwrap_or_else(silent)
        });
        ends.collect()
    }
}

fn addressed(address: &socket2::SockAddr, otherwise: SocketAddr) -> SocketAddr {
    address.as_socket().unwrap_or(otherwise)
}
