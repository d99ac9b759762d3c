//! One rule: conditions that must all hold, edits, and where to go from there.
//!
//! In: plain values that the configuration made. Out: a yes or no about a route, or an edited attribute set.
//! The order of rules and policies is `chain`'s affair.

use std::net::IpAddr;
use std::ops::RangeInclusive;
use std::sync::Arc;

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use super::{AnyCommunity, CommunityMatch, LocalKind, PeerFacts, PrefixSet, Source};
use crate::num::{Asn, Family};
use crate::rpki::Validity;
use crate::wire::{AsPath, Editor, NextHop, Origin, PathAttributes};

/// An entry of a policy.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Rule {
    /// Shown instead of the number.
    pub name: Option<Arc<str>>,
    /// All must hold; none is always.
    pub when: Vec<Condition>,
    /// Applied in order if they do.
    pub set: Vec<Edit>,
    /// What becomes of a route that matches.
    pub then: Step,
}

/// Where a route goes after a rule that matched, or after the last rule of a policy.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Step {
    /// It is taken, or announced.
    Accept,
    /// It is not.
    Reject,
    /// To the next rule; after the last rule, to the next policy of the chain.
    #[default]
    Next,
}

/// One question about a route. Lists are alternatives: one of them suffices.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Condition {
    /// The prefix is in the set.
    Prefix(Arc<PrefixSet>),
    /// The prefix is of this family.
    Family(Family),
    /// Of any kind.
    Community(Vec<CommunityMatch>),
    /// Something about AS_PATH.
    AsPath(AsPathMatch),
    /// The next hop lies in one of these.
    NextHop(Vec<IpNet>),
    /// The peer that it came from (import) or would go to (export).
    Peer(Vec<PeerMatch>),
    /// We originate it.
    Local,
    /// Learned over iBGP.
    Internal,
    /// Learned over eBGP.
    External,
    /// We originate it, as one of these.
    RouteType(Vec<LocalKind>),
    /// ORIGIN is this.
    Origin(Origin),
    /// Absent counts as 100.
    LocalPref(RangeInclusive<u32>),
    /// What VRPs say of it (RFC 6811) is one of these.
    Rpki(Vec<Validity>),
    /// Absent counts as 0.
    Med(RangeInclusive<u32>),
    /// It does not hold.
    Not(Box<Condition>),
    /// One of them holds; none does of an empty list.
    Any(Vec<Condition>),
}

/// A question about AS_PATH, in plain criteria.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum AsPathMatch {
    /// No AS at all: it began in our own.
    Empty,
    /// One of these is anywhere in it.
    Contains(Vec<Asn>),
    /// The neighbouring AS, first in the path, is one of these.
    StartsWith(Vec<Asn>),
    /// It begins with exactly these, in this order.
    BeginsWith(Vec<Asn>),
    /// The AS where the route began, last in the path, is one of these.
    OriginatedBy(Vec<Asn>),
    /// Counted as the decision process counts it (RFC 4271 §9.1.2.2(a)).
    Length(RangeInclusive<u32>),
}

/// How a rule names a peer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum PeerMatch {
    /// As configured.
    Name(Arc<str>),
    /// Its address.
    Addr(IpAddr),
    /// What its OPEN said.
    Asn(Asn),
}

/// One change to the attributes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Edit {
    /// LOCAL_PREF becomes this.
    LocalPref(u32),
    /// MULTI_EXIT_DISC changes.
    Med(MedEdit),
    /// So many times, our own AS unless another is named.
    Prepend {
        /// `None`: our own, as the session knows it.
        asn: Option<Asn>,
        /// How often.
        count: u8,
    },
    /// Of all kinds.
    ClearCommunities,
    /// Those that match go, of all three kinds.
    RemoveCommunities(Vec<CommunityMatch>),
    /// Attached, if they are not already.
    AddCommunities(Vec<AnyCommunity>),
    /// NEXT_HOP changes.
    NextHop(NextHopEdit),
    /// ORIGIN becomes this.
    Origin(Origin),
}

/// A change to MULTI_EXIT_DISC. Sums stop at the ends of the range.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum MedEdit {
    /// To this.
    Set(u32),
    /// By this much, up to 2^32 - 1.
    Add(u32),
    /// By this much, down to zero.
    Subtract(u32),
    /// It goes.
    Remove,
}

/// What the next hop becomes. `SelfAddress` and `Unchanged` are carried out by the export, which knows our addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum NextHopEdit {
    /// Our address on the session.
    SelfAddress,
    /// As it was learned.
    Unchanged,
    /// This one.
    Address(IpAddr),
}

impl Rule {
    /// Do all conditions hold?
    pub fn matches(&self, net: &IpNet, attrs: &PathAttributes, facts: &PeerFacts) -> bool {
        self.when.iter().all(|c| c.holds(net, attrs, facts))
    }

    /// Can routes of this family match at all?
    pub fn means(&self, family: Family) -> bool {
        self.when.iter().all(|condition| match condition {
            Condition::Family(only) => *only == family,
            Condition::Prefix(set) => set.iter().any(|range| range.family() == family),
            _ => true,
        })
    }

    /// Can a route of this family have the next hop? An address is one for its own family alone, so that a rule for both families changes
    /// the routes of one; an IPv6 address serves IPv4 routes, too (RFC 8950), where the rule names that family.
    pub fn can_lead(&self, next_hop: NextHopEdit, family: Family) -> bool {
        match (next_hop, family) {
            (NextHopEdit::Address(IpAddr::V4(_)), Family::Ipv6Unicast) => false,
            (NextHopEdit::Address(IpAddr::V6(_)), Family::Ipv4Unicast) => self.when.contains(&Condition::Family(family)),
            _ => true,
        }
    }
}

impl Condition {
    fn holds(&self, net: &IpNet, attrs: &PathAttributes, facts: &PeerFacts) -> bool {
        match self {
            Condition::Prefix(set) => set.contains(net),
            Condition::Family(family) => Family::of(net) == *family,
            Condition::Community(any) => any.iter().any(|m| m.holds(attrs)),
            Condition::AsPath(path) => path.holds(&attrs.as_path()),
            Condition::NextHop(any) => any.iter().any(|n| n.contains(&attrs.next_hop().addr())),
            Condition::Peer(any) => any.iter().any(|m| m.holds(facts)),
            Condition::Local => facts.source.is_local(),
            Condition::Internal => facts.source == Source::Internal,
            Condition::External => facts.source == Source::External,
            Condition::RouteType(any) => matches!(facts.source, Source::Local(kind) if any.contains(&kind)),
            Condition::Origin(origin) => attrs.origin() == *origin,
            Condition::LocalPref(range) => range.contains(&attrs.local_pref().unwrap_or(100)),
            Condition::Med(range) => range.contains(&attrs.med().unwrap_or(0)),
            Condition::Rpki(any) => any.contains(&facts.validity),
            Condition::Not(inner) => !inner.holds(net, attrs, facts),
            Condition::Any(any) => any.iter().any(|c| c.holds(net, attrs, facts)),
        }
    }

    /// Does this condition, or one inside it, satisfy `test`?
    pub(super) fn some(&self, test: &impl Fn(&Condition) -> bool) -> bool {
        test(self)
            || match self {
                Condition::Not(inner) => inner.some(test),
                Condition::Any(any) => any.iter().any(|c| c.some(test)),
                _ => false,
            }
    }
}

impl AsPathMatch {
    fn holds(&self, path: &AsPath<'_>) -> bool {
        match self {
            AsPathMatch::Empty => path.is_empty(),
            AsPathMatch::Contains(any) => any.iter().any(|asn| path.contains(*asn)),
            AsPathMatch::StartsWith(any) => path.neighbor_as().is_some_and(|asn| any.contains(&asn)),
            AsPathMatch::BeginsWith(asns) => path.asns().take(asns.len()).eq(asns.iter().copied()),
            AsPathMatch::OriginatedBy(any) => path.origin_as().is_some_and(|asn| any.contains(&asn)),
            AsPathMatch::Length(range) => range.contains(&u32::try_from(path.len()).unwrap_or(u32::MAX)),
        }
    }
}

impl PeerMatch {
    fn holds(&self, facts: &PeerFacts) -> bool {
        let Some(peer) = &facts.peer else { return false };
        match self {
            PeerMatch::Name(name) => *name == peer.name,
            PeerMatch::Addr(addr) => *addr == peer.addr,
            PeerMatch::Asn(asn) => *asn == peer.asn,
        }
    }
}

impl Edit {
    /// Carries the change out. What needs the value before (MED) or our addresses (next hop) is left to the callers.
    pub(super) fn apply<'e>(&self, facts: &PeerFacts, editor: &'e mut Editor) -> &'e mut Editor {
        match self {
            Edit::LocalPref(value) => editor.set_local_pref(Some(*value)),
            Edit::Prepend { asn, count } => editor.prepend(asn.unwrap_or(facts.local_as), usize::from(*count)),
            Edit::ClearCommunities => editor.clear_communities().clear_extended_communities().clear_large_communities(),
            Edit::RemoveCommunities(list) => {
                list.iter().for_each(|c| c.remove_from(editor));
                editor
            }
            Edit::AddCommunities(list) => {
                list.iter().for_each(|c| c.add_to(editor));
                editor
            }
            Edit::NextHop(NextHopEdit::Address(addr)) => editor.set_next_hop(next_hop_of(*addr)),
            Edit::Origin(origin) => editor.set_origin(*origin),
            Edit::Med(_) | Edit::NextHop(NextHopEdit::SelfAddress | NextHopEdit::Unchanged) => editor,
        }
    }
}

fn next_hop_of(addr: IpAddr) -> NextHop {
    match addr {
        IpAddr::V4(addr) => NextHop::V4(addr),
        IpAddr::V6(global) => NextHop::V6 { global, link_local: None },
    }
}

impl MedEdit {
    /// What the edit makes of a former value; an absent one counts as zero where it is added to.
    pub(super) fn of(self, old: Option<u32>) -> Option<u32> {
        match self {
            MedEdit::Set(value) => Some(value),
            MedEdit::Add(more) => Some(old.unwrap_or(0).saturating_add(more)),
            MedEdit::Subtract(less) => Some(old.unwrap_or(0).saturating_sub(less)),
            MedEdit::Remove => None,
        }
    }
}
