//! What answers the commands of a shell in a pod: a process outside of the pod, for it takes a root to look at rules and
//! the lab's own driver to send. It answers the four questions of [`super::ask`], about its own pod, and nothing else.

use std::{
    fs,
    io::{self, BufRead, BufReader, Read, Write},
    os::unix::{
        fs::PermissionsExt,
        net::{UnixListener, UnixStream},
    },
    path::{Path, PathBuf},
    process::{Command, ExitCode},
    thread,
};

use super::ask::{Answer, Asked, PROGRAM, Question};
use crate::{
    cli::{Outcome, live::name, stdout::say},
    failure::{Class, Failure},
    live::{self, RunningLab},
    sandbox::RUN_DIR,
};

/// Name of its socket.
pub(super) const SOCKET: &str = "desk.sock";

#[derive(clap::Args)]
pub(in crate::cli) struct Args {
    #[arg(value_parser = name)]
    lab: String,
    pod: String,
    /// UID:GID of the shell
    owner: String,
}

pub(in crate::cli) fn run(args: &Args) -> Outcome {
    let lab = live::find(Some(&args.lab))?;
    let failed = |error: io::Error| {
        Failure::new(
            Class::Machine,
            "could not make a place for the commands of the shell",
        )
        .cause(error.to_string())
    };
    let inside = PathBuf::from(RUN_DIR).join(format!("shell-{}", std::process::id()));
    let root = PathBuf::from(format!("/proc/{}/root", lab.pid()));
    let dir = root.join(inside.strip_prefix("/").unwrap_or(&inside));
    let listener = place(&dir).map_err(failed)?;
    let about = About {
        sender: sender(&lab, args)?,
        lab: args.lab.clone(),
        pod: args.pod.clone(),
    };
    thread::spawn(move || {
        // The first `nat` says what moved since the shell began.
        let nat = Question {
            asked: Asked::Nat,
            target: None,
            colour: false,
        };
        let _ = command(&nat, &about).and_then(|mut it| it.output());
        for stream in listener.incoming().flatten() {
            // One at a time: `nat` begins where the one before ended.
            let _ = attend(&stream, &about);
        }
    });
    say(&format!("{}\n", inside.display()))?;
    // Its end is that of the shell.
    let _ = io::stdin().read_to_end(&mut Vec::new());
    let _ = fs::remove_dir_all(&dir);
    Ok(ExitCode::SUCCESS)
}

/// Who asks.
struct About {
    lab: String,
    pod: String,
    /// As `explain` names it: `reviews-v1/app`.
    sender: String,
}

/// The shell's user by the role it has in the pod, if it has one.
fn sender(lab: &RunningLab, args: &Args) -> Result<String, Failure> {
    if args.pod == "node" {
        return Ok("node".to_owned());
    }
    let processes = lab.processes_in(&args.pod)?;
    let same = processes
        .iter()
        .map(|it| it.came_up)
        .find(|it| format!("{}:{}", it.owner.uid, it.owner.gid) == args.owner);
    let who = same.map_or(args.owner.as_str(), |it| it.role.name());
    Ok(format!("{}/{who}", args.pod))
}

/// A directory with the commands and the socket, for every user of the lab.
fn place(dir: &Path) -> io::Result<UnixListener> {
    let open_to_all = |path: &Path| fs::set_permissions(path, fs::Permissions::from_mode(0o755));
    fs::create_dir(dir)?;
    open_to_all(dir)?;
    for command in ["nat", "ct", "why", "hops"] {
        let path = dir.join(command);
        let text = format!("#!/bin/sh\nexec \"${PROGRAM}\" __ask {command} \"$@\"\n");
        fs::write(&path, text)?;
        open_to_all(&path)?;
    }
    let socket = dir.join(SOCKET);
    let listener = UnixListener::bind(&socket)?;
    fs::set_permissions(&socket, fs::Permissions::from_mode(0o666))?;
    Ok(listener)
}

fn attend(mut stream: &UnixStream, about: &About) -> io::Result<()> {
    let mut line = String::new();
    BufReader::new(stream).read_line(&mut line)?;
    let question: Question = serde_json::from_str(&line)?;
    let output = command(&question, about)?.output()?;
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let answer = Answer {
        out: text(&output.stdout),
        words: text(&output.stderr),
        code: output
            .status
            .code()
            .and_then(|it| u8::try_from(it).ok())
            .unwrap_or(u8::MAX),
    };
    serde_json::to_writer(stream, &answer)?;
    stream.write_all(b"\n")
}

/// The verb that answers. What comes from the pod is only ever a target and a path, behind `--`.
fn command(question: &Question, about: &About) -> io::Result<Command> {
    let mut command = Command::new("/proc/self/exe");
    let colour = if question.colour { "always" } else { "never" };
    command.args(["--color", colour]);
    match (question.asked, &question.target) {
        (Asked::Nat, _) => command.args([
            "counters",
            "--since-last",
            "--lab",
            &about.lab,
            "--",
            &about.pod,
        ]),
        (Asked::Ct, _) => command.args(["conntrack", "--lab", &about.lab, "--", &about.pod]),
        (Asked::Why, Some((target, path))) => {
            let path = format!("--path={path}");
            command.args([
                "explain",
                "--lab",
                &about.lab,
                &path,
                "--",
                &about.sender,
                target,
            ])
        }
        (Asked::Why | Asked::Hops, _) => return Err(io::ErrorKind::InvalidInput.into()),
    };
    Ok(command)
}
