//! How a lab's handle holds on to its supervisor.

use crate::sandbox::{
    SandboxError, Supervisor, Visitor,
    protocol::{Message, Request},
};

/// How this process holds on to the supervisor.
#[derive(Debug)]
pub(super) enum Held {
    /// It started it.
    Own(Supervisor),
    /// Another command did.
    Visited(Visitor),
}

impl Held {
    pub fn send(&mut self, request: &Request) -> Result<(), SandboxError> {
        match self {
            Self::Own(supervisor) => supervisor.send(request),
            Self::Visited(visitor) => visitor.send(request),
        }
    }

    pub fn receive(&mut self) -> Result<Message, SandboxError> {
        match self {
            Self::Own(supervisor) => supervisor.receive(),
            Self::Visited(visitor) => visitor.receive(),
        }
    }
}
