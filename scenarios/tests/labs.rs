//! Every lab file of `scenarios/labs`, over each backend and family it makes sense on, as it is and in each variant.

use std::path::Path;

use hoplab::{report::{self, Detail, Run}, suite};
use hoplab_scenarios::{Backend, Family, LabFile, assert_labs_possible};
use rstest::rstest;

#[rstest]
fn a_lab_file_comes_out_as_it_says(
    #[files("labs/*.toml")]
    #[exclude("bookinfo")]
    path: std::path::PathBuf,
    #[values(Backend::Nft, Backend::Legacy)] backend: Backend,
    #[values(Family::V4, Family::V6)] family: Family,
) {
    assert_labs_possible();
    let file = open(&path);
    let cases = suite::cases(&file);
    let cases = cases.iter().filter(|it| (it.backend, it.family) == (backend, family));
    let mut wrong = Vec::new();
    for case in cases {
        let played = suite::play(file.clone(), case).unwrap_or_else(|failure| panic!("{case:?}: {failure}"));
        if !played.unexpected.is_empty() {
            let run = Run {
                topology: &played.file.topology,
                evidence: &played.evidence,
                judgement: &played.judgement,
                down: None,
                took_us: None,
            };
            let report = report::summary(&run, Detail::Quiet);
            let report = anstream::adapter::strip_str(&report);
            wrong.push(format!("{case:?}: {}\n{report}", played.unexpected.join("\n")));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

fn open(path: &Path) -> LabFile {
    LabFile::open(&path.to_string_lossy()).unwrap_or_else(|failure| panic!("{failure}"))
}
