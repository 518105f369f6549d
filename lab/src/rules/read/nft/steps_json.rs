//! Reads the statements of a rule in nft's JSON.
//!
//! An object with a key this reader does not expect is something it does not know: it is kept as it is.

use serde_json::{Map, Value};

use super::statement::{BitOperator, Expression, Nat, NatKind, Operator, Statement, Step};
use crate::rules::id::Family;
use crate::rules::set::Counter;

/// Statements that only ask about a packet, and are not known otherwise.
const ASKING: [&str; 4] = ["match", "limit", "quota", "ct count"];

/// One statement of `expr`.
pub(super) fn step(value: &Value) -> Step {
    let known = single(value).and_then(|(name, body)| statement(name, body));
    let words = match single(value) {
        // What iptables-nft stores nft can only name.
        Some(("xt", body)) => xt(body),
        _ => value.to_string(),
    };
    let name = single(value).map(|(name, _)| name);
    let matches_xt = value.pointer("/xt/type").and_then(Value::as_str) == Some("match");
    let asks = name.is_some_and(|it| ASKING.contains(&it)) || matches_xt;
    Step {
        statement: known.unwrap_or(Statement::Unknown { asks }),
        words,
    }
}

/// `xt match owner`
fn xt(body: &Value) -> String {
    let part = |key: &str| body.get(key).and_then(Value::as_str).unwrap_or("?");
    format!("xt {} {}", part("type"), part("name"))
}

/// The one entry of an object.
fn single(value: &Value) -> Option<(&str, &Value)> {
    let object = value.as_object().filter(|it| it.len() == 1)?;
    object
        .iter()
        .next()
        .map(|(name, body)| (name.as_str(), body))
}

/// An object with no keys but these; `null` is one without any.
struct Fields<'v>(Option<&'v Map<String, Value>>);

impl<'v> Fields<'v> {
    fn of(body: &'v Value, known: &[&str]) -> Option<Self> {
        match body {
            Value::Null => Some(Self(None)),
            Value::Object(object) => {
                let all = object.keys().all(|key| known.contains(&key.as_str()));
                all.then_some(Self(Some(object)))
            }
            _ => None,
        }
    }

    fn get(&self, key: &str) -> Option<&'v Value> {
        self.0?.get(key)
    }

    fn text(&self, key: &str) -> Option<String> {
        self.get(key)?.as_str().map(str::to_owned)
    }

    /// An expression that may be left out; the outer `None` is one that is not known.
    fn expression(&self, key: &str) -> Option<Option<Expression>> {
        match self.get(key) {
            None => Some(None),
            Some(value) => expression(value).map(Some),
        }
    }

    fn family(&self) -> Option<Option<Family>> {
        match self.get("family").map(Value::as_str) {
            None => Some(None),
            Some(Some("ip")) => Some(Some(Family::V4)),
            Some(Some("ip6")) => Some(Some(Family::V6)),
            Some(_) => None,
        }
    }
}

fn statement(name: &str, body: &Value) -> Option<Statement> {
    let target = || {
        body.get("target")
            .and_then(Value::as_str)
            .map(str::to_owned)
    };
    match name {
        "accept" => Some(Statement::Accept),
        "drop" => Some(Statement::Drop),
        "return" => Some(Statement::Return),
        "continue" => Some(Statement::Continue),
        "notrack" => Some(Statement::Notrack),
        "jump" => target().map(Statement::Jump),
        "goto" => target().map(Statement::Goto),
        "counter" => {
            let fields = Fields::of(body, &["packets", "bytes"])?;
            let number = |key| fields.get(key).and_then(Value::as_u64);
            let figures = number("packets").zip(number("bytes"));
            Some(Statement::Counter(
                figures.map(|(packets, bytes)| Counter { packets, bytes }),
            ))
        }
        "match" => {
            let fields = Fields::of(body, &["left", "op", "right"])?;
            Some(Statement::Condition {
                left: expression(fields.get("left")?)?,
                operator: Operator::from_word(fields.get("op")?.as_str()?)?,
                right: expression(fields.get("right")?)?,
            })
        }
        "mangle" => {
            let fields = Fields::of(body, &["key", "value"])?;
            Some(Statement::Set {
                key: expression(fields.get("key")?)?,
                value: expression(fields.get("value")?)?,
            })
        }
        "tproxy" => {
            let fields = Fields::of(body, &["family", "addr", "port"])?;
            Some(Statement::Tproxy {
                family: fields.family()?,
                address: fields.expression("addr")?,
                port: fields.expression("port")?,
            })
        }
        "reject" => {
            let fields = Fields::of(body, &["type", "expr"])?;
            Some(Statement::Reject {
                with: fields.text("type"),
                code: fields.text("expr"),
            })
        }
        "log" => {
            let fields = Fields::of(body, &["prefix", "level", "group"])?;
            let group = fields.get("group").map(Value::as_u64);
            Some(Statement::Log {
                prefix: fields.text("prefix"),
                level: fields.text("level"),
                group: match group {
                    None => None,
                    Some(number) => Some(u16::try_from(number?).ok()?),
                },
            })
        }
        other => nat(NatKind::from_name(other)?, body),
    }
}

fn nat(kind: NatKind, body: &Value) -> Option<Statement> {
    let fields = Fields::of(body, &["family", "addr", "port", "flags"])?;
    let flags = match fields.get("flags") {
        None => Vec::new(),
        Some(Value::String(one)) => vec![one.clone()],
        Some(Value::Array(many)) => {
            let names = many.iter().map(|it| it.as_str().map(str::to_owned));
            names.collect::<Option<Vec<_>>>()?
        }
        Some(_) => return None,
    };
    Some(Statement::Nat(Nat {
        kind,
        family: fields.family()?,
        address: fields.expression("addr")?,
        port: fields.expression("port")?,
        flags,
    }))
}

fn expression(value: &Value) -> Option<Expression> {
    let list = |list: &[Value]| list.iter().map(expression).collect::<Option<Vec<_>>>();
    match value {
        Value::Number(number) => number.as_u64().map(Expression::Number),
        Value::String(word) => Some(Expression::Word(word.clone())),
        Value::Array(values) => list(values).map(Expression::List),
        Value::Object(_) => object(single(value)?),
        Value::Null | Value::Bool(_) => None,
    }
}

fn object((name, body): (&str, &Value)) -> Option<Expression> {
    let two = || match body.as_array()?.as_slice() {
        [first, second] => Some((expression(first)?, expression(second)?)),
        _ => None,
    };
    match name {
        "set" => {
            let members = body.as_array()?.iter().map(expression);
            members.collect::<Option<Vec<_>>>().map(Expression::Set)
        }
        "range" => two().map(|(first, last)| Expression::Range(first.into(), last.into())),
        "prefix" => {
            let fields = Fields::of(body, &["addr", "len"])?;
            let length = fields.get("len")?.as_u64()?.try_into().ok()?;
            Some(Expression::Prefix(fields.text("addr")?, length))
        }
        "meta" => Some(Expression::Meta(Fields::of(body, &["key"])?.text("key")?)),
        "ct" => {
            let fields = Fields::of(body, &["key", "dir"])?;
            Some(Expression::Ct(fields.text("key")?, fields.text("dir")))
        }
        "payload" => {
            let fields = Fields::of(body, &["protocol", "field"])?;
            let (protocol, field) = (fields.text("protocol")?, fields.text("field")?);
            Some(Expression::Payload(protocol, field))
        }
        "fib" => {
            let fields = Fields::of(body, &["result", "flags"])?;
            let flags = match expression(fields.get("flags")?)? {
                Expression::List(words) => words,
                one => vec![one],
            };
            let words = flags.iter().map(|it| it.word().map(str::to_owned));
            Some(Expression::Fib(
                words.collect::<Option<_>>()?,
                fields.text("result")?,
            ))
        }
        operator @ ("&" | "|" | "^") => {
            let (left, right) = two()?;
            let operator = BitOperator::from_word(operator)?;
            Some(Expression::Bits(operator, left.into(), right.into()))
        }
        _ => None,
    }
}
