//! The lab file being read, to complain about places in it.

use toml::Spanned;

use crate::diagnostic::Diagnostic;

/// The file being read, for complaints.
pub(super) struct Source<'a> {
    pub origin: &'a str,
    pub text: &'a str,
}

impl Source<'_> {
    pub fn complain<T>(&self, place: &Spanned<T>, message: impl Into<String>) -> Diagnostic {
        Diagnostic::at(self.origin, self.text, place.span(), message)
    }
}
