//! `hoplab import`: a lab with a copy of a real container, which itself is only read.

use std::{fs, path::PathBuf};

use super::{Outcome, free_place, name, up};
use crate::{
    Expect, Families, GivenRules, LabFile,
    cli::{run::rules::Ruled, source::Source},
    failure::{Class, Failure},
    import::{self, POD},
    interception::Interception,
    live::Registry,
    net,
    netfilter::{self, BackendChoice, Held},
    rules::{self, Family, RuleSet},
};

/// User of Istio's proxy, where rules name none.
const PROXY: u32 = 1337;

#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  hoplab import pid:4711                     a lab `import-4711` with a pod `copy`; then hoplab shell copy
  hoplab import pid:4711 --file copy.toml    the lab file of it, to keep or to change
  hoplab send copy peer:9080                 a connection of the copy, hop by hop

Read are the rules that iptables or nft hold in the network namespace of the process, and its interfaces, addresses, \
default routes and listeners; nothing there is changed. What of it is not copied is said on standard error.")]
pub(in crate::cli) struct Args {
    /// The process: pid:4711, or pid:4711/iptables-legacy for the rules that one of several holds
    source: Source,
    /// Name to find the lab by [default: import-PID]
    #[arg(long, value_parser = name)]
    name: Option<String>,
    /// Also write the lab file here
    #[arg(long, value_name = "OUT.toml")]
    file: Option<PathBuf>,
}

pub(super) fn run(args: &Args) -> Outcome {
    let Source::Process { pid, only } = &args.source else {
        let what = format!("{} is no process", args.source);
        return Err(Failure::new(Class::Input, what).hint("name one by its id: pid:4711"));
    };
    let lab = args.name.clone().unwrap_or_else(|| format!("import-{pid}"));
    let seen = net::seen_of(*pid)?;
    let mut held = netfilter::rules_of_process(*pid)?;
    held.retain(|it| only.is_none_or(|only| only == it.by));
    let held = match (held.pop(), held.pop()) {
        (Some(held), None) => held,
        (None, _) => {
            let what = format!("{} has no rules", args.source);
            return Err(Failure::new(Class::Input, what));
        }
        (Some(last), Some(_)) => {
            let what = format!(
                "{} has several sets of rules, and a pod has one",
                args.source
            );
            return Err(Failure::new(Class::Input, what)
                .hint(format!("name one of them: pid:{pid}/{}", last.by)));
        }
    };
    let (ruled, text) = ruled(&seen, &lab, held)?;
    if let Some(path) = &args.file {
        let Some(text) = text else {
            let what = "a lab file can't hold rules of nft's own";
            return Err(Failure::new(Class::Input, what).hint(format!(
                "leave --file out; hoplab rules show pid:{pid} prints them"
            )));
        };
        fs::write(path, text).map_err(|error| {
            let what = format!("could not write {}", path.display());
            Failure::new(Class::Input, what).cause(error.to_string())
        })?;
    }
    let registry = Registry::of_user()?;
    let claim = free_place(&registry, &lab)?;
    let done = up::bring_up(claim, &lab, &ruled)?;
    anstream::eprintln!("a shell in the copy: hoplab shell {POD} --lab {lab}");
    Ok(done)
}

/// The lab, and its file where a lab file can say it.
fn ruled(seen: &import::Seen, lab: &str, held: Held) -> Result<(Ruled, Option<String>), Failure> {
    let origin = format!("pid:{}/{}", seen.pid, held.by);
    let document = rules::read(&held.text, &origin, Family::V4);
    let sets: Vec<RuleSet> = document
        .and_then(|it| it.rules())
        .map_err(|it| Failure::new(Class::Input, it.to_string()))?;
    let proxy = Interception::of_rules(&sets).owner;
    let backend = held.by.iptables();
    let in_file = if backend.is_some() { &sets[..] } else { &[] };
    let copy = import::copy(
        seen,
        lab,
        in_file,
        Some(proxy.map_or(PROXY, |(uid, _)| uid)),
    )?;
    for left_out in &copy.left_out {
        anstream::eprintln!("note: {left_out}");
    }
    let file = LabFile::parse(&copy.text, &format!("{lab}.toml"))?;
    let file = match backend {
        Some(_) => file.expecting(Expect::Rules),
        None => {
            let given = GivenRules::read(&held.text, &origin, Family::V4)?;
            file.with_rules(given, Expect::Rules)
        }
    };
    let has_v6 = sets
        .iter()
        .any(|it| it.family == Family::V6 && !it.is_empty());
    let ruled = Ruled {
        file,
        families: match has_v6 {
            true => Families::Dual,
            false => Families::One(Family::V4),
        },
        backend: backend.map_or(BackendChoice::Auto, BackendChoice::Fixed),
    };
    Ok((ruled, backend.map(|_| copy.text)))
}
