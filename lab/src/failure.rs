//! "Could not find out": an error ready for a person, and able to cross the control socket.
//!
//! A failed expectation is not a failure but a verdict; see `judge`.

use std::error::Error;

use serde::{Deserialize, Serialize};

/// What kind of trouble, which is also the exit code.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Class {
    /// A flag, a lab file or a rule file is wrong: exit code 2.
    Input,
    /// This machine can't: exit code 3.
    Machine,
    /// The lab is not in a state that allows it: exit code 4.
    State,
    /// What was observed is not enough to judge by: exit code 5.
    Incomplete,
}

impl Class {
    /// The process exit code for this class.
    pub fn exit_code(self) -> u8 {
        match self {
            Self::Input => 2,
            Self::Machine => 3,
            Self::State => 4,
            Self::Incomplete => 5,
        }
    }
}

/// An error of a module with effects: it knows its class and the repair.
pub trait Explain: Error {
    /// Kind of trouble.
    fn class(&self) -> Class;
    /// The repair, where there is one.
    fn hint(&self) -> Option<String> {
        None
    }
}

/// An error with everything a person needs, as plain data.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    /// Kind of trouble.
    pub class: Class,
    /// What could not be done.
    pub what: String,
    /// Why, outermost cause first.
    pub causes: Vec<String>,
    /// How to fix it.
    pub hint: Option<String>,
}

impl Failure {
    /// A failure without a cause below it.
    pub fn new(class: Class, what: impl Into<String>) -> Self {
        Self {
            class,
            what: what.into(),
            causes: Vec::new(),
            hint: None,
        }
    }

    /// Adds the repair.
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// Adds a cause below those there are.
    pub fn cause(mut self, cause: impl Into<String>) -> Self {
        self.causes.push(cause.into());
        self
    }
}

impl<E: Explain> From<E> for Failure {
    fn from(error: E) -> Self {
        let mut causes = Vec::new();
        let mut next = error.source();
        while let Some(cause) = next {
            causes.push(cause.to_string());
            next = cause.source();
        }
        Self {
            class: error.class(),
            what: error.to_string(),
            causes,
            hint: error.hint(),
        }
    }
}

impl std::fmt::Display for Failure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.what)?;
        for cause in &self.causes {
            write!(f, "\n  because {}", cause.replace('\n', "\n    "))?;
        }
        if let Some(hint) = &self.hint {
            write!(f, "\n  help: {}", hint.replace('\n', "\n    "))?;
        }
        Ok(())
    }
}
