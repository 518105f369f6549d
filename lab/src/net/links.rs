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
    neighbour::NeighbourState,
    route::RouteScope,
};
use rtnetlink::{
    Handle, LinkBridge, LinkMessageBuilder, LinkUnspec, LinkVeth, RouteMessageBuilder,
};
use tokio::runtime::Runtime;

use super::NetError;
use crate::plan::Mac;

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

    /// Runs netlink requests to their end on this thread.
    pub(super) fn block_on<T>(&self, requests: impl AsyncFnOnce(&Handle) -> T) -> T {
        self.runtime.block_on(requests(&self.handle))
    }

    /// Creates a silent bridge, down. Silent is what asks for no neighbour and joins no multicast group: whoever is to
    /// be reached through it must be told by [`Self::add_neighbours`]. What nobody asked for would be counted by rules
    /// that ask for no protocol.
    ///
    /// # Errors
    /// The kernel refuses.
    pub fn add_bridge(&self, name: &str, mac: Mac) -> Result<(), NetError> {
        let bridge = LinkBridge::new(name).mcast_snooping(false);
        let bridge = bridge.address(mac.0.to_vec()).arp(false).multicast(false);
        self.runtime.block_on(async {
            let link = self.handle.link();
            link.add(bridge.build())
                .execute()
                .await
                .map_err(refused(format!("add bridge {name}")))
        })
    }

    /// Writes down who has which address behind a link, for good.
    ///
    /// # Errors
    /// No such link, or the kernel refuses.
    pub fn add_neighbours(&self, link: &str, known: &[(IpAddr, Mac)]) -> Result<(), NetError> {
        self.runtime.block_on(async {
            let index = index_of(&self.handle, link).await?;
            for (ip, mac) in known {
                let neighbours = self.handle.neighbours();
                neighbours
                    .add(index, *ip)
                    .link_layer_address(&mac.0)
                    .state(NeighbourState::Permanent)
                    .replace()
                    .execute()
                    .await
                    .map_err(refused(format!("add neighbour {ip} of {link}")))?;
            }
            Ok(())
        })
    }

    /// Creates a veth pair: one end here, as silent as [`Self::add_bridge`]'s, its peer in the namespace behind
    /// `peer_ns`.
    ///
    /// # Errors
    /// The kernel refuses it, as when a name is taken.
    pub fn add_veth(
        &self,
        name: &str,
        mac: Mac,
        peer: &str,
        peer_ns: BorrowedFd<'_>,
    ) -> Result<(), NetError> {
        let mut far = LinkMessage::default();
        far.attributes.push(LinkAttribute::IfName(peer.to_string()));
        self.add_pair((name, mac), (peer, far), peer_ns)
    }

    /// The same with a peer as silent, for two ends with addresses.
    ///
    /// # Errors
    /// The kernel refuses it, as when a name is taken.
    pub fn add_silent_veth(
        &self,
        (name, mac): (&str, Mac),
        (peer, peer_mac): (&str, Mac),
        peer_ns: BorrowedFd<'_>,
    ) -> Result<(), NetError> {
        let far = LinkMessageBuilder::<LinkUnspec>::new().name(peer);
        let far = far.address(peer_mac.0.to_vec()).arp(false).multicast(false);
        self.add_pair((name, mac), (peer, far.build()), peer_ns)
    }

    fn add_pair(
        &self,
        (name, mac): (&str, Mac),
        (peer, mut far): (&str, LinkMessage),
        peer_ns: BorrowedFd<'_>,
    ) -> Result<(), NetError> {
        far.attributes
            .push(LinkAttribute::NetNsFd(peer_ns.as_raw_fd()));
        let near = LinkMessageBuilder::<LinkVeth>::new_with_info_kind(
            netlink_packet_route::link::InfoKind::Veth,
        )
        .name(name)
        .address(mac.0.to_vec())
        .arp(false)
        .multicast(false)
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

impl Netlink {
    /// Routes one address to a link.
    ///
    /// # Errors
    /// No such link, or the kernel refuses.
    pub fn add_route_to(&self, address: IpAddr, link: &str) -> Result<(), NetError> {
        self.runtime.block_on(async {
            let index = index_of(&self.handle, link).await?;
            let route = match address {
                IpAddr::V4(address) => RouteMessageBuilder::<Ipv4Addr>::new()
                    .destination_prefix(address, 32)
                    .scope(RouteScope::Link)
                    .output_interface(index)
                    .build(),
                IpAddr::V6(address) => RouteMessageBuilder::<Ipv6Addr>::new()
                    .destination_prefix(address, 128)
                    .output_interface(index)
                    .build(),
            };
            let routes = self.handle.route();
            let added = routes.add(route).execute().await;
            added.map_err(refused(format!("route {address} to {link}")))
        })
    }
}

pub(super) fn refused(what: String) -> impl FnOnce(rtnetlink::Error) -> NetError {
    move |source| NetError::Link { what, source }
}

pub(super) async fn index_of(handle: &Handle, name: &str) -> Result<u32, NetError> {
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

pub(super) async fn add_addresses(
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
