//! Mistakes in rules of nft's own: an inet table is one text for both families, so a mistake in it is one in both.

use super::Mutant;
use crate::rules::{RuleSet, of_nft, to_nft};

/// Whether nft is what loads these rules.
pub(super) fn is_native(set: &RuleSet) -> bool {
    let mut chains = set.tables.values().flat_map(|it| it.chains());
    chains.any(|it| it.nft.is_some())
}

/// Whether what is written of these rules says the same.
///
/// # Errors
/// In words, why not.
pub(super) fn writable(whole: &[&RuleSet]) -> Result<(), String> {
    let again = read(whole).map_err(|why| format!("nothing writes {why} for nft"))?;
    match whole.iter().all(|it| again.contains(it)) {
        true => Ok(()),
        false => Err("what is written of these rules says something else".to_owned()),
    }
}

/// The mistake in every family that it is in; none when nft can't say it, or it makes no difference to what is said.
pub(super) fn of_both(whole: &[&RuleSet], mutant: &Mutant) -> Option<Mutant> {
    let broken = mutant.sets.first()?;
    let others = whole.iter().filter(|it| it.family != broken.family);
    let mut all: Vec<&RuleSet> = vec![broken];
    all.extend(others);
    let text = to_nft(&all).ok()?;
    let mut sets = of_nft(&text, "a mutant").ok()?;
    sets.retain(|it| {
        let asked_about = whole.iter().find(|whole| whole.family == it.family);
        asked_about.is_some_and(|whole| *whole != it)
    });
    (!sets.is_empty()).then(|| Mutant {
        sets,
        nft: Some(text),
        ..mutant.clone()
    })
}

fn read(sets: &[&RuleSet]) -> Result<Vec<RuleSet>, String> {
    let text = to_nft(sets)?;
    of_nft(&text, "rules written for nft").map_err(|it| it.to_string())
}
