//! A file as it is in a revision of a Git repository, by the program `git`.

use std::{
    io::{Error, ErrorKind},
    process::{Command, Stdio},
};

use super::Source;
use crate::failure::{Class, Failure};

/// `REVISION:PATH`. Revisions hold no colon, paths may; `-` at the start would be an option of git's.
pub(super) fn parse(object: &str) -> Option<Source> {
    let (revision, path) = object.split_once(':')?;
    let named = !revision.is_empty() && !revision.starts_with('-') && !path.is_empty();
    named.then(|| Source::Revision {
        revision: revision.into(),
        path: path.into(),
    })
}

/// The text of a file in a revision of the repository that the current directory is in.
///
/// # Errors
/// There is no `git`, no such repository, revision or file, or it is not text.
pub(super) fn show(revision: &str, path: &str) -> Result<String, Failure> {
    let object = format!("{revision}:{path}");
    // `cat-file blob` has the bytes as they were committed: no pager, no filter, no listing of a directory.
    let output = Command::new("git")
        .args(["cat-file", "blob", &object])
        .stdin(Stdio::null())
        .output()
        .map_err(|error| not_started(&object, &error))?;
    let failed = |why: String| {
        Failure::new(Class::Input, format!("could not read git:{object}"))
            .cause(why)
            .hint("paths start at the root of the repository; one from here starts with `./`")
    };
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        return Err(failed(said.trim().to_owned()));
    }
    String::from_utf8(output.stdout).map_err(|error| failed(error.to_string()))
}

fn not_started(object: &str, error: &Error) -> Failure {
    let failure = Failure::new(Class::Machine, format!("could not read git:{object}"));
    match error.kind() {
        ErrorKind::NotFound => failure
            .cause("`git` is not installed")
            .hint("install the package `git`"),
        _ => failure.cause(format!("`git` did not start: {error}")),
    }
}
