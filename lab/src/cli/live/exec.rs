//! `hoplab exec`: a command in a pod of a running lab.

use std::{
    os::unix::process::ExitStatusExt,
    process::{Command, ExitCode},
    str::FromStr,
};

use hoplab_proxies::record::Role;

use super::{Outcome, name};
use crate::{
    failure::Failure,
    live::{self, RunningLab},
};

#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  hoplab exec reviews-v1 -- curl -s http://ratings:9080/
  hoplab exec reviews-v1 --as root -- iptables-nft -t nat -L -v
  hoplab exec node -- ip neigh

Ends with the command's own exit code, 128 and the number of the signal that ended it, or 2 to 4 when it could not \
be started.")]
pub(in crate::cli) struct Args {
    #[command(flatten)]
    place: Place,
    /// The command and its arguments
    #[arg(last = true, required = true, value_name = "ARGV")]
    argv: Vec<String>,
}

// In which pod, and as whom.
#[derive(clap::Args)]
pub(super) struct Place {
    /// Name of the pod, or `node`
    pub pod: String,
    /// As whom: app, proxy, root or UID:GID [default: the app's user, root where there is none]
    #[arg(long = "as", value_name = "WHO")]
    who: Option<Who>,
    /// Name of the lab, not needed when only one is up
    #[arg(long, value_parser = name)]
    lab: Option<String>,
}

/// Who a command runs as.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Who {
    Role(Role),
    Ids(u32, u32),
}

impl FromStr for Who {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let ids = || {
            let (uid, gid) = text.split_once(':')?;
            Some(Self::Ids(uid.parse().ok()?, gid.parse().ok()?))
        };
        match text {
            "app" => Ok(Self::Role(Role::App)),
            "proxy" => Ok(Self::Role(Role::Proxy)),
            "root" => Ok(Self::Ids(0, 0)),
            _ => ids().ok_or_else(|| "app, proxy, root or UID:GID".to_owned()),
        }
    }
}

impl Place {
    pub fn find(&self) -> Result<(RunningLab, (u32, u32)), Failure> {
        let lab = live::find(self.lab.as_deref())?;
        let owner = match self.who {
            Some(Who::Ids(uid, gid)) => (uid, gid),
            Some(Who::Role(role)) => lab.owner_in(&self.pod, Some(role))?,
            None => lab.owner_in(&self.pod, None)?,
        };
        Ok((lab, owner))
    }

    /// What a command there finds in its environment.
    pub fn environment(&self, command: &mut Command, lab: &RunningLab, (uid, _): (u32, u32)) {
        command.env("HOPLAB_LAB", lab.name());
        command.env("HOPLAB_POD", &self.pod);
        if uid != 0 {
            // The caller's own is not for this user to read.
            command.env("HOME", "/");
        }
    }
}

pub(super) fn run(args: &Args) -> Outcome {
    let (lab, owner) = args.place.find()?;
    let mut command = Command::new(&args.argv[0]);
    command.args(&args.argv[1..]);
    args.place.environment(&mut command, &lab, owner);
    ended(&lab, &args.place, owner, command)
}

pub(super) fn ended(
    lab: &RunningLab,
    place: &Place,
    owner: (u32, u32),
    command: Command,
) -> Outcome {
    let status = live::run_in(lab, &place.pod, owner, command)?;
    let code = status.code().or(status.signal().map(|signal| 128 + signal));
    // A code has eight bits.
    let code = code.and_then(|code| u8::try_from(code).ok());
    Ok(ExitCode::from(code.unwrap_or(u8::MAX)))
}
