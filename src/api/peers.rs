//! Answers about sessions: `catbird peers`, `catbird peer X`.
//!
//! Units and forms are those of [`super`].

use std::net::Ipv4Addr;

use serde::{Deserialize, Serialize};

use crate::num::{Asn, ConnId, Family};

/// One line of `catbird peers`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "daemon", derive(schemars::JsonSchema))]
pub struct PeerRow {
    /// As configured; of one that a listen range let in, its address.
    pub name: String,
    /// With `%ifname` if it is link-local; never with a port.
    pub address: String,
    /// mesh, rr_client, rr or external.
    pub kind: String,
    /// The AS that we present to it.
    pub local_as: Asn,
    /// `None` until a peer of any AS has said its own in an OPEN.
    pub remote_as: Option<Asn>,
    /// Idle, Connect, Active, OpenSent, OpenConfirm or Established (RFC 4271 §8.2.2), of the connection that is furthest.
    pub state: String,
    /// The operator wants it up.
    pub admin_up: bool,
    /// How long it has been in this state.
    pub state_seconds: f64,
    /// Established sessions that ended, since the peer was configured.
    pub flaps: u64,
    /// How its BFD session stands; `None` without one.
    #[serde(default)]
    pub bfd: Option<String>,
    /// One row for each configured family.
    pub families: Vec<FamilyRow>,
    /// Why it is not up, in words: the most telling reason.
    pub why_down: Option<String>,
    /// All reasons since the last session, the most telling first.
    #[serde(default)]
    pub failures: Vec<FailureRow>,
    /// For instance `no import policy: accepts nothing`.
    pub warnings: Vec<String>,
}

/// Route counts of one peer and family.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "daemon", derive(schemars::JsonSchema))]
pub struct FamilyRow {
    /// Which one.
    pub family: Family,
    /// The running session carries it (RFC 4760 §8).
    pub negotiated: bool,
    /// Paths in Adj-RIB-In; `accepted + rejected`.
    pub received: u64,
    /// Prefixes of these paths: more than one path each with ADD-PATH (RFC 7911). They count against `max_prefix`.
    pub prefixes: u64,
    /// Of the paths, let in by import.
    pub accepted: u64,
    /// Of these, refused by import and kept for show.
    pub rejected: u64,
    /// Of these, kept over a restart of the peer and not announced again (RFC 4724 §4.2).
    pub stale: u64,
    /// Paths in Adj-RIB-Out: announced, or about to be.
    pub advertised: u64,
    /// The peer's End-of-RIB has been seen in this session.
    pub end_of_rib: bool,
    /// The most that the peer may announce.
    pub max_prefix: Option<u32>,
}

/// Everything about one peer.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "daemon", derive(schemars::JsonSchema))]
pub struct PeerDetail {
    /// As in the list.
    #[serde(flatten)]
    pub row: PeerRow,
    /// As configured.
    pub description: Option<String>,
    /// Whose word it is that it is a neighbour: an object of the cluster, or the file and the line. `None` where no objects speak besides the file.
    #[serde(default)]
    pub from: Option<String>,
    /// We never dial it (RFC 4271 §8.1.1, PassiveTcpEstablishment).
    pub passive: bool,
    /// Our address and port of the session's connection.
    pub local_endpoint: Option<String>,
    /// Its address and port.
    pub remote_endpoint: Option<String>,
    /// The BGP Identifier of its OPEN.
    pub remote_router_id: Option<Ipv4Addr>,
    /// The lower of both OPENs (RFC 4271 §4.2); zero: no keepalives are sent or wanted.
    pub hold_seconds: Option<u16>,
    /// Between two KEEPALIVEs of ours, before jitter.
    pub keepalive_seconds: Option<f64>,
    /// Those that run.
    pub timers: Vec<TimerRow>,
    /// Of both OPENs, and what came of them.
    pub capabilities: Capabilities,
    /// Names of the policies, in order; `all` or `none configured` without one.
    pub import: String,
    /// Likewise.
    pub export: String,
    /// One row for each type of message.
    pub messages: Vec<MessageRow>,
    /// Prefixes in UPDATE messages.
    pub updates: UpdateRow,
    /// The end of the last session.
    pub last_down: Option<LastDown>,
    /// The newest last, 64 at most.
    pub events: Vec<EventRow>,
    /// Of the session's connection; the kernel's answer at this moment.
    pub transport: Option<TransportRow>,
    /// That connection, for whoever holds it.
    #[serde(skip)]
    pub conn: Option<ConnId>,
}

/// How a TCP connection fares.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "daemon", derive(schemars::JsonSchema))]
pub struct TransportRow {
    /// Sent, and not acknowledged by the peer's machine.
    pub unacknowledged_bytes: u32,
    /// Written, and not sent yet.
    pub unsent_bytes: u32,
    /// How often in a row the oldest of it was sent again in vain.
    pub resent: u8,
    /// It has waited at least so long for its acknowledgement.
    pub unacknowledged_seconds: f64,
    /// Longest segment that we send, and longest packet that the path is believed to carry.
    pub mss: u32,
    pub path_mtu: u32,
}

impl TransportRow {
    /// Small packets pass and large ones vanish: what that looks like from here, and what helps.
    pub fn mtu_hint(&self) -> Option<String> {
        let stuck = self.resent >= 2 && self.unacknowledged_bytes > 0 && self.mss > 536;
        stuck.then(|| {
            format!(
                "segments of {} octets do not arrive while the session lives: does the path carry packets of {} octets (ping -M do -s {})? `tcp_mss` \
                 of the peer makes them shorter, and so does the sysctl net.ipv4.tcp_mtu_probing=1",
                self.mss,
                self.path_mtu,
                self.path_mtu.saturating_sub(28)
            )
        })
    }
}

/// A running timer.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "daemon", derive(schemars::JsonSchema))]
pub struct TimerRow {
    /// HoldTimer, KeepaliveTimer and the like, as RFC 4271 §8 calls it.
    pub timer: String,
    /// Until it expires. The HoldTimer is counted from the last message.
    pub remaining_seconds: f64,
}

/// Capabilities in words (RFC 5492).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "daemon", derive(schemars::JsonSchema))]
pub struct Capabilities {
    /// Of our last OPEN.
    pub ours: Vec<String>,
    /// Of the peer's OPEN, while the session is up.
    pub theirs: Vec<String>,
    /// What holds for this session, families first.
    pub negotiated: Vec<String>,
}

/// Messages of one type since the peer was configured.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "daemon", derive(schemars::JsonSchema))]
pub struct MessageRow {
    /// open, update, notification, keepalive or route_refresh.
    pub kind: String,
    /// Read from the connection.
    pub received: u64,
    /// Handed to the connection.
    pub sent: u64,
}

/// Prefixes that went by since the peer was configured.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "daemon", derive(schemars::JsonSchema))]
pub struct UpdateRow {
    /// Prefixes that the peer announced.
    pub announced_received: u64,
    /// Of these, refused by import.
    pub announced_rejected: u64,
    /// Prefixes that the peer withdrew.
    pub withdrawn_received: u64,
    /// Prefixes that were announced to it.
    pub announced_sent: u64,
    /// Prefixes that were withdrawn from it.
    pub withdrawn_sent: u64,
    /// Malformed attributes and UPDATEs (RFC 7606), whatever was done about them.
    pub malformed: u64,
}

/// How the last session ended.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "daemon", derive(schemars::JsonSchema))]
pub struct LastDown {
    /// How long ago.
    pub ago_seconds: f64,
    /// `sent`, `received` or `local`.
    pub direction: String,
    /// Of the NOTIFICATION (RFC 4271 §4.5), if there was one.
    pub code: Option<u8>,
    /// Likewise.
    pub subcode: Option<u8>,
    /// Hexadecimal.
    pub data: Option<String>,
    /// In words.
    pub reason: String,
}

/// One reason why a peer is not up.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "daemon", derive(schemars::JsonSchema))]
pub struct FailureRow {
    pub reason: String,
    pub first_ago_seconds: f64,
    pub last_ago_seconds: f64,
    pub count: u32,
}

/// One entry of a peer's event ring. What happened again since the session last began or ended is one entry.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "daemon", derive(schemars::JsonSchema))]
pub struct EventRow {
    /// How long ago; of what repeated, the last time.
    pub ago_seconds: f64,
    /// How long ago it was for the first time.
    pub first_ago_seconds: f64,
    /// How often.
    pub count: u32,
    /// In words.
    pub what: String,
}
