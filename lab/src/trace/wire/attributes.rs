//! Netlink attributes: type, length, value.

use netlink_packet_core::{NLA_F_NESTED, NlasIterator};

use super::Malformed;

const HEADER: usize = 4;

/// The attributes of a message or of a nested attribute, in order; the flag bits of the type are taken off.
pub(crate) fn attributes<'a>(
    bytes: &'a [u8],
    what: &'static str,
) -> Result<Vec<(u16, &'a [u8])>, Malformed> {
    NlasIterator::new(bytes)
        .map(|attribute| {
            let attribute = attribute.map_err(|error| Malformed::new(what, error))?;
            let (kind, length) = (attribute.kind(), usize::from(attribute.length()));
            Ok((kind, &attribute.into_inner()[HEADER..length]))
        })
        .collect()
}

/// A big endian number, as netfilter writes all of its numbers.
pub(crate) fn be32(value: &[u8], what: &'static str) -> Result<u32, Malformed> {
    let bytes = value.try_into();
    bytes
        .map(u32::from_be_bytes)
        .map_err(|_| Malformed::new(what, format!("{} bytes where 4 belong", value.len())))
}

/// A big endian number of 64 bits.
pub(crate) fn be64(value: &[u8], what: &'static str) -> Result<u64, Malformed> {
    let bytes = value.try_into();
    bytes
        .map(u64::from_be_bytes)
        .map_err(|_| Malformed::new(what, format!("{} bytes where 8 belong", value.len())))
}

/// A text that ends with a zero byte.
pub(crate) fn text(value: &[u8], what: &'static str) -> Result<String, Malformed> {
    let end = value.iter().position(|byte| *byte == 0);
    let text = std::str::from_utf8(&value[..end.unwrap_or(value.len())]);
    text.map(str::to_owned)
        .map_err(|error| Malformed::new(what, error))
}

/// Attributes to send.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Attributes(Vec<u8>);

impl Attributes {
    pub fn new() -> Self {
        Self::default()
    }

    pub fn bytes(mut self, kind: u16, value: &[u8]) -> Self {
        // What is sent is made here and short; the kernel's own limit of a value is the same.
        let length = u16::try_from(HEADER + value.len()).expect("a short attribute");
        self.0.extend(length.to_ne_bytes());
        self.0.extend(kind.to_ne_bytes());
        self.0.extend(value);
        self.0.resize(self.0.len().next_multiple_of(4), 0);
        self
    }

    pub fn byte(self, kind: u16, value: u8) -> Self {
        self.bytes(kind, &[value])
    }

    pub fn be16(self, kind: u16, value: u16) -> Self {
        self.bytes(kind, &value.to_be_bytes())
    }

    pub fn be32(self, kind: u16, value: u32) -> Self {
        self.bytes(kind, &value.to_be_bytes())
    }

    pub fn text(self, kind: u16, value: &str) -> Self {
        let mut value = value.as_bytes().to_vec();
        value.push(0);
        self.bytes(kind, &value)
    }

    pub fn nested(self, kind: u16, inner: Self) -> Self {
        self.bytes(kind | NLA_F_NESTED, &inner.0)
    }

    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}
