//! Prints rules to standard output, byte for byte, and all else to standard error.

use std::{
    fmt::Display,
    io::{ErrorKind, Write as _},
};

use super::Rendered;
use crate::failure::{Class, Failure};

/// `who` writes the rules.
pub(super) fn print(
    rendered: &Rendered,
    warnings: &[impl Display],
    routes: bool,
    who: &str,
) -> Result<(), Failure> {
    for warning in warnings {
        anstream::eprintln!("warning: {warning}");
    }
    let commands: String = rendered
        .steps
        .iter()
        .map(|step| format!("{step}\n"))
        .collect();
    if !routes && !commands.is_empty() {
        let comments: String = rendered
            .steps
            .iter()
            .map(|step| format!("#   {step}\n"))
            .collect();
        anstream::eprint!("# Beside these rules {who} sets:\n{comments}");
    }
    let text = if routes { &commands } else { &rendered.text };
    let mut out = std::io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        // A reader that has seen enough, like `head`, is no failure.
        Err(e) if e.kind() != ErrorKind::BrokenPipe => Err(Failure::new(
            Class::State,
            "could not write to standard output",
        )
        .cause(e.to_string())),
        _ => Ok(()),
    }
}
