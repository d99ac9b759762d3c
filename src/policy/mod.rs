//! Policy: which routes are accepted from a peer or announced to it, and with which attributes.
//!
//! In: a [`Chain`] of named policies, a prefix with its attributes, and the [`PeerFacts`] of the session. Out: a [`Verdict`], which names
//! the policy and the rule when it refuses. A chain is immutable and cheap to clone; an equal pointer means an equal chain.
//!
//! It leaves to others: where the text of a policy comes from (`config`), what a session must do to attributes whatever the policy says
//! (`rib::adj_out`), and what becomes of a refused route (`rib`).
//!
//! RFC 4271 §9.1.1 and §9.1.3 name the two places where policy acts. RFC 8212: an external session without a policy neither imports nor
//! exports; that refusal has a name of its own, [`RuleRef::NO_POLICY`], so that it can be shown.

mod chain;
mod community;
mod prefix;
mod rule;

pub use chain::{Accepted, Chain, Policy, RuleRef, Verdict};
pub use community::{AnyCommunity, CommunityMatch};
pub use prefix::{PrefixRange, PrefixSet};
pub use rule::{AsPathMatch, Condition, Edit, MedEdit, NextHopEdit, PeerMatch, Rule, Step};

use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::num::{Asn, PathId};
use crate::rpki::Validity;

/// Where a route began, as far as policy asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Source {
    /// We originate it.
    Local(LocalKind),
    /// Learned over iBGP.
    Internal,
    /// Learned over eBGP.
    External,
}

impl Source {
    /// One that we originate.
    pub fn is_local(self) -> bool {
        matches!(self, Source::Local(_))
    }
}

/// What a route of our own stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LocalKind {
    /// A block of pod addresses that belongs to this node.
    Block,
    /// One pod's address out of a block that belongs to another node.
    #[serde(alias = "borrowed")]
    Pod,
    /// Addresses of services (cluster, external and load-balancer IPs).
    Service,
    /// A network that the operator had us announce.
    Network,
}

impl LocalKind {
    /// Each kind once.
    pub const ALL: [LocalKind; 4] = [LocalKind::Block, LocalKind::Pod, LocalKind::Service, LocalKind::Network];

    /// Paths of our own are told apart by this identifier, so one prefix can be both a block and a network.
    pub fn path_id(self) -> PathId {
        PathId(self as u32)
    }

    /// The reverse; anything unknown is a plain network.
    pub fn from_path_id(id: PathId) -> LocalKind {
        LocalKind::ALL.into_iter().find(|k| k.path_id() == id).unwrap_or(LocalKind::Network)
    }
}

impl fmt::Display for LocalKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            LocalKind::Block => "block",
            LocalKind::Pod => "pod",
            LocalKind::Service => "service",
            LocalKind::Network => "network",
        })
    }
}

/// Who is on the other side, as a rule may ask.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct PeerName {
    /// As configured.
    pub name: Arc<str>,
    /// Its address.
    pub addr: IpAddr,
    /// What its OPEN said.
    pub asn: Asn,
}

/// What a chain knows besides the route. Made once for a session (or an update group) and used for many routes; only `source` and `validity` change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PeerFacts {
    /// `None` for an update group whose chain asks no such question ([`Chain::depends_on_peer`]).
    pub peer: Option<PeerName>,
    /// The session is external.
    pub external: bool,
    /// Our own AS on this session, which `prepend` adds by default.
    pub local_as: Asn,
    /// Where the route in question began. On import that is the session itself.
    pub source: Source,
    /// What VRPs say of the route in question, for a chain that asks ([`Chain::depends_on_validity`]); on export nothing is said.
    pub validity: Validity,
}

#[cfg(test)]
mod tests;
