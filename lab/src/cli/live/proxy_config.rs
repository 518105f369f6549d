//! `hoplab proxy-config`: what a running proxy is asked and told over its admin port, spelled as istioctl spells it.

use std::{
    io::{self, Read, Write},
    net::{Ipv4Addr, TcpStream},
    process::ExitCode,
    time::Duration,
};

use hoplab_proxies::record::Role;
use nix::unistd::{Gid, Uid, setfsgid, setfsuid};

use super::{Outcome, pod::PodOfLab};
use crate::{
    cli::stdout::say,
    failure::{Class, Failure},
    ports,
};

/// Time for an answer.
const ANSWER: Duration = Duration::from_secs(5);

#[derive(clap::Args)]
pub(in crate::cli) struct Args {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(clap::Subcommand)]
enum Verb {
    /// Say or change how much the proxy of a pod writes to its log
    Log(LogArgs),
}

#[derive(clap::Args)]
#[command(after_help = "\
Asks the proxy's admin port (15000) as the proxy's user, from inside the pod, as istioctl does: the pod's rules see and \
count that connection.

Examples:
  hoplab proxy-config log reviews-v1                   the level it has
  hoplab proxy-config log reviews-v1 --level trace
  hoplab logs reviews-v1/proxy -f                      what it writes")]
struct LogArgs {
    #[command(flatten)]
    place: PodOfLab,
    /// off, error, warning, info, debug or trace
    #[arg(long, value_parser = level)]
    level: Option<&'static str>,
}

/// A level by its name in Envoy, as the stub proxy calls it. (That one has none for each component, and no `critical`.)
fn level(text: &str) -> Result<&'static str, String> {
    const LEVELS: [(&str, &str); 7] = [
        ("off", "off"),
        ("error", "error"),
        ("warning", "warn"),
        ("warn", "warn"),
        ("info", "info"),
        ("debug", "debug"),
        ("trace", "trace"),
    ];
    let found = LEVELS.iter().find(|(name, _)| *name == text);
    found.map(|(_, level)| *level).ok_or_else(|| {
        "off, error, warning, info, debug or trace; the stub proxy has one level, none for each component".to_owned()
    })
}

pub(super) fn run(args: &Args) -> Outcome {
    let Verb::Log(args) = &args.verb;
    let lab = args.place.find()?;
    let pod = &args.place.pod;
    let owner = lab.owner_in(pod, Some(Role::Proxy)).map_err(|failure| {
        match lab.processes_in(pod) {
            // Its hint is about users.
            Ok(_) => Failure::new(
                Class::Input,
                format!("pod `{pod}` of lab `{}` has no proxy that runs", lab.name()),
            ),
            Err(_) => failure,
        }
    })?;
    let namespace = lab.namespace_of(pod)?;
    // While there is one thread.
    namespace.enter_user_namespace()?;
    let request = match args.level {
        None => "GET /logging".to_owned(),
        Some(level) => format!("POST /logging?level={level}"),
    };
    let answer = namespace.visit(move || ask(owner, &request))?;
    let answer = answer.map_err(|error| {
        let what = format!(
            "the proxy of pod `{pod}` does not answer on its admin port {}",
            ports::ADMIN
        );
        Failure::new(Class::State, what)
            .cause(error.to_string())
            .hint("hoplab status says whether it runs; as ztunnel it has no admin port")
    })?;
    say(&answer)?;
    Ok(ExitCode::SUCCESS)
}

/// On a thread that ends with it: the socket belongs to this user.
fn ask((uid, gid): (u32, u32), request: &str) -> io::Result<String> {
    setfsgid(Gid::from_raw(gid));
    setfsuid(Uid::from_raw(uid));
    let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, ports::ADMIN))?;
    stream.set_read_timeout(Some(ANSWER))?;
    let head = "Host: localhost\r\nConnection: close\r\nContent-Length: 0\r\n";
    write!(stream, "{request} HTTP/1.1\r\n{head}\r\n")?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    let (head, body) = answer
        .split_once("\r\n\r\n")
        .ok_or(io::ErrorKind::UnexpectedEof)?;
    match head.lines().next().is_some_and(|it| it.contains(" 200 ")) {
        true => Ok(body.to_owned()),
        false => Err(io::Error::other(format!(
            "{}: {}",
            head.lines().next().unwrap_or_default(),
            body.trim()
        ))),
    }
}
