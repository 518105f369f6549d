//! Policy routing by rtnetlink: rules that pick a table by mark, and tables in which everything is local.

use std::net::{Ipv4Addr, Ipv6Addr};

use futures_util::TryStreamExt;
use netlink_packet_route::{
    route::{RouteProtocol, RouteScope, RouteType},
    rule::{RuleAction, RuleAttribute},
};
use rtnetlink::{IpVersion, RouteMessageBuilder};

use super::{
    NetError,
    links::{Netlink, index_of, refused},
};
use crate::{
    istio::routes::{Mark, Step},
    rules::Family,
};

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
    /// Adds what a mesh wants beside its rules: a policy rule, or a table in which all is local. An address of lo is set
    /// with lo.
    ///
    /// # Errors
    /// As [`Self::add_mark_rule`] and [`Self::add_local_route`].
    pub fn add_beside_rules(&self, step: &Step) -> Result<(), NetError> {
        match step {
            Step::Rule {
                family,
                mark,
                preference,
                table,
            } => {
                let (mark, mask) = match mark {
                    Mark::Whole(mark) => (*mark, None),
                    Mark::Masked(mark, mask) => (*mark, Some(*mask)),
                };
                self.add_mark_rule(MarkRule {
                    family: *family,
                    mark,
                    mask,
                    preference: *preference,
                    table: *table,
                })
            }
            Step::LocalRoute { family, table } => self.add_local_route(*family, *table),
            Step::LoopbackAddress(_) => Ok(()),
        }
    }

    /// How many policy rules of both families ask for a mark.
    ///
    /// # Errors
    /// The kernel refuses to tell.
    pub fn mark_rules(&self) -> Result<usize, NetError> {
        self.block_on(async |handle| {
            let mut found = 0;
            for version in [IpVersion::V4, IpVersion::V6] {
                let mut rules = handle.rule().get(version).execute();
                let next = rules.try_next();
                let mut next = next
                    .await
                    .map_err(refused("list policy rules".to_owned()))?;
                while let Some(rule) = next {
                    let asks = |it: &RuleAttribute| matches!(it, RuleAttribute::FwMark(_));
                    found += usize::from(rule.attributes.iter().any(asks));
                    next = rules
                        .try_next()
                        .await
                        .map_err(refused("list policy rules".to_owned()))?;
                }
            }
            Ok(found)
        })
    }

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
