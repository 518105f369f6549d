//! Labs that outlive the command that brought them up: found by name, joined by others, and gone without a trace.

mod capture;
mod change;
#[path = "../command/mod.rs"]
mod command;
mod completions;
mod documents;
mod ends;
mod import;
mod inside;
mod joined;
mod look;
mod reconcile;
mod registry;
mod terminal;

use self::command::SMALL;

/// The small lab's file below a runtime directory, and the lab up under its name.
fn small(runtime: &command::runtime::Runtime) -> String {
    let file = runtime.file("small.toml", SMALL);
    runtime.output(&["up", &file]);
    file
}
