//! Answers about RPKI: `catbird rpki`.
//!
//! Units and forms are those of [`super`].

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use crate::num::Asn;

/// What there is to judge origins by (RFC 6811), and from whom.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "daemon", derive(schemars::JsonSchema))]
pub struct RpkiReport {
    /// Address and port of the cache whose VRPs are used; absent: there are none, and every route is not-found.
    pub source: Option<String>,
    /// RFC 8210 §5.1: which data of this cache.
    pub session: Option<u16>,
    /// RFC 8210 §5.1: which state of it.
    pub serial: Option<u32>,
    /// Since the cache said that this is so.
    pub age_seconds: Option<f64>,
    /// Until it counts no more, unless the cache says it again.
    pub expires_seconds: Option<f64>,
    pub vrps_ipv4: u64,
    pub vrps_ipv6: u64,
    /// How often other VRPs took the place of those before.
    pub updates: u64,
    /// The most preferred first.
    pub caches: Vec<RpkiCacheRow>,
    /// If a prefix was asked about.
    pub verdict: Option<RpkiVerdict>,
}

/// One cache (RFC 8210).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "daemon", derive(schemars::JsonSchema))]
pub struct RpkiCacheRow {
    /// Its address and port.
    pub cache: String,
    /// The lower, the sooner it is used.
    pub preference: u8,
    /// `connecting`, `loading` (for the first time on this connection), `synchronised`, `waiting` (for the next attempt), or `standing by` (a more
    /// preferred one is used).
    pub state: String,
    /// Its VRPs are used.
    pub in_use: bool,
    /// How long it has been in this state; of a connection, how long it has stood.
    pub since_seconds: f64,
    /// Of the protocol: 1 (RFC 8210) or 0 (RFC 6810).
    pub version: Option<u8>,
    /// How often it was connected.
    pub connections: u64,
    /// How often a connection ended that was wanted, or did not come about.
    pub failures: u64,
    /// Until the next attempt.
    pub again_seconds: Option<f64>,
    /// Why the last connection ended or did not come about.
    pub last_error: Option<String>,
}

/// What VRPs say of a prefix.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "daemon", derive(schemars::JsonSchema))]
pub struct RpkiVerdict {
    /// The prefix that was asked about, without host bits.
    #[cfg_attr(feature = "daemon", schemars(with = "String"))]
    pub net: IpNet,
    /// The origin that was asked about.
    pub asn: Option<Asn>,
    /// `valid`, `invalid` or `not-found`, if an origin was asked about.
    pub state: Option<String>,
    /// The VRPs that cover it, those of the longest prefix first: 64 at most.
    pub covering: Vec<VrpRow>,
    /// How many more there are.
    pub more: u64,
}

/// A validated ROA payload.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "daemon", derive(schemars::JsonSchema))]
pub struct VrpRow {
    #[cfg_attr(feature = "daemon", schemars(with = "String"))]
    pub net: IpNet,
    /// The longest prefix that it allows.
    pub max_length: u8,
    pub asn: Asn,
    /// It matches the prefix and the origin that were asked about.
    pub matches: Option<bool>,
}
