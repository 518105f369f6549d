//! Changes to a running lab: made by its supervisor, then written down for later commands.

use super::{Claim, LiveError, RunningLab, Standing, State, registry::failed, state::PodState};
use crate::{Lab, evidence::Up, failure::Failure, sandbox::protocol::StepWhat};

impl RunningLab {
    /// Makes a change in a lab that was joined, and writes down what runs then. `rules_from` says where a pod's new rules
    /// come from.
    ///
    /// # Errors
    /// The change is not possible, or can't be written down.
    pub(crate) fn change(
        &self,
        lab: &mut Lab,
        name: &str,
        what: StepWhat,
        rules_from: Option<(&str, String)>,
    ) -> Result<State, Failure> {
        let up = lab.change(name, what)?.clone();
        Ok(self.write_down(&up, rules_from)?)
    }

    /// With the lock of the lab's place: another command may be about to take it down.
    fn write_down(&self, up: &Up, rules_from: Option<(&str, String)>) -> Result<State, LiveError> {
        let claim = self.registry.claim(self.name(), || ())?;
        // What another command wrote since is in there too.
        let mut state = claim.state().unwrap_or_else(|| self.state.clone());
        for pod in &mut state.pods {
            if let Some(now) = up.pods.iter().find(|it| it.name == pod.name) {
                pod.follow(now);
            }
        }
        if let Some((pod, from)) = rules_from {
            let pods = state.pods.iter_mut();
            pods.filter(|it| it.name == pod)
                .for_each(|it: &mut PodState| {
                    it.rules_from = Some(from.clone());
                });
        }
        claim.rewrite(&state)?;
        Ok(state)
    }
}

impl Claim {
    /// What is written down of the lab here, if it is up.
    pub(super) fn state(&self) -> Option<State> {
        match self.standing() {
            Standing::Up(state) => Some(*state),
            _ => None,
        }
    }

    /// Writes down anew what runs in a lab that is up.
    ///
    /// # Errors
    /// The state can't be written.
    pub(super) fn rewrite(&self, state: &State) -> Result<(), LiveError> {
        state
            .write(&self.dir)
            .map_err(failed("write the state to", &self.dir))
    }
}
