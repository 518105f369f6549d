//! `hoplab shell`: a person in a pod of a running lab, with a prompt that says where and as whom, and with commands about
//! the pod.

pub(super) mod ask;
pub(super) mod desk;

use std::{
    ffi::OsString,
    fs::File,
    io::{self, BufRead, BufReader, Write},
    os::{
        fd::{AsRawFd, OwnedFd},
        unix::process::CommandExt,
    },
    path::PathBuf,
    process::{Child, Command, Stdio},
};

use nix::{
    fcntl::{FcntlArg, FdFlag, fcntl},
    sys::memfd::{MFdFlags, memfd_create},
};

use super::{
    Outcome,
    exec::{Place, ended},
};
use crate::{
    failure::{Class, Failure},
    live::RunningLab,
};

#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  hoplab shell reviews-v1
  hoplab shell reviews-v1 --as proxy     what uid 1337 sends is not redirected

The shell is $SHELL. The prompt shows lab, pod and user: the user decides what is intercepted. Names of services and \
pods resolve there. It ends when the lab goes down. Beside your own tools there are:
  nat        the rules whose counters moved since the last call
  ct         the connections that conntrack knows
  why URL    explain a connection from here, as this user: why http://ratings:9080/
  hops       the last connections of the pod's app and proxy")]
pub(in crate::cli) struct Args {
    #[command(flatten)]
    place: Place,
}

pub(super) fn run(args: &Args) -> Outcome {
    let (lab, owner) = args.place.find()?;
    let shell = std::env::var("SHELL").unwrap_or_else(|_| "/bin/sh".to_owned());
    let prompt = format!("[{}/{} uid={}]", lab.name(), args.place.pod, owner.0);
    let mut command = Command::new(&shell);
    args.place.environment(&mut command, &lab, owner);
    let desk = match Desk::open(&lab, &args.place.pod, owner) {
        Ok(desk) => Some(desk),
        Err(error) => {
            anstream::eprintln!("note: nat, ct, why and hops are not to be had: {error}");
            None
        }
    };
    let tools = desk.as_ref().map(|it| it.tools(&mut command));
    // Bash takes a prompt from its own files only; others from the environment, unless theirs say otherwise.
    let rcfile = match shell.ends_with("/bash") {
        true => Some(rcfile(&prompt, tools.as_ref()).map_err(|error| {
            Failure::new(Class::Machine, "could not write the shell's prompt")
                .cause(error.to_string())
        })?),
        false => None,
    };
    if let Some(file) = &rcfile {
        command.arg("--rcfile");
        command.arg(format!("/dev/fd/{}", file.as_raw_fd()));
    }
    command.arg("-i").env("PS1", format!("{prompt} $ "));
    ended(&lab, &args.place, owner, command)
}

/// A file without a name, which the shell inherits.
fn rcfile(prompt: &str, tools: Option<&PathBuf>) -> io::Result<OwnedFd> {
    let mut file = File::from(memfd_create("hoplab-prompt", MFdFlags::empty())?);
    writeln!(
        file,
        "[ -r ~/.bashrc ] && . ~/.bashrc\nPS1='{prompt} \\w\\$ '"
    )?;
    if let Some(tools) = tools {
        // Whatever that file made of it.
        writeln!(file, "PATH='{}':$PATH", tools.display())?;
    }
    Ok(file.into())
}

/// A process outside of the pod that answers what is asked from inside; it ends with this one.
struct Desk {
    /// Its input, whose end it waits for, is held by this.
    _process: Child,
    /// Where its socket and the commands are, as the pod sees it.
    dir: PathBuf,
    /// This very program, for the commands: its path need not be one that the user may follow.
    program: File,
}

impl Desk {
    fn open(lab: &RunningLab, pod: &str, (uid, gid): (u32, u32)) -> io::Result<Self> {
        let mut process = Command::new("/proc/self/exe")
            .args(["__desk", lab.name(), pod, &format!("{uid}:{gid}")])
            // Keys of the terminal are for the shell.
            .process_group(0)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let said = process.stdout.take().map(BufReader::new);
        let mut dir = String::new();
        if let Some(mut said) = said {
            said.read_line(&mut dir)?;
        }
        let dir = PathBuf::from(dir.trim_end());
        if dir.as_os_str().is_empty() {
            let _ = process.wait();
            return Err(io::Error::other("what answers them could not be started"));
        }
        let program = File::open("/proc/self/exe")?;
        // The commands inherit it.
        fcntl(&program, FcntlArg::F_SETFD(FdFlag::empty()))?;
        Ok(Self {
            _process: process,
            dir,
            program,
        })
    }

    /// Lets a command find them; where they are.
    fn tools(&self, command: &mut Command) -> PathBuf {
        let mut path = OsString::from(&self.dir);
        if let Some(usual) = std::env::var_os("PATH") {
            path.push(":");
            path.push(usual);
        }
        let program = format!("/proc/self/fd/{}", self.program.as_raw_fd());
        command.env("PATH", path);
        command.env(ask::PROGRAM, program);
        command.env(ask::SOCKET, self.dir.join(desk::SOCKET));
        self.dir.clone()
    }
}
