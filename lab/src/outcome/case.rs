//! The name of a case, and the commands that run it alone.

use std::fmt;

use serde::Serialize;

use crate::rules::{Family, Holder};

/// Which lab, with what changed, on what, over which family.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct CaseName {
    /// The lab file as it was named: a path, or a lab that travels in the binary.
    pub file: String,
    /// Name of the lab.
    pub lab: String,
    /// What is changed.
    #[serde(flatten)]
    pub side: Side,
    /// What applies the rules.
    pub backend: Holder,
    /// Family of the flows.
    pub family: Family,
}

/// What is changed of a lab.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Side {
    /// A variant of the file.
    Variant(String),
    /// The rules are those of an Istio configuration: the list it is in, and its name there.
    Configuration(String, String),
    /// The rules are those of a profile.
    Profile(String),
    /// Nothing.
    #[serde(untagged)]
    AsItIs {},
}

impl fmt::Display for Side {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::AsItIs {} => f.pad("as it is"),
            Self::Variant(name) => f.pad(name),
            Self::Configuration(list, name) => f.pad(&format!("{} {name}", stem(list))),
            Self::Profile(name) => f.pad(&format!("profile {name}")),
        }
    }
}

impl CaseName {
    /// `lab.variant`, as test reports group cases. No two cases of a place have the same one.
    pub fn class_name(&self) -> String {
        let lab = &self.lab;
        match &self.side {
            Side::AsItIs {} => format!("{lab}.as-it-is"),
            Side::Variant(name) => format!("{lab}.{name}"),
            Side::Configuration(list, name) => format!("{lab}.{}.{name}", stem(list)),
            Side::Profile(name) => format!("{lab}.profile.{name}"),
        }
    }

    /// The file that says what is expected, where it is one that a person wrote and can open.
    pub fn source(&self) -> Option<&str> {
        match &self.side {
            Side::Configuration(list, _) => Some(list),
            Side::AsItIs {} | Side::Variant(_) | Side::Profile(_) => {
                Some(self.file.as_str()).filter(|it| it.ends_with(".toml"))
            }
        }
    }

    /// `nft, IPv4`
    pub fn place(&self) -> String {
        format!("{}, {}", self.backend.as_backend(), self.family)
    }

    /// A name for a directory of its own: `shop.no-return.legacy.ipv6`.
    pub fn file_name(&self) -> String {
        let backend = self.backend.as_backend().replace(' ', "-");
        format!(
            "{}.{backend}.{}",
            self.class_name(),
            family_flag(self.family)
        )
    }

    /// The command that runs this case alone, or up to one of its flows: what a flow stands on is before it.
    pub fn command(&self, flow: Option<&str>) -> String {
        let mut words = vec!["hoplab".to_owned(), "run".to_owned(), quoted(&self.file)];
        let mut add = |flag: &str, value: &str| words.extend([flag.to_owned(), quoted(value)]);
        match &self.side {
            Side::AsItIs {} => {}
            Side::Variant(name) => add("--variant", name),
            Side::Configuration(list, name) => add("--configuration", &format!("{list}:{name}")),
            Side::Profile(name) => add("--rules", &format!("profile:{name}")),
        }
        match (self.backend.iptables(), &self.side) {
            (Some(backend), _) => add("--backend", &backend.to_string()),
            (None, Side::Configuration(..)) => words.push("--native-nftables".to_owned()),
            // Its rules are nft's own already.
            (None, _) => {}
        }
        let mut add = |flag: &str, value: &str| words.extend([flag.to_owned(), quoted(value)]);
        add("--family", family_flag(self.family));
        if let Some(flow) = flow {
            add("--until", flow);
        }
        words.join(" ")
    }

    /// The commands that leave its lab up and enter a pod.
    pub fn enter(&self, flow: Option<&str>, pod: Option<&str>) -> String {
        let pod = pod.unwrap_or("POD");
        format!("{} --keep; hoplab shell {pod}", self.command(flow))
    }
}

impl fmt::Display for CaseName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.class_name(), self.place())
    }
}

/// The name of a list without its directory and ending.
fn stem(list: &str) -> &str {
    let name = list.rsplit('/').next().unwrap_or(list);
    name.split_once('.').map_or(name, |(stem, _)| stem)
}

fn family_flag(family: Family) -> &'static str {
    match family {
        Family::V4 => "ipv4",
        Family::V6 => "ipv6",
    }
}

/// A word as a POSIX shell takes it.
fn quoted(word: &str) -> String {
    let is_plain = |it: char| it.is_ascii_alphanumeric() || "-_./:=,@%+".contains(it);
    match !word.is_empty() && word.chars().all(is_plain) {
        true => word.to_owned(),
        false => format!("'{}'", word.replace('\'', r"'\''")),
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    fn case(side: Side, backend: Holder) -> CaseName {
        CaseName {
            file: "my labs/shop.toml".into(),
            lab: "shop".into(),
            side,
            backend,
            family: Family::V6,
        }
    }

    #[rstest]
    #[case::as_it_is(
        case(Side::AsItIs {}, Holder::IptablesNft),
        "hoplab run 'my labs/shop.toml' --backend nft --family ipv6 --until f",
        "shop.as-it-is.nft.ipv6"
    )]
    #[case::variant(
        case(Side::Variant("v".into()), Holder::IptablesLegacy),
        "hoplab run 'my labs/shop.toml' --variant v --backend legacy --family ipv6 --until f",
        "shop.v.legacy.ipv6"
    )]
    #[case::native_lab(
        case(Side::AsItIs {}, Holder::Nft),
        "hoplab run 'my labs/shop.toml' --family ipv6 --until f",
        "shop.as-it-is.native-nft.ipv6"
    )]
    #[case::configuration(
        case(Side::Configuration("l.txt".into(), "dns".into()), Holder::Nft),
        "hoplab run 'my labs/shop.toml' --configuration l.txt:dns --native-nftables --family ipv6 --until f",
        "shop.l.dns.native-nft.ipv6"
    )]
    #[case::profile(
        case(Side::Profile("kuma".into()), Holder::IptablesNft),
        "hoplab run 'my labs/shop.toml' --rules profile:kuma --backend nft --family ipv6 --until f",
        "shop.profile.kuma.nft.ipv6"
    )]
    fn a_case_says_how_it_is_run_alone(
        #[case] case: CaseName,
        #[case] command: &str,
        #[case] directory: &str,
    ) {
        assert_eq!(case.command(Some("f")), command);
        assert_eq!(case.file_name(), directory);
    }

    #[test]
    fn a_quote_in_a_path_survives_the_shell() {
        assert_eq!(quoted("it's"), r"'it'\''s'");
    }

    #[test]
    fn in_json_a_case_says_what_is_changed() {
        let json = |side| serde_json::to_value(case(side, Holder::Nft)).expect("it has a form");
        assert_eq!(json(Side::Variant("v".into()))["variant"], "v");
        assert_eq!(json(Side::AsItIs {})["variant"], serde_json::Value::Null);
        let of_list = json(Side::Configuration("l.txt".into(), "dns".into()));
        assert_eq!(
            of_list["configuration"],
            serde_json::json!(["l.txt", "dns"])
        );
        assert_eq!(of_list["backend"], "native-nft");
    }
}
