//! Queries and answers: made, understood, encoded. Pure; the wire format is hickory's.

use std::net::IpAddr;

use hickory_proto::op::{DEFAULT_MAX_PAYLOAD_LEN, Edns, Header, Message, MessageType, OpCode};
use hickory_proto::op::{Query as Question, ResponseCode};
use hickory_proto::rr::{DNSClass, Name, RData, Record, RecordType};
use hickory_proto::serialize::binary::{BinDecodable, BinDecoder};

use crate::record::Transport;

/// Seconds an answer may be kept; Istio's agent gives the same.
const TTL: u32 = 30;

/// A query to send, with what is needed to know its answer again.
pub(crate) struct Query {
    pub(crate) bytes: Vec<u8>,
    id: u16,
    question: Question,
}

/// What a message that came back to a [`Query`] is.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Reading {
    /// Addresses of the family asked for, sorted; never none.
    Addresses(Vec<IpAddr>),
    /// No address; the response code in words.
    NoAddress(String),
    /// No answer to this query.
    Foreign,
}

impl Query {
    /// Asks for the IPv4 (A) or IPv6 (AAAA) addresses of a name.
    pub(crate) fn new(name: &str, ipv4: bool) -> Result<Self, String> {
        let record_type = if ipv4 {
            RecordType::A
        } else {
            RecordType::AAAA
        };
        let question = Question::query(absolute(name)?, record_type);
        let mut message = Message::query();
        message.metadata.recursion_desired = true;
        message.add_query(question.clone());
        Ok(Self {
            bytes: message.to_vec().map_err(|error| error.to_string())?,
            id: message.id,
            question,
        })
    }

    /// What `bytes` say to this query. Fails on bytes which are no DNS message.
    pub(crate) fn read(&self, bytes: &[u8]) -> Result<Reading, String> {
        let message = Message::from_vec(bytes).map_err(|error| error.to_string())?;
        // A server that could not read the question need not repeat it.
        let asked = message
            .queries
            .first()
            .is_none_or(|it| *it == self.question);
        if message.message_type != MessageType::Response || message.id != self.id || !asked {
            return Ok(Reading::Foreign);
        }
        let wanted = self.question.query_type;
        let mut addresses: Vec<IpAddr> = message
            .answers
            .iter()
            .filter(|record| record.record_type() == wanted)
            .filter_map(|record| record.data.ip_addr())
            .collect();
        addresses.sort_unstable();
        let code = code_words(message.response_code);
        Ok(if message.truncation {
            Reading::NoAddress(format!("{code}, truncated"))
        } else if message.response_code == ResponseCode::NoError && addresses.is_empty() {
            Reading::NoAddress("NOERROR without addresses".to_owned())
        } else if addresses.is_empty() || message.response_code != ResponseCode::NoError {
            Reading::NoAddress(code)
        } else {
            Reading::Addresses(addresses)
        })
    }
}

/// A query a server can't serve.
#[derive(Debug)]
pub(crate) struct Unserved {
    pub(crate) why: String,
    /// What to say to the client; nothing to bytes that aren't a query.
    pub(crate) answer: Option<Box<Message>>,
}

/// Reads what a client sent: exactly one question of class IN. Takes any bytes.
pub(crate) fn read_query(bytes: &[u8]) -> Result<Message, Unserved> {
    let header = Header::read(&mut BinDecoder::new(bytes)).map_err(|error| Unserved {
        why: format!("no DNS header: {error}"),
        answer: None,
    })?;
    let refuse = |code, why: String| {
        let mut answer = Message::error_msg(header.id, header.op_code, code);
        answer.metadata.recursion_desired = header.recursion_desired;
        Unserved {
            why,
            answer: Some(Box::new(answer)),
        }
    };
    // Never an answer to an answer: two servers would go on for ever.
    if header.message_type == MessageType::Response {
        return Err(Unserved {
            why: "an answer, not a query".to_owned(),
            answer: None,
        });
    }
    if header.op_code != OpCode::Query {
        let why = format!("operation {:?}", header.op_code);
        return Err(refuse(ResponseCode::NotImp, why));
    }
    let message = Message::from_vec(bytes)
        .map_err(|error| refuse(ResponseCode::FormErr, format!("malformed query: {error}")))?;
    match message.queries.as_slice() {
        [question] if question.query_class == DNSClass::IN => Ok(message),
        [question] => Err(refuse(
            ResponseCode::Refused,
            format!("class {}", question.query_class),
        )),
        questions => Err(refuse(
            ResponseCode::FormErr,
            format!("{} questions in one query", questions.len()),
        )),
    }
}

/// The question of a query that [`read_query`] let through.
pub(crate) fn question(query: &Message) -> (Name, RecordType) {
    query.queries.first().map_or_else(
        || (Name::root(), RecordType::NULL),
        |question| {
            let mut name = question.name.clone();
            name.set_fqdn(true);
            (name, question.query_type)
        },
    )
}

/// Answers with those of `addresses` the question is for.
pub(crate) fn addresses(query: &Message, addresses: &[IpAddr]) -> Message {
    let mut message = failure(query, ResponseCode::NoError);
    message.metadata.authoritative = true;
    let Some(question) = query.queries.first() else {
        return message;
    };
    let records = addresses
        .iter()
        .map(|ip| Record::from_rdata(question.name.clone(), TTL, RData::from(*ip)))
        .filter(|record| record.record_type() == question.query_type);
    message.add_answers(records);
    message
}

/// Answers that there is no such name.
pub(crate) fn no_such_name(query: &Message) -> Message {
    let mut message = failure(query, ResponseCode::NXDomain);
    message.metadata.authoritative = true;
    message
}

/// Answers with a response code alone.
pub(crate) fn failure(query: &Message, code: ResponseCode) -> Message {
    let mut message = Message::error_msg(query.id, query.op_code, code);
    message.metadata.recursion_desired = query.recursion_desired;
    message.metadata.recursion_available = true;
    message.add_queries(query.queries.iter().cloned());
    if query.edns.is_some() {
        let mut edns = Edns::new();
        edns.set_max_payload(DEFAULT_MAX_PAYLOAD_LEN);
        message.set_edns(edns);
    }
    message
}

/// Bytes of an answer; over UDP no more than the client of `query` takes, else truncated.
pub(crate) fn encode(
    answer: &Message,
    query: Option<&Message>,
    transport: Transport,
) -> Result<Vec<u8>, String> {
    let limit = match transport {
        Transport::Tcp => u16::MAX,
        // Also no more than fits into one packet everywhere.
        Transport::Udp => query
            .map_or(512, Message::max_payload)
            .min(DEFAULT_MAX_PAYLOAD_LEN),
    };
    let bytes = answer.to_vec().map_err(|error| error.to_string())?;
    if bytes.len() <= usize::from(limit) {
        return Ok(bytes);
    }
    answer
        .truncate()
        .to_vec()
        .map_err(|error| error.to_string())
}

/// A name as the root sees it, with or without its final dot in `text`.
pub(super) fn absolute(text: &str) -> Result<Name, String> {
    let mut name = Name::from_ascii(text).map_err(|error| format!("{text:?}: {error}"))?;
    if name.is_root() {
        return Err(format!("{text:?}: a name has at least one label"));
    }
    name.set_fqdn(true);
    Ok(name)
}

/// Response code as RFC 1035 and 2136 write it.
fn code_words(code: ResponseCode) -> String {
    match code {
        ResponseCode::NoError => "NOERROR".to_owned(),
        ResponseCode::FormErr => "FORMERR".to_owned(),
        ResponseCode::ServFail => "SERVFAIL".to_owned(),
        ResponseCode::NXDomain => "NXDOMAIN".to_owned(),
        ResponseCode::NotImp => "NOTIMP".to_owned(),
        ResponseCode::Refused => "REFUSED".to_owned(),
        other => format!("RCODE {}", u16::from(other)),
    }
}

#[cfg(test)]
mod tests;
