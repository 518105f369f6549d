//! Which labs can run, as far as a set of checks tells.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::check::{Check, NeededBy, Outcome};
use crate::{netfilter::Backend, rules::Family};

/// Both backends, the one istio-init would take first.
pub(super) const BACKENDS: [Backend; 2] = [Backend::Nft, Backend::Legacy];

/// What can run: families by backend. A backend that can't is not in it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ability(pub BTreeMap<String, Vec<Family>>);

impl Ability {
    /// Only what was tried and works counts.
    pub fn of(checks: &[Check]) -> Self {
        let mut found = BTreeMap::new();
        for backend in BACKENDS {
            // A family is proven by checks of its own; their absence proves nothing.
            let tried = |needed_by| checks.iter().any(|c| c.needed_by == needed_by);
            let can = |family| {
                checks
                    .iter()
                    .filter(|c| c.needed_by.concerns(backend, family))
                    .all(Check::works)
            };
            let mut families = Vec::new();
            if tried(NeededBy::Backend(backend)) && can(Family::V4) {
                families.push(Family::V4);
                if tried(NeededBy::Ipv6With(backend)) && can(Family::V6) {
                    families.push(Family::V6);
                }
                found.insert(backend.to_string(), families);
            }
        }
        Self(found)
    }

    /// True when at least one backend can.
    pub fn any(&self) -> bool {
        !self.0.is_empty()
    }

    /// One sentence.
    pub fn sentence(&self) -> String {
        let words = |families: &Vec<Family>| -> String {
            let names: Vec<String> = families.iter().map(ToString::to_string).collect();
            names.join(" and ")
        };
        // In the order of `BACKENDS`, not of the alphabet.
        let able: Vec<(String, String)> = BACKENDS
            .iter()
            .filter_map(|b| Some((b.to_string(), words(self.0.get(&b.to_string())?))))
            .collect();
        match able.as_slice() {
            [] => "no lab can run here".into(),
            [(a, over_a), (b, over_b)] if over_a == over_b => {
                format!("a lab can run here with {a} and {b}, over {over_a}")
            }
            some => {
                let parts: Vec<String> = some.iter().map(|(b, o)| format!("{b} ({o})")).collect();
                format!("a lab can run here with {}", parts.join(" and "))
            }
        }
    }
}

/// Where one backend can't and the other can, taking the other is a repair too.
pub(super) fn suggest_other_backend(checks: &mut [Check]) {
    let ability = Ability::of(checks);
    for check in checks {
        let other = match check.needed_by {
            NeededBy::Backend(Backend::Nft) | NeededBy::Ipv6With(Backend::Nft) => Backend::Legacy,
            NeededBy::Backend(Backend::Legacy) | NeededBy::Ipv6With(Backend::Legacy) => {
                Backend::Nft
            }
            NeededBy::EveryLab | NeededBy::OrdinaryUser | NeededBy::NativeNft => continue,
        };
        let enough = match check.needed_by {
            NeededBy::Ipv6With(_) => Family::V6,
            _ => Family::V4,
        };
        let able = ability.0.get(&other.to_string());
        if let (Outcome::Problem(problem), true) = (
            &mut check.outcome,
            able.is_some_and(|f| f.contains(&enough)),
        ) {
            let more = format!("\nor take the other backend, which works here: --backend {other}");
            problem.fix.push_str(&more);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::check::Problem;
    use super::*;

    fn check(needed_by: NeededBy, works: bool) -> Check {
        let problem = Problem {
            what: "no".into(),
            because: Vec::new(),
            what_follows: "nothing".into(),
            fix: "repair it".into(),
        };
        Check {
            id: "x".into(),
            group: "x".into(),
            tried: "x".into(),
            needed_by,
            outcome: if works {
                Outcome::Works {
                    detail: String::new(),
                }
            } else {
                Outcome::Problem(problem)
            },
        }
    }

    fn all() -> Vec<Check> {
        let mut checks = vec![check(NeededBy::EveryLab, true)];
        for backend in BACKENDS {
            checks.push(check(NeededBy::Backend(backend), true));
            checks.push(check(NeededBy::Ipv6With(backend), true));
        }
        checks
    }

    #[test]
    fn everything_works() {
        let ability = Ability::of(&all());
        assert_eq!(
            ability.sentence(),
            "a lab can run here with nft and legacy, over IPv4 and IPv6"
        );
    }

    #[test]
    fn what_every_lab_needs_stops_every_lab() {
        for needed_by in [NeededBy::EveryLab, NeededBy::OrdinaryUser] {
            let mut checks = all();
            checks.push(check(needed_by, false));
            assert_eq!(Ability::of(&checks).sentence(), "no lab can run here");
        }
    }

    #[test]
    fn one_backend_or_one_family_is_enough_for_a_lab() {
        let mut checks = all();
        checks.push(check(NeededBy::Ipv6With(Backend::Legacy), false));
        assert_eq!(
            Ability::of(&checks).sentence(),
            "a lab can run here with nft (IPv4 and IPv6) and legacy (IPv4)"
        );
        checks.push(check(NeededBy::Backend(Backend::Nft), false));
        assert_eq!(
            Ability::of(&checks).sentence(),
            "a lab can run here with legacy (IPv4)"
        );
    }

    #[test]
    fn a_skipped_check_is_no_ability_and_no_check_is_none_either() {
        let mut checks = all();
        checks.push(check(NeededBy::Backend(Backend::Nft), true));
        checks.last_mut().expect("just pushed").outcome = Outcome::Skipped {
            because: "bridge".into(),
        };
        assert!(!Ability::of(&checks).0.contains_key("nft"));
        assert!(!Ability::of(&[check(NeededBy::EveryLab, true)]).any());
    }

    #[test]
    fn the_other_backend_is_a_repair_when_it_works() {
        let mut checks = all();
        checks.push(check(NeededBy::Backend(Backend::Nft), false));
        suggest_other_backend(&mut checks);
        let fix = |c: &Check| c.problem().map(|p| p.fix.clone());
        assert_eq!(
            checks.last().and_then(fix).as_deref(),
            Some("repair it\nor take the other backend, which works here: --backend legacy")
        );
        checks.push(check(NeededBy::Backend(Backend::Legacy), false));
        suggest_other_backend(&mut checks);
        assert_eq!(checks.last().and_then(fix).as_deref(), Some("repair it"));
    }
}
