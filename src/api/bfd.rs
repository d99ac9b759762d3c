//! Answers about BFD sessions: `catbird bfd`, `catbird bfd X`.
//!
//! Units and forms are those of [`super`]; times of BFD are milliseconds, for that is how they are configured.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// BFD, as its thread has it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "daemon", derive(schemars::JsonSchema))]
pub struct BfdReport {
    /// The kernel runs its thread before others.
    pub realtime: bool,
    /// In the order of their peers' names.
    pub sessions: Vec<BfdRow>,
    /// Peers whose intervals are refused for want of that priority.
    pub refused: Vec<String>,
    /// Packets of all that were dropped, by reason (the words of `catbird_bfd_dropped_packets_total`).
    pub dropped: BTreeMap<String, u64>,
}

/// One BFD session (RFC 5880).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "daemon", derive(schemars::JsonSchema))]
pub struct BfdRow {
    /// The peer's name.
    pub peer: String,
    /// The peer's address.
    pub address: String,
    /// `single-hop` or `multihop`.
    pub path: String,
    /// `admin down`, `down`, `init` or `up`.
    pub state: String,
    /// How long it has been in this state.
    pub state_seconds: f64,
    /// Why, as we see it.
    pub diagnostic: String,
    /// As the peer last said.
    pub remote_state: String,
    /// Why, as the peer sees it.
    pub remote_diagnostic: String,
    /// What it is known by in packets to us.
    pub local_discriminator: u32,
    /// In packets to the peer; zero: nothing is heard.
    pub remote_discriminator: u32,
    /// What we advertise now.
    pub local: BfdTimes,
    /// What the peer advertised last.
    pub remote: BfdTimes,
    /// Between two of our packets, before jitter.
    pub interval_ms: f64,
    /// The session goes down when nothing comes for so long.
    pub detection_ms: Option<f64>,
    /// Other times are being agreed on.
    pub polling: bool,
    /// It waits for the peer to speak.
    pub passive: bool,
    /// How packets are authenticated.
    pub auth: Option<String>,
    /// How often it came up.
    pub ups: u32,
    /// How often it went down.
    pub downs: u32,
    /// The last time.
    pub last_down: Option<BfdLastDown>,
    /// Packets.
    pub received: u64,
    /// Packets.
    pub sent: u64,
    /// Packets that were for it and were dropped, likewise.
    pub dropped: BTreeMap<String, u64>,
}

/// What one end advertises.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "daemon", derive(schemars::JsonSchema))]
pub struct BfdTimes {
    /// Between its packets, at least.
    pub min_tx_ms: f64,
    /// Between those that it takes, at least.
    pub min_rx_ms: f64,
    /// So many of its packets are missed before the other end takes it for gone.
    pub multiplier: u8,
}

/// The end of the last time that a BFD session was up.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "daemon", derive(schemars::JsonSchema))]
pub struct BfdLastDown {
    /// When that was.
    pub seconds_ago: f64,
    /// Why, as we saw it.
    pub diagnostic: String,
    /// Why, as the peer saw it.
    pub remote_diagnostic: String,
}
