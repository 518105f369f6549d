//! Policy routing by rtnetlink: rules that pick a table by mark, and tables in which everything is local.

use std::net::{Ipv4Addr, Ipv6Addr};

use netlink_packet_route::{
    route::{RouteProtocol, RouteScope, RouteType},
    rule::{RuleAction, RuleAttribute},
};
use rtnetlink::RouteMessageBuilder;

use super::{
    NetError,
    links::{Netlink, index_of, refused},
};
use crate::rules::Family;

/// A policy rule by mark.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MarkRule {
    /// Family of the packets.
    pub family: Family,
    /// Mark.
    pub mark: u32,
    /// Bits of the mark that count.
    pub mask: Option<u32>,
    /// Preference; the kernel picks one if there is none.
    pub preference: Option<u32>,
    /// Routing table.
    pub table: u32,
}

impl Netlink {
    /// Adds a policy rule. Without a preference the kernel takes the same rule any number of times, each before the
    /// last one.
    ///
    /// # Errors
    /// The kernel refuses, as when a rule with a preference is there already.
    pub fn add_mark_rule(&self, rule: MarkRule) -> Result<(), NetError> {
        let words = format!("add the rule `fwmark {} lookup {}`", rule.mark, rule.table);
        self.block_on(async |handle| {
            let request = handle.rule().add().action(RuleAction::ToTable);
            let mut request = request.table_id(rule.table).fw_mark(rule.mark);
            if let Some(mask) = rule.mask {
                let attributes = &mut request.message_mut().attributes;
                attributes.push(RuleAttribute::FwMask(mask));
            }
            if let Some(preference) = rule.preference {
                request = request.priority(preference);
            }
            match rule.family {
                Family::V4 => request.v4().execute().await,
                Family::V6 => request.v6().execute().await,
            }
            .map_err(refused(words))
        })
    }

    /// Makes every address local in a table: `local default dev lo table TABLE`.
    ///
    /// # Errors
    /// The kernel refuses, as when the table has the route already.
    pub fn add_local_route(&self, family: Family, table: u32) -> Result<(), NetError> {
        let words = format!("add the route `local default dev lo table {table}`");
        self.block_on(async |handle| {
            let lo = index_of(handle, "lo").await?;
            let route = match family {
                Family::V4 => RouteMessageBuilder::<Ipv4Addr>::new()
                    .kind(RouteType::Local)
                    .scope(RouteScope::Host)
                    .protocol(RouteProtocol::Boot)
                    .output_interface(lo)
                    .table_id(table)
                    .build(),
                Family::V6 => RouteMessageBuilder::<Ipv6Addr>::new()
                    .kind(RouteType::Local)
                    .protocol(RouteProtocol::Boot)
                    .output_interface(lo)
                    .table_id(table)
                    .build(),
            };
            let routes = handle.route();
            routes.add(route).execute().await.map_err(refused(words))
        })
    }
}
