//! Lists of configurations, as text: `NAME: words of a command line`, one a line.

use super::{BadValue, Environment, FLAGS, Flag, Kind, Settings, Warning};
use crate::diagnostic::Diagnostic;

/// A configuration of `istio-iptables` with a name: variables and flags.
#[derive(Debug, Clone)]
pub struct Configuration {
    /// Name, unique in its list.
    pub name: String,
    environment: Environment,
    flags: Vec<(&'static Flag, String)>,
}

impl Configuration {
    /// Reads a list. A line is a name, a colon, and words as on a command line: `NAME=VALUE` for variables, long and
    /// short flags. `*: words` stands for what every line below begins with. `#` begins a comment.
    ///
    /// # Errors
    /// A line without a colon, a name that comes twice, a flag that `istio-iptables` does not have.
    pub fn list(text: &str, origin: &str) -> Result<Vec<Self>, Diagnostic> {
        let mut all: Vec<Self> = Vec::new();
        let mut first = String::new();
        let mut start = 0;
        for line in text.split_inclusive('\n') {
            let at = start..start + line.trim_end().len();
            start += line.len();
            if line.trim().is_empty() || line.starts_with('#') {
                continue;
            }
            let complain = |words: String| Diagnostic::at(origin, text, at.clone(), words);
            let Some((name, words)) = line.split_once(':') else {
                let words = complain("this is no configuration".to_owned());
                return Err(words.help("write a name, a colon and words as on a command line"));
            };
            if name == "*" {
                words.trim().clone_into(&mut first);
                continue;
            }
            if all.iter().any(|it| it.name == name) {
                return Err(complain(format!("`{name}` stands here twice")).help("rename one"));
            }
            all.push(Self::parse(name, &format!("{first} {words}")).map_err(complain)?);
        }
        Ok(all)
    }

    /// Reads the words of one configuration.
    ///
    /// What only the machine knows is left to it: `--ipv6` and `--dns-servers`, which Istio's goldens are made with, are
    /// dropped.
    ///
    /// # Errors
    /// A flag that `istio-iptables` does not have, or one without a value.
    pub fn parse(name: &str, words: &str) -> Result<Self, String> {
        let mut it = Self {
            name: name.to_owned(),
            environment: Environment::new(),
            flags: Vec::new(),
        };
        let mut words = words.split_whitespace();
        while let Some(word) = words.next() {
            match (word, word.split_once('=')) {
                ("--ipv6", _) => {}
                ("--dns-servers", _) => drop(words.next()),
                (_, Some((name, value))) if !name.starts_with('-') => {
                    it.environment.insert(name.to_owned(), value.to_owned());
                }
                (_, Some((name, value))) => it.flags.push((flag(name)?, value.to_owned())),
                (name, None) => {
                    let flag = flag(name)?;
                    // As pflag takes it: only the long form of a switch does without a value.
                    let value = match (flag.kind(), name.starts_with("--")) {
                        (Kind::Switch, true) => Some("true"),
                        _ => words.next(),
                    };
                    let value = value.ok_or_else(|| format!("{name} wants a value"))?;
                    it.flags.push((flag, value.to_owned()));
                }
            }
        }
        Ok(it)
    }

    /// What it sets, with more flags behind its own.
    ///
    /// # Errors
    /// A flag that does not parse.
    pub fn settings<'a>(
        &'a self,
        more: impl IntoIterator<Item = (&'static Flag, &'a str)>,
        warnings: &mut Vec<Warning>,
    ) -> Result<Settings, BadValue> {
        let own = self
            .flags
            .iter()
            .map(|(flag, value)| (*flag, value.as_str()));
        Settings::resolve(&self.environment, own.chain(more), warnings)
    }
}

fn flag(word: &str) -> Result<&'static Flag, String> {
    let is = |flag: &&Flag| match word.strip_prefix("--") {
        Some(name) => flag.name == name,
        None => word
            .strip_prefix('-')
            .is_some_and(|short| flag.short.is_some_and(|it| short.chars().eq([it]))),
    };
    let found = FLAGS.iter().find(is);
    found.ok_or_else(|| format!("istio-iptables has no `{word}`"))
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[test]
    fn a_list_has_what_all_begin_with_and_the_last_word_counts() {
        let text = "# words\n*: -b * -m REDIRECT\n\none:\ntwo: -m TPROXY --redirect-dns ISTIO_OUTBOUND_OWNER_GROUPS=java\n";
        let list = Configuration::list(text, "l.txt").expect("readable");
        let settings = |at: usize| list[at].settings([], &mut Vec::new()).expect("valid");
        assert_eq!(list.len(), 2);
        assert_eq!(settings(0).inbound_ports_include, "*");
        assert_eq!(settings(0).inbound_interception_mode, "REDIRECT");
        assert_eq!(settings(1).inbound_ports_include, "*");
        assert_eq!(settings(1).inbound_interception_mode, "TPROXY");
        assert_eq!(settings(1).owner_groups_include, "java");
        assert!(settings(1).redirect_dns && !settings(0).redirect_dns);
    }

    #[rstest]
    #[case::no_colon("a:\nb\n", "l.txt:2:1: this is no configuration")]
    #[case::twice("a:\na: -b *\n", "l.txt:2:1: `a` stands here twice")]
    #[case::flag("a: --no-such\n", "l.txt:1:1: istio-iptables has no `--no-such`")]
    #[case::value("a: -b\n", "l.txt:1:1: -b wants a value")]
    fn a_complaint_has_its_place(#[case] text: &str, #[case] words: &str) {
        let complaint = Configuration::list(text, "l.txt").expect_err("it is wrong");
        assert_eq!(complaint.to_string().lines().next(), Some(words));
    }
}
