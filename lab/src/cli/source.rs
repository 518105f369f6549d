//! Where a verb gets rules from: what a person names on the command line, as text with its origin.

use std::{collections::BTreeMap, fmt, fs, io::Read as _, path::PathBuf, str::FromStr};

use crate::{
    diagnostic::Diagnostic,
    failure::{Class, Failure},
    profiles::Profile,
    rules::{self, Document, Family, Holder},
};

mod git;
#[cfg(all(feature = "kernel", target_os = "linux"))]
mod given;
#[cfg(all(feature = "kernel", target_os = "linux"))]
mod process;
mod profile;

#[cfg(all(feature = "kernel", target_os = "linux"))]
pub(super) use given::{Given, given};
pub(super) use profile::find as find_profile;

/// What the help of a verb says of its SOURCE.
pub(super) const HELP: &str = "\
Rules in any form a person has: a restore file, iptables-save, iptables -S or -L -v, an istio-init log, \
nft list ruleset as text or JSON; `-` is standard input; `pid:4711` reads the rules in the network namespace of a \
process, `git:REV:PATH` those of a file in a revision, `profile:NAME` those of `hoplab profiles`, where NAME alone \
does too if no file is called so";

/// Rules as a person names them. A file called `-` is `./-`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Source {
    /// `-`
    StandardInput,
    /// `pid:4711`, or `pid:4711/iptables-nft` for those that one of several holds.
    Process {
        /// Its process id.
        pid: u32,
        /// Only what this one holds.
        only: Option<Holder>,
    },
    /// `git:HEAD~1:rules/sidecar.rules`
    Revision {
        /// As `git rev-parse` takes it.
        revision: String,
        /// From the root of the repository, or from here if it starts with `./`.
        path: String,
    },
    /// `profile:kuma`
    Profile(String),
    /// A path; where there is no such file, the name of a profile.
    File(PathBuf),
}

impl FromStr for Source {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text == "-" {
            return Ok(Self::StandardInput);
        }
        if let Some(name) = text.strip_prefix("profile:") {
            return Ok(Self::Profile(name.into()));
        }
        if let Some(object) = text.strip_prefix("git:") {
            return git::parse(object).ok_or_else(|| {
                format!("expected `git:REVISION:PATH`; a file of this name is `./{text}`")
            });
        }
        let Some(process) = text.strip_prefix("pid:") else {
            return Ok(Self::File(text.into()));
        };
        let (pid, only) = match process.split_once('/') {
            Some((pid, holder)) => (pid, Some(holder.parse()?)),
            None => (process, None),
        };
        let pid = pid
            .parse()
            .map_err(|_| format!("`{pid}` is no process id; a file of this name is `./{text}`"))?;
        Ok(Self::Process { pid, only })
    }
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::StandardInput => f.write_str("standard input"),
            Self::Process { pid, only: None } => write!(f, "pid:{pid}"),
            Self::Process {
                pid,
                only: Some(only),
            } => write!(f, "pid:{pid}/{only}"),
            Self::Revision { revision, path } => write!(f, "git:{revision}:{path}"),
            Self::Profile(name) => write!(f, "profile:{name}"),
            Self::File(path) => path.display().fmt(f),
        }
    }
}

/// A text with rules.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Text {
    /// What it is called in complaints: a path, or a process and what holds its rules.
    pub origin: String,
    /// The text, in any form [`rules::read`] takes.
    pub text: String,
    /// The profile it is the text of.
    pub profile: Option<Box<Profile>>,
}

impl Text {
    /// The rules in it. `family` is taken where the text itself does not tell. What of the text is set aside, and which
    /// of several dumps of a table is taken, is said on standard error.
    ///
    /// # Errors
    /// The first complaint about the text as a whole: no rules, or something else among them.
    pub fn read(&self, family: Family) -> Result<Document, Failure> {
        let document = rules::read(&self.text, &self.origin, family).map_err(complaint)?;
        for remark in &document.remarks {
            anstream::eprintln!("note: {remark}");
        }
        self.say_repeated(&document);
        Ok(document)
    }

    fn say_repeated(&self, document: &Document) {
        let mut places: BTreeMap<_, Vec<String>> = BTreeMap::new();
        for dump in &document.dumps {
            for table in dump.rules.iter().flat_map(|rules| rules.tables.keys()) {
                let lines = places.entry((dump.family, *table)).or_default();
                lines.push(dump.line.to_string());
            }
        }
        for ((family, table), lines) in places.iter().filter(|(_, lines)| lines.len() > 1) {
            anstream::eprintln!(
                "note: {} holds {family} {table} {} times, from the lines {}; the last one counts",
                self.origin,
                lines.len(),
                lines.join(", ")
            );
        }
    }
}

/// A complaint about a text, for the command line.
pub(super) fn complaint(diagnostic: Diagnostic) -> Failure {
    Failure::new(Class::Input, diagnostic.to_string())
}

impl Source {
    /// Every text of the source, each to be read by itself: a process has one for each holder of rules, and none
    /// where there are no rules; a file has one.
    ///
    /// # Errors
    /// It can't be read, or is not text.
    pub fn open(&self) -> Result<Vec<Text>, Failure> {
        let text = match self {
            Self::Process { pid, only } => return self.of_process(*pid, *only),
            Self::Profile(name) => return Ok(vec![Text::of_profile(profile::find(name)?)]),
            Self::Revision { revision, path } => git::show(revision, path)?,
            Self::StandardInput => {
                let mut text = String::new();
                let read = std::io::stdin().read_to_string(&mut text);
                self.readable(read.map(|_| text))?
            }
            Self::File(path) => match profile::meant_by(path)? {
                Some(profile) => return Ok(vec![Text::of_profile(profile)]),
                None => self.readable(fs::read_to_string(path))?,
            },
        };
        let origin = self.to_string();
        Ok(vec![Text {
            origin,
            text,
            profile: None,
        }])
    }

    fn readable(&self, text: std::io::Result<String>) -> Result<String, Failure> {
        text.map_err(|error| {
            Failure::new(Class::Input, format!("could not read {self}")).cause(error.to_string())
        })
    }

    #[cfg(not(all(feature = "kernel", target_os = "linux")))]
    fn of_process(&self, _: u32, _: Option<Holder>) -> Result<Vec<Text>, Failure> {
        let what = format!("this hoplab can't read {self}");
        Err(Failure::new(Class::Machine, what)
            .cause("it was built without what reads namespaces, which is for Linux")
            .hint("on the pod's node: nsenter -t PID -n iptables-save -c, and read that"))
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::{Holder, Source};

    #[rstest]
    #[case::dash("-", Source::StandardInput)]
    #[case::path("rules.txt", Source::File("rules.txt".into()))]
    #[case::a_file_called_dash("./-", Source::File("./-".into()))]
    #[case::process("pid:4711", Source::Process { pid: 4711, only: None })]
    #[case::one_holder(
        "pid:4711/iptables-nft",
        Source::Process { pid: 4711, only: Some(Holder::IptablesNft) }
    )]
    #[case::a_file_called_pid("./pid:4711", Source::File("./pid:4711".into()))]
    #[case::profile("profile:kuma", Source::Profile("kuma".into()))]
    #[case::a_name_alone("kuma", Source::File("kuma".into()))]
    #[case::revision(
        "git:HEAD~1:rules/a:b.rules",
        Source::Revision { revision: "HEAD~1".into(), path: "rules/a:b.rules".into() }
    )]
    #[case::a_file_called_git("./git:HEAD:a", Source::File("./git:HEAD:a".into()))]
    fn an_argument_names_its_source(#[case] argument: &str, #[case] source: Source) {
        assert_eq!(argument.parse(), Ok(source));
    }

    #[rstest]
    #[case::no_path("git:HEAD")]
    #[case::no_revision("git::sidecar.rules")]
    #[case::an_option("git:--textconv:sidecar.rules")]
    #[case::an_empty_path("git:HEAD:")]
    fn a_revision_is_named_with_a_path(#[case] argument: &str) {
        let error = argument.parse::<Source>().expect_err("it is refused");
        assert_eq!(
            error,
            format!("expected `git:REVISION:PATH`; a file of this name is `./{argument}`")
        );
    }

    #[rstest]
    #[case("pid:", "`` is no process id")]
    #[case("pid:-1", "`-1` is no process id")]
    #[case(
        "pid:self",
        "`self` is no process id; a file of this name is `./pid:self`"
    )]
    #[case(
        "pid:1/ebtables",
        "`ebtables` holds no rules: iptables-legacy, iptables-nft or nft"
    )]
    fn a_process_is_named_by_its_id(#[case] argument: &str, #[case] complaint: &str) {
        let error = argument.parse::<Source>().expect_err("it is refused");
        assert!(error.starts_with(complaint), "{error}");
    }
}
