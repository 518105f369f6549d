//! A lab under the rules of a profile, with all that goes with them.

use super::{Expect, LabFile, RuleText};
use crate::{
    failure::{Class, Failure},
    interception::Interception,
    profiles::{Profile, Rules},
    rules::{Family, Written},
};

impl LabFile {
    /// The same lab under the rules of a profile, word for word, with its proxy and what its mesh sets beside them.
    /// The lab's own rules stay what expectations name, unless `expect` is [`Expect::Rules`].
    ///
    /// # Errors
    /// The lab has no way to apply these rules, or plays no such proxy.
    pub fn with_profile(mut self, profile: &Profile, expect: Expect) -> Result<Self, Failure> {
        let refused = |why: &str, hint: &str| {
            let what = format!("the lab can't run under profile {}", profile.name);
            Err(Failure::new(Class::Input, what).cause(why).hint(hint))
        };
        let texts = match &profile.rules {
            Rules::Nft(text) => super::one_text(format!("profile {}", profile.name), text.clone()),
            Rules::Iptables { .. } => {
                let text = |family| {
                    let text = profile.rules.iptables(family)?.to_owned();
                    let origin = format!("profile {} ({family})", profile.name);
                    Some((family, RuleText { origin, text }))
                };
                let families = [Family::V4, Family::V6].into_iter();
                Written::Iptables(families.filter_map(text).collect())
            }
        };
        let Some(interception) = profile.interception().or_else(|| ztunnel(&texts)) else {
            return refused(
                "its rules bring nothing in to the proxy, and the lab's ztunnel serves the calls to its pod too",
                "`hoplab predict` and `hoplab rules lint` take this profile too",
            );
        };
        match expect {
            Expect::File => self.given = texts,
            Expect::Rules | Expect::Outcome => {
                self.texts = texts;
                self.given = Written::default();
            }
        }
        self.host = Written::default();
        self.rules_from = format!("profile {}, {interception}", profile.name);
        self.interception = interception;
        self.routes = Some(profile.steps.clone());
        self.variables = None;
        self.expect = expect;
        self.own_rules = false;
        Ok(self)
    }
}

/// What goes with rules that know the proxy by a mark, and give one to the connections it makes.
fn ztunnel(texts: &Written<RuleText>) -> Option<Interception> {
    let families = [Family::V4, Family::V6].into_iter();
    let sets = families.filter_map(|family| texts.rules(family, "the profile").ok().flatten());
    let interception = Interception::of_rules(&sets.collect::<Vec<_>>());
    interception.ztunnel.is_some().then_some(interception)
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;
    use crate::{Families, profiles};

    fn under(name: &str, expect: Expect) -> Result<LabFile, Failure> {
        let profile = profiles::find(name).expect("it is known");
        let bookinfo = LabFile::open("bookinfo").expect("the lab is in the binary");
        bookinfo.with_profile(&profile, expect)
    }

    #[rstest]
    #[case::one_family(Families::One(Family::V4), &["ip -4 addr add 127.0.0.6/32 dev lo"])]
    #[case::both(
        Families::Dual,
        &["ip -4 addr add 127.0.0.6/32 dev lo", "ip -6 addr add ::6/128 dev lo"]
    )]
    fn what_goes_beside_the_rules_is_of_their_families(
        #[case] families: Families,
        #[case] steps: &[&str],
    ) {
        let texts = under("kuma", Expect::Rules).and_then(|it| it.texts_to_apply(families));
        let texts = texts.expect("it can run");
        let found: Vec<String> = texts.routes.iter().map(ToString::to_string).collect();
        assert_eq!(found, steps);
        let v6 = texts.written.of(Family::V6);
        assert_eq!(v6.is_some(), families.has(Family::V6));
    }

    #[rstest]
    fn the_rules_are_those_of_the_profile_word_for_word(
        #[values(Expect::File, Expect::Rules)] expect: Expect,
    ) {
        let texts = under("linkerd", expect).and_then(|it| it.texts_to_apply(Families::Dual));
        let texts = texts.expect("it can run");
        let profile = profiles::find("linkerd").expect("it is known");
        assert_eq!(
            (
                texts.written.of(Family::V4).map(String::as_str),
                texts.written.of(Family::V6).map(String::as_str)
            ),
            (
                profile.rules.iptables(Family::V4),
                profile.rules.iptables(Family::V6)
            )
        );
    }

    #[rstest]
    #[case("istio-nft", true, false)]
    #[case("ambient", false, true)]
    #[case("ambient-nft", true, true)]
    #[case("ztunnel", false, true)]
    fn rules_of_nft_and_those_for_ztunnel_can_run(
        #[case] name: &str,
        #[case] native: bool,
        #[case] ztunnel: bool,
    ) {
        let file = under(name, Expect::Rules).expect("it can run");
        assert_eq!(file.is_native_nft(), native);
        assert_eq!(file.interception.ztunnel.is_some(), ztunnel);
        assert_eq!(
            file.interception.upstream_mark(),
            if ztunnel { 0x539 } else { 0 }
        );
    }

    #[test]
    fn a_proxy_that_no_lab_plays_is_refused_and_not_judged() {
        let name = "ztunnel-dedicated";
        let failure = under(name, Expect::Rules).expect_err("it is refused");
        assert_eq!(failure.class, Class::Input);
        assert_eq!(
            failure.what,
            format!("the lab can't run under profile {name}")
        );
        assert!(failure.causes[0].contains("bring nothing in"), "{failure}");
    }
}
