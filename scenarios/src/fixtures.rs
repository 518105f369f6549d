//! Labs as rstest fixtures: one lab per test, so that tests run side by side and none sees another's counters.

use hoplab::{
    Lab, LabFile, Options, builtin,
    failure::{Class, Failure},
    netfilter::{Backend, BackendChoice},
    rules::Family,
};
use rstest::fixture;

use crate::reexec;

/// The Bookinfo lab, up: `bookinfo: Lab`, or `#[with(Backend::Legacy, Family::V6)] bookinfo: Lab`.
#[fixture]
pub fn bookinfo(
    #[default(Backend::Nft)] backend: Backend,
    #[default(Family::V4)] family: Family,
) -> Lab {
    let options = Options {
        backend: BackendChoice::Fixed(backend),
        families: family.into(),
        ..Options::default()
    };
    up(bookinfo_file(), options)
}

/// The Bookinfo lab file, not up.
#[fixture]
pub fn bookinfo_file() -> LabFile {
    LabFile::open("bookinfo").unwrap_or_else(|failure| give_up(&failure))
}

/// The text of the Bookinfo lab file, for tests that change it.
pub fn bookinfo_text() -> &'static str {
    builtin::lab_text("bookinfo").expect("hoplab carries the lab")
}

/// The Bookinfo lab file with one more line in the entry of a pod with a sidecar.
pub fn with_pod_setting(pod: &str, line: &str) -> LabFile {
    let entry = format!("name = \"{pod}\"\n");
    let (before, after) = bookinfo_text()
        .split_once(&entry)
        .expect("the pod is in the lab file");
    let text = format!("{before}{entry}{line}\n{after}");
    LabFile::parse(&text, "bookinfo.toml").unwrap_or_else(|failure| give_up(&failure))
}

/// Brings up a lab, or fails the test with the reason and the way out.
pub fn up(file: LabFile, options: Options) -> Lab {
    reexec::assert_possible();
    Lab::up(file, options).unwrap_or_else(|failure| give_up(&failure))
}

fn give_up(failure: &Failure) -> ! {
    let way_out = match failure.class {
        Class::Machine => {
            "\n  this machine can't run labs; the tests that need none: just test-pure"
        }
        Class::Input | Class::State | Class::Incomplete => "",
    };
    panic!("{failure}{way_out}")
}
