//! nflog messages: what our own log rules and the TRACE of ip_tables say.

use super::{Header, Malformed, attributes, be32, text};
use crate::traced::Hook;

const WHAT: &str = "nflog message";

// Attributes of an nflog message, from linux/netfilter/nfnetlink_log.h.
const PACKET_HEADER: u16 = 1;
const MARK: u16 = 2;
const INDEV: u16 = 4;
const OUTDEV: u16 = 5;
const PAYLOAD: u16 = 9;
const PREFIX: u16 = 10;
const UID: u16 = 11;
const SEQUENCE: u16 = 12;
const GID: u16 = 14;

/// One nflog message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogEvent {
    /// The hook it was logged at.
    pub hook: Option<Hook>,
    /// Words of the rule that logged, or of ip_tables' TRACE.
    pub prefix: String,
    /// Header of the packet.
    pub header: Header,
    /// Index of the interface the packet came in by.
    pub input: Option<u32>,
    /// Index of the interface the packet leaves by.
    pub output: Option<u32>,
    /// The packet's mark; 0 for none.
    pub mark: u32,
    /// User of the sending socket; none for a packet without one, and for a SYN-ACK (its socket is not a full one).
    pub uid: Option<u32>,
    /// Group of the sending socket.
    pub gid: Option<u32>,
    /// Number of the message in its group, counted by the kernel from 0.
    pub sequence: Option<u32>,
}

impl LogEvent {
    /// Reads the body of an nflog message: netfilter's header and the attributes.
    ///
    /// # Errors
    /// Something is cut off or of the wrong length, or the packet is not of IP.
    pub fn decode(body: &[u8]) -> Result<Self, Malformed> {
        let body = body.get(super::NFNL_HEADER..);
        let body = body.ok_or_else(|| Malformed::new(WHAT, "its header is cut off"))?;
        let (mut hook, mut prefix, mut header) = (None, String::new(), None);
        let (mut input, mut output, mut mark) = (None, None, 0);
        let (mut uid, mut gid, mut sequence) = (None, None, None);
        for (kind, value) in attributes(body, WHAT)? {
            match kind {
                // Two bytes of protocol, then the hook.
                PACKET_HEADER => hook = value.get(2).and_then(|hook| Hook::from_number(*hook)),
                PREFIX => prefix = text(value, WHAT)?,
                PAYLOAD => header = Some(Header::from_packet(value)?),
                INDEV => input = Some(be32(value, WHAT)?),
                OUTDEV => output = Some(be32(value, WHAT)?),
                MARK => mark = be32(value, WHAT)?,
                UID => uid = Some(be32(value, WHAT)?),
                GID => gid = Some(be32(value, WHAT)?),
                SEQUENCE => sequence = Some(be32(value, WHAT)?),
                _ => {}
            }
        }
        let header = header.ok_or_else(|| Malformed::new(WHAT, "it has no packet"))?;
        Ok(Self {
            hook,
            prefix,
            header,
            input,
            output,
            mark,
            uid,
            gid,
            sequence,
        })
    }
}

/// The prefix of ip_tables' TRACE: `TRACE: nat:ISTIO_INBOUND:rule:5 `.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct TraceLine {
    pub table: String,
    pub chain: String,
    pub kind: LineKind,
    /// Place counted from 1; one past the last rule for the end of a chain.
    pub number: u32,
}

/// The kernel's word for the place. It calls an unconditional ACCEPT, DROP or RETURN by the word for the end of its
/// chain, so `Return` and `Policy` may be rules.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum LineKind {
    Rule,
    Return,
    Policy,
}

impl TraceLine {
    /// None for a prefix of another kind.
    pub fn parse(prefix: &str) -> Option<Self> {
        let line = prefix.trim_end().strip_prefix("TRACE: ")?;
        // A chain's name may hold colons; the others may not.
        let (table, rest) = line.split_once(':')?;
        let (rest, number) = rest.rsplit_once(':')?;
        let (chain, kind) = rest.rsplit_once(':')?;
        let kind = match kind {
            "rule" => LineKind::Rule,
            "return" => LineKind::Return,
            "policy" => LineKind::Policy,
            _ => return None,
        };
        Some(Self {
            table: table.to_owned(),
            chain: chain.to_owned(),
            kind,
            number: number.parse().ok()?,
        })
    }
}
