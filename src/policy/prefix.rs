//! Prefix sets: which destinations a rule speaks of.
//!
//! In: entries of a prefix and a range of lengths. Out: whether a prefix is in the set. Names and text are the configuration's affair.

use std::fmt;

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use crate::num::Family;

/// All prefixes inside `net` whose length is within `min..=max`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct PrefixRange {
    net: IpNet,
    min: u8,
    max: u8,
}

impl PrefixRange {
    /// Just `net`.
    pub fn exact(net: IpNet) -> PrefixRange {
        PrefixRange { net: net.trunc(), min: net.prefix_len(), max: net.prefix_len() }
    }

    /// `net` and everything inside it.
    pub fn orlonger(net: IpNet) -> PrefixRange {
        PrefixRange { net: net.trunc(), min: net.prefix_len(), max: net.max_prefix_len() }
    }

    /// Prefixes inside `net` of `ge` to `le` bits. Left out, `ge` is the prefix's own length and `le` is that too, or the longest possible
    /// if there is a `ge`: as router operators know it from prefix lists. `None` unless own length <= ge <= le <= 32 (128).
    pub fn range(net: IpNet, ge: Option<u8>, le: Option<u8>) -> Option<PrefixRange> {
        let min = ge.unwrap_or(net.prefix_len());
        let max = le.unwrap_or(if ge.is_some() { net.max_prefix_len() } else { net.prefix_len() });
        (net.prefix_len() <= min && min <= max && max <= net.max_prefix_len()).then_some(PrefixRange { net: net.trunc(), min, max })
    }

    /// Which routes they are for.
    pub fn family(&self) -> Family {
        Family::of(&self.net)
    }

    /// Is `net` one of them?
    pub fn contains(&self, net: &IpNet) -> bool {
        self.min <= net.prefix_len() && net.prefix_len() <= self.max && self.net.contains(net)
    }
}

impl fmt::Display for PrefixRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let own = self.net.prefix_len();
        self.net.fmt(f)?;
        if (self.min, self.max) == (own, own) {
            return Ok(());
        }
        if self.min != own {
            write!(f, " ge {}", self.min)?;
        }
        if self.max != self.net.max_prefix_len() || self.min == own {
            write!(f, " le {}", self.max)?;
        }
        Ok(())
    }
}

/// A set of prefix ranges, sorted so that a look-up touches only entries that can match.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(into = "Vec<PrefixRange>", from = "Vec<PrefixRange>")]
pub struct PrefixSet {
    /// By family and first address; `reach[i]` is the furthest end of the entries up to and including `i`, so a search can stop early.
    entries: Vec<PrefixRange>,
    reach: Vec<std::net::IpAddr>,
}

impl PrefixSet {
    /// In any order; duplicates are folded.
    pub fn new(entries: impl IntoIterator<Item = PrefixRange>) -> PrefixSet {
        let mut entries: Vec<_> = entries.into_iter().collect();
        entries.sort_by_key(|e| (Family::of(&e.net), e.net.network(), e.net.prefix_len(), e.min, e.max));
        entries.dedup();
        let mut reach: Vec<std::net::IpAddr> = Vec::with_capacity(entries.len());
        for entry in &entries {
            let end = entry.net.broadcast();
            reach.push(reach.last().copied().filter(|last| last.is_ipv4() == end.is_ipv4()).map_or(end, |last| last.max(end)));
        }
        PrefixSet { entries, reach }
    }

    /// Is `net` in one of the ranges?
    pub fn contains(&self, net: &IpNet) -> bool {
        let key = (Family::of(net), net.network());
        let after = self.entries.partition_point(|e| (Family::of(&e.net), e.net.network()) <= key);
        let candidates = self.entries.iter().zip(&self.reach).take(after).rev();
        candidates.take_while(|(e, reach)| Family::of(&e.net) == key.0 && **reach >= key.1).any(|(e, _)| e.contains(net))
    }

    /// In order.
    pub fn iter(&self) -> impl Iterator<Item = &PrefixRange> {
        self.entries.iter()
    }

    /// It matches nothing.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// How many prefixes with their lengths were given.
    pub fn len(&self) -> usize {
        self.entries.len()
    }
}

impl From<PrefixSet> for Vec<PrefixRange> {
    fn from(set: PrefixSet) -> Vec<PrefixRange> {
        set.entries
    }
}

impl From<Vec<PrefixRange>> for PrefixSet {
    fn from(entries: Vec<PrefixRange>) -> PrefixSet {
        PrefixSet::new(entries)
    }
}

impl FromIterator<PrefixRange> for PrefixSet {
    fn from_iter<I: IntoIterator<Item = PrefixRange>>(iter: I) -> PrefixSet {
        PrefixSet::new(iter)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn net(s: &str) -> IpNet {
        s.parse().expect("a prefix")
    }

    #[test]
    fn ge_and_le_bound_the_length() {
        let range = PrefixRange::range(net("10.0.0.0/8"), Some(24), Some(26)).expect("legal");
        for (prefix, inside) in
            [("10.1.2.0/24", true), ("10.1.2.0/26", true), ("10.1.0.0/16", false), ("10.1.2.0/27", false), ("11.0.0.0/24", false)]
        {
            assert_eq!(range.contains(&net(prefix)), inside, "{prefix}");
        }
        assert!(PrefixRange::range(net("10.0.0.0/8"), Some(7), None).is_none(), "shorter than itself");
        assert!(PrefixRange::range(net("10.0.0.0/8"), Some(26), Some(24)).is_none(), "upside down");
        assert!(PrefixRange::range(net("10.0.0.0/8"), None, Some(33)).is_none(), "longer than an address");
    }

    #[test]
    fn exact_is_one_prefix_and_orlonger_is_all_inside() {
        let set = PrefixSet::new([PrefixRange::exact(net("10.0.0.0/8")), PrefixRange::orlonger(net("fd00::/8"))]);
        assert!(set.contains(&net("10.0.0.0/8")) && !set.contains(&net("10.0.0.0/9")));
        assert!(set.contains(&net("fd00::/8")) && set.contains(&net("fd12::1/128")) && !set.contains(&net("fe80::/10")));
        assert!(!set.contains(&net("0.0.0.0/0")) && !set.contains(&net("::/0")));
    }

    #[test]
    fn ranges_read_as_operators_write_them() {
        let range = |ge, le| PrefixRange::range(net("10.0.0.0/8"), ge, le).expect("legal").to_string();
        assert_eq!(range(None, None), "10.0.0.0/8");
        assert_eq!(range(None, Some(24)), "10.0.0.0/8 le 24");
        assert_eq!(range(Some(24), None), "10.0.0.0/8 ge 24");
        assert_eq!(range(Some(24), Some(26)), "10.0.0.0/8 ge 24 le 26");
    }

    proptest! {
        #[test]
        fn a_set_holds_what_one_of_its_ranges_holds(
            ranges in prop::collection::vec((0u8..4, 0u8..=8, 0u8..8, 0u8..8), 0..12),
            probe in (0u8..4, 0u8..=10, any::<u8>()),
        ) {
            let place = |high: u8, len: u8, low: u8| net(&format!("10.{}.{}.0/{}", high, low, 14 + len)).trunc();
            let ranges: Vec<_> = ranges.iter().filter_map(|&(h, l, ge, le)| {
                let net = place(h, l, h * 64);
                PrefixRange::range(net, Some(net.prefix_len() + ge), Some((net.prefix_len() + ge + le).min(32)))
            }).collect();
            let set: PrefixSet = ranges.iter().copied().collect();
            let probe = place(probe.0, probe.1, probe.2);
            prop_assert_eq!(set.contains(&probe), ranges.iter().any(|r| r.contains(&probe)));
        }
    }
}
