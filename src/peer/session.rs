//! What two OPENs agreed on: everything that import, export and the shell need to know of a session, in one shared value.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use crate::num::{Asn, ConnId, Family, FamilySet, HoldTime, Role, RouterId};
use crate::wire::{Context, Open};

/// A session as negotiated. It does not change while it lives.
#[derive(Clone, Debug, PartialEq)]
pub struct Session {
    /// The connection it runs over.
    pub conn: ConnId,
    /// Who opened that.
    pub direction: Direction,
    /// Our end.
    pub local: SocketAddr,
    /// The peer's end.
    pub remote: SocketAddr,
    /// What our OPEN said.
    pub local_as: Asn,
    /// What the peer's OPEN said, four octets if it could.
    pub remote_as: Asn,
    /// Our BGP Identifier.
    pub local_id: RouterId,
    /// The peer's.
    pub remote_id: RouterId,
    /// The smaller of both offers (RFC 4271 §4.2).
    pub hold_time: HoldTime,
    /// Before jitter; `None` where the hold time is zero.
    pub keepalive: Option<Duration>,
    /// How we read what the peer sends.
    pub receive: Context,
    /// How we write to the peer.
    pub send: Context,
    /// Offered by both sides (RFC 4760 §8).
    pub families: FamilySet,
    /// The peer answers ROUTE-REFRESH (RFC 2918).
    pub refresh: bool,
    /// Both sides mark begin and end of a refresh (RFC 7313).
    pub enhanced_refresh: bool,
    /// Both sides offered graceful restart.
    pub graceful: Option<Graceful>,
    /// The peer knows of long-lived stale routes (RFC 9494).
    pub long_lived: Option<LongLived>,
    /// What we are to the peer, as configured; the peer does not speak against it (RFC 9234).
    pub role: Option<Role>,
    /// As the peer says, if it does.
    pub peer_hostname: Option<String>,
    /// For `catbird peer`, and for monitoring stations.
    pub peer_open: Arc<Open>,
    /// For monitoring stations: what the peer was told.
    pub our_open: Arc<Open>,
}

impl Session {
    /// An internal session: both ends in one AS (RFC 4271 §1.1).
    pub fn is_internal(&self) -> bool {
        self.local_as == self.remote_as
    }

    /// The peer said that it has just restarted (the R bit): nobody may wait for its End-of-RIB before sending (RFC 4724 §3).
    pub fn peer_restarted(&self) -> bool {
        self.graceful.is_some_and(|g| g.restarting)
    }
}

/// The peer's graceful restart capability, as far as it meets ours (RFC 4724 §3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Graceful {
    /// R: the peer has restarted.
    pub restarting: bool,
    /// N on both sides: a NOTIFICATION does not end the routes (RFC 8538 §2).
    pub notification: bool,
    /// How long the peer may take to come back.
    pub restart_time: Duration,
    /// Families whose routes are kept over a restart: in the peer's list, and negotiated.
    pub families: FamilySet,
    /// Of these, where the peer has kept its forwarding state.
    pub forwarding: FamilySet,
}

/// The peer's long-lived graceful restart capability, as far as it meets ours (RFC 9494 §4.2).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LongLived {
    /// How long its stale routes may stay after its restart time, by `Family::index`: the shorter of what both say.
    pub stale_time: [Duration; 2],
    /// Families whose state the peer has kept (the F bit).
    pub forwarding: FamilySet,
}

impl LongLived {
    /// Of one family; zero: not at all.
    pub fn stale_time(&self, family: Family) -> Duration {
        self.stale_time.get(family.index()).copied().unwrap_or_default()
    }

    /// Families whose routes may stay at all.
    pub fn families(&self) -> FamilySet {
        Family::ALL.into_iter().filter(|family| !self.stale_time(*family).is_zero()).collect()
    }
}

/// Who connected.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Direction {
    /// We did ("outgoing" in RFC 4271 §8.2.1).
    Dialled,
    /// The peer did ("incoming").
    Accepted,
}

impl Direction {
    /// As in the log.
    pub fn as_str(self) -> &'static str {
        match self {
            Direction::Dialled => "dialled",
            Direction::Accepted => "accepted",
        }
    }
}
