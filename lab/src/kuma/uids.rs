//! Ports left alone for some users: `[protocols:][ports:]uids`.

use std::{fmt, str::FromStr};

use crate::mesh::Wrong;

/// iptables takes so many ports in one multiport rule; a range counts twice (xt_multiport, XT_MULTI_PORTS).
const MULTIPORT_LIMIT: usize = 15;

/// One exclusion, in the spelling of the rule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ForUids {
    /// Protocols; a rule each.
    pub protocols: Vec<Transport>,
    /// Ports between commas, ranges as `first:last`.
    pub ports: String,
    /// One user, or `first:last`.
    pub uids: String,
}

/// A protocol with ports.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Transport {
    /// TCP.
    Tcp,
    /// UDP.
    Udp,
}

impl fmt::Display for Transport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Tcp => "tcp",
            Self::Udp => "udp",
        })
    }
}

const FORM: &str = "give [protocols:][ports:]uids, like tcp:53,3000-5000:106-108";

impl FromStr for ForUids {
    type Err = Wrong;

    fn from_str(text: &str) -> Result<Self, Wrong> {
        let parts: Vec<&str> = text.split(':').collect();
        let (protocols, ports, uids) = match parts[..] {
            [uids] => ("", "", uids),
            [ports, uids] => ("", ports, uids),
            [protocols, ports, uids] => (protocols, ports, uids),
            _ => return Err(Wrong::new(text, "it has more than three parts", FORM)),
        };
        Ok(Self {
            protocols: transports(protocols)?,
            ports: port_list(ports)?,
            uids: users(uids)?,
        })
    }
}

fn transports(text: &str) -> Result<Vec<Transport>, Wrong> {
    if matches!(text, "" | "*") {
        return Ok(vec![Transport::Tcp, Transport::Udp]);
    }
    let transport = |name: &str| match name {
        "tcp" => Ok(Transport::Tcp),
        "udp" => Ok(Transport::Udp),
        _ => Err(Wrong::new(name, "it is neither tcp nor udp", FORM)),
    };
    text.split(',').map(transport).collect()
}

fn port_list(text: &str) -> Result<String, Wrong> {
    if matches!(text, "" | "*") {
        return Ok("1:65535".to_owned());
    }
    let (mut slots, mut words) = (0, Vec::new());
    for item in text.split(',') {
        let word = range::<u16>(item, "port")?;
        slots += if word.contains(':') { 2 } else { 1 };
        words.push(word);
    }
    if slots > MULTIPORT_LIMIT {
        let why = format!(
            "it takes {slots} places, iptables has {MULTIPORT_LIMIT} (two for a range), and Kuma writes one rule"
        );
        return Err(Wrong::new(
            text,
            why,
            "give the ports in several exclusions",
        ));
    }
    Ok(words.join(","))
}

fn users(text: &str) -> Result<String, Wrong> {
    if text == "*" {
        return Err(Wrong::new(text, "Kuma takes no wildcard for users", FORM));
    }
    if text.contains(',') {
        return Err(Wrong::new(
            text,
            "Kuma takes one user or one range of users, no list",
            "give the flag once for each user",
        ));
    }
    range::<u32>(text, "user id")
}

/// `a` or `a-b`, as iptables spells it.
fn range<T: FromStr + PartialOrd>(text: &str, what: &str) -> Result<String, Wrong> {
    let number = |text: &str| {
        let digits = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
        digits.then(|| text.parse::<T>().ok()).flatten()
    };
    let wrong = || Wrong::new(text, format!("it is no {what} and no range of them"), FORM);
    match text.split_once('-') {
        None => number(text).map(|_| text.to_owned()).ok_or_else(wrong),
        Some((first, last)) => match (number(first), number(last)) {
            (Some(a), Some(b)) if a <= b => Ok(format!("{first}:{last}")),
            _ => Err(wrong()),
        },
    }
}
