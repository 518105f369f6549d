//! The few nftables expressions that observers are made of, as netlink attributes. Pure.

use std::net::IpAddr;

use super::wire::Attributes;

/// The one register that is used, 16 bytes wide (`NFT_REG_1`).
const REGISTER: u32 = 1;

// From linux/netfilter/nf_tables.h.
const EXPR_NAME: u16 = 1;
const EXPR_DATA: u16 = 2;
const DATA_VALUE: u16 = 1;
const DATA_VERDICT: u16 = 2;
const META_L4PROTO: u32 = 16;
const META_NFPROTO: u32 = 15;
const META_NFTRACE: u32 = 12;
const BASE_NETWORK: u32 = 1;
const BASE_TRANSPORT: u32 = 2;
const CMP_EQUAL: u32 = 0;
const CMP_NOT_EQUAL: u32 = 1;

/// Expressions of a rule, or a part of them.
pub(super) type Expressions = Vec<Attributes>;

fn expression(name: &str, data: Attributes) -> Attributes {
    Attributes::new()
        .text(EXPR_NAME, name)
        .nested(EXPR_DATA, data)
}

fn load_meta(key: u32) -> Attributes {
    let data = Attributes::new().be32(1, REGISTER).be32(2, key);
    expression("meta", data)
}

fn load_payload(base: u32, offset: u32, length: usize) -> Attributes {
    let data = Attributes::new().be32(1, REGISTER).be32(2, base);
    let data = data.be32(3, offset).be32(4, length as u32);
    expression("payload", data)
}

fn compare(operator: u32, value: &[u8]) -> Attributes {
    let value = Attributes::new().bytes(DATA_VALUE, value);
    let data = Attributes::new().be32(1, REGISTER).be32(2, operator);
    expression("cmp", data.nested(3, value))
}

fn mask(mask: &[u8]) -> Attributes {
    let zero = vec![0; mask.len()];
    let data = Attributes::new().be32(1, REGISTER).be32(2, REGISTER);
    let data = data
        .be32(3, mask.len() as u32)
        .nested(4, Attributes::new().bytes(DATA_VALUE, mask))
        .nested(5, Attributes::new().bytes(DATA_VALUE, &zero));
    expression("bitwise", data)
}

/// `meta nfproto`, by its number.
pub(super) fn is_family(number: u8) -> Expressions {
    vec![load_meta(META_NFPROTO), compare(CMP_EQUAL, &[number])]
}

/// `meta l4proto`, by its IANA number.
pub(super) fn is_protocol(number: u8) -> Expressions {
    vec![load_meta(META_L4PROTO), compare(CMP_EQUAL, &[number])]
}

/// The value of some bytes of the network header.
pub(super) fn network_bytes(offset: u32, value: &[u8]) -> Expressions {
    let load = load_payload(BASE_NETWORK, offset, value.len());
    vec![load, compare(CMP_EQUAL, value)]
}

/// The value of some bytes of the transport header.
pub(super) fn transport_bytes(offset: u32, value: &[u8]) -> Expressions {
    let load = load_payload(BASE_TRANSPORT, offset, value.len());
    vec![load, compare(CMP_EQUAL, value)]
}

/// Any of these bits set in a byte of the transport header.
pub(super) fn transport_bits(offset: u32, bits: u8) -> Expressions {
    let load = load_payload(BASE_TRANSPORT, offset, 1);
    vec![load, mask(&[bits]), compare(CMP_NOT_EQUAL, &[0])]
}

/// These bits of a byte of the transport header, as they are to be.
pub(super) fn transport_flags(offset: u32, of: u8, value: u8) -> Expressions {
    let load = load_payload(BASE_TRANSPORT, offset, 1);
    vec![load, mask(&[of]), compare(CMP_EQUAL, &[value])]
}

/// Half of a conntrack entry's original tuple.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Half {
    Source,
    Destination,
}

/// `ct original saddr` or `daddr`.
pub(super) fn original_address(half: Half, address: IpAddr) -> Expressions {
    let (key, value) = match (half, address) {
        (Half::Source, IpAddr::V4(it)) => (19, it.octets().to_vec()),
        (Half::Destination, IpAddr::V4(it)) => (20, it.octets().to_vec()),
        (Half::Source, IpAddr::V6(it)) => (21, it.octets().to_vec()),
        (Half::Destination, IpAddr::V6(it)) => (22, it.octets().to_vec()),
    };
    vec![load_original(key), compare(CMP_EQUAL, &value)]
}

/// `ct original proto-src` or `proto-dst`.
pub(super) fn original_port(half: Half, port: u16) -> Expressions {
    let key = match half {
        Half::Source => 11,
        Half::Destination => 12,
    };
    vec![load_original(key), compare(CMP_EQUAL, &port.to_be_bytes())]
}

fn load_original(key: u32) -> Attributes {
    const ORIGINAL: u8 = 0;
    let data = Attributes::new().be32(1, REGISTER).be32(2, key);
    expression("ct", data.byte(3, ORIGINAL))
}

/// `meta nftrace set 1`.
pub(super) fn trace() -> Expressions {
    let one = Attributes::new().bytes(DATA_VALUE, &[1]);
    let one = Attributes::new().be32(1, REGISTER).nested(2, one);
    let set = Attributes::new().be32(2, META_NFTRACE).be32(3, REGISTER);
    vec![expression("immediate", one), expression("meta", set)]
}

/// `log group GROUP snaplen BYTES`.
pub(super) fn log(group: u16, prefix: &str, bytes: u32) -> Expressions {
    let data = Attributes::new().be16(1, group).text(2, prefix);
    vec![expression("log", data.be32(3, bytes))]
}

/// `accept`.
pub(super) fn accept() -> Expressions {
    verdict(1, None)
}

/// `goto CHAIN`.
pub(super) fn goto(chain: &str) -> Expressions {
    verdict(-4, Some(chain))
}

fn verdict(code: i32, chain: Option<&str>) -> Expressions {
    let mut verdict = Attributes::new().be32(1, code as u32);
    if let Some(chain) = chain {
        verdict = verdict.text(2, chain);
    }
    let data = Attributes::new().nested(DATA_VERDICT, verdict);
    // Register 0 holds the verdict.
    let data = Attributes::new().be32(1, 0).nested(2, data);
    vec![expression("immediate", data)]
}
