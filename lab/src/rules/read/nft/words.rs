//! Reads expressions of nft's text: `ip daddr`, `{ 53, 15008 }`, `ct mark & 0xff | 0x1`.
//!
//! `None` is what this reader does not know; the rule is then kept word for word, it is no mistake.

use super::statement::{BitOperator, Expression};
use super::tokens::Cursor;

/// Keys of `meta` that need no `meta` in front.
const BARE_META: [&str; 8] = [
    "mark", "iif", "iifname", "oif", "oifname", "skuid", "skgid", "nftrace",
];

/// Headers with fields.
const HEADERS: [&str; 10] = [
    "ip", "ip6", "tcp", "udp", "udplite", "sctp", "dccp", "th", "icmp", "icmpv6",
];

/// Operators by how tightly they bind, the loosest first.
const LEVELS: [BitOperator; 3] = [BitOperator::Or, BitOperator::Xor, BitOperator::And];

/// How deep parentheses and sets may stand in each other.
const DEPTH: usize = 8;

/// What a condition asks about or a statement sets: no set, no plain value.
pub(super) fn key(cursor: &mut Cursor<'_, '_>) -> Option<Expression> {
    let mut at = *cursor;
    let head = at.next().filter(|it| !it.quoted)?.text.as_str();
    let key = match head {
        "meta" => Expression::Meta(at.name()?.to_owned()),
        "ct" => {
            let first = at.name()?;
            match first {
                "original" | "reply" => {
                    let key = at.name()?;
                    Expression::Ct(key.to_owned(), Some(first.to_owned()))
                }
                key => Expression::Ct(key.to_owned(), None),
            }
        }
        "fib" => {
            let mut flags = vec![at.name()?.to_owned()];
            while at.take(".") {
                flags.push(at.name()?.to_owned());
            }
            Expression::Fib(flags, at.name()?.to_owned())
        }
        header if HEADERS.contains(&header) => {
            Expression::Payload(header.to_owned(), at.name()?.to_owned())
        }
        meta if BARE_META.contains(&meta) => Expression::Meta(meta.to_owned()),
        _ => return None,
    };
    *cursor = at;
    Some(key)
}

/// What a key is set to, with operations on bits: `ct mark & 0xff | 0x1`.
pub(super) fn value(cursor: &mut Cursor<'_, '_>) -> Option<Expression> {
    let marks = |cursor: &mut Cursor<'_, '_>| match cursor.peek()?.text.as_str() {
        "meta" | "ct" | "mark" => key(cursor),
        _ => None,
    };
    nested(cursor, &LEVELS, DEPTH, marks)
}

/// What a condition compares with. A word here is a value: `tcp` is a protocol, not its header.
pub(super) fn operand(cursor: &mut Cursor<'_, '_>) -> Option<Expression> {
    nested(cursor, &LEVELS, DEPTH, |_| None)
}

/// A key, with operations on bits: `meta mark & 0xfff`.
pub(super) fn asked(cursor: &mut Cursor<'_, '_>) -> Option<Expression> {
    let mut left = key(cursor)?;
    while cursor.take("&") {
        let right = primary(cursor, DEPTH, |_| None)?;
        left = Expression::Bits(BitOperator::And, left.into(), right.into());
    }
    Some(left)
}

/// Reads a key where one may stand.
type Keys = fn(&mut Cursor<'_, '_>) -> Option<Expression>;

fn nested(
    cursor: &mut Cursor<'_, '_>,
    levels: &[BitOperator],
    depth: usize,
    keys: Keys,
) -> Option<Expression> {
    let Some((operator, tighter)) = levels.split_first() else {
        return primary(cursor, depth, keys);
    };
    let mut left = nested(cursor, tighter, depth, keys)?;
    let this = |word: &str| BitOperator::from_word(word).filter(|it| it == operator);
    while cursor.take_as(this).is_some() {
        let right = nested(cursor, tighter, depth, keys)?;
        left = Expression::Bits(*operator, left.into(), right.into());
    }
    Some(left)
}

fn primary(cursor: &mut Cursor<'_, '_>, depth: usize, keys: Keys) -> Option<Expression> {
    let depth = depth.checked_sub(1)?;
    if cursor.take("{") {
        return set(cursor, depth);
    }
    if cursor.take("(") {
        let inside = nested(cursor, &LEVELS, depth, keys)?;
        return cursor.take(")").then_some(inside);
    }
    if let Some(key) = keys(cursor) {
        return Some(key);
    }
    let first = single(cursor)?;
    let mut list = vec![first];
    while cursor.take(",") {
        list.push(single(cursor)?);
    }
    match list.len() {
        1 => list.pop(),
        _ => Some(Expression::List(list)),
    }
}

fn set(cursor: &mut Cursor<'_, '_>, depth: usize) -> Option<Expression> {
    let mut members = Vec::new();
    loop {
        cursor.skip_line_ends();
        if cursor.take("}") {
            break;
        }
        members.push(match cursor.peek()?.is("{") {
            true => primary(cursor, depth, |_| None)?,
            false => single(cursor)?,
        });
        cursor.skip_line_ends();
        if !cursor.take(",") {
            cursor.take("}").then_some(())?;
            break;
        }
    }
    Some(Expression::Set(members))
}

/// `53`, `0x539`, `10.0.0.0/8`, `1000-2000`, `"eth0"`, `established`
fn single(cursor: &mut Cursor<'_, '_>) -> Option<Expression> {
    let quoted = cursor.peek()?.quoted;
    let text = cursor.name()?;
    Some(match quoted {
        true => Expression::Word(text.to_owned()),
        false => plain(text),
    })
}

/// A word without quotes.
pub(super) fn plain(text: &str) -> Expression {
    let number = |text: &str| match text.strip_prefix("0x") {
        Some(digits) => u64::from_str_radix(digits, 16).ok(),
        None => text.parse().ok(),
    };
    if let Some(number) = number(text) {
        return Expression::Number(number);
    }
    if let Some((address, length)) = text.split_once('/')
        && let Ok(length) = length.parse()
    {
        return Expression::Prefix(address.to_owned(), length);
    }
    // A name may hold a dash; a range has a number or an address on both sides.
    if let Some((first, last)) = text.split_once('-')
        && is_numeric(first)
        && is_numeric(last)
    {
        return Expression::Range(plain(first).into(), plain(last).into());
    }
    Expression::Word(text.to_owned())
}

fn is_numeric(text: &str) -> bool {
    matches!(plain(text), Expression::Number(_)) || text.parse::<std::net::IpAddr>().is_ok()
}
