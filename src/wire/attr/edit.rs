//! `Editor`: another set of attributes, made from one that exists or from nothing.
//!
//! In: a `PathAttributes` and changes by name. Out: a new canonical `PathAttributes`.
//! Which changes a session or a policy wants is decided by those who call.

use smallvec::SmallVec;

use super::as_path::{AsPath, SegmentKind};
use super::set::{Facts, bit, raw};
use super::{
    Aggregator, AttrCode, Community, EXTENDED, ExtendedCommunity, LargeCommunity, NextHop, OPTIONAL, Origin, PARTIAL, PathAttributes,
    TRANSITIVE, put_header, row,
};
use crate::num::{Asn, ClusterId, RouterId};
use crate::wire::context::Context;

/// What the length of an attribute can say. A value that wants to be longer is filled to this: then the set fits into no message, and nobody gets a part.
const MAX_VALUE: usize = u16::MAX as usize;

type Value = SmallVec<[u8; 24]>;

#[derive(Clone, Debug)]
struct Item {
    code: AttrCode,
    flags: u8,
    value: Value,
}

/// A set being made. Every operation leaves it well formed; `finish` cannot fail.
#[derive(Clone, Debug)]
pub struct Editor {
    next_hop: NextHop,
    /// In the order of their codes; without NEXT_HOP, which is written from `next_hop`.
    items: SmallVec<[Item; 8]>,
}

impl Editor {
    /// A set with the three attributes that every route has, its AS_PATH empty.
    pub(super) fn new(origin: Origin, next_hop: NextHop) -> Editor {
        let mut editor = Editor { next_hop, items: SmallVec::new() };
        editor.set_origin(origin);
        editor.put(AttrCode::AS_PATH, Value::new());
        editor
    }

    /// Everything that the set has.
    pub(super) fn from_set(set: &PathAttributes) -> Editor {
        let items = set.attributes().filter(|a| a.code != AttrCode::NEXT_HOP);
        let items = items.map(|a| Item { code: a.code, flags: a.flags & !EXTENDED, value: Value::from_slice(a.value) });
        Editor { next_hop: set.next_hop(), items: items.collect() }
    }

    fn find(&self, code: AttrCode) -> Option<&Item> {
        self.items.iter().find(|i| i.code == code)
    }

    fn put(&mut self, code: AttrCode, value: Value) {
        let flags = row(code).map_or(OPTIONAL | TRANSITIVE | PARTIAL, |row| row.flags);
        match self.items.binary_search_by_key(&code, |i| i.code) {
            Ok(at) => {
                if let Some(item) = self.items.get_mut(at) {
                    item.value = value;
                }
            }
            Err(at) => self.items.insert(at, Item { code, flags, value }),
        }
    }

    fn remove(&mut self, code: AttrCode) {
        self.items.retain(|i| i.code != code);
    }

    fn set_or_remove(&mut self, code: AttrCode, value: Option<Value>) {
        match value {
            Some(value) => self.put(code, value),
            None => self.remove(code),
        }
    }

    /// RFC 4271 §5.1.1.
    pub fn set_origin(&mut self, origin: Origin) -> &mut Editor {
        self.put(AttrCode::ORIGIN, SmallVec::from_slice(&[origin as u8]));
        self
    }

    /// Of either family; that of IPv6 is written into MP_REACH_NLRI.
    pub fn set_next_hop(&mut self, next_hop: NextHop) -> &mut Editor {
        self.next_hop = next_hop;
        self
    }

    /// RFC 4271 §5.1.4; `None` takes it out.
    pub fn set_med(&mut self, med: Option<u32>) -> &mut Editor {
        self.set_or_remove(AttrCode::MULTI_EXIT_DISC, med.map(word));
        self
    }

    /// RFC 4271 §5.1.5; `None` takes it out.
    pub fn set_local_pref(&mut self, local_pref: Option<u32>) -> &mut Editor {
        self.set_or_remove(AttrCode::LOCAL_PREF, local_pref.map(word));
        self
    }

    /// RFC 9234 §5; what stands there stays.
    pub fn mark_only_to_customer(&mut self, asn: Asn) -> &mut Editor {
        if self.find(AttrCode::OTC).is_none() {
            self.put(AttrCode::OTC, word(asn.0));
        }
        self
    }

    /// RFC 4271 §5.1.6.
    pub fn set_atomic_aggregate(&mut self, on: bool) -> &mut Editor {
        self.set_or_remove(AttrCode::ATOMIC_AGGREGATE, on.then(Value::new));
        self
    }

    /// RFC 4271 §5.1.7; `None` takes it out.
    pub fn set_aggregator(&mut self, aggregator: Option<Aggregator>) -> &mut Editor {
        self.set_or_remove(AttrCode::AGGREGATOR, aggregator.map(|a| Value::from_slice(&a.octets())));
        self
    }

    /// The path as it stands now.
    pub fn as_path(&self) -> AsPath<'_> {
        AsPath(self.find(AttrCode::AS_PATH).map(|i| &*i.value).unwrap_or_default())
    }

    /// RFC 4271 §5.1.2 b: `asn`, `times` over, in front of the path; segments hold at most 255 numbers.
    pub fn prepend(&mut self, asn: Asn, times: usize) -> &mut Editor {
        let mut segments: Segments = segments_of(self.as_path());
        for _ in 0..times.min(MAX_VALUE / 4) {
            match segments.first_mut() {
                Some((SegmentKind::Sequence, asns)) if asns.len() < 255 => asns.insert(0, asn),
                _ => segments.insert(0, (SegmentKind::Sequence, SmallVec::from_slice(&[asn]))),
            }
        }
        self.put_path(&segments)
    }

    /// Any path; a segment of more than 255 numbers is cut into several, an empty one is left out.
    pub fn replace_as_path<'s>(&mut self, segments: impl IntoIterator<Item = (SegmentKind, &'s [Asn])>) -> &mut Editor {
        let segments: Segments = segments.into_iter().map(|(kind, asns)| (kind, SmallVec::from_slice(asns))).collect();
        self.put_path(&segments)
    }

    /// Every `from` becomes `to` (as-override).
    pub fn replace_as(&mut self, from: Asn, to: Asn) -> &mut Editor {
        let mut segments = segments_of(self.as_path());
        segments.iter_mut().flat_map(|(_, asns)| asns.iter_mut()).filter(|a| **a == from).for_each(|a| *a = to);
        self.put_path(&segments)
    }

    /// Leaves out the numbers that RFC 6996 keeps for private use, but for one: by its own AS the peer finds loops (RFC 4271 §9.1.2).
    pub fn remove_private_as(&mut self, peer: Asn) -> &mut Editor {
        let mut segments = segments_of(self.as_path());
        segments.iter_mut().for_each(|(_, asns)| asns.retain(|a| !a.is_private() || *a == peer));
        self.put_path(&segments)
    }

    fn put_path(&mut self, segments: &Segments) -> &mut Editor {
        let mut value = Value::new();
        for (kind, asns) in segments {
            for chunk in asns.chunks(255) {
                let room = MAX_VALUE.saturating_sub(value.len()).saturating_sub(2) / 4;
                let chunk = chunk.get(..room).unwrap_or(chunk);
                if !chunk.is_empty() {
                    value.extend_from_slice(&[*kind as u8, u8::try_from(chunk.len()).unwrap_or(u8::MAX)]);
                    chunk.iter().for_each(|asn| value.extend_from_slice(&asn.0.to_be_bytes()));
                }
            }
        }
        self.put(AttrCode::AS_PATH, value);
        self
    }

    /// At the end, unless it is there already; nothing if the attribute would be longer than one can be.
    pub fn add_community(&mut self, community: Community) -> &mut Editor {
        self.add(AttrCode::COMMUNITIES, community.0.to_be_bytes())
    }

    /// With the last one the attribute goes.
    pub fn remove_community(&mut self, community: Community) -> &mut Editor {
        self.remove_entries(AttrCode::COMMUNITIES, |o| *o == community.0.to_be_bytes())
    }

    /// Leaves out those for which `unwanted` holds.
    pub fn remove_communities(&mut self, unwanted: impl Fn(Community) -> bool) -> &mut Editor {
        self.remove_entries(AttrCode::COMMUNITIES, |o: &[u8; 4]| unwanted(Community(u32::from_be_bytes(*o))))
    }

    /// Takes the attribute out.
    pub fn clear_communities(&mut self) -> &mut Editor {
        self.remove(AttrCode::COMMUNITIES);
        self
    }

    /// As [`Editor::add_community`].
    pub fn add_large_community(&mut self, community: LargeCommunity) -> &mut Editor {
        self.add(AttrCode::LARGE_COMMUNITIES, community.octets())
    }

    /// Leaves out those for which `unwanted` holds.
    pub fn remove_large_communities(&mut self, unwanted: impl Fn(LargeCommunity) -> bool) -> &mut Editor {
        self.remove_entries(AttrCode::LARGE_COMMUNITIES, |o: &[u8; 12]| super::large_communities::iter(o).any(&unwanted))
    }

    /// Takes the attribute out.
    pub fn clear_large_communities(&mut self) -> &mut Editor {
        self.remove(AttrCode::LARGE_COMMUNITIES);
        self
    }

    /// As [`Editor::add_community`].
    pub fn add_extended_community(&mut self, community: ExtendedCommunity) -> &mut Editor {
        self.add(AttrCode::EXTENDED_COMMUNITIES, community.0)
    }

    /// Leaves out those for which `unwanted` holds.
    pub fn remove_extended_communities(&mut self, unwanted: impl Fn(ExtendedCommunity) -> bool) -> &mut Editor {
        self.remove_entries(AttrCode::EXTENDED_COMMUNITIES, |o: &[u8; 8]| unwanted(ExtendedCommunity(*o)))
    }

    /// Takes the attribute out.
    pub fn clear_extended_communities(&mut self) -> &mut Editor {
        self.remove(AttrCode::EXTENDED_COMMUNITIES);
        self
    }

    /// At the end, unless it is there already.
    fn add<const N: usize>(&mut self, code: AttrCode, entry: [u8; N]) -> &mut Editor {
        let mut value = self.find(code).map(|i| i.value.clone()).unwrap_or_default();
        if value.len() <= MAX_VALUE.saturating_sub(N) && !value.as_chunks::<N>().0.contains(&entry) {
            value.extend_from_slice(&entry);
            self.put(code, value);
        }
        self
    }

    fn remove_entries<const N: usize>(&mut self, code: AttrCode, unwanted: impl Fn(&[u8; N]) -> bool) -> &mut Editor {
        if let Some(item) = self.find(code) {
            let kept: Value = item.value.as_chunks::<N>().0.iter().filter(|e| !unwanted(e)).flatten().copied().collect();
            self.set_or_remove(code, (!kept.is_empty()).then_some(kept));
        }
        self
    }

    /// RFC 4456 §8; `None` takes it out.
    pub fn set_originator_id(&mut self, id: Option<RouterId>) -> &mut Editor {
        self.set_or_remove(AttrCode::ORIGINATOR_ID, id.map(|id| word(id.into())));
        self
    }

    /// RFC 4456 §8: our cluster in front of the list.
    pub fn prepend_cluster(&mut self, cluster: ClusterId) -> &mut Editor {
        let mut value = Value::from_slice(&cluster.0.octets());
        if let Some(item) = self.find(AttrCode::CLUSTER_LIST) {
            value.extend_from_slice(&item.value);
        }
        self.put(AttrCode::CLUSTER_LIST, value);
        self
    }

    /// What an external peer does not get: every optional attribute that is not transitive (MED among them), LOCAL_PREF, and extended communities
    /// that stay inside of the AS (RFC 4360 §6).
    pub fn strip_non_transitive(&mut self) -> &mut Editor {
        self.items.retain(|i| i.flags & TRANSITIVE != 0 && i.code != AttrCode::LOCAL_PREF);
        self.remove_entries(AttrCode::EXTENDED_COMMUNITIES, |o: &[u8; 8]| !ExtendedCommunity(*o).is_transitive())
    }

    /// RFC 4271 §5: unknown attributes that are passed on carry the Partial bit. (The decoder has set it already.)
    pub fn set_partial_on_unknown(&mut self) -> &mut Editor {
        self.items.iter_mut().filter(|i| row(i.code).is_none()).for_each(|i| i.flags |= PARTIAL);
        self
    }

    /// An optional transitive attribute that has no row here. Others are not taken.
    pub fn set_unknown(&mut self, code: AttrCode, value: &[u8]) -> &mut Editor {
        if row(code).is_none() && value.len() <= MAX_VALUE {
            self.put(code, Value::from_slice(value));
        }
        self
    }

    /// The set, canonical.
    pub fn finish(&self) -> PathAttributes {
        let mut octets = Vec::with_capacity(self.items.iter().fold(8usize, |n, i| n.saturating_add(i.value.len()).saturating_add(4)));
        let (before, after) = self.items.split_at_checked(self.items.partition_point(|i| i.code < AttrCode::NEXT_HOP)).unwrap_or_default();
        before.iter().for_each(|i| put(i, &mut octets));
        if let NextHop::V4(addr) = self.next_hop {
            put_header(AttrCode::NEXT_HOP.0, TRANSITIVE, 4, &mut octets);
            octets.extend_from_slice(&addr.octets());
        }
        after.iter().for_each(|i| put(i, &mut octets));
        let (facts, present) = read_facts(&octets);
        PathAttributes::new(&octets, self.next_hop, &facts, present)
    }
}

type Segments = SmallVec<[(SegmentKind, SmallVec<[Asn; 8]>); 2]>;

fn segments_of(path: AsPath<'_>) -> Segments {
    path.segments().map(|s| (s.kind, s.asns().collect())).collect()
}

fn word(value: u32) -> Value {
    Value::from_slice(&value.to_be_bytes())
}

fn put(item: &Item, octets: &mut Vec<u8>) {
    put_header(item.code.0, item.flags, item.value.len(), octets);
    octets.extend_from_slice(&item.value);
}

/// From octets that we wrote: what cannot be read here says nothing, which a NEXT_HOP of 0.0.0.0 (of our own routes) relies on.
fn read_facts(octets: &[u8]) -> (Facts, u64) {
    let (mut facts, mut present) = (Facts::default(), 0);
    for attribute in raw(octets) {
        present |= bit(attribute.code.0);
        if let Some(row) = row(attribute.code) {
            let _unusable_by_itself = (row.decode)(attribute.value, &Context::CANONICAL, &mut facts);
        }
    }
    (facts, present)
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    fn base() -> Editor {
        PathAttributes::builder(Origin::Igp, NextHop::V4(Ipv4Addr::new(192, 0, 2, 1)))
    }

    #[test]
    fn octets_are_canonical_whatever_the_order_of_the_calls() {
        let one = base().set_local_pref(Some(100)).set_med(Some(5)).prepend(Asn(64512), 1).finish();
        let other = base().prepend(Asn(64512), 1).set_med(Some(5)).set_local_pref(Some(100)).finish();
        assert_eq!(one, other);
        let octets = [
            &[0x40, 1, 1, 0][..],               // ORIGIN igp
            &[0x40, 2, 6, 2, 1, 0, 0, 0xfc, 0], // AS_PATH 64512
            &[0x40, 3, 4, 192, 0, 2, 1],        // NEXT_HOP
            &[0x80, 4, 4, 0, 0, 0, 5],          // MULTI_EXIT_DISC
            &[0x40, 5, 4, 0, 0, 0, 100],        // LOCAL_PREF
        ]
        .concat();
        assert_eq!(one.octets(), octets);
    }

    #[test]
    fn prepending_over_255_numbers_opens_a_new_segment() {
        let set = base().prepend(Asn(7), 300).finish();
        assert_eq!(set.as_path_len(), 300);
        let counts: Vec<usize> = set.as_path().segments().map(|s| s.asns().len()).collect();
        assert_eq!(counts, [45, 255]);
        assert_eq!(set.neighbor_as(), Some(Asn(7)));
    }

    #[test]
    fn long_values_have_two_octets_of_length() {
        let mut editor = base();
        for n in 0..100 {
            editor.add_community(Community::new(1, n));
        }
        let set = editor.finish();
        assert_eq!(set.communities().count(), 100);
        let raw = set.attributes().find(|a| a.code == AttrCode::COMMUNITIES).unwrap();
        assert_eq!((raw.flags, &raw.octets[..4]), (0xd0, &[0xd0, 8, 1, 0x90][..]));
    }

    #[test]
    fn adding_twice_is_adding_once_and_removing_the_last_removes_the_attribute() {
        let mut editor = base();
        editor.add_community(Community::NO_EXPORT).add_community(Community::NO_EXPORT);
        assert_eq!(editor.finish().communities().collect::<Vec<_>>(), [Community::NO_EXPORT]);
        let set = editor.remove_community(Community::NO_EXPORT).finish();
        assert!(!set.has(AttrCode::COMMUNITIES));
        assert_eq!(set, base().finish());
    }

    #[test]
    fn private_numbers_go_and_empty_segments_with_them() {
        let path: [(SegmentKind, &[Asn]); 2] = [(SegmentKind::Sequence, &[Asn(64512), Asn(7)]), (SegmentKind::Set, &[Asn(65000)])];
        let without = |peer| base().replace_as_path(path).remove_private_as(peer).finish().as_path().to_string();
        assert_eq!(without(Asn(65001)), "7");
        assert_eq!(without(Asn(64512)), "64512 7", "the peer's own number stays");
    }

    #[test]
    fn what_is_not_transitive_stays_in_the_as() {
        let mut editor = base();
        editor.set_med(Some(1)).set_local_pref(Some(2)).set_originator_id(RouterId::new(Ipv4Addr::new(1, 1, 1, 1)));
        editor.add_extended_community(ExtendedCommunity([0x43, 0, 0, 0, 0, 0, 0, 1]));
        editor.add_extended_community(ExtendedCommunity([0, 2, 0, 1, 0, 0, 0, 1])).set_unknown(AttrCode(99), &[1]);
        let set = editor.strip_non_transitive().finish();
        assert_eq!(set.to_string(), "origin igp as-path  next-hop 192.0.2.1 extended-communities rt:1:1 attribute-99 01");
    }

    #[test]
    fn an_ipv6_next_hop_is_part_of_the_identity_but_not_of_the_octets() {
        let next_hop = |a: &str| NextHop::V6 { global: a.parse().unwrap(), link_local: None };
        let one = base().set_next_hop(next_hop("2001:db8::1")).finish();
        let other = base().set_next_hop(next_hop("2001:db8::2")).finish();
        assert_eq!(one.octets(), other.octets());
        assert_ne!(one, other);
        assert!(!one.has(AttrCode::NEXT_HOP));
    }
}
