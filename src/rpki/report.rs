//! What the router is told of caches: the table that holds, and how each cache stands.

use std::net::SocketAddr;
use std::sync::Arc;

use super::params::CacheParams;
use super::table::{Covers, Table};
use crate::num::Instant;

/// Something is otherwise than it was told last.
#[derive(Clone, Debug, Default)]
pub struct Report {
    /// All caches, the most preferred first.
    pub caches: Vec<CacheState>,
    /// Whose VRPs are used; `None`: there are none.
    pub source: Option<Source>,
    /// Another table holds from now on.
    pub update: Option<Update>,
    /// Worth a line in the log.
    pub news: Vec<News>,
}

/// A table that takes the place of the one before.
#[derive(Clone, Debug)]
pub struct Update {
    /// All VRPs.
    pub table: Arc<Table>,
    /// Routes to what these cover may be judged otherwise than by the table before.
    pub changed: Arc<Covers>,
}

/// Where the VRPs that are used come from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Source {
    /// The cache.
    pub address: SocketAddr,
    /// RFC 8210 §5.1: which data of the cache.
    pub session: u16,
    /// RFC 8210 §5.1: which state of it.
    pub serial: u32,
    /// When it said last that this is so.
    pub at: Instant,
    /// Until when that counts.
    pub expires: Instant,
}

/// How a cache stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CacheState {
    /// As configured.
    pub params: CacheParams,
    /// `connecting`, `loading` (for the first time on this connection), `synchronised`, `waiting` (for the next attempt), or `standing by` (a more
    /// preferred one is used).
    pub state: &'static str,
    /// Since when.
    pub since: Instant,
    /// Of the protocol, once it is agreed.
    pub version: Option<u8>,
    /// How often it was connected.
    pub connections: u64,
    /// How often a connection ended that was wanted, or did not come about.
    pub failures: u64,
    /// Why, the last time.
    pub last_error: Option<String>,
    /// When it is tried again.
    pub again: Option<Instant>,
}

/// Worth a line in the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum News {
    /// A cache has said all that it has.
    Synchronised {
        /// Which.
        cache: SocketAddr,
        /// How many VRPs that is.
        vrps: usize,
    },
    /// A cache is lost, or not to be had; said once until it is synchronised again.
    Lost {
        /// Which.
        cache: SocketAddr,
        /// Why.
        error: String,
    },
    /// What was used came from a cache that has not been heard of for too long: no VRP is left.
    Expired {
        /// Which.
        cache: SocketAddr,
    },
}
