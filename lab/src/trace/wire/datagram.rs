//! Netlink messages in a datagram, and messages to send.

use netlink_packet_core::NetlinkBuffer;

use super::{Attributes, Malformed};

/// Length of the header that every netfilter message starts with (`struct nfgenmsg`).
pub(crate) const NFNL_HEADER: usize = 4;
const NETLINK_HEADER: usize = 16;

/// A message as it came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Message<'a> {
    pub kind: u16,
    pub flags: u16,
    pub sequence: u32,
    /// Without the netlink header.
    pub body: &'a [u8],
}

/// The messages of a datagram; each is padded to four bytes.
pub(crate) fn messages(datagram: &[u8]) -> Result<Vec<Message<'_>>, Malformed> {
    let mut found = Vec::new();
    let mut rest = datagram;
    while !rest.is_empty() {
        let message = NetlinkBuffer::new_checked(rest)
            .map_err(|error| Malformed::new("netlink message", error))?;
        found.push(Message {
            kind: message.message_type(),
            flags: message.flags(),
            sequence: message.sequence_number(),
            body: message.payload(),
        });
        let length = (message.length() as usize).next_multiple_of(4);
        rest = rest.get(length..).unwrap_or(&[]);
    }
    Ok(found)
}

/// The family in the header of a netfilter message.
pub(crate) fn nfnl_family(body: &[u8]) -> Result<u8, Malformed> {
    let family = body.get(..NFNL_HEADER).map(|header| header[0]);
    family.ok_or_else(|| Malformed::new("netfilter header", "it is cut off"))
}

/// A netfilter message to send. `resource` is what the subsystem makes of it: a log group, or nothing.
pub(crate) fn request(
    kind: u16,
    flags: u16,
    sequence: u32,
    family: u8,
    resource: u16,
    attributes: &Attributes,
) -> Vec<u8> {
    let length = NETLINK_HEADER + NFNL_HEADER + attributes.as_bytes().len();
    let mut bytes = vec![0; NETLINK_HEADER];
    let mut header = NetlinkBuffer::new(&mut bytes);
    header.set_length(length as u32);
    header.set_message_type(kind);
    header.set_flags(flags);
    header.set_sequence_number(sequence);
    header.set_port_number(0);
    bytes.extend([family, 0]);
    bytes.extend(resource.to_be_bytes());
    bytes.extend(attributes.as_bytes());
    bytes
}
