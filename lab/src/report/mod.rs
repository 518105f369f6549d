//! Verdicts for people and machines: text, JUnit, files. Pure but for the files.

pub mod behaviour;
mod columns;
mod conntrack;
mod counters;
mod figures;
mod files;
mod heading;
mod journey;
mod junit;
mod moved;
mod notes;
mod path;
mod style;
mod text;
mod traced;

pub use columns::columns;
pub use conntrack::{conntrack_json, conntrack_text};
pub use counters::counters;
pub use figures::{figures_json, figures_text};
pub use files::write_run;
pub use journey::{end_words, journey_json, journey_text, packet_words};
pub use junit::junit;
pub use moved::{Counted, counted_json, counted_text, moved_lines};
pub use path::{Goldens, PathDifference, golden, hop_words, path_text};
pub use style::Style;
pub use text::{Detail, Run, ms, summary};
pub use traced::{MatchedRule, Surroundings, TRACE_LINES, TraceLine, block_lines, block_text};
