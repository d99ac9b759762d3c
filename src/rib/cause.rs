//! Why a route stands as it stands, and the table that keeps a path's reason in two octets.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use foldhash::fast::FixedState;
use serde::{Deserialize, Serialize};

/// Why a route stands as it stands, for `catbird why` and the counters.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(tag = "cause", content = "detail", rename_all = "snake_case")]
pub enum Cause {
    /// The peer announced it, and import let it in.
    Announced,
    /// The peer took it back.
    Withdrawn,
    /// The session ended, and its routes were not kept.
    SessionDown,
    /// The attribute of this type was malformed: treated as withdrawn (RFC 7606 §2).
    Malformed(u8),
    /// Our AS stands in AS_PATH more often than allowed (RFC 4271 §9.1.2).
    AsLoop,
    /// We are the ORIGINATOR_ID (RFC 4456 §8).
    OriginatorLoop,
    /// Our cluster stands in CLUSTER_LIST (RFC 4456 §8).
    ClusterLoop,
    /// The next hop is an address of ours, or none that may be one (RFC 4271 §5.1.3).
    NextHopRefused,
    /// The external peer's AS is not the first of AS_PATH (RFC 4271 §6.3).
    FirstAsDiffers,
    /// Somebody on its way has said that it is for customers alone, and it does not come from a provider (RFC 9234 §5).
    RouteLeak,
    /// Multicast, loopback or the like: no unicast route leads there (RFC 4271 §6.3).
    NotUnicast,
    /// Policy, named by its rule.
    RefusedByPolicy(Arc<str>),
    /// An external peer without import policy: nothing is taken (RFC 8212 §2).
    NoPolicy,
    /// Beyond the limit of prefixes.
    MaxPrefix,
    /// Stale, and not announced again in time (RFC 4724 §4.2).
    StaleExpired,
    /// Not announced again between BoRR and EoRR (RFC 7313 §4).
    NotRefreshed,
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Cause::Announced => f.write_str("announced"),
            Cause::Withdrawn => f.write_str("withdrawn"),
            Cause::SessionDown => f.write_str("session down"),
            Cause::Malformed(code) => write!(f, "malformed attribute {code}"),
            Cause::AsLoop => f.write_str("own AS in AS_PATH"),
            Cause::OriginatorLoop => f.write_str("own router identifier in ORIGINATOR_ID"),
            Cause::ClusterLoop => f.write_str("own cluster in CLUSTER_LIST"),
            Cause::NextHopRefused => f.write_str("next hop refused"),
            Cause::FirstAsDiffers => f.write_str("first AS is not the peer's"),
            Cause::RouteLeak => f.write_str("route leak: ONLY_TO_CUSTOMER from a neighbour that is no provider of ours (RFC 9234)"),
            Cause::NotUnicast => f.write_str("not a unicast prefix"),
            Cause::RefusedByPolicy(rule) => write!(f, "refused by {rule}"),
            Cause::NoPolicy => f.write_str("no import policy (RFC 8212)"),
            Cause::MaxPrefix => f.write_str("beyond the prefix limit"),
            Cause::StaleExpired => f.write_str("stale and not announced again"),
            Cause::NotRefreshed => f.write_str("not announced again in a refresh"),
        }
    }
}

/// A refused path's cause, in two octets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct CauseId(pub u16);

impl CauseId {
    /// [`Cause::Announced`], which every accepted path has and nobody counts.
    pub const ANNOUNCED: CauseId = CauseId(0);
    /// [`Cause::MaxPrefix`], whose paths are looked for.
    pub const MAX_PREFIX: CauseId = CauseId(1);
}

/// The few distinct causes in use, counted, so that reloads do not pile up names of rules.
pub(super) struct Causes {
    all: Vec<(Cause, u32)>,
    by_cause: HashMap<Cause, u16, FixedState>,
    free: Vec<u16>,
}

impl Causes {
    /// Those two causes that have numbers of their own.
    pub fn new() -> Causes {
        let mut by_cause: HashMap<_, _, FixedState> = HashMap::default();
        by_cause.insert(Cause::MaxPrefix, CauseId::MAX_PREFIX.0);
        Causes { all: vec![(Cause::Announced, 0), (Cause::MaxPrefix, 0)], by_cause, free: Vec::new() }
    }

    /// One more path has it.
    pub fn hold(&mut self, cause: &Cause) -> CauseId {
        if *cause == Cause::Announced {
            return CauseId::ANNOUNCED;
        }
        let id = self.by_cause.get(cause).copied().or_else(|| self.add(cause)).unwrap_or(0);
        if let Some((_, n)) = self.all.get_mut(usize::from(id)).filter(|_| id != 0) {
            *n += 1;
        }
        CauseId(id)
    }

    /// `None` if more than 65,535 causes are in use at once; the path is then shown without one.
    fn add(&mut self, cause: &Cause) -> Option<u16> {
        let id = match self.free.pop() {
            Some(id) => id,
            None => {
                let id = u16::try_from(self.all.len()).ok()?;
                self.all.push((Cause::Announced, 0));
                id
            }
        };
        *self.all.get_mut(usize::from(id))? = (cause.clone(), 0);
        self.by_cause.insert(cause.clone(), id);
        Some(id)
    }

    /// One path fewer has it; with the last one its number is free.
    pub fn release(&mut self, id: CauseId) {
        let Some((cause, n)) = self.all.get_mut(usize::from(id.0)).filter(|_| id != CauseId::ANNOUNCED) else { return };
        *n = n.saturating_sub(1);
        if *n == 0 && id != CauseId::MAX_PREFIX {
            self.by_cause.remove(cause);
            self.free.push(id.0);
        }
    }

    /// The cause in full.
    pub fn get(&self, id: CauseId) -> &Cause {
        self.all.get(usize::from(id.0)).map_or(&Cause::Announced, |(c, _)| c)
    }

    /// Causes in use, by how many paths.
    pub fn held(&self) -> u32 {
        self.all.iter().map(|(_, n)| n).sum()
    }
}
