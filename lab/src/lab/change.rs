//! A change that a person makes to a running lab: as a step, but of no lab file.

use super::{Lab, unexpected};
use crate::{
    evidence::Up,
    failure::Failure,
    sandbox::protocol::{Message, Request, StepOrder, StepWhat},
};

impl Lab {
    /// Makes a change, and gives the lab as it stands then. Flows sent from now on start from there.
    ///
    /// # Errors
    /// It is not possible, or something of the lab broke.
    pub(crate) fn change(&mut self, name: &str, what: StepWhat) -> Result<&Up, Failure> {
        let step = name.to_owned();
        let order = StepOrder { step, what };
        self.supervisor.send(&Request::Step(Box::new(order)))?;
        match self.supervisor.receive()? {
            Message::Stepped(stepped) => {
                self.up = stepped.up;
                Ok(&self.up)
            }
            other => Err(unexpected(other)),
        }
    }
}
