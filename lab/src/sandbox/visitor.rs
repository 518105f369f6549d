//! The socket of a lab that another command started, seen from outside.

use std::{io::BufReader, os::unix::net::UnixStream};

use super::{
    SandboxError,
    protocol::{Greeting, Message, Request},
    speech,
};

/// A connection to a running lab's supervisor. To drop it leaves the lab up.
#[derive(Debug)]
pub struct Visitor {
    pid: i32,
    reader: BufReader<UnixStream>,
    writer: UnixStream,
}

impl Visitor {
    /// Takes a connection to the socket of the supervisor with this process id.
    ///
    /// # Errors
    /// The socket can't be duplicated.
    pub fn new(stream: UnixStream, pid: i32) -> std::io::Result<Self> {
        Ok(Self {
            pid,
            reader: BufReader::new(stream.try_clone()?),
            writer: stream,
        })
    }

    /// Process id of the supervisor as seen from outside.
    pub fn pid(&self) -> i32 {
        self.pid
    }

    /// Waits for the next greeting: requests may be sent after [`Greeting::Turn`].
    ///
    /// # Errors
    /// The lab is gone, or what it says is not of the protocol.
    pub fn greeting(&mut self) -> Result<Greeting, SandboxError> {
        speech::hear(&mut self.reader).map_err(gone)
    }

    /// From now on, what does not come in this time counts as gone.
    ///
    /// # Errors
    /// The socket refuses.
    pub(crate) fn wait_no_longer_than(&self, time: std::time::Duration) -> std::io::Result<()> {
        self.writer.set_read_timeout(Some(time))
    }

    /// From now on, waits for a message take as long as they take.
    ///
    /// # Errors
    /// The socket refuses.
    pub(crate) fn wait_as_long_as_it_takes(&self) -> std::io::Result<()> {
        self.writer.set_read_timeout(None)
    }

    /// Sends a request.
    ///
    /// # Errors
    /// The lab is gone.
    pub fn send(&mut self, request: &Request) -> Result<(), SandboxError> {
        speech::say(&mut self.writer, request).map_err(gone)
    }

    /// Waits for the next message.
    ///
    /// # Errors
    /// The lab is gone, or what it says is not of the protocol.
    pub fn receive(&mut self) -> Result<Message, SandboxError> {
        speech::hear(&mut self.reader).map_err(gone)
    }
}

fn gone(error: speech::Error) -> SandboxError {
    match error {
        speech::Error::Unreadable(words) => SandboxError::Protocol(words),
        speech::Error::Closed => SandboxError::WentDown,
    }
}
