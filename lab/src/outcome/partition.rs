//! A share of the cases, for several machines: as nextest's `--partition`.

use std::str::FromStr;

/// Which cases this machine plays. The shares of one kind are disjoint, and together they are all cases.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Partition {
    kind: Kind,
    /// From 1.
    share: u64,
    of: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// Every so many-th case, by its place.
    Count,
    /// By its name: a case stays in its share when others come or go.
    Hash,
}

impl Partition {
    /// Whether a case is in this share: by its place among all, from 0, and its name.
    pub fn has(&self, place: usize, name: &str) -> bool {
        let at = match self.kind {
            Kind::Count => place as u64,
            Kind::Hash => fnv1a(name),
        };
        at % self.of == self.share - 1
    }
}

/// FNV-1a of 64 bits: the same on every machine and in every release, which the standard library does not promise.
fn fnv1a(name: &str) -> u64 {
    name.bytes().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    })
}

impl FromStr for Partition {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || {
            format!(
                "`{text}` is no share: count:1/4 or hash:1/4, with the share from 1 to their number"
            )
        };
        let (kind, share) = match text.split_once(':') {
            None => (Kind::Count, text),
            Some(("count", share)) => (Kind::Count, share),
            Some(("hash", share)) => (Kind::Hash, share),
            Some(_) => return Err(wrong()),
        };
        let (share, of) = share.split_once('/').ok_or_else(wrong)?;
        let number = |it: &str| it.parse::<u64>().map_err(|_| wrong());
        let (share, of) = (number(share)?, number(of)?);
        match (1..=of).contains(&share) {
            true => Ok(Self { kind, share, of }),
            false => Err(wrong()),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case("0/4")]
    #[case("5/4")]
    #[case("1/0")]
    #[case("1")]
    #[case("slice:1/4")]
    #[case("count:a/b")]
    #[case("")]
    fn what_is_no_share_is_refused(#[case] text: &str) {
        assert!(text.parse::<Partition>().is_err());
    }

    #[test]
    fn without_a_word_it_is_by_count() {
        assert_eq!("2/4".parse::<Partition>(), "count:2/4".parse());
    }

    #[test]
    fn a_case_stays_in_its_share_by_hash_wherever_it_stands() {
        let share: Partition = "hash:1/2".parse().expect("a share");
        assert_eq!(share.has(0, "a"), share.has(1, "a"));
        let by_name = |name| share.has(0, name);
        assert!(["a", "b", "c", "d"].map(by_name).contains(&true));
        assert!(["a", "b", "c", "d"].map(by_name).contains(&false));
    }

    proptest! {
        #[test]
        fn shares_are_disjoint_and_cover_all_cases(
            of in 1_u64..9,
            names in prop::collection::vec("[a-z]{1,8}", 0..40),
            kind in prop::sample::select(vec!["count", "hash"]),
        ) {
            let shares: Vec<Partition> = (1..=of)
                .map(|share| format!("{kind}:{share}/{of}").parse().expect("a share"))
                .collect();
            for (place, name) in names.iter().enumerate() {
                let holders = shares.iter().filter(|it| it.has(place, name)).count();
                prop_assert_eq!(holders, 1);
            }
        }
    }
}
