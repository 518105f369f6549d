//! The `NAME=value` lines a log of istio-init prints under a heading.

use std::collections::BTreeMap;

use crate::rules::words::Line;

/// The variables under the last line that ends in `heading`; empty when there is none.
pub(super) fn section(lines: &[Line<'_>], heading: &str) -> BTreeMap<String, String> {
    let ends = |line: &Line<'_>| line.text.trim_end().ends_with(heading);
    let Some(at) = lines.iter().rposition(ends) else {
        return BTreeMap::new();
    };
    let pairs = lines[at + 1..].iter().map_while(|line| {
        let (name, value) = line.text.trim().split_once('=')?;
        let plain = |it: char| it.is_ascii_uppercase() || it.is_ascii_digit() || it == '_';
        let named = !name.is_empty() && name.chars().all(plain);
        named.then(|| (name.to_owned(), value.to_owned()))
    });
    pairs.collect()
}
