//! How much the tables hold, and for whom: so that the router stays within its budget and what is too much costs the one who brings it.
//!
//! In: counts that the tables keep anyway. Out: octets, in all and for each peer, at the cost of a sum over the peers. They are what the
//! allocator hands out within about a fifth (`proto-tests/examples/rib_load.rs` holds them against the process).
//!
//! # For the speaker
//! Before the budget: [`Rib::memory`] plus [`UpdateGroups::memory`](super::update_group::UpdateGroups::memory) against it, each few hundred
//! announcements. Beyond it: [`Rib::most_beyond_share`] names the peer that is to pay, by Cease / Out of Resources (RFC 4486 §4) or by having
//! its further routes refused. A share is the budget by the number of peers that hold something, so who holds little never pays for
//! another's flood.

use super::Rib;
use super::path::Path;
use super::table::{Dest, Key4, Key6};
use crate::num::{Family, PeerId};

/// Octets that the tables hold.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct MemoryUse {
    /// Prefixes, their paths, and the lists of each peer; refused routes too.
    pub routes: u64,
    /// Attribute sets, each once however many paths have it.
    pub attributes: u64,
}

impl MemoryUse {
    /// Octets, of all of it.
    pub fn total(&self) -> u64 {
        self.routes + self.attributes
    }
}

/// An entry of the index at its usual fill, and the place in a peer's list.
const INDEXED: usize = 13 + 4;

/// One prefix with one path.
fn prefix_octets(family: Family) -> u64 {
    let dest = match family {
        Family::Ipv4Unicast => size_of::<Dest<Key4>>(),
        Family::Ipv6Unicast => size_of::<Dest<Key6>>(),
    };
    (dest + INDEXED) as u64
}

/// One more path of it: paths of a prefix stand in a list that has room for half as many more.
const PATH_OCTETS: u64 = (size_of::<Path>() + size_of::<Path>() / 2 + 4) as u64;

impl Rib {
    /// What is held in all.
    pub fn memory(&self) -> MemoryUse {
        let routes = Family::ALL.map(|family| {
            let counts = self.table_counts(family);
            counts.prefixes * prefix_octets(family) + counts.paths.saturating_sub(counts.prefixes) * PATH_OCTETS
        });
        MemoryUse { routes: routes.iter().sum(), attributes: self.core.attrs.octets() }
    }

    /// What each peer makes us hold: its paths, and its part of the attribute sets. Sets are shared, so a part is what the sets of all its paths
    /// would take against what those of all peers would.
    pub fn burdens(&self) -> impl Iterator<Item = (PeerId, u64)> + '_ {
        let held = |peer: PeerId| Family::ALL.map(|family| (family, self.counts(peer, family)));
        let apart = move |peer| held(peer).iter().map(|(_, counts)| counts.attribute_octets).sum::<u64>();
        let all: u64 = self.core.peers.iter().map(|(_, peer)| apart(peer.facts.id)).sum();
        let shared = self.core.attrs.octets();
        self.core.peers.iter().map(move |(_, peer)| {
            let id = peer.facts.id;
            let paths: u64 = held(id).iter().map(|(family, counts)| counts.received * prefix_octets(*family)).sum();
            let part = u128::from(shared) * u128::from(apart(id)) / u128::from(all.max(1));
            (id, paths + part as u64)
        })
    }

    /// What one peer makes us hold; see [`Rib::burdens`].
    pub fn burden(&self, peer: PeerId) -> u64 {
        self.burdens().find(|(id, _)| *id == peer).map_or(0, |(_, octets)| octets)
    }

    /// The peer that holds most beyond its share of a budget of so many octets, if any does. Our own routes cost nobody.
    pub fn most_beyond_share(&self, budget: u64) -> Option<PeerId> {
        let holders = || self.burdens().filter(|(id, octets)| *id != PeerId::LOCAL && *octets > 0);
        let share = budget / holders().count().max(1) as u64;
        let (peer, most) = holders().max_by_key(|(_, octets)| *octets)?;
        (most > share).then_some(peer)
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{Table, peer};

    #[test]
    fn who_holds_most_beyond_its_share_is_named_and_nobody_within_it() {
        let mut tables = Table::with_peers(3);
        assert_eq!(tables.rib.most_beyond_share(0), None, "an empty table holds nothing");
        tables.announce(1, 0..100, 1);
        tables.announce(2, 0..5000, 2);
        tables.settle_all();
        let burdens: Vec<u64> = (1..=3).map(|n| tables.rib.burden(peer(n))).collect();
        assert!(burdens[2] == 0 && burdens[0] * 40 < burdens[1], "{burdens:?}");
        let all = tables.rib.memory().total();
        assert!(burdens.iter().sum::<u64>() >= all, "no less than all is charged to somebody: {burdens:?} of {all}");
        assert_eq!(tables.rib.most_beyond_share(all / 2), Some(peer(2)));
        assert_eq!(tables.rib.most_beyond_share(all * 3), None, "within the budget nobody is");
        tables.rib.peer_down(peer(2));
        assert_eq!(tables.rib.burden(peer(2)), 0, "at once, although its paths leave in steps");
        tables.settle_all();
        tables.settle(1);
        assert!(tables.rib.memory().total() * 20 < all);
        tables.rib.peer_down(peer(1));
        tables.settle_all();
        // The changes held the sets.
        tables.settle(1);
        assert_eq!(tables.rib.memory().total(), 0);
    }
}
