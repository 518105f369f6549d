//! Ports to ignore, and how many of them go into one rule.

use std::fmt;

/// iptables takes so many ports in one multiport rule; a range counts twice (xt_multiport, XT_MULTI_PORTS).
pub const MULTIPORT_LIMIT: usize = 15;

/// A port, or a range of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PortSpan {
    first: u16,
    last: u16,
}

impl PortSpan {
    /// One port.
    pub fn one(port: u16) -> Self {
        Self {
            first: port,
            last: port,
        }
    }

    /// `80` or `80-90`; anything else proxy-init drops.
    pub fn read(text: &str) -> Option<Self> {
        let (first, last) = text.split_once('-').unwrap_or((text, text));
        let number = |text: &str| {
            let digits = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
            digits.then(|| text.parse().ok()).flatten()
        };
        let (first, last) = (number(first)?, number(last)?);
        (first <= last).then_some(Self { first, last })
    }

    /// How many of the places of a rule it takes.
    fn places(self) -> usize {
        if self.first == self.last { 1 } else { 2 }
    }
}

impl fmt::Display for PortSpan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.places() {
            1 => write!(f, "{}", self.first),
            _ => write!(f, "{}:{}", self.first, self.last),
        }
    }
}

/// The values of as many multiport rules as the ports need, filled in order.
pub fn multiports(ports: &[PortSpan]) -> Vec<String> {
    let mut rules: Vec<(usize, String)> = Vec::new();
    for port in ports {
        let places = port.places();
        match rules.last_mut() {
            Some((taken, list)) if *taken + places <= MULTIPORT_LIMIT => {
                *taken += places;
                list.push_str(&format!(",{port}"));
            }
            _ => rules.push((places, port.to_string())),
        }
    }
    rules.into_iter().map(|(_, list)| list).collect()
}
