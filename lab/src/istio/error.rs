//! A value that can't be meant, and what Istio does without a word.

use thiserror::Error;

use crate::failure::{Class, Explain};

/// A value that no rule can be made of: which one, why, and what would do.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("{name} is `{value}`: {why}")]
pub struct BadValue {
    /// Flag, variable or annotation.
    pub name: String,
    /// What it was given.
    pub value: String,
    /// Why that can't be.
    pub why: String,
    /// What would do.
    pub fix: String,
}

impl BadValue {
    pub(super) fn new(
        name: &str,
        value: &str,
        why: impl Into<String>,
        fix: impl Into<String>,
    ) -> Self {
        Self {
            name: name.to_owned(),
            value: value.to_owned(),
            why: why.into(),
            fix: fix.into(),
        }
    }
}

impl Explain for BadValue {
    fn class(&self) -> Class {
        Class::Input
    }

    fn hint(&self) -> Option<String> {
        Some(self.fix.clone())
    }
}
