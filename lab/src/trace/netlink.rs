//! Netlink sockets of the namespace the calling thread is in.

use std::io;

use netlink_packet_core::{NLM_F_ACK, NLM_F_DUMP, NLM_F_REQUEST};
use netlink_sys::{Socket, SocketAddr, protocols::NETLINK_NETFILTER};
use nix::libc;

use super::wire::{Attributes, Malformed, Message, messages, request};
use crate::netfilter::room;

/// Room for what one read takes: a dump comes in pieces of at most 32 KiB.
const READ_BUFFER: usize = 64 << 10;

// Message types below the first of netfilter's.
const ERROR: u16 = 2;
const DONE: u16 = 3;
const FLAG_DUMP_INTERRUPTED: u16 = 0x10;
const BATCH_BEGIN: u16 = 16;
const BATCH_END: u16 = 17;
/// `NFNL_SUBSYS_NFTABLES`.
pub(super) const NFTABLES: u8 = 10;

/// The type of a netfilter message: subsystem and message.
pub(super) fn message_type(subsystem: u8, message: u8) -> u16 {
    u16::from_be_bytes([subsystem, message])
}

/// A socket that asks and waits for the answer.
pub(super) struct Asking {
    socket: Socket,
    /// Port id of the socket, unique in its namespace.
    pub port: u32,
    sequence: u32,
    buffer: Vec<u8>,
}

/// What a dump found; false when the kernel says that it changed meanwhile.
pub(super) type Consistent = bool;

impl Asking {
    pub fn open() -> io::Result<Self> {
        let mut socket = Socket::new(NETLINK_NETFILTER)?;
        let port = socket.bind_auto()?.port_number();
        socket.connect(&SocketAddr::new(0, 0))?;
        Ok(Self {
            socket,
            port,
            sequence: 0,
            buffer: vec![0; READ_BUFFER],
        })
    }

    fn next(&mut self) -> u32 {
        self.sequence = self.sequence.wrapping_add(1);
        self.sequence
    }

    /// Sends nftables messages as one transaction: all or nothing.
    pub fn transact(&mut self, orders: &[super::observers::Order]) -> io::Result<()> {
        // The kernel makes a table, chain or rule that is not there, and refuses one that is.
        const CREATE: u16 = 0x400 | 0x200;
        const APPEND: u16 = 0x400 | 0x800;
        let nothing = Attributes::new();
        let begin = self.next();
        let resource = u16::from(NFTABLES);
        let mut bytes = request(BATCH_BEGIN, NLM_F_REQUEST, begin, 0, resource, &nothing);
        let mut last = begin;
        for order in orders {
            last = self.next();
            let create = match order.kind {
                super::observers::NEW_RULE => APPEND,
                super::observers::DELETE_TABLE => 0,
                _ => CREATE,
            };
            let flags = NLM_F_REQUEST | NLM_F_ACK | create;
            let kind = message_type(NFTABLES, order.kind);
            let part = request(kind, flags, last, order.family, 0, &order.attributes);
            bytes.extend(part);
        }
        let end = self.next();
        bytes.extend(request(
            BATCH_END,
            NLM_F_REQUEST,
            end,
            0,
            resource,
            &nothing,
        ));
        self.socket.send(&bytes, 0)?;
        self.acknowledged(last)
    }

    /// Waits for the kernel's word on the message with this number; the first refusal on the way is the error.
    fn acknowledged(&mut self, sequence: u32) -> io::Result<()> {
        let mut refusal = None;
        loop {
            let length = self.receive()?;
            for message in messages(&self.buffer[..length]).map_err(io::Error::other)? {
                if message.kind != ERROR {
                    continue;
                }
                let code = error_code(&message)?;
                if code != 0 && refusal.is_none() {
                    refusal = Some(io::Error::from_raw_os_error(-code));
                }
                // A transaction that fails as a whole is answered at its beginning, and not at its end.
                if message.sequence == sequence || (code != 0 && message.sequence < sequence) {
                    return refusal.map_or(Ok(()), Err);
                }
            }
        }
    }

    /// Asks for all objects of a kind; calls `take` with the body of each.
    pub fn dump(
        &mut self,
        kind: u16,
        family: u8,
        take: &mut dyn FnMut(&Message<'_>) -> Result<(), Malformed>,
    ) -> io::Result<Consistent> {
        let flags = NLM_F_REQUEST | NLM_F_DUMP;
        self.ask(kind, flags, family, take)
    }

    /// Asks for one object.
    pub fn get(
        &mut self,
        kind: u16,
        family: u8,
        take: &mut dyn FnMut(&Message<'_>) -> Result<(), Malformed>,
    ) -> io::Result<()> {
        // With an acknowledgement behind the answer, both kinds of answers end in a message of the same kind.
        self.ask(kind, NLM_F_REQUEST | NLM_F_ACK, family, take)
            .map(|_| ())
    }

    fn ask(
        &mut self,
        kind: u16,
        flags: u16,
        family: u8,
        take: &mut dyn FnMut(&Message<'_>) -> Result<(), Malformed>,
    ) -> io::Result<Consistent> {
        let sequence = self.next();
        let bytes = request(kind, flags, sequence, family, 0, &Attributes::new());
        self.socket.send(&bytes, 0)?;
        let mut consistent = true;
        loop {
            let length = self.receive()?;
            for message in messages(&self.buffer[..length]).map_err(io::Error::other)? {
                if message.sequence != sequence {
                    continue;
                }
                consistent &= message.flags & FLAG_DUMP_INTERRUPTED == 0;
                match message.kind {
                    DONE => return Ok(consistent),
                    ERROR => {
                        return match error_code(&message)? {
                            0 => Ok(consistent),
                            code => Err(io::Error::from_raw_os_error(-code)),
                        };
                    }
                    _ => take(&message).map_err(io::Error::other)?,
                }
            }
        }
    }

    fn receive(&mut self) -> io::Result<usize> {
        self.socket.recv(&mut &mut self.buffer[..], 0)
    }
}

fn error_code(message: &Message<'_>) -> io::Result<i32> {
    let code = message.body.get(..4).and_then(|code| code.try_into().ok());
    let code: [u8; 4] = code.ok_or_else(|| io::Error::other("an answer that is cut off"))?;
    Ok(i32::from_ne_bytes(code))
}

/// A socket that is told, without asking.
pub(super) struct Listening {
    socket: Socket,
    buffer: Vec<u8>,
    /// Bytes the kernel really gives it for messages nobody has read yet.
    pub room: usize,
}

/// What came of a read.
pub(super) enum Heard {
    /// A datagram of this length is in the buffer.
    Datagram,
    /// Nothing left to read.
    Nothing,
    /// Messages were lost before this point.
    Overrun,
}

impl Listening {
    /// `room`: bytes the kernel may keep for messages nobody has read yet; what is above the machine's limit
    /// (`net.core.rmem_max`) needs root of the machine.
    pub fn open(room: usize) -> io::Result<Self> {
        let mut socket = Socket::new(NETLINK_NETFILTER)?;
        socket.bind_auto()?;
        let room = room::give(&mut socket, room)?;
        socket.set_non_blocking(true)?;
        Ok(Self {
            socket,
            buffer: vec![0; READ_BUFFER],
            room,
        })
    }

    pub fn join(&mut self, group: u32) -> io::Result<()> {
        self.socket.add_membership(group)
    }

    /// Sends a message of configuration; the answer comes as one more datagram.
    pub fn configure(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.socket.send_to(bytes, &SocketAddr::new(0, 0), 0)?;
        // The socket listens to nothing yet, or the kernel answers at once: the next error message is ours.
        loop {
            let length = self.socket.recv(&mut &mut self.buffer[..], 0)?;
            for message in messages(&self.buffer[..length]).map_err(io::Error::other)? {
                if message.kind == ERROR {
                    return match error_code(&message)? {
                        0 => Ok(()),
                        code => Err(io::Error::from_raw_os_error(-code)),
                    };
                }
            }
        }
    }

    /// Sends a message that nobody answers.
    pub fn tell(&self, bytes: &[u8]) -> io::Result<()> {
        self.socket
            .send_to(bytes, &SocketAddr::new(0, 0), 0)
            .map(|_| ())
    }

    pub fn hear(&mut self, take: &mut dyn FnMut(&[u8])) -> io::Result<Heard> {
        match self.socket.recv(&mut &mut self.buffer[..], 0) {
            Ok(length) => {
                take(&self.buffer[..length]);
                Ok(Heard::Datagram)
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(Heard::Nothing),
            Err(error) if error.raw_os_error() == Some(libc::ENOBUFS) => Ok(Heard::Overrun),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => Ok(Heard::Datagram),
            Err(error) => Err(error),
        }
    }

    /// Messages the kernel could not give to this socket, since it was opened.
    pub fn dropped(&self) -> io::Result<u64> {
        room::dropped(&self.socket)
    }

    /// Datagrams that wait to be read, at most.
    pub fn waiting(&self) -> io::Result<usize> {
        room::waiting(&self.socket)
    }

    pub fn as_socket(&self) -> &Socket {
        &self.socket
    }
}
