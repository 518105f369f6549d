//! Reads one rule of nft's text into its steps.

use super::statement::{BitOperator, Expression, Nat, NatKind, Operator, Statement, Step};
use super::tokens::{Cursor, Token};
use super::words::{asked, key, operand, plain, value};
use crate::rules::id::Family;
use crate::rules::set::Counter;

/// Words that start a statement, at which something unknown before them ends.
const STARTS: [&str; 17] = [
    "accept",
    "comment",
    "continue",
    "counter",
    "dnat",
    "drop",
    "goto",
    "jump",
    "log",
    "masquerade",
    "notrack",
    "queue",
    "redirect",
    "reject",
    "return",
    "snat",
    "tproxy",
];

/// Words that start what only asks about a packet.
const ASKING: [&str; 24] = [
    "ah", "arp", "comp", "ct", "dccp", "dst", "esp", "ether", "exthdr", "fib", "frag", "hbh",
    "icmp", "icmpv6", "ip", "ip6", "limit", "meta", "quota", "rt", "sctp", "socket", "tcp", "udp",
];

/// The steps of a rule, its comment, and the token a jump goes by. Ends of lines in `rule` stand inside braces.
pub(super) fn steps<'t, 'a>(
    rule: &'t [Token<'a>],
) -> (Vec<Step>, Option<String>, Option<&'t Token<'a>>) {
    let mut cursor = Cursor::new(rule);
    let (mut steps, mut comment, mut target) = (Vec::new(), None, None);
    while let Some(first) = cursor.peek() {
        if first.is_line_end() {
            cursor.next();
            continue;
        }
        let before = cursor.rest;
        if first.is("comment") && before.len() > 1 {
            cursor.next();
            comment = cursor.name().map(str::to_owned);
            continue;
        }
        let statement = match statement(&mut cursor).filter(|_| at_border(&cursor)) {
            Some(statement) => statement,
            None => {
                cursor.rest = before;
                unknown(&mut cursor)
            }
        };
        let taken = &before[..before.len() - cursor.rest.len()];
        if matches!(statement, Statement::Jump(_) | Statement::Goto(_)) {
            target = taken.get(1);
        }
        steps.push(Step {
            statement,
            words: written(taken),
        });
    }
    (steps, comment, target)
}

/// Words as a text would have them.
fn written(tokens: &[Token<'_>]) -> String {
    let spoken = tokens.iter().filter(|it| !it.is_line_end());
    let words: Vec<String> = spoken.map(Token::written).collect();
    words.join(" ").replace(" ,", ",")
}

/// Whether something can start here: what was read was all of a statement.
fn at_border(cursor: &Cursor<'_, '_>) -> bool {
    let Some(next) = cursor.peek() else {
        return true;
    };
    let mut ahead = *cursor;
    let word = next.text.as_str();
    next.is_line_end()
        || !next.quoted
            && (STARTS.contains(&word) || ASKING.contains(&word) || key(&mut ahead).is_some())
}

/// Goes over something unknown up to the next word that starts a statement.
fn unknown(cursor: &mut Cursor<'_, '_>) -> Statement {
    let head = cursor.next();
    let mut asks = head.is_some_and(|it| !it.quoted && ASKING.contains(&it.text.as_str()));
    let mut depth = usize::from(head.is_some_and(|it| it.is("{")));
    while let Some(next) = cursor.peek() {
        let word = next.text.as_str();
        match word {
            _ if next.quoted => {}
            "{" => depth += 1,
            "}" => depth = depth.saturating_sub(1),
            // These do something with what the words before them name.
            "set" | "map" | "vmap" => asks = false,
            start if depth == 0 && STARTS.contains(&start) => break,
            _ => {}
        }
        cursor.next();
    }
    Statement::Unknown { asks }
}

fn statement(cursor: &mut Cursor<'_, '_>) -> Option<Statement> {
    let head = cursor.peek().filter(|it| !it.quoted)?.text.as_str();
    let verdict = match head {
        "accept" => Some(Statement::Accept),
        "drop" => Some(Statement::Drop),
        "return" => Some(Statement::Return),
        "continue" => Some(Statement::Continue),
        "notrack" => Some(Statement::Notrack),
        _ => None,
    };
    if let Some(verdict) = verdict {
        cursor.next();
        return Some(verdict);
    }
    if let Some(kind) = NatKind::from_name(head) {
        cursor.next();
        return nat(kind, cursor);
    }
    match head {
        "jump" | "goto" => {
            cursor.next();
            let target = cursor.name()?.to_owned();
            Some(match head {
                "jump" => Statement::Jump(target),
                _ => Statement::Goto(target),
            })
        }
        "counter" => {
            cursor.next();
            counter(cursor)
        }
        "tproxy" => {
            cursor.next();
            let family = family(cursor);
            let (address, port) = endpoint(cursor)?;
            Some(Statement::Tproxy {
                family,
                address,
                port,
            })
        }
        "reject" => {
            cursor.next();
            reject(cursor)
        }
        "log" => {
            cursor.next();
            log(cursor)
        }
        _ => condition(cursor),
    }
}

fn counter(cursor: &mut Cursor<'_, '_>) -> Option<Statement> {
    let number = |cursor: &mut Cursor<'_, '_>| cursor.take_as(|word| word.parse().ok());
    if !cursor.take("packets") {
        return Some(Statement::Counter(None));
    }
    let packets = number(cursor)?;
    cursor.take("bytes").then_some(())?;
    let bytes = number(cursor)?;
    Some(Statement::Counter(Some(Counter { packets, bytes })))
}

fn family(cursor: &mut Cursor<'_, '_>) -> Option<Family> {
    cursor.take_as(|word| match word {
        "ip" => Some(Family::V4),
        "ip6" => Some(Family::V6),
        _ => None,
    })
}

/// `to :15001`, `to 10.0.0.1`, `to 10.0.0.1-10.0.0.9:80-90`, `to [fd00::1]:80`
fn endpoint(cursor: &mut Cursor<'_, '_>) -> Option<(Option<Expression>, Option<Expression>)> {
    cursor.take("to").then_some(())?;
    let text = cursor.name()?;
    let (address, port) = match text.strip_prefix('[').and_then(|it| it.split_once(']')) {
        Some((address, port)) => (address, port.strip_prefix(':')),
        // More than one colon are an IPv6 address without a port.
        None if text.matches(':').count() > 1 => (text, None),
        None => match text.split_once(':') {
            Some((address, port)) => (address, Some(port)),
            None => (text, None),
        },
    };
    let address = Some(address).filter(|it| !it.is_empty()).map(plain);
    Some((address, port.map(plain)))
}

fn nat(kind: NatKind, cursor: &mut Cursor<'_, '_>) -> Option<Statement> {
    let family = family(cursor);
    let (address, port) = match cursor.peek() {
        Some(next) if next.is("to") => endpoint(cursor)?,
        _ => (None, None),
    };
    let flag = |word: &str| {
        let known = ["random", "fully-random", "persistent"];
        known.contains(&word).then(|| word.to_owned())
    };
    let mut flags: Vec<String> = cursor.take_as(flag).into_iter().collect();
    while !flags.is_empty() && cursor.take(",") {
        flags.push(cursor.take_as(flag)?);
    }
    Some(Statement::Nat(Nat {
        kind,
        family,
        address,
        port,
        flags,
    }))
}

fn reject(cursor: &mut Cursor<'_, '_>) -> Option<Statement> {
    let (mut with, mut code) = (None, None);
    if cursor.take("with") {
        let kind = cursor.name()?;
        if kind == "tcp" {
            cursor.take("reset").then_some(())?;
            with = Some("tcp reset".to_owned());
        } else {
            // Older versions write `icmp type port-unreachable`.
            cursor.take("type");
            with = Some(kind.to_owned());
            code = Some(cursor.name()?.to_owned());
        }
    }
    Some(Statement::Reject { with, code })
}

fn log(cursor: &mut Cursor<'_, '_>) -> Option<Statement> {
    let (mut prefix, mut level, mut group) = (None, None, None);
    loop {
        if cursor.take("prefix") {
            prefix = Some(cursor.name()?.to_owned());
        } else if cursor.take("level") {
            level = Some(cursor.name()?.to_owned());
        } else if cursor.take("group") {
            group = Some(cursor.take_as(|word| word.parse().ok())?);
        } else {
            return Some(Statement::Log {
                prefix,
                level,
                group,
            });
        }
    }
}

/// `KEY [&  MASK] [OPERATOR] VALUE`, or `KEY set VALUE`.
fn condition(cursor: &mut Cursor<'_, '_>) -> Option<Statement> {
    let mut left = asked(cursor)?;
    if cursor.take("set") {
        let value = value(cursor)?;
        return Some(Statement::Set { key: left, value });
    }
    let mut operator = cursor
        .take_as(Operator::from_word)
        .unwrap_or(Operator::Implied);
    let right = operand(cursor)?;
    // `tcp flags syn / fin,syn,rst,ack` is `tcp flags & (fin | syn | rst | ack) == syn`.
    if cursor.take("/") {
        let mask = operand(cursor)?;
        left = Expression::Bits(BitOperator::And, left.into(), mask.into());
        operator = match operator {
            Operator::Implied => Operator::Equal,
            other => other,
        };
    }
    Some(Statement::Condition {
        left,
        operator,
        right,
    })
}
