//! A capture in the pods of a running lab: sockets on interfaces, observers beside them, packets in order.

use std::{
    os::fd::BorrowedFd,
    time::{Duration, Instant},
};

use nix::{
    errno::Errno,
    poll::{PollFd, PollFlags, PollTimeout, poll},
};

use super::{
    CaptureError, Interface,
    join::{Join, Joined},
    tap::{self, Counted, Tap},
};
use crate::{
    failure::Failure,
    live::RunningLab,
    net::ProcessNamespace,
    trace::{Lost, NamespaceTrace, Selection, TraceError},
};

/// Packets read of one interface before the others have their turn.
const A_TURN: usize = 1024;
/// How often a packet is looked for that a trace has given up on.
const STUCK: Duration = Duration::from_secs(1);

/// A capture that runs. Dropping it closes the sockets and removes the observers.
pub struct Capture {
    supervisor: ProcessNamespace,
    pods: Vec<Pod>,
    join: Join,
}

struct Pod {
    name: String,
    taps: Vec<(String, Tap)>,
    trace: Option<NamespaceTrace>,
}

/// What a capture saw, when it is over.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Totals {
    /// For each interface what the kernel counted, in the order of [`Capture::interfaces`].
    pub counted: Vec<Counted>,
    /// What of the rules was not seen.
    pub lost: Lost,
}

impl Capture {
    /// Opens sockets on the interfaces of pods that are up and have an address, and observes the rules there if asked
    /// to. `node` is the lab's node. The process enters the lab's user namespace, and must have one thread.
    ///
    /// # Errors
    /// There is no such pod, it can't be entered, or the kernel refuses a socket or the observers.
    pub fn open(lab: &RunningLab, pods: &[String], rules: bool) -> Result<Self, Failure> {
        let supervisor = ProcessNamespace::open(lab.pid().unsigned_abs())?;
        let opened = pods
            .iter()
            .map(|pod| Ok((pod.clone(), lab.namespace_of(pod)?)));
        let opened = opened.collect::<Result<Vec<_>, Failure>>()?;
        // While there is one thread.
        supervisor.enter_user_namespace()?;
        let opened = opened
            .into_iter()
            .map(|(name, namespace)| Pod::open(name, namespace, rules));
        Ok(Self {
            pods: opened.collect::<Result<_, _>>()?,
            supervisor,
            join: Join::default(),
        })
    }

    /// The interfaces, in the order of their numbers.
    pub fn interfaces(&self) -> Vec<Interface> {
        let all = self.pods.iter().flat_map(|pod| {
            pod.taps.iter().map(|(name, _)| Interface {
                pod: pod.name.clone(),
                name: name.clone(),
            })
        });
        all.collect()
    }

    /// Can be read when the lab is gone; none where the kernel gives nothing to wait for.
    pub fn lab(&self) -> Option<BorrowedFd<'_>> {
        self.supervisor.process()
    }

    /// Waits until there is something to do, here or with one of these.
    ///
    /// # Errors
    /// poll(2) fails.
    pub fn wait(
        &self,
        others: &[BorrowedFd<'_>],
        deadline: Option<Instant>,
    ) -> Result<(), CaptureError> {
        let taps = self.pods.iter().flat_map(|pod| &pod.taps);
        let traces = self.pods.iter().filter_map(|pod| pod.trace.as_ref());
        let waiting = traces.clone().any(NamespaceTrace::is_waiting);
        let stuck = waiting.then(|| Instant::now() + STUCK);
        let deadline = deadline
            .into_iter()
            .chain(self.join.next())
            .chain(stuck)
            .min();
        let left = deadline.map(|it| it.saturating_duration_since(Instant::now()));
        // Rounded up: to wake a moment too early is to ask again and again.
        let left = left.map(|it| it + Duration::from_millis(1));
        let timeout = left.and_then(|it| PollTimeout::try_from(it).ok());
        let fds = taps.map(|(_, tap)| tap.as_fd());
        let fds = fds.chain(traces.flat_map(NamespaceTrace::as_fds));
        let fds = fds.chain(others.iter().copied());
        let mut polled: Vec<_> = fds.map(|fd| PollFd::new(fd, PollFlags::POLLIN)).collect();
        match poll(&mut polled, timeout.unwrap_or(PollTimeout::NONE)) {
            Ok(_) | Err(Errno::EINTR) => Ok(()),
            Err(errno) => Err(CaptureError::Socket {
                what: "wait for packets".to_owned(),
                pod: "node".to_owned(),
                source: errno.into(),
            }),
        }
    }

    /// Packets in the order of time, as far as their rules are known or no longer waited for.
    ///
    /// # Errors
    /// A socket or an observer fails.
    pub fn read(&mut self) -> Result<Vec<Joined>, CaptureError> {
        self.take()?;
        Ok(self.join.ready(Instant::now()))
    }

    fn take(&mut self) -> Result<(), CaptureError> {
        let now = Instant::now();
        let mut number = 0;
        for pod in &mut self.pods {
            for (name, tap) in &mut pod.taps {
                for _ in 0..A_TURN {
                    let next =
                        tap.next(number)
                            .map_err(refused("read packets of", name, &pod.name))?;
                    let Some(frame) = next else { break };
                    let traced = pod.trace.is_some();
                    self.join.add_frame(frame, &pod.name, traced, now);
                }
                number += 1;
            }
            // After the packets: what the kernel told of them waits by now, or comes soon.
            if let Some(trace) = &mut pod.trace {
                let packets = trace.ended().map_err(unseen(&pod.name))?;
                for packet in &packets {
                    self.join.add_way(&pod.name, packet, trace.texts(), now);
                }
            }
        }
        Ok(())
    }

    /// Ends it: removes the observers and gives what is left.
    ///
    /// # Errors
    /// As [`Self::read`].
    pub fn finish(mut self) -> Result<(Vec<Joined>, Totals), CaptureError> {
        self.take()?;
        let mut totals = Totals::default();
        for pod in &mut self.pods {
            if let Some(mut trace) = pod.trace.take() {
                let (packets, lost) = trace.stop().map_err(unseen(&pod.name))?;
                for packet in &packets {
                    let now = Instant::now();
                    self.join.add_way(&pod.name, packet, trace.texts(), now);
                }
                totals.lost = totals.lost.and(lost);
            }
            for (name, tap) in &mut pod.taps {
                let counted =
                    tap.counted()
                        .map_err(refused("count packets of", name, &pod.name))?;
                totals.counted.push(counted);
            }
        }
        Ok((self.join.rest(), totals))
    }
}

impl Pod {
    fn open(name: String, namespace: ProcessNamespace, rules: bool) -> Result<Self, CaptureError> {
        let taps = || {
            let names = tap::interfaces().map_err(refused("list", "the interfaces", &name))?;
            let taps = names.into_iter().map(|interface| {
                let tap = Tap::open(&interface).map_err(refused(
                    "capture packets of",
                    &interface,
                    &name,
                ))?;
                Ok((interface, tap))
            });
            taps.collect::<Result<Vec<_>, CaptureError>>()
        };
        let entered = namespace.visit(taps);
        let taps = entered.map_err(|source| CaptureError::Enter {
            pod: name.clone(),
            source,
        })??;
        let trace = rules.then(|| NamespaceTrace::open(namespace, Selection::default()));
        let trace = trace.transpose().map_err(unseen(&name))?;
        Ok(Self { name, taps, trace })
    }
}

fn refused(what: &str, interface: &str, pod: &str) -> impl FnOnce(std::io::Error) -> CaptureError {
    let (what, pod) = (format!("{what} {interface}"), pod.to_owned());
    move |source| CaptureError::Socket { what, pod, source }
}

fn unseen(pod: &str) -> impl FnOnce(TraceError) -> CaptureError {
    let pod = pod.to_owned();
    move |source| CaptureError::Rules {
        pod,
        source: Box::new(source),
    }
}
