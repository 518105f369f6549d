//! Links, addresses and routes by rtnetlink, in the namespace the calling thread is in.

use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    os::fd::{AsRawFd, BorrowedFd},
};

use futures_util::TryStreamExt;
use netlink_packet_route::{
    AddressFamily,
    address::{AddressAttribute, AddressFlags},
    link::{InfoVeth, LinkAttribute, LinkMessage, State},
};
use rtnetlink::{
    Handle, LinkBridge, LinkMessageBuilder, LinkUnspec, LinkVeth, RouteMessageBuilder,
};
use tokio::runtime::Runtime;

use super::NetError;

/// A route netlink socket of one namespace, driven by the namespace's thread.
pub struct Netlink {
    runtime: Runtime,
    handle: Handle,
}

impl Netlink {
    /// Opens a socket in the namespace the calling thread is in.
    ///
    /// # Errors
    /// No runtime or no netlink socket.
    pub(super) fn open(name: &str) -> Result<Self, NetError> {
        let failed = |what| {
            let name = name.to_string();
            move |source| NetError::Open { what, name, source }
        };
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_io()
            .build()
            .map_err(failed("a runtime"))?;
        let guard = runtime.enter();
        let (connection, handle, _) =
            rtnetlink::new_connection().map_err(failed("route netlink"))?;
        runtime.spawn(connection);
        drop(guard);
        Ok(Self { runtime, handle })
    }

    /// Creates a bridge, gives it its addresses and sets it up.
    ///
    /// # Errors
    /// The kernel refuses one of these.
    pub fn add_bridge(&self, name: &str, addresses: &[(IpAddr, u8)]) -> Result<(), NetError> {
        self.runtime.block_on(async {
            let link = self.handle.link();
            // No multicast snooping: its queries would be packets that nobody asked for.
            link.add(LinkBridge::new(name).mcast_snooping(false).up().build())
                .execute()
                .await
                .map_err(refused(format!("add bridge {name}")))?;
            let index = index_of(&self.handle, name).await?;
            add_addresses(&self.handle, name, index, addresses).await
        })
    }

    /// Creates a veth pair: one end here, its peer in the namespace behind `peer_ns`.
    ///
    /// # Errors
    /// The kernel refuses it, as when a name is taken.
    pub fn add_veth(
        &self,
        name: &str,
        peer: &str,
        peer_ns: BorrowedFd<'_>,
    ) -> Result<(), NetError> {
        let mut far = LinkMessage::default();
        far.attributes.push(LinkAttribute::IfName(peer.to_string()));
        far.attributes
            .push(LinkAttribute::NetNsFd(peer_ns.as_raw_fd()));
        let near = LinkMessageBuilder::<LinkVeth>::new_with_info_kind(
            netlink_packet_route::link::InfoKind::Veth,
        )
        .name(name)
        .set_info_data(netlink_packet_route::link::InfoData::Veth(InfoVeth::Peer(
            far,
        )))
        .build();
        self.runtime.block_on(async {
            self.handle
                .link()
                .add(near)
                .execute()
                .await
                .map_err(refused(format!("add veth pair {name} and {peer}")))
        })
    }

    /// Puts a link on a bridge and sets it up.
    ///
    /// # Errors
    /// No such link or bridge, or the kernel refuses.
    pub fn attach(&self, name: &str, bridge: &str) -> Result<(), NetError> {
        self.runtime.block_on(async {
            let index = index_of(&self.handle, name).await?;
            let bridge_index = index_of(&self.handle, bridge).await?;
            self.handle
                .link()
                .set(
                    LinkUnspec::new_with_index(index)
                        .controller(bridge_index)
                        .up()
                        .build(),
                )
                .execute()
                .await
                .map_err(refused(format!("attach {name} to {bridge}")))
        })
    }

    /// Sets a link up and gives it addresses.
    ///
    /// # Errors
    /// No such link, or the kernel refuses.
    pub fn set_up(&self, name: &str, addresses: &[(IpAddr, u8)]) -> Result<(), NetError> {
        self.runtime.block_on(async {
            let index = index_of(&self.handle, name).await?;
            self.handle
                .link()
                .set(LinkUnspec::new_with_index(index).up().build())
                .execute()
                .await
                .map_err(refused(format!("set {name} up")))?;
            add_addresses(&self.handle, name, index, addresses).await
        })
    }

    /// True once the kernel has noticed that a link's other end is up too.
    ///
    /// # Errors
    /// No such link, or the kernel refuses.
    pub fn is_up(&self, name: &str) -> Result<bool, NetError> {
        self.runtime.block_on(async {
            let link = link_of(&self.handle, name).await?;
            let up = LinkAttribute::OperState(State::Up);
            Ok(link.attributes.contains(&up))
        })
    }

    /// Adds a default route.
    ///
    /// # Errors
    /// The gateway is not reachable, or the kernel refuses.
    pub fn add_default_route(&self, gateway: IpAddr) -> Result<(), NetError> {
        self.runtime.block_on(async {
            let routes = self.handle.route();
            let route = match gateway {
                IpAddr::V4(gateway) => RouteMessageBuilder::<Ipv4Addr>::new()
                    .gateway(gateway)
                    .build(),
                IpAddr::V6(gateway) => RouteMessageBuilder::<Ipv6Addr>::new()
                    .gateway(gateway)
                    .build(),
            };
            routes
                .add(route)
                .execute()
                .await
                .map_err(refused(format!("add the default route via {gateway}")))
        })
    }
}

fn refused(what: String) -> impl FnOnce(rtnetlink::Error) -> NetError {
    move |source| NetError::Link { what, source }
}

async fn index_of(handle: &Handle, name: &str) -> Result<u32, NetError> {
    Ok(link_of(handle, name).await?.header.index)
}

async fn link_of(handle: &Handle, name: &str) -> Result<LinkMessage, NetError> {
    handle
        .link()
        .get()
        .match_name(name)
        .execute()
        .try_next()
        .await
        .map_err(refused(format!("find interface {name}")))?
        .ok_or_else(|| NetError::NoSuchLink(name.to_string()))
}

async fn add_addresses(
    handle: &Handle,
    name: &str,
    index: u32,
    addresses: &[(IpAddr, u8)],
) -> Result<(), NetError> {
    for (address, prefix) in addresses {
        let mut request = handle.address().add(index, *address, *prefix);
        let message = request.message_mut();
        if message.header.family == AddressFamily::Inet6 {
            // Usable at once: nobody else is on this network.
            message
                .attributes
                .push(AddressAttribute::Flags(AddressFlags::Nodad));
        }
        request
            .execute()
            .await
            .map_err(refused(format!("add address {address}/{prefix} to {name}")))?;
    }
    Ok(())
}
