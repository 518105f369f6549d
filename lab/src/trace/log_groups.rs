//! nflog groups of a watch: binding them to its socket, and what is missing in them.

use std::io;

use netlink_packet_core::{NLM_F_ACK, NLM_F_REQUEST};
use nix::libc;

use super::{
    TraceError,
    netlink::{Listening, message_type},
    observers::LOGGED_BYTES,
    rival,
    wire::{Attributes, LogEvent, Message, request},
};

/// `NFNL_SUBSYS_ULOG`, the subsystem of nflog.
const ULOG: u8 = 4;
const LOG_PACKET: u8 = 0;
const LOG_CONFIG: u8 = 1;
/// Log group of ip_tables' TRACE; the kernel gives no choice.
const GROUP_TRACE_LINES: u16 = 0;
/// First log group that is tried for our own rule, far from the small numbers that people use.
const FIRST_OWN_GROUP: u16 = 26_727;
const GROUP_TRIES: u16 = 64;

pub(super) const LISTEN_LOG: &str = "listen to nflog";

/// A log group of ours, and the number its next message has.
pub(super) struct LogGroup {
    pub number: u16,
    next: u32,
}

/// How many messages of the group are missing before this one.
pub(super) fn gap(groups: &mut [LogGroup], message: &Message<'_>, event: &LogEvent) -> u64 {
    // netfilter's header: family, version, group.
    let number = message.body.get(2..4).and_then(|it| it.try_into().ok());
    let number = number.map(u16::from_be_bytes);
    let group = groups.iter_mut().find(|it| Some(it.number) == number);
    match (group, event.sequence) {
        (Some(group), Some(sequence)) => {
            let missing = sequence.wrapping_sub(group.next);
            group.next = sequence.wrapping_add(1);
            missing.into()
        }
        _ => 0,
    }
}

impl LogGroup {
    pub fn new(number: u16) -> Self {
        Self { number, next: 0 }
    }
}

/// A log group that nobody listens to, bound to the socket.
pub(super) fn bind_own_group(logs: &mut Listening) -> Result<u16, TraceError> {
    for group in FIRST_OWN_GROUP..FIRST_OWN_GROUP + GROUP_TRIES {
        match bind(logs, group) {
            Ok(()) => return Ok(group),
            Err(error) if is_taken(&error) => {}
            Err(source) => return Err(TraceError::netlink(LISTEN_LOG)(source)),
        }
    }
    Err(taken(FIRST_OWN_GROUP))
}

fn taken(group: u16) -> TraceError {
    let by = rival::reader_of(group);
    TraceError::GroupTaken { group, by }
}

/// The socket may listen at all, it has joined multicast groups; so "not permitted" is about this group.
fn is_taken(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::EPERM | libc::EBUSY))
}

/// Binds the group of ip_tables' TRACE lines to the socket.
pub(super) fn bind_trace_lines(logs: &mut Listening) -> Result<u16, TraceError> {
    let group = GROUP_TRACE_LINES;
    match bind(logs, group) {
        Ok(()) => Ok(group),
        Err(error) if is_taken(&error) => Err(taken(group)),
        Err(source) => Err(TraceError::netlink(LISTEN_LOG)(source)),
    }
}

/// Gives a group back, without waiting for the answer.
pub(super) fn leave(logs: &Listening, group: u16) -> io::Result<()> {
    logs.tell(&command(group, UNBIND))
}

/// Whether a message is a logged packet.
pub(super) fn is_packet(message: &Message<'_>) -> bool {
    message.kind == message_type(ULOG, LOG_PACKET)
}

/// Binds a log group to the socket: every message at once, numbered, with the beginning of the packet.
fn bind(logs: &mut Listening, group: u16) -> io::Result<()> {
    // From linux/netfilter/nfnetlink_log.h.
    const MODE: u16 = 2;
    const COPY_PACKET: u8 = 2;
    const THRESHOLD: u16 = 5;
    const FLAGS: u16 = 6;
    const NUMBERED: u16 = 1;
    let mut mode = LOGGED_BYTES.to_be_bytes().to_vec();
    mode.extend([COPY_PACKET, 0]);
    logs.configure(&command(group, BIND))?;
    for attributes in [
        Attributes::new().bytes(MODE, &mode),
        Attributes::new().be32(THRESHOLD, 1),
        Attributes::new().be16(FLAGS, NUMBERED),
    ] {
        logs.configure(&configuration(group, &attributes))?;
    }
    Ok(())
}

// Commands about a log group, from linux/netfilter/nfnetlink_log.h.
const BIND: u8 = 1;
const UNBIND: u8 = 2;

fn command(group: u16, command: u8) -> Vec<u8> {
    const COMMAND: u16 = 1;
    configuration(group, &Attributes::new().byte(COMMAND, command))
}

fn configuration(group: u16, attributes: &Attributes) -> Vec<u8> {
    let kind = message_type(ULOG, LOG_CONFIG);
    request(kind, NLM_F_REQUEST | NLM_F_ACK, 1, 0, group, attributes)
}
