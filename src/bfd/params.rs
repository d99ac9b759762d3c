//! What is wanted of a session: the profile that an operator configured, and the session that comes of it.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use super::auth::Key;
use crate::kernel::IfIndex;

/// `[bfd.NAME]`: what is the same for all sessions of a profile.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Profile {
    /// Microseconds between our packets, at least.
    pub min_tx: u32,
    /// Microseconds between the neighbour's packets, at least.
    pub min_rx: u32,
    /// So many of our packets are missed before the neighbour takes us for gone. Not zero.
    pub multiplier: u8,
    /// Waits until the neighbour speaks (RFC 5880 §6.1).
    pub passive: bool,
    /// Over routers; `None`: as the peer is connected.
    pub multihop: Option<bool>,
    /// What comes over a multihop path with a smaller TTL is dropped; `None`: as `ttl_security` of the peer has it.
    pub min_ttl: Option<u8>,
    /// The BGP session comes up only when this one is.
    pub strict: bool,
    /// Routes are kept for a while, as after a restart, when this session ends.
    pub graceful: bool,
    /// Carrier or address of a directly connected peer's link lost ends its session at once.
    pub link_down: bool,
    /// What becomes of intervals that are short for a thread without real-time priority.
    pub without_realtime: WithoutRealtime,
    /// Every packet proves where it is from.
    pub key: Option<Key>,
}

impl Default for Profile {
    /// Detection in 900 ms: what a node that is busy, or a switch's slow path, can hold.
    fn default() -> Profile {
        Profile {
            min_tx: 300_000,
            min_rx: 300_000,
            multiplier: 3,
            passive: false,
            multihop: None,
            min_ttl: None,
            strict: false,
            graceful: false,
            link_down: true,
            without_realtime: WithoutRealtime::Raise,
            key: None,
        }
    }
}

/// Shorter intervals want a thread that the kernel prefers to others; in microseconds.
pub const REALTIME_BELOW: u32 = 300_000;

/// What becomes of intervals below [`REALTIME_BELOW`] where the kernel gives our thread no priority.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum WithoutRealtime {
    /// They are that long.
    #[default]
    Raise,
    /// There is no session.
    Refuse,
    /// They stay: who asks for it knows that nothing else runs there.
    Keep,
}

/// How far it goes, and by that its port.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Path {
    /// On one link (RFC 5881).
    SingleHop,
    /// Over routers (RFC 5883).
    MultiHop,
}

impl Path {
    /// UDP.
    pub fn port(self) -> u16 {
        match self {
            Path::SingleHop => 3784,
            Path::MultiHop => 4784,
        }
    }

    /// As in tables, JSON and metrics.
    pub fn name(self) -> &'static str {
        match self {
            Path::SingleHop => "single-hop",
            Path::MultiHop => "multihop",
        }
    }
}

/// One session that is wanted.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct SessionParams {
    /// The peer's name, for logs and metrics.
    pub peer: String,
    /// The neighbour.
    pub remote: IpAddr,
    /// Our end; `None`: the kernel chooses.
    pub local: Option<IpAddr>,
    /// The link that it runs on, where the address alone does not say it.
    pub link: Option<IfIndex>,
    /// How far it goes.
    pub path: Path,
    /// What comes with a smaller TTL is dropped.
    pub min_ttl: u8,
    /// Microseconds.
    pub min_tx: u32,
    /// Microseconds.
    pub min_rx: u32,
    /// Not zero.
    pub multiplier: u8,
    /// What becomes of short intervals without a priority; whoever has the thread acts on it.
    pub without_realtime: WithoutRealtime,
    /// Waits until the neighbour speaks.
    pub passive: bool,
    /// An operator does not hold it down.
    pub admin_up: bool,
    /// Every packet proves where it is from.
    pub key: Option<Key>,
}

impl SessionParams {
    /// Whether it is the same session, of which only times, roles or keys may have changed.
    pub fn is_same_path(&self, other: &SessionParams) -> bool {
        (self.remote, self.local, self.link, self.path) == (other.remote, other.local, other.link, other.path)
    }
}
