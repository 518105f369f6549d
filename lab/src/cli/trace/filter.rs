//! Which connections are shown, by what only is known once a packet was traced.

use std::{fmt, str::FromStr};

use crate::{
    failure::{Class, Failure},
    traced::{Ordinal, Owner, RulePlace, RuleTexts, TracedPacket},
};

/// A rule as a person names it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct RuleFilter {
    text: String,
    /// Chain and place, if it is of that form.
    place: Option<(String, u32)>,
}

impl FromStr for RuleFilter {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text.trim().is_empty() {
            return Err("an empty text is in every rule".into());
        }
        let place = text.rsplit_once(':').and_then(|(chain, ordinal)| {
            let is_name = !chain.is_empty() && !chain.contains(char::is_whitespace);
            let ordinal = ordinal.parse().ok().filter(|it| *it > 0)?;
            is_name.then(|| (chain.to_owned(), ordinal))
        });
        Ok(Self {
            text: text.to_owned(),
            place,
        })
    }
}

impl fmt::Display for RuleFilter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl RuleFilter {
    fn is(&self, place: &RulePlace, texts: &RuleTexts) -> bool {
        let chain = &place.chain.chain;
        if let Some((wanted, ordinal)) = &self.place
            && chain == wanted
        {
            return place.ordinal == Ordinal::Known(*ordinal);
        }
        *chain == self.text || texts.of(place).is_some_and(|it| it.contains(&self.text))
    }

    fn is_known(&self, texts: &RuleTexts) -> bool {
        let chain = |name: &str| texts.has_chain(name);
        let place = self.place.as_ref().is_some_and(|(name, _)| chain(name));
        place || chain(&self.text) || texts.texts().any(|it| it.contains(&self.text))
    }
}

/// What is wanted of a connection; all of it, and of each one of the list. An empty list wants nothing.
#[derive(Debug, Clone, Default)]
pub(super) struct Filter {
    /// Users whose socket sent a packet.
    pub uids: Vec<u32>,
    /// Rules that a packet matched.
    pub rules: Vec<RuleFilter>,
}

impl Filter {
    /// Whether a packet makes its connection one that is wanted.
    pub fn wants(&self, packet: &TracedPacket, texts: &RuleTexts) -> bool {
        let user = match packet.owner {
            Owner::Socket { uid, .. } => self.uids.contains(&uid),
            Owner::Missing(_) => false,
        };
        let mut places = packet.rules().map(|(_, place, _)| place);
        let mut rule = || places.any(|place| self.rules.iter().any(|it| it.is(place, texts)));
        (self.uids.is_empty() || user) && (self.rules.is_empty() || rule())
    }

    /// Complains about a rule that nothing can match.
    ///
    /// # Errors
    /// There is no such chain, and no rule with such a text.
    pub fn check(&self, texts: &RuleTexts) -> Result<(), Failure> {
        match self.rules.iter().find(|it| !it.is_known(texts)) {
            None => Ok(()),
            Some(unknown) => Err(Failure::new(
                Class::Input,
                format!("no chain there is called `{unknown}`, and no rule there says it"),
            )
            .hint("`hoplab rules show pid:PID --as commands` prints the rules")),
        }
    }
}
