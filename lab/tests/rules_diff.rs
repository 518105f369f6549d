//! `ci/rules-diff` in a Git repository of its own: what a pull request's rule files do to traffic, as Markdown.

mod command;

use std::{fs, process::Command};

use command::{Ended, HOPLAB, Scratch, hoplab, run};
use rstest::{fixture, rstest};

const RULES: &str = "*nat\n\
    :OUT - [0:0]\n\
    -A OUTPUT -p tcp -m owner --uid-owner 1337 -j RETURN\n\
    -A OUTPUT -p tcp -j OUT\n\
    -A OUT -p tcp --dport 8080 -j REDIRECT --to-ports 15001\n\
    COMMIT\n";

/// A repository with one commit, to which a pull request goes.
struct Repository(Scratch);

#[fixture]
fn repository() -> Repository {
    let repository = Repository(Scratch::new());
    repository.git(&["init", "--quiet", "--initial-branch=main"]);
    repository.write("pod.rules", RULES);
    repository.write("other.txt", "no rules\n");
    repository.commit();
    repository
}

impl Repository {
    fn git(&self, args: &[&str]) {
        let mut git = Command::new("git");
        git.current_dir(self.0.path())
            .args(["-c", "user.name=t", "-c", "user.email=t@example.org"])
            .args(["-c", "commit.gpgsign=false"])
            .args(args);
        let ended = run(&mut git);
        assert!(ended.status.success(), "{ended:#?}");
    }

    fn commit(&self) {
        self.git(&["add", "--all"]);
        self.git(&["commit", "--quiet", "--message", "a change"]);
    }

    fn write(&self, name: &str, text: &str) {
        self.0.file(name, text);
    }

    fn snapshot(&self) {
        let rules = self.0.path().join("pod.rules").display().to_string();
        let taken = run(&mut hoplab(&["rules", "snapshot", &rules]));
        assert!(taken.status.success(), "{taken:#?}");
        self.write("pod.rules.snapshot", &taken.stdout);
    }

    /// The report on what differs from the branch `main`.
    fn report(&self) -> Ended {
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/../ci/rules-diff");
        let mut command = Command::new(script);
        command
            .current_dir(self.0.path())
            .args(["main", "*.rules"])
            .env("HOPLAB", HOPLAB);
        run(&mut command)
    }

    /// A branch for the pull request.
    fn branch(&self) {
        self.git(&["switch", "--quiet", "--create", "change"]);
    }
}

#[track_caller]
fn says(ended: &Ended, code: i32, parts: &[&str]) {
    assert_eq!(ended.status.code(), Some(code), "{ended:#?}");
    let first = "<!-- hoplab rules-diff -->\n";
    assert!(ended.stdout.starts_with(first), "{ended:#?}");
    for part in parts {
        assert!(ended.stdout.contains(part), "no `{part}`: {ended:#?}");
    }
}

#[rstest]
fn a_pull_request_without_rule_files_changes_nothing(repository: Repository) {
    repository.branch();
    repository.write("other.txt", "still no rules\n");
    repository.commit();
    says(&repository.report(), 0, &["No rule file differs."]);
}

#[rstest]
fn a_changed_rule_is_told_by_the_flows_it_changes(repository: Repository) {
    repository.branch();
    repository.write("pod.rules", &RULES.replace("8080", "8081"));
    repository.write("new one.rules", RULES);
    repository.commit();
    let ended = repository.report();
    says(
        &ended,
        0,
        &[
            "## `pod.rules`",
            "### What these rules do to traffic",
            "8080",
            "8081",
            "## `new one.rules`\n\nIt is new",
        ],
    );
}

#[rstest]
fn rules_that_do_not_do_what_their_snapshot_says_fail(repository: Repository) {
    repository.snapshot();
    repository.commit();
    repository.branch();
    repository.write("pod.rules", &RULES.replace("8080", "8081"));
    repository.commit();
    let words = "**It does not do what its snapshot says.**";
    says(&repository.report(), 1, &[words, "changed"]);
    repository.snapshot();
    repository.commit();
    says(
        &repository.report(),
        0,
        &["It does what its snapshot says."],
    );
}

#[rstest]
fn rules_that_can_not_be_read_fail_and_the_place_is_told(repository: Repository) {
    repository.branch();
    repository.write("pod.rules", &RULES.replace("-j OUT\n", "-j NOWHERE\n"));
    repository.commit();
    says(
        &repository.report(),
        2,
        &["could not be compared", "`NOWHERE`"],
    );
}

#[rstest]
fn a_file_that_is_gone_is_told_and_its_name_can_not_write_markdown(repository: Repository) {
    repository.write("`<b>.rules", RULES);
    repository.commit();
    repository.branch();
    fs::remove_file(repository.0.path().join("`<b>.rules")).expect("it is there");
    repository.commit();
    says(&repository.report(), 0, &["## `??b?.rules`\n\nIt is gone."]);
}

#[test]
fn without_arguments_the_script_says_how_it_is_used() {
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/../ci/rules-diff");
    run(&mut Command::new(script)).failed_with(2, &["ci/rules-diff BASE PATHSPEC"]);
}
