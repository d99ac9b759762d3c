//! A cache as configured.

use std::net::SocketAddr;
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// The most caches.
pub const MOST_CACHES: usize = 8;

/// A cache as configured. We connect, it never does.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CacheParams {
    /// Where it listens.
    pub address: SocketAddr,
    /// The lower, the sooner it is used (RFC 8210 §10).
    pub preference: u8,
    /// Instead of what the cache says (RFC 8210 §6): between two questions.
    pub refresh: Option<Duration>,
    /// Likewise: the longest wait between two attempts.
    pub retry: Option<Duration>,
    /// Likewise: how long what it said last is used while it says nothing.
    pub expire: Option<Duration>,
    /// It is given up when it does not answer, or says nothing in the midst of an answer, for so long.
    pub timeout: Duration,
    /// VRPs that it may have us keep.
    pub max_vrps: u32,
}
