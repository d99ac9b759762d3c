//! `[fib.overlay]`: tunnels to nodes that are on no link of ours.
//!
//! In: the section as typed, this node, the cluster's list. Out: [`overlay::Params`]. What devices and entries follow from it is
//! `fib::overlay`'s.

use std::collections::HashSet;
use std::net::IpAddr;
use std::num::NonZeroU16;

use super::model::Node;
use super::raw::{List, Opt, Raw};
use super::reader::Section;
use super::report::{Problem, Span};
use super::validate::{Validator, or};
use crate::fib::overlay::{self, Kind, Mode};
use ipnet::IpNet;

/// As typed.
#[derive(Clone, Debug, Default)]
pub struct RawOverlay {
    pub mode: Opt<Mode>,
    pub kind: Opt<Kind>,
    pub device: Opt<String>,
    pub vni: Opt<u32>,
    pub port: Opt<NonZeroU16>,
    pub mtu: Opt<u32>,
    pub checksum: Opt<bool>,
    pub addresses: List<IpAddr>,
    pub nodes: List<IpNet>,
}

pub(super) fn read(mut section: Section<'_>) -> RawOverlay {
    let raw = RawOverlay {
        mode: section.take("mode"),
        kind: section.take("kind"),
        device: section.take("device"),
        vni: section.take("vni"),
        port: section.take("port"),
        mtu: section.take("mtu"),
        checksum: section.take("checksum"),
        addresses: section.take("addresses"),
        nodes: section.some("nodes"),
    };
    section.finish();
    raw
}

impl Validator<'_> {
    pub(super) fn overlay(&self, whole: &Raw, me: Option<usize>, node: &Node) -> overlay::Params {
        let raw = &whole.fib.overlay;
        let default = overlay::Params::default();
        let kind = or(&raw.kind, default.kind);
        let mode = or(&raw.mode, default.mode);
        let device = if kind == Kind::Ipip { "tunl0".to_owned() } else { default.device };
        self.overlay_values(raw, kind);
        overlay::Params {
            mode,
            kind,
            device: or(&raw.device, device),
            vni: or(&raw.vni, default.vni),
            port: raw.port.as_ref().map_or(default.port, |at| at.value.get()),
            mtu: raw.mtu.as_ref().map(|at| at.value),
            checksum: or(&raw.checksum, default.checksum),
            addresses: raw.addresses.iter().flat_map(|list| &list.value).map(|at| at.value).collect(),
            // A node that waits to be listed has no address to begin a tunnel at.
            nodes: if mode == Mode::Never || (me.is_none() && whole.cluster.is_some() && whole.kubernetes.is_none()) {
                Vec::new()
            } else {
                self.overlay_nodes(whole, node, kind)
            },
        }
    }

    /// Single settings that do not fit.
    fn overlay_values(&self, raw: &RawOverlay, kind: Kind) {
        let bad = |span: &Span, found: String, expected: &str| {
            self.diagnostics.report(span.clone(), Problem::BadValue { found, expected: expected.to_owned() });
        };
        if let Some(at) = &raw.device
            && (at.value.len() > overlay::NAME_MOST || at.value.contains(['/', ' ', ':', '%']) || [".", ".."].contains(&at.value.as_str()))
        {
            bad(&at.span, at.value.clone(), "the name of an interface: at most 15 characters, no spaces, none of / : %");
        }
        if let Some(at) = raw.vni.as_ref().filter(|at| !(1..1 << 24).contains(&at.value)) {
            bad(&at.span, at.value.to_string(), "a VXLAN network identifier from 1 to 16777215");
        }
        if let Some(at) = raw.mtu.as_ref().filter(|at| !(576..=65_465).contains(&at.value)) {
            bad(&at.span, at.value.to_string(), "an MTU from 576 to 65465");
        }
        let mut seen = HashSet::new();
        for at in raw.addresses.iter().flat_map(|list| &list.value) {
            if !seen.insert(at.value.is_ipv6()) {
                bad(&at.span, at.value.to_string(), "one address of each family at most");
            }
        }
        if kind == Kind::Ipip {
            let only_vxlan =
                [raw.vni.as_ref().map(|a| &a.span), raw.port.as_ref().map(|a| &a.span), raw.checksum.as_ref().map(|a| &a.span)];
            for span in only_vxlan.into_iter().flatten() {
                let what = "this is a setting of VXLAN, and `kind` is \"ipip\"".to_owned();
                self.diagnostics.report(span.clone(), Problem::Odd { what, help: "leave it out".to_owned() });
            }
        }
    }

    /// What was typed, else the cluster's list; this node's own address must be among what makes a tunnel possible.
    fn overlay_nodes(&self, whole: &Raw, node: &Node, kind: Kind) -> Vec<IpNet> {
        let raw = &whole.fib.overlay;
        let span = raw.mode.as_ref().map_or(0..0, |at| at.span.clone());
        let own = match kind {
            Kind::Vxlan => node.ipv4.is_some() || node.ipv6.is_some(),
            Kind::Ipip => node.ipv4.is_some(),
        };
        if !own {
            let why = match kind {
                Kind::Vxlan => "a tunnel begins at an address of this node",
                Kind::Ipip => "an IPIP tunnel begins at an IPv4 address of this node",
            };
            self.diagnostics.report(span.clone(), Problem::Missing { key: "addresses", section: "[node]".into(), why });
        }
        let typed: Vec<IpNet> = raw.nodes.iter().flat_map(|list| &list.value).map(|at| at.value).collect();
        let members = whole.cluster.iter().flat_map(|c| &c.nodes).flat_map(|m| m.addresses.iter()).flat_map(|list| &list.value);
        let listed: Vec<IpNet> = members.map(|at| IpNet::from(at.value)).collect();
        let nodes = if typed.is_empty() { listed } else { typed };
        if nodes.is_empty() {
            let why = "which next hops are nodes with a tunnel's other end, such as [\"10.0.0.0/16\"]; a [cluster] list would tell, too";
            self.diagnostics.report(span, Problem::Missing { key: "nodes", section: "[fib.overlay]".into(), why });
        }
        nodes
    }
}
