//! What documents tell a reader to type does what they say it does.

use std::{fs, path::Path, process::Command};

use rstest::rstest;

use super::command::{HOPLAB, Running, runtime::Runtime};

/// Stands for what differs from run to run, or was left out.
const ANYTHING: char = '…';
/// Written behind each command, with its exit code.
const MARK: &str = "--- end of command, exit code ";

/// A command of a document, and the lines it should print.
#[derive(Debug, PartialEq, Eq)]
struct Step {
    /// Line of the document.
    line: usize,
    command: String,
    wanted: Vec<String>,
}

/// The commands of the blocks that show a console: lines that begin with a prompt.
fn steps(text: &str) -> Vec<Step> {
    let mut steps: Vec<Step> = Vec::new();
    let mut in_console = false;
    for (line, number) in text.lines().zip(1..) {
        if let Some(kind) = line.strip_prefix("```") {
            in_console = kind == "console";
        } else if in_console {
            match (line.strip_prefix("# "), steps.last_mut()) {
                (Some(command), _) => steps.push(Step {
                    line: number,
                    command: command.to_owned(),
                    wanted: Vec::new(),
                }),
                (None, Some(step)) => step.wanted.push(line.to_owned()),
                (None, None) => panic!("line {number}: a block begins with output"),
            }
        }
    }
    steps
}

/// One space between words, none around them.
fn words(line: &str) -> String {
    line.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// Whether a line has all that a line of a document shows, in that order, and from end to end but for what is left out.
fn is_as_wanted(line: &str, wanted: &str) -> bool {
    let (line, wanted) = (words(line), words(wanted));
    let mut rest = line.as_str();
    let mut parts = wanted.split(ANYTHING).map(str::trim).peekable();
    let mut is_first = true;
    while let Some(part) = parts.next() {
        let at = match (is_first, parts.peek()) {
            (true, None) => (rest == part).then_some(0),
            (true, Some(_)) => rest.starts_with(part).then_some(0),
            (false, None) => rest.ends_with(part).then(|| rest.len() - part.len()),
            (false, Some(_)) => rest.find(part),
        };
        let Some(at) = at else { return false };
        rest = &rest[at + part.len()..];
        is_first = false;
    }
    true
}

/// The first line of a document that is not among the lines printed, in the order of the document.
fn missing<'a>(printed: &str, wanted: &'a [String]) -> Option<&'a String> {
    let mut lines = printed.lines();
    wanted.iter().find(|wanted| {
        let anything = words(wanted).chars().all(|c| c == ANYTHING);
        !anything && !lines.any(|line| is_as_wanted(line, wanted))
    })
}

/// Runs all commands of a document in one shell, in the root of the repository.
#[rstest]
#[case::tour("scenarios/TOUR.md")]
#[case::readme("README.md")]
fn every_command_of_a_document_prints_what_the_document_says(#[case] document: &str) {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let text = fs::read_to_string(root.join(document)).expect("it is there");
    let steps = steps(&text);
    assert!(steps.len() > 1, "{steps:?}");
    let runtime = Runtime::new();
    let commands = steps.iter().map(|step| {
        let command = &step.command;
        // One stream, as on a terminal.
        format!("{{ {command}\n}} 2>&1; echo \"{MARK}$?\"\n")
    });
    // What documents say of an ordinary user, where one runs this.
    let user = match nix::unistd::Uid::effective().is_root() {
        true => "",
        false => "nsenter() { command nsenter -U --preserve-credentials \"$@\"; }\n",
    };
    let script = runtime.file("script", &(user.to_owned() + &commands.collect::<String>()));
    let mut shell = Command::new("bash");
    let place = Path::new(HOPLAB).parent().expect("it is in a directory");
    let path = std::env::var("PATH").expect("there is one");
    shell
        .arg(script)
        .current_dir(&root)
        .env("PATH", format!("{}:{path}", place.display()))
        .env("HOPLAB_RUNTIME_DIR", runtime.labs())
        .env("NO_COLOR", "1");
    let ended = Running::start(&mut shell).ended();
    let mut rest = ended.stdout.as_str();
    for step in &steps {
        let Step {
            line,
            command,
            wanted,
        } = step;
        let place = format!("{document}:{line}: {command}");
        let (printed, after) = rest.split_once(MARK).expect(&place);
        let (code, after) = after.split_once('\n').expect(&place);
        rest = after;
        assert_eq!(code, "0", "{place}\n{printed}");
        let missing = missing(printed, wanted);
        assert_eq!(missing, None, "{place}\nprinted:\n{printed}");
    }
    runtime.assert_empty();
}

#[test]
fn commands_are_told_from_what_they_print_and_from_other_blocks() {
    let text = "```sh\n# no\n```\nwords\n```console\n# one\nout\n…\n# two\n```\n";
    let step = |line, command: &str, wanted: &[&str]| Step {
        line,
        command: command.to_owned(),
        wanted: wanted.iter().map(|it| (*it).to_owned()).collect(),
    };
    assert_eq!(
        steps(text),
        [step(6, "one", &["out", "…"]), step(9, "two", &[])]
    );
}

#[rstest]
#[case("a  b c", "a b c", true)]
#[case("a b c", "a … c", true)]
#[case("a b c", "… c", true)]
#[case("a b c", "a …", true)]
#[case("a b c", "a b", false)]
#[case("a b c", "… b", false)]
#[case("a b c", "c … a", false)]
fn a_line_is_compared_but_for_what_is_left_out(
    #[case] line: &str,
    #[case] wanted: &str,
    #[case] fits: bool,
) {
    assert_eq!(is_as_wanted(line, wanted), fits);
}

#[test]
fn lines_are_wanted_in_their_order() {
    let wanted = ["b".to_owned(), "…".to_owned(), "a".to_owned()];
    assert_eq!(missing("b\nx\na\n", &wanted), None);
    assert_eq!(missing("a\nb\n", &wanted), Some(&wanted[2]));
}
