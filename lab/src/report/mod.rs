//! Verdicts for people and machines: text, JUnit, files. Pure but for the files.

mod files;
mod junit;
mod style;
mod text;

pub use files::write_run;
pub use junit::junit;
pub use style::Style;
pub use text::{Detail, Run, counters, summary};
