//! What is taken away again, or added, in a namespace that goes on: links, neighbours, addresses.

use std::net::IpAddr;

use super::{
    NetError,
    links::{Netlink, add_addresses, index_of, refused},
};

impl Netlink {
    /// Removes a link, and with one end of a veth pair the other; one that is not there is no error.
    ///
    /// # Errors
    /// The kernel refuses.
    pub fn remove_link(&self, name: &str) -> Result<(), NetError> {
        self.block_on(async |handle| {
            let index = match index_of(handle, name).await {
                Ok(index) => index,
                Err(error) if is_no_such_link(&error) => return Ok(()),
                Err(error) => return Err(error),
            };
            let removed = handle.link().del(index).execute().await;
            removed.map_err(refused(format!("remove {name}")))
        })
    }

    /// Forgets who has which address behind a link; what is not known is no error.
    ///
    /// # Errors
    /// No such link, or the kernel refuses.
    pub fn remove_neighbours(&self, link: &str, known: &[IpAddr]) -> Result<(), NetError> {
        self.block_on(async |handle| {
            let index = index_of(handle, link).await?;
            for ip in known {
                let neighbours = handle.neighbours();
                let entry = neighbours.add(index, *ip).message_mut().clone();
                match neighbours.del(entry).execute().await {
                    Err(rtnetlink::Error::NetlinkError(answer))
                        if answer.raw_code() == -nix::libc::ENOENT => {}
                    removed => {
                        removed.map_err(refused(format!("remove neighbour {ip} of {link}")))?;
                    }
                }
            }
            Ok(())
        })
    }

    /// Gives a link addresses.
    ///
    /// # Errors
    /// No such link, or the kernel refuses.
    pub fn add_addresses(&self, name: &str, addresses: &[(IpAddr, u8)]) -> Result<(), NetError> {
        self.block_on(async |handle| {
            let index = index_of(handle, name).await?;
            add_addresses(handle, name, index, addresses).await
        })
    }

    /// Takes addresses from a link.
    ///
    /// # Errors
    /// No such link, or the kernel refuses.
    pub fn remove_addresses(&self, name: &str, addresses: &[(IpAddr, u8)]) -> Result<(), NetError> {
        self.block_on(async |handle| {
            let index = index_of(handle, name).await?;
            for (ip, prefix) in addresses {
                let mut entry = handle.address().add(index, *ip, *prefix);
                let entry = entry.message_mut().clone();
                let removed = handle.address().del(entry).execute().await;
                removed.map_err(refused(format!("remove address {ip} of {name}")))?;
            }
            Ok(())
        })
    }
}

fn is_no_such_link(error: &NetError) -> bool {
    match error {
        NetError::NoSuchLink(_) => true,
        NetError::Link {
            source: rtnetlink::Error::NetlinkError(answer),
            ..
        } => answer.raw_code() == -nix::libc::ENODEV,
        _ => false,
    }
}
