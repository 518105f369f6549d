//! Changes to a running lab: one that a person makes, as a step but of no lab file; or whatever makes it another lab.

use super::{Lab, Options, plan_of, unexpected};
use crate::{
    LabFile,
    evidence::Up,
    failure::Failure,
    sandbox::protocol::{Message, Reconcile, Reconciled, Request, StepOrder, StepWhat},
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

    /// Makes it the lab of another file, change by change. This handle goes by that file then, also when a change failed.
    ///
    /// # Errors
    /// Nothing was changed: rules that don't parse, or what differs can't be changed in a running lab.
    pub(crate) fn reconcile(
        &mut self,
        file: LabFile,
        options: Options,
        dry_run: bool,
    ) -> Result<Reconciled, Failure> {
        let plan = plan_of(&file, &options)?;
        let order = Reconcile { plan, dry_run };
        self.supervisor.send(&Request::Reconcile(Box::new(order)))?;
        let done = match self.supervisor.receive()? {
            Message::Reconciled(done) => *done,
            other => return Err(unexpected(other)),
        };
        if !dry_run {
            (self.file, self.options) = (file, options);
            self.up = done.up.clone();
            self.machine = done.machine.clone();
        }
        Ok(done)
    }
}
