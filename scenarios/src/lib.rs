//! What the tests of a lab need: a test binary that can be the lab, labs as fixtures, verdicts as assertions.
//!
//! ```no_run
//! use hoplab_scenarios::{Lab, Observed, bookinfo};
//!
//! # use rstest::rstest;
//! #[rstest]
//! fn an_app_that_calls_its_own_address_bypasses_its_proxy(mut bookinfo: Lab) {
//!     Observed::of(&mut bookinfo, &["app-to-own-ip"]).holds();
//! }
//! ```

mod configured;
mod fixtures;
mod nft;
mod observed;
mod process;
mod reexec;

pub use configured::{INJECTED, configured, under};
pub use fixtures::{bookinfo, bookinfo_file, bookinfo_text, up, with_pod_setting};
pub use hoplab::{Lab, LabFile, Options, netfilter::Backend, rules::Family};
pub use nft::nft_without;
pub use observed::Observed;
pub use process::{kill_and_wait, outer_pid, status_field};
pub use reexec::assert_possible as assert_labs_possible;
