//! `nat`, `ct`, `why` and `hops`, as they run in a shell in a pod: they ask the desk outside, which may look at rules, and
//! print its answer. The connections of `hops` are in logs that the pod can read.

use std::{
    fs,
    io::{self, BufRead, BufReader, IsTerminal, Write},
    net::Shutdown,
    os::unix::net::UnixStream,
    process::ExitCode,
};

use serde::{Deserialize, Serialize};

use crate::{
    cli::{Outcome, stdout::say},
    failure::{Class, Failure},
    sandbox::log_path,
};

/// Names this program for the commands.
pub(super) const PROGRAM: &str = "HOPLAB_PROGRAM";
/// Names the socket of the desk.
pub(super) const SOCKET: &str = "HOPLAB_DESK";

/// Connections that `hops` shows.
const LAST: usize = 20;

#[derive(clap::Args)]
pub(in crate::cli) struct Args {
    command: Asked,
    url: Option<String>,
}

/// What can be asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum, Serialize, Deserialize)]
pub(super) enum Asked {
    Nat,
    Ct,
    Why,
    Hops,
}

/// A question to the desk: one line of JSON.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Question {
    pub asked: Asked,
    /// Of `why`: `host:port` and path.
    pub target: Option<(String, String)>,
    /// The answer goes to a terminal.
    pub colour: bool,
}

/// Its answer, likewise.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Answer {
    pub out: String,
    pub words: String,
    pub code: u8,
}

pub(in crate::cli) fn run(args: &Args) -> Outcome {
    let target = match (args.command, &args.url) {
        (Asked::Hops, None) => return hops(),
        (Asked::Why, Some(url)) => Some(target(url)?),
        (Asked::Why, None) => {
            return Err(
                Failure::new(Class::Input, "why needs a URL").hint("why http://ratings:9080/")
            );
        }
        (_, Some(_)) => return Err(Failure::new(Class::Input, "nat, ct and hops take no words")),
        (_, None) => None,
    };
    let question = Question {
        asked: args.command,
        target,
        colour: io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none(),
    };
    let answer = ask(&question).map_err(|error| {
        Failure::new(Class::State, "nobody answers what is asked from this shell")
            .cause(error.to_string())
            .hint("these commands work in `hoplab shell`, as long as the lab is up")
    })?;
    anstream::eprint!("{}", answer.words);
    // As it is: the desk knows about colours.
    let printed = io::stdout().write_all(answer.out.as_bytes());
    printed.or_else(|error| match error.kind() {
        io::ErrorKind::BrokenPipe => Ok(()),
        _ => Err(Failure::new(Class::State, "could not print the answer").cause(error.to_string())),
    })?;
    Ok(ExitCode::from(answer.code))
}

fn ask(question: &Question) -> io::Result<Answer> {
    let socket = std::env::var_os(SOCKET).ok_or(io::ErrorKind::NotFound)?;
    let mut stream = UnixStream::connect(socket)?;
    serde_json::to_writer(&stream, question)?;
    stream.write_all(b"\n")?;
    stream.shutdown(Shutdown::Write)?;
    let mut line = String::new();
    BufReader::new(stream).read_line(&mut line)?;
    Ok(serde_json::from_str(&line)?)
}

/// `host:port` and path of a URL as curl takes it: the port is 80 where there is none.
fn target(url: &str) -> Result<(String, String), Failure> {
    let bad = |what: &str| {
        Failure::new(Class::Input, format!("`{url}` {what}"))
            .hint("write http://HOST:PORT/PATH, HOST:PORT or dns:NAME")
    };
    if url.starts_with("dns:") {
        return Ok((url.to_owned(), "/".to_owned()));
    }
    let rest = match url.split_once("://") {
        Some(("http", rest)) => rest,
        Some(_) => return Err(bad("is not http: the lab sends plain HTTP")),
        None => url,
    };
    let (host, path) = match rest.find('/') {
        Some(at) => rest.split_at(at),
        None => (rest, "/"),
    };
    if host.is_empty() || host.starts_with(['-', ':']) {
        return Err(bad("has no host"));
    }
    // An IPv6 address has colons of its own.
    let has_port = host.rsplit_once(':').is_some_and(|(name, port)| {
        !name.is_empty()
            && port.parse::<u16>().is_ok()
            && (!name.contains(':') || name.ends_with(']'))
    });
    let host = match has_port {
        true => host.to_owned(),
        false => format!("{host}:80"),
    };
    Ok((host, path.to_owned()))
}

/// The last connections in the logs of the pod's processes, in the order of their times.
fn hops() -> Outcome {
    let pod = std::env::var("HOPLAB_POD").unwrap_or_default();
    let mut lines = Vec::new();
    for process in ["app", "proxy", "dns"] {
        let text = fs::read_to_string(log_path(&pod, process)).unwrap_or_default();
        let of = text.lines().filter_map(|it| it.split_once("  CONN "));
        lines.extend(of.map(|(time, words)| format!("{time}  {process:5}  {words}")));
    }
    // The time comes first, and is as long in every line.
    lines.sort();
    let skip = lines.len().saturating_sub(LAST);
    let shown: String = lines[skip..].iter().map(|it| format!("{it}\n")).collect();
    if shown.is_empty() {
        anstream::eprintln!("the app and the proxy of `{pod}` have had no connection");
    }
    say(&shown)?;
    Ok(ExitCode::SUCCESS)
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::target;

    #[rstest]
    #[case::whole("http://ratings:9080/ratings/0", "ratings:9080", "/ratings/0")]
    #[case::no_path("http://ratings:9080", "ratings:9080", "/")]
    #[case::no_port("http://example.org/a", "example.org:80", "/a")]
    #[case::no_scheme("reviews:9080", "reviews:9080", "/")]
    #[case::a_long_name(
        "reviews.default.svc.cluster.local:9080/",
        "reviews.default.svc.cluster.local:9080",
        "/"
    )]
    #[case::ipv6("http://[fd77::13]:9080/x", "[fd77::13]:9080", "/x")]
    #[case::ipv6_without_a_port("http://[fd77::13]/", "[fd77::13]:80", "/")]
    #[case::a_name_to_look_up("dns:ratings", "dns:ratings", "/")]
    fn a_url_is_a_target_and_a_path(#[case] url: &str, #[case] host: &str, #[case] path: &str) {
        let wanted = (host.to_owned(), path.to_owned());
        assert_eq!(target(url).expect("it is one"), wanted);
    }

    #[rstest]
    fn what_the_lab_can_not_send_is_refused(
        #[values("https://ratings:9080/", "http:///a", "--pid", "http://-v:1/")] url: &str,
    ) {
        assert!(target(url).is_err());
    }
}
