//! What may be a block of this node: of the configuration, and of `catbird block add` while it runs.
//!
//! In: a prefix, and who has which address. Out: what speaks against it. A block is announced and kept in the kernel as a blackhole, so one
//! that covers a neighbour cuts us off from it.

use std::net::IpAddr;

use ipnet::IpNet;

use super::Config;
use super::raw::RawPods;
use super::report::{At, Diagnostics, Problem};
use crate::num::Nlri;

impl Config {
    /// What speaks against this block, if anything does.
    pub fn objection_to_block(&self, block: &IpNet) -> Option<String> {
        if block.addr() != block.network() {
            return Some(format!("its host bits are not zero (perhaps {}?)", block.trunc()));
        }
        if block.prefix_len() == 0 {
            return Some("a node's block is not the whole address space".to_owned());
        }
        if !Nlri::new(*block).is_unicast() {
            return Some("multicast, loopback, link-local or unspecified addresses are no unicast destinations (RFC 4271 §6.3)".to_owned());
        }
        let (name, addr) = self.hosts().find(|(_, addr)| block.contains(addr))?;
        Some(format!("it covers {name} {addr}, which the blackhole of the block would cut off"))
    }

    /// This node, the nodes of the cluster, and the neighbours.
    fn hosts(&self) -> impl Iterator<Item = (&str, IpAddr)> {
        let own = [self.node.ipv4.map(IpAddr::V4), self.node.ipv6.map(IpAddr::V6)].into_iter().flatten();
        let nodes = self.cluster.iter().flat_map(|c| &c.members).flat_map(|m| m.addresses.iter().map(|a| (m.name.as_str(), *a)));
        let neighbours = self.sessions.iter().map(|s| (s.name.as_str(), s.remote.addr));
        nodes.chain(own.map(|addr| (self.node.name.as_str(), addr))).chain(neighbours)
    }
}

/// Reports blocks that cannot be, and those that lie inside another.
pub(super) fn judge(raw: &RawPods, config: &Config, diagnostics: &Diagnostics) {
    let mut blocks: Vec<_> = raw.blocks.iter().flat_map(|list| &list.value).collect();
    for block in &blocks {
        if let Some(why) = config.objection_to_block(&block.value) {
            let what = format!("{} cannot be a block: {why}", block.value);
            diagnostics
                .report(block.span.clone(), Problem::Conflict { what, help: "a block holds addresses of this node's pods".to_owned() });
        }
    }
    blocks.sort_by_key(|block| (block.value.network(), block.value.prefix_len(), block.span.start));
    let mut outer: Option<&At<IpNet>> = None;
    for block in blocks {
        match outer.filter(|outer| outer.value.contains(&block.value)) {
            Some(first) if first.value == block.value => {
                let problem = Problem::Duplicate { kind: "block", what: block.value.to_string() };
                diagnostics.report_with(block.span.clone(), problem, first.span.clone(), "first here");
            }
            Some(outer) => {
                let what = format!("block {} lies inside block {}", block.value, outer.value);
                let help = "both are announced, and the longer one counts; perhaps one of them belongs to another node".to_owned();
                diagnostics.report_with(block.span.clone(), Problem::Odd { what, help }, outer.span.clone(), "inside this one");
            }
            None => outer = Some(block),
        }
    }
}
