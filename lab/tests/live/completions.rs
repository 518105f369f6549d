//! What a shell offers while a person types.

use std::{path::Path, process::Command};

use rstest::rstest;

use super::{
    command::{HOPLAB, runtime::Runtime, terminal::Terminal},
    small,
};

/// Bash on a terminal, with hoplab in its path and the script read.
fn bash(runtime: &Runtime) -> Terminal {
    let mut command = Command::new("bash");
    command.args(["--norc", "--noprofile", "-i"]);
    let place = Path::new(HOPLAB).parent().expect("it is in a directory");
    let path = std::env::var("PATH").expect("there is one");
    command.env("PATH", format!("{}:{path}", place.display()));
    command.env("HOPLAB_RUNTIME_DIR", runtime.labs());
    command.env("PS1", "prompt> ");
    // No matter what the user has in theirs.
    command.env("INPUTRC", "/dev/null");
    let mut terminal = Terminal::start(&mut command, 50, 120);
    terminal.types("source <(hoplab completions bash); echo read-$((40+2))\n");
    terminal.shows(&["read-42"]);
    terminal
}

#[rstest]
#[case::a_verb("hoplab compl\t", "hoplab completions ")]
#[case::a_lab("hoplab status sm\t", "hoplab status small ")]
#[case::a_pod("hoplab exec calle\t\t", "caller  called")]
#[case::a_pod_of_a_lab(
    "hoplab trace --lab small called\t--port",
    "hoplab trace --lab small called --port"
)]
#[case::a_flag("hoplab capture called --no-r\t", "hoplab capture called --no-rules ")]
#[case::a_rule("hoplab trace called --rule ISTIO_OUTPUT\t\t", "ISTIO_OUTPUT:9")]
#[case::a_profile("hoplab profiles kum\t", "hoplab profiles kuma")]
#[case::a_source("hoplab rules show link\t", "hoplab rules show linkerd")]
fn bash_completes(#[case] typed: &str, #[case] wanted: &str) {
    let runtime = Runtime::new();
    small(&runtime);
    let mut terminal = bash(&runtime);
    terminal.types(typed);
    terminal.shows(&[wanted]);
    runtime.down("small");
}

#[rstest]
fn there_is_a_script_for_each_shell(#[values("bash", "zsh", "fish")] shell: &str) {
    let script = Runtime::new().output(&["completions", shell]);
    assert!(
        script.contains(&format!("HOPLAB_COMPLETE=\"{shell}\""))
            || script.contains(&format!("HOPLAB_COMPLETE={shell}")),
        "{script}"
    );
}

#[test]
fn a_manual_page_for_every_verb_comes_from_the_command_line_itself() {
    let runtime = Runtime::new();
    let directory = runtime.labs().with_extension("man");
    runtime.output(&["man", directory.to_str().expect("it is text")]);
    let page = |name: &str| std::fs::read_to_string(directory.join(name)).expect("it is there");
    assert!(
        page("hoplab.1").contains("hoplab\\-capture(1)"),
        "{}",
        page("hoplab.1")
    );
    assert!(page("hoplab-capture.1").contains("\\-\\-no\\-rules"));
    assert!(page("hoplab-rules-diff.1").contains("profile:istio"));
}
