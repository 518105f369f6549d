//! `hoplab rules edit`: the rules of a pod of a running lab in a person's editor, and what that would change, before it
//! does.

use std::{
    env, fs,
    io::{IsTerminal, Write as _},
    os::unix::fs::{DirBuilderExt, OpenOptionsExt},
    path::{Path, PathBuf},
    process::{Command, ExitCode},
};

use super::{diff, to_pod};
use crate::{
    cli::{
        Outcome,
        live::pod::PodOfLab,
        source::{Source, Text, complaint},
        stdout::say,
    },
    failure::{Class, Failure},
    lab_file::FIRST_NAMED_ID,
    live::RunningLab,
    netfilter::BackendChoice,
    rules::{self, Family, OwnerNames, RuleSet, Written},
};

#[derive(clap::Args)]
#[command(after_help = "\
Opens the rules of the pod in $VISUAL or $EDITOR (else vi). What was edited is read; a mistake is shown with its line and \
column, and goes back to the editor. Then flows that could tell the old rules from the new ones are played under both, in \
throwaway namespaces, and shown where they are treated differently, as by `hoplab rules diff`. Only then, and when you say \
so, the pod's rules are replaced, all at once.

Without a terminal nobody is asked: an editor that needs none is run if it is set, and --yes applies what it wrote.

Examples:
  hoplab rules edit reviews-v1
  EDITOR='sed -i /15021/d' hoplab rules edit reviews-v1 --yes

Exit codes: 0 applied, or nothing was changed; 1 not applied; 2 what was edited is wrong, it is kept in a file.")]
pub(super) struct Args {
    #[command(flatten)]
    place: PodOfLab,
    /// Apply what was edited without asking
    #[arg(short, long)]
    yes: bool,
    /// Do not play flows under both rule sets first
    #[arg(long)]
    no_diff: bool,
}

/// What a person wants next.
enum Next {
    Again,
    Apply,
    Leave,
}

pub(super) fn run(args: &Args) -> Outcome {
    let running = args.place.lab.find()?;
    let pod = &args.place.pod;
    let (held, nft) = held(&running, pod)?;
    let editor = editor()?;
    let dir = Scratch::new()?;
    let (old, new) = (dir.path("before.rules"), dir.path(&format!("{pod}.rules")));
    dir.write(&old, &held)?;
    dir.write(&new, &held)?;
    loop {
        open(&editor, &new)?;
        let text = fs::read_to_string(&new).map_err(|e| failed("read", &new, &e))?;
        if text == held {
            anstream::eprintln!("nothing was edited, and nothing is changed");
            return Ok(ExitCode::SUCCESS);
        }
        let read = read(&text, &new, nft).and_then(|edited| {
            if !args.no_diff {
                show_difference(&running, &old, &new)?;
            }
            Ok(edited)
        });
        let next = match &read {
            Ok(_) if args.yes => Next::Apply,
            Ok(_) => ask("Apply these rules? [y]es, [e]dit again, [n]o", "y")?,
            Err(failure) => {
                anstream::eprintln!("error: {failure}");
                match ask("[e]dit again, or [n]o, leave the pod as it is", "")? {
                    Next::Apply => Next::Again,
                    next => next,
                }
            }
        };
        match (next, read) {
            (Next::Again, _) => {}
            (Next::Apply, Ok((rules, names))) => {
                let from = "edited by hand".to_owned();
                match to_pod::replace(&running, pod, &rules, &names, from) {
                    Ok(replaced) => {
                        say(&replaced.shown(false)?)?;
                        return Ok(ExitCode::SUCCESS);
                    }
                    // The kernel finds mistakes, too.
                    Err(failure) if failure.class == Class::Input => {
                        anstream::eprintln!("error: {failure}");
                        if !matches!(ask("[e]dit again, or [n]o", "")?, Next::Again) {
                            return dir.keep(&new, Class::Input.exit_code());
                        }
                    }
                    Err(failure) => {
                        dir.keep(&new, 0)?;
                        return Err(failure);
                    }
                }
            }
            (_, Ok(_)) => return dir.keep(&new, 1),
            (_, Err(_)) => return dir.keep(&new, Class::Input.exit_code()),
        }
    }
}

/// The rules of a pod as a text to edit: without counters, and with what says which family they are of. And whether they
/// are nft's own.
fn held(running: &RunningLab, pod: &str) -> Result<(String, bool), Failure> {
    let lab = running.attach_or_wait(|| crate::cli::live::wait_for_turn(running))?;
    // Names the pod that was meant.
    running.processes_in(pod)?;
    let up = lab.came_up().pods.iter().find(|it| it.name == pod);
    let held = up.map(|it| it.rules.clone()).unwrap_or_default();
    let mut out = format!(
        "# Rules of pod {pod} of lab {}. What begins with # does not count; without a change nothing happens.\n",
        running.name()
    );
    if held.is_empty() {
        let what = format!("pod `{pod}` has no rules to edit");
        return Err(Failure::new(Class::Input, what).hint("pods with a sidecar have some"));
    }
    let of = |family| held.rules(family, "the rules").map_err(complaint);
    let (ipv4, ipv6) = (of(Family::V4)?, of(Family::V6)?);
    if held.is_nft() {
        let sets: Vec<&RuleSet> = ipv4.iter().chain(&ipv6).collect();
        out += "\n# for nft -f, in place of all that is there\n";
        out += &rules::to_nft(&sets).map_err(|why| {
            let what = format!("the rules of pod `{pod}` can't be written for an editor");
            Failure::new(Class::Input, what).cause(why)
        })?;
        return Ok((out, true));
    }
    for (set, tool) in [(ipv4, "iptables"), (ipv6, "ip6tables")] {
        if let Some(set) = set {
            out += &format!("\n# {tool}-save\n");
            out += &rules::to_save(&set.without_counters());
        }
    }
    Ok((out, false))
}

/// What was edited, or the first complaint about it. `nft`: whether the pod's rules are nft's own.
fn read(text: &str, path: &Path, nft: bool) -> Result<(Written, OwnerNames), Failure> {
    let text = Text {
        origin: path.display().to_string(),
        text: text.to_owned(),
        profile: None,
    };
    let sets: Vec<RuleSet> = text.read(Family::V4)?.rules().map_err(complaint)?;
    let names = OwnerNames::of(&sets, FIRST_NAMED_ID);
    if nft {
        return Ok((Written::Nft { nft: text.text }, names));
    }
    let texts = sets.iter().map(|it| (it.family, rules::to_restore(it)));
    Ok((Written::Iptables(texts.collect()), names))
}

fn show_difference(running: &RunningLab, old: &Path, new: &Path) -> Result<(), Failure> {
    anstream::eprintln!("playing flows under the old and the new rules ...");
    let backend = running.state().machine.backend.backend.iptables();
    let backend = backend.map_or(BackendChoice::Auto, BackendChoice::Fixed);
    let source = |path: &Path| Source::File(path.to_path_buf());
    let (text, _) = diff::between(&source(old), &source(new), backend)?;
    say(&text)
}

/// The command line of the editor.
fn editor() -> Result<String, Failure> {
    let of = |name| env::var(name).ok().filter(|it| !it.trim().is_empty());
    match of("VISUAL").or_else(|| of("EDITOR")) {
        Some(editor) => Ok(editor),
        None if std::io::stdin().is_terminal() => Ok("vi".to_owned()),
        None => Err(Failure::new(Class::Input, "there is no terminal to edit rules on").hint(
            "name an editor that needs none with EDITOR, or give a file: hoplab rules apply --to POD --rules FILE",
        )),
    }
}

/// As git and others run it: the variable is a command of the shell, and may have options.
fn open(editor: &str, path: &Path) -> Result<(), Failure> {
    let script = format!("{editor} \"$@\"");
    let status = Command::new("sh")
        .args(["-c", &script, editor])
        .arg(path)
        .status();
    match status {
        Ok(status) if status.success() => Ok(()),
        Ok(status) => {
            let what = format!("the editor `{editor}` did not end well, and nothing is changed");
            Err(Failure::new(Class::Input, what).cause(status.to_string()))
        }
        Err(error) => Err(
            Failure::new(Class::Machine, format!("could not run `{editor}`"))
                .cause(error.to_string()),
        ),
    }
}

/// Asks on the terminal; without one the answer is to leave it. `yes` is what applies.
fn ask(question: &str, yes: &str) -> Result<Next, Failure> {
    if !std::io::stdin().is_terminal() {
        if !yes.is_empty() {
            anstream::eprintln!("not applied: there is no terminal to ask on; --yes applies it");
        }
        return Ok(Next::Leave);
    }
    loop {
        anstream::eprint!("{question}: ");
        let _ = std::io::stderr().flush();
        let mut line = String::new();
        let read = std::io::stdin().read_line(&mut line).map_err(|e| {
            Failure::new(Class::Machine, "could not read the answer").cause(e.to_string())
        })?;
        match line.trim().chars().next() {
            Some('e' | 'E') => return Ok(Next::Again),
            Some('n' | 'N' | 'q') => return Ok(Next::Leave),
            Some('y' | 'Y') if !yes.is_empty() => return Ok(Next::Apply),
            // The end of the input.
            None if read == 0 => return Ok(Next::Leave),
            _ => {}
        }
    }
}

fn failed(what: &str, path: &Path, error: &std::io::Error) -> Failure {
    let what = format!("could not {what} {}", path.display());
    Failure::new(Class::Machine, what).cause(error.to_string())
}

/// A directory of our own, gone at the end unless what was edited is worth keeping.
struct Scratch(PathBuf);

impl Scratch {
    fn new() -> Result<Self, Failure> {
        let dir = env::temp_dir().join(format!("hoplab-edit-{}", std::process::id()));
        let made = fs::DirBuilder::new().mode(0o700).create(&dir);
        made.map_err(|e| failed("make the directory", &dir, &e))?;
        Ok(Self(dir))
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    fn write(&self, path: &Path, text: &str) -> Result<(), Failure> {
        let mut options = fs::File::options();
        let file = options.write(true).create_new(true).mode(0o600).open(path);
        file.and_then(|mut file| file.write_all(text.as_bytes()))
            .map_err(|e| failed("write", path, &e))
    }

    /// Leaves what was edited where it is, and says so.
    fn keep(self, edited: &Path, code: u8) -> Outcome {
        anstream::eprintln!("what you edited is kept in {}", edited.display());
        let _ = fs::remove_file(self.path("before.rules"));
        std::mem::forget(self);
        Ok(ExitCode::from(code))
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}
