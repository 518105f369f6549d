//! Messages of the multicast group NFNLGRP_NFTRACE: what nftables did with a packet.

use super::{Header, Malformed, attributes, be32, be64, nfnl_family, text};
use crate::traced::{ChainName, ConntrackSeen, TableFamily, Verdict};

const WHAT: &str = "trace message";

// Attributes of a trace message, from linux/netfilter/nf_tables.h.
const TABLE: u16 = 1;
const CHAIN: u16 = 2;
const RULE_HANDLE: u16 = 3;
const TYPE: u16 = 4;
const VERDICT: u16 = 5;
const ID: u16 = 6;
const NETWORK_HEADER: u16 = 8;
const TRANSPORT_HEADER: u16 = 9;
const IIF: u16 = 10;
const OIF: u16 = 12;
const MARK: u16 = 14;
const NFPROTO: u16 = 15;
const POLICY: u16 = 16;
const CT_ID: u16 = 18;
const CT_DIRECTION: u16 = 19;
const CT_STATUS: u16 = 20;
const CT_STATE: u16 = 21;

/// `IPS_TEMPLATE`, from linux/netfilter/nf_conntrack_common.h.
const TEMPLATE: u32 = 1 << 11;

const VERDICT_CODE: u16 = 1;
const VERDICT_CHAIN: u16 = 2;

/// One trace message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NftEvent {
    /// The chain the message is about.
    pub chain: ChainName,
    /// Handle of the rule that matched; none for the end of a chain and for a policy.
    pub handle: Option<u64>,
    /// What happened.
    pub kind: NftKind,
    /// Number the kernel gives the packet: used again for later packets, and another one after lo.
    pub id: u32,
    /// Header of the packet; the first message of each base chain carries it.
    pub header: Option<Header>,
    /// Index of the interface the packet came in by; with the header.
    pub input: Option<u32>,
    /// Index of the interface the packet leaves by; with the header.
    pub output: Option<u32>,
    /// The packet's mark when the message was made, after the rule has done its work; 0 for none.
    pub mark: u32,
    /// conntrack's view of the packet, on kernels that tell it, with the header.
    pub conntrack: Option<ConntrackSeen>,
}

/// What a trace message reports.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NftKind {
    /// A rule matched, or a chain ended without a decision (no handle, verdict continue).
    Rule(Verdict),
    /// The same, as kernels before 6.4 report RETURN and the end of a chain.
    Return(Verdict),
    /// The base chain's policy decided.
    Policy(Verdict),
}

impl NftEvent {
    /// Reads the body of a trace message: netfilter's header and the attributes.
    ///
    /// # Errors
    /// Something is cut off, of the wrong length, or missing.
    pub fn decode(body: &[u8]) -> Result<Self, Malformed> {
        let family = TableFamily::from_number(nfnl_family(body)?);
        let mut it = Raw::default();
        for (kind, value) in attributes(&body[super::NFNL_HEADER..], WHAT)? {
            it.take(kind, value)?;
        }
        it.event(family)
    }
}

#[derive(Default)]
struct Raw<'a> {
    table: Option<String>,
    chain: Option<String>,
    handle: Option<u64>,
    kind: Option<u32>,
    verdict: Option<Verdict>,
    policy: Option<Verdict>,
    id: Option<u32>,
    network: Option<&'a [u8]>,
    transport: &'a [u8],
    input: Option<u32>,
    output: Option<u32>,
    mark: u32,
    ct_id: Option<u32>,
    ct_reply: bool,
    ct_status: u32,
    ct_state: Option<u32>,
}

impl<'a> Raw<'a> {
    fn take(&mut self, kind: u16, value: &'a [u8]) -> Result<(), Malformed> {
        match kind {
            TABLE => self.table = Some(text(value, WHAT)?),
            CHAIN => self.chain = Some(text(value, WHAT)?),
            RULE_HANDLE => self.handle = Some(be64(value, WHAT)?),
            TYPE => self.kind = Some(be32(value, WHAT)?),
            VERDICT => self.verdict = Some(verdict(value)?),
            POLICY => self.policy = Some(Verdict::from_code(be32(value, WHAT)? as i32, None)),
            ID => self.id = Some(be32(value, WHAT)?),
            NETWORK_HEADER => self.network = Some(value),
            TRANSPORT_HEADER => self.transport = value,
            IIF => self.input = Some(be32(value, WHAT)?),
            OIF => self.output = Some(be32(value, WHAT)?),
            MARK => self.mark = be32(value, WHAT)?,
            CT_ID => self.ct_id = Some(be32(value, WHAT)?),
            CT_DIRECTION => self.ct_reply = value.first() == Some(&1),
            CT_STATUS => self.ct_status = be32(value, WHAT)?,
            CT_STATE => self.ct_state = Some(be32(value, WHAT)?),
            // The family is in the message's header; link headers, interface types and what is new say nothing more.
            NFPROTO => {}
            _ => {}
        }
        Ok(())
    }

    fn event(self, family: TableFamily) -> Result<NftEvent, Malformed> {
        let missing = |what| Malformed::new(WHAT, format!("it has no {what}"));
        let verdict = self.verdict.ok_or_else(|| missing("verdict"));
        let kind = match self.kind {
            Some(1) => NftKind::Policy(self.policy.ok_or_else(|| missing("policy"))?),
            Some(2) => NftKind::Return(verdict?),
            Some(3) => NftKind::Rule(verdict?),
            Some(other) => return Err(Malformed::new(WHAT, format!("type {other}"))),
            None => return Err(missing("type")),
        };
        let header = match self.network {
            Some(network) => Some(Header::from_trace(network, self.transport)?),
            None => None,
        };
        Ok(NftEvent {
            chain: ChainName {
                family,
                table: self.table.ok_or_else(|| missing("table"))?,
                chain: self.chain.ok_or_else(|| missing("chain"))?,
            },
            handle: self.handle,
            kind,
            id: self.id.ok_or_else(|| missing("trace id"))?,
            header,
            input: self.input,
            output: self.output,
            mark: self.mark,
            conntrack: self.ct_state.map(|state| ConntrackSeen {
                // After CT --zone, before conntrack: the rule's template, whose id is no entry's.
                id: self.ct_id.filter(|_| self.ct_status & TEMPLATE == 0),
                reply: self.ct_reply,
                status: self.ct_status,
                state,
            }),
        })
    }
}

fn verdict(value: &[u8]) -> Result<Verdict, Malformed> {
    let (mut code, mut chain) = (None, None);
    for (kind, value) in attributes(value, WHAT)? {
        match kind {
            VERDICT_CODE => code = Some(be32(value, WHAT)? as i32),
            VERDICT_CHAIN => chain = Some(text(value, WHAT)?),
            _ => {}
        }
    }
    let code = code.ok_or_else(|| Malformed::new(WHAT, "a verdict without a code"))?;
    Ok(Verdict::from_code(code, chain))
}
