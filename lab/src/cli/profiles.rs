//! `hoplab profiles`: every rule set that has a name.

use std::process::ExitCode;

use serde_json::{Value, json};

use super::{Outcome, source::find_profile, stdout::say};
use crate::{
    failure::{Class, Failure},
    profiles::{self, Ports, Profile, Rules},
    rules::Family,
};

#[derive(clap::Args)]
#[command(after_help = "\
A name stands for what a mesh installs when nobody changes an option; `hoplab rules render` takes options. \
istio-1.N is a name for every release from 1.12 on. Verbs that take rules take `profile:NAME`.

Examples:
  hoplab profiles
  hoplab profiles kuma --family ipv4
  hoplab profiles --json | jq '.profiles[] | select(.mesh == \"linkerd\") | .ports'")]
pub(super) struct Args {
    /// Print the rules of this one, not the list
    name: Option<String>,
    /// Print one family only
    #[arg(long, requires = "name", value_parser = crate::cli::family)]
    family: Option<Family>,
    /// Print JSON; with a name, its rules are in it
    #[arg(long)]
    json: bool,
}

pub(super) fn run(args: &Args) -> Outcome {
    let text = match (&args.name, args.json) {
        (None, false) => table(&profiles::all()),
        (None, true) => {
            let all: Vec<Value> = profiles::all().iter().map(facts).collect();
            pretty(&json!({ "profiles": all }))
        }
        (Some(name), json) => {
            let profile = find_profile(name)?;
            if json {
                pretty(&with_rules(&profile, args.family))
            } else {
                rules(&profile, args.family)?
            }
        }
    };
    say(&text)?;
    Ok(ExitCode::SUCCESS)
}

fn table(profiles: &[Profile]) -> String {
    let head = ["name", "ports in/out/dns", "proxy", "about"].map(str::to_owned);
    let mut rows = vec![head];
    for profile in profiles {
        let port = |port: Option<u16>| port.map_or("-".to_owned(), |port| port.to_string());
        let Ports {
            inbound,
            outbound,
            dns,
        } = profile.ports;
        rows.push([
            profile.name.clone(),
            format!("{}/{outbound}/{}", port(inbound), port(dns)),
            proxy(profile),
            profile.about.clone(),
        ]);
    }
    let width = |column: usize| {
        rows.iter()
            .map(|row| row[column].len())
            .max()
            .unwrap_or_default()
    };
    let [a, b, c] = [0, 1, 2].map(width);
    let lines = rows
        .iter()
        .map(|[name, ports, proxy, about]| format!("{name:a$}  {ports:b$}  {proxy:c$}  {about}\n"));
    lines.collect()
}

/// What the rules know the proxy by.
fn proxy(profile: &Profile) -> String {
    let proxy = &profile.proxy;
    match (proxy.uid, proxy.gid, &proxy.marks.sent) {
        (Some(uid), Some(gid), _) => format!("{uid}:{gid}"),
        (Some(uid), None, _) => format!("{uid}"),
        (None, _, Some(mark)) => format!("mark {mark}"),
        (None, _, None) => "-".to_owned(),
    }
}

fn rules(profile: &Profile, only: Option<Family>) -> Result<String, Failure> {
    if let Rules::Nft(text) = &profile.rules {
        return match only {
            None => Ok(text.clone()),
            Some(_) => Err(
                Failure::new(Class::Input, "--family does not go with native nftables")
                    .cause("one transaction holds the rules of both families"),
            ),
        };
    }
    let families = [Family::V4, Family::V6].into_iter();
    let wanted = families.filter(|family| only.is_none_or(|only| only == *family));
    let text: String = wanted
        .filter_map(|family| profile.rules.iptables(family))
        .collect();
    if text.is_empty() {
        let what = format!("{} has no rules of that family", profile.name);
        return Err(Failure::new(Class::Input, what));
    }
    Ok(text)
}

fn facts(profile: &Profile) -> Value {
    let has = |family| profile.rules.iptables(family).is_some();
    let nft = matches!(profile.rules, Rules::Nft(_));
    let steps: Vec<String> = profile.steps.iter().map(ToString::to_string).collect();
    json!({
        "name": profile.name,
        "aliases": profile.aliases,
        "about": profile.about,
        "mesh": profile.mesh,
        "ports": profile.ports,
        "proxy": profile.proxy,
        "syntax": if nft { "nft" } else { "iptables" },
        "ipv4": nft || has(Family::V4),
        "ipv6": nft || has(Family::V6),
        "beside": steps,
    })
}

fn with_rules(profile: &Profile, only: Option<Family>) -> Value {
    let mut value = facts(profile);
    let text = |family: Family| {
        let wanted = only.is_none_or(|only| only == family);
        profile.rules.iptables(family).filter(|_| wanted)
    };
    value["rules"] = match &profile.rules {
        Rules::Nft(text) => json!({ "nft": text }),
        Rules::Iptables { .. } => json!({ "ipv4": text(Family::V4), "ipv6": text(Family::V6) }),
    };
    value
}

fn pretty(value: &Value) -> String {
    format!("{value:#}\n")
}
