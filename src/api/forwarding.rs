//! Answer about one packet: what this machine does with it, for `catbird path`.
//!
//! Units and forms are those of [`super`].

use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use super::routes::{Explanation, KernelAnswer};

/// What this machine does with a packet, and what BGP says of where it goes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "daemon", derive(schemars::JsonSchema))]
pub struct ForwardingReport {
    /// Name of this node.
    pub node: String,
    pub to: IpAddr,
    /// The packet's source, if it was asked about.
    pub from: Option<IpAddr>,
    /// The link by which it comes in; `None`: it is this machine's own.
    pub input: Option<LinkRow>,
    /// `forwarded`, `on_link` (to the host itself, on a link of this machine), `local` (an address of this machine), or why it goes nowhere:
    /// `blackhole`, `unreachable`, `prohibit`, `no_route`, `reverse_path` (the kernel does not expect its source on this link), `martian` (no
    /// such source can come in), `not_forwarding`, or `unknown`: the kernel could not be asked.
    pub verdict: String,
    /// The kernel's answer about the destination.
    pub route: Option<KernelAnswer>,
    /// Its ways; more than one share the load.
    pub hops: Vec<ForwardingHop>,
    /// Strict reverse path filter (RFC 3704 §2.2) on the link it comes in by.
    pub strict_reverse_path: bool,
    /// The router drains, or has drained.
    pub draining: bool,
    /// Port of this node's HTTP answers; `None`: it serves none.
    pub http_port: Option<u16>,
    /// What BGP knows of the destination: `catbird why`.
    pub why: Box<Explanation>,
}

/// A link.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "daemon", derive(schemars::JsonSchema))]
pub struct LinkRow {
    pub interface: String,
    /// Set up, and with a carrier.
    pub up: bool,
    /// Octets.
    pub mtu: u32,
    pub mac: Option<String>,
    /// Of a tunnel: `vxlan` or `ipip`.
    pub tunnel: Option<String>,
}

/// One way that the packet may take.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "daemon", derive(schemars::JsonSchema))]
pub struct ForwardingHop {
    /// `None`: the destination is on the link.
    pub gateway: Option<IpAddr>,
    #[serde(flatten)]
    pub link: LinkRow,
    /// This very packet takes it; another flow may take another.
    pub chosen: bool,
    /// The other end of the tunnel.
    pub tunnel_to: Option<IpAddr>,
    /// The neighbour's entry; `None`: nobody has asked for it yet, or the link needs none.
    pub neighbour: Option<NeighbourRow>,
}

/// An entry of the neighbour table (ARP, ND).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "daemon", derive(schemars::JsonSchema))]
pub struct NeighbourRow {
    pub address: IpAddr,
    pub mac: Option<String>,
    /// As `ip neighbour` says it: REACHABLE, STALE, DELAY, PROBE, FAILED, INCOMPLETE, PERMANENT, NOARP.
    pub state: String,
}
