//! Reads what `nft -j list ruleset` prints. The shape is that of libnftables-json(5).

use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Map, Value};

use super::ruleset::{Base, NftRule, NftRuleset, Spot};
use super::statement::TableFamily;
use super::steps_json;
use crate::diagnostic::Diagnostic;
use crate::rules::set::Policy;
use crate::rules::words::Line;

#[derive(Deserialize)]
struct Document<'a> {
    #[serde(borrow)]
    nftables: Vec<&'a RawValue>,
}

/// Reads the lines of one JSON value. `text` is the same lines with line ends between.
///
/// # Errors
/// It is no JSON, or not of the shape nft prints.
pub(super) fn read<'a>(lines: &[Line<'a>], text: &str) -> Result<NftRuleset<'a>, Diagnostic> {
    let document: Document<'_> = serde_json::from_str(text).map_err(|error| {
        let line = lines[error.line().saturating_sub(1).min(lines.len() - 1)];
        let before = line.text.char_indices();
        let column = before
            .take_while(|(byte, _)| byte + 1 < error.column())
            .count()
            + 1;
        let said = error.to_string();
        let why = said.split(" at line ").next().unwrap_or_default();
        let mut complaint = line.error_at(column, 1, format!("this JSON can't be read: {why}"));
        complaint.help = Some("expected all of what `nft -j list ruleset` prints".to_owned());
        complaint
    })?;
    let mut set = NftRuleset::default();
    for raw in document.nftables {
        let at = spot(lines, text, raw.get());
        object(&mut set, raw.get(), at)?;
    }
    Ok(set)
}

/// Where in the text a part of it stands.
fn spot<'a>(lines: &[Line<'a>], text: &str, part: &str) -> Spot<'a> {
    let start = (part.as_ptr() as usize).saturating_sub(text.as_ptr() as usize);
    let before = &text[..start.min(text.len())];
    let index = before.matches('\n').count().min(lines.len() - 1);
    let column = before.rsplit('\n').next().unwrap_or("").chars().count() + 1;
    Spot {
        line: lines[index],
        column,
        width: part.lines().next().unwrap_or("").chars().count(),
    }
}

fn object<'a>(set: &mut NftRuleset<'a>, text: &str, at: Spot<'a>) -> Result<(), Diagnostic> {
    let value: Value = serde_json::from_str(text)
        .map_err(|error| at.complaint(format!("this JSON can't be read: {error}")))?;
    let entry = value.as_object().filter(|it| it.len() == 1);
    let Some((name, body)) = entry.and_then(|it| it.iter().next()) else {
        return Err(at.complaint("expected an object with one key, such as {\"table\": …}"));
    };
    if name == "metainfo" {
        return Ok(());
    }
    let Some(body) = body.as_object() else {
        return Err(at.complaint(format!("expected an object in `{name}`")));
    };
    match name.as_str() {
        "table" => {
            let family = family(body, at)?;
            let dormant = body
                .get("flags")
                .is_some_and(|it| names(it).contains(&"dormant"));
            set.add_table(family, name_of(body, "name", at)?, at)
                .dormant = dormant;
        }
        "chain" => {
            let (family, name) = (family(body, at)?, name_of(body, "name", at)?);
            let base = body
                .contains_key("hook")
                .then(|| base(body, at))
                .transpose()?;
            let table = set.table(&family, name_of(body, "table", at)?, at)?;
            table.add_chain(name, base, at);
        }
        "rule" => {
            let family = family(body, at)?;
            let table = set.table(&family, name_of(body, "table", at)?, at)?;
            let chain = table.chain(name_of(body, "chain", at)?, at)?;
            let Some(expressions) = body.get("expr").and_then(Value::as_array) else {
                return Err(at.complaint("expected a list in `expr`"));
            };
            chain.rules.push(NftRule {
                steps: expressions.iter().map(steps_json::step).collect(),
                comment: body
                    .get("comment")
                    .and_then(Value::as_str)
                    .map(str::to_owned),
                at,
            });
        }
        other => {
            let named = body.get("name").and_then(Value::as_str).unwrap_or_default();
            let message = format!(
                "`{}` is set aside: rules that name it are not modelled",
                format!("{other} {named}").trim_end()
            );
            set.remarks.push(at.complaint(message));
        }
    }
    Ok(())
}

/// The words of a list, or the one word there is: nft writes a list of one as itself.
fn names(value: &Value) -> Vec<&str> {
    match value {
        Value::Array(list) => list.iter().filter_map(Value::as_str).collect(),
        one => one.as_str().into_iter().collect(),
    }
}

fn name_of<'v>(
    body: &'v Map<String, Value>,
    key: &str,
    at: Spot<'_>,
) -> Result<&'v str, Diagnostic> {
    let name = body.get(key).and_then(Value::as_str);
    name.ok_or_else(|| at.complaint(format!("expected a name in `{key}`")))
}

fn family(body: &Map<String, Value>, at: Spot<'_>) -> Result<TableFamily, Diagnostic> {
    let name = name_of(body, "family", at)?;
    TableFamily::from_name(name)
        .ok_or_else(|| at.complaint(format!("nft has no family of tables `{name}`")))
}

fn base(body: &Map<String, Value>, at: Spot<'_>) -> Result<Base, Diagnostic> {
    let priority = body.get("prio").and_then(Value::as_i64);
    let policy = match body.get("policy").and_then(Value::as_str) {
        None | Some("accept") => Some(Policy::Accept),
        Some("drop") => Some(Policy::Drop),
        Some(_) => None,
    };
    let (Some(priority), Some(policy)) = (priority.and_then(|it| it.try_into().ok()), policy)
    else {
        return Err(at.complaint("expected a number in `prio`, and accept or drop in `policy`"));
    };
    Ok(Base {
        kind: name_of(body, "type", at)?.to_owned(),
        hook: name_of(body, "hook", at)?.to_owned(),
        priority,
        policy,
    })
}
