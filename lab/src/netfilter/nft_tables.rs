//! Which tables nft has in the namespace the calling thread is in, asked over netlink: nothing is made by asking.

use std::io;

use netlink_packet_core::{
    NLM_F_DUMP, NLM_F_REQUEST, NetlinkHeader, NetlinkMessage, NetlinkPayload,
};
use netlink_packet_netfilter::{
    NetfilterHeader, NetfilterMessage, NetfilterMessageInner, NetfilterProtoFamily,
    nftables::{NfTablesMessage, TableAttribute, TableMessage},
};
use netlink_sys::{Socket, SocketAddr, protocols::NETLINK_NETFILTER};

use super::NetfilterError;
use crate::{rules::Family, traced::OBSERVER_TABLES};

/// A table of nft.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NftTable {
    /// The family it is for; `None` for one of several, or of none.
    pub family: Option<Family>,
    /// Its name.
    pub name: String,
}

impl NftTable {
    /// Whether its family and name are those iptables-nft gives its own.
    pub fn is_of_iptables(&self) -> bool {
        let names = ["raw", "mangle", "nat", "filter", "security"];
        self.family.is_some() && names.contains(&self.name.as_str())
    }

    /// Whether its name is one that a trace gives its table of observers.
    pub fn is_of_observers(&self) -> bool {
        self.name.starts_with(OBSERVER_TABLES)
    }
}

/// Every table of nft, in every family.
///
/// # Errors
/// The socket can't be opened, or the kernel refuses the question: it needs CAP_NET_ADMIN in the user namespace that
/// owns the network namespace.
pub fn nft_tables() -> Result<Vec<NftTable>, NetfilterError> {
    tables().map_err(|source| NetfilterError::Tables {
        what: "ask for the tables of nft",
        source,
    })
}

fn tables() -> io::Result<Vec<NftTable>> {
    let mut socket = Socket::new(NETLINK_NETFILTER)?;
    socket.bind_auto()?;
    socket.connect(&SocketAddr::new(0, 0))?;
    let mut header = NetlinkHeader::default();
    header.flags = NLM_F_REQUEST | NLM_F_DUMP;
    let question = NfTablesMessage::GetTable(TableMessage {
        attributes: Vec::new(),
    });
    let every = NetfilterProtoFamily::Unspec;
    let body = NetfilterMessage::new(NetfilterHeader::new(every, 0, 0), question);
    let mut request = NetlinkMessage::new(header, NetlinkPayload::from(body));
    request.finalize();
    let mut bytes = vec![0; request.buffer_len()];
    request.serialize(&mut bytes);
    socket.send(&bytes, 0)?;
    let mut tables = Vec::new();
    loop {
        let (datagram, _) = socket.recv_from_full()?;
        for message in super::conntrack::wire::messages(&datagram)? {
            match message.payload {
                NetlinkPayload::Done(_) => return Ok(tables),
                NetlinkPayload::Error(error) => return Err(error.to_io()),
                NetlinkPayload::InnerMessage(inner) => tables.extend(table(inner)),
                _ => {}
            }
        }
    }
}

fn table(message: NetfilterMessage) -> Option<NftTable> {
    let family = match message.header.family {
        NetfilterProtoFamily::IPv4 => Some(Family::V4),
        NetfilterProtoFamily::IPv6 => Some(Family::V6),
        _ => None,
    };
    let NetfilterMessageInner::NfTables(NfTablesMessage::NewTable(table)) = message.inner else {
        return None;
    };
    let name = table.attributes.into_iter().find_map(|it| match it {
        TableAttribute::Name(name) => Some(name),
        _ => None,
    })?;
    Some(NftTable { family, name })
}
