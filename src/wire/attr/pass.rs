//! What every session does to a set on its way out, in one pass over the octets.
//!
//! In: a `PathAttributes` and the few attributes that change. Out: another canonical `PathAttributes`, equal to what an [`Editor`] would
//! have made. The editor takes a set apart and puts it together again, which a policy needs; a full table announced prefix by prefix asks for
//! this a million times. What a session wants to change is decided by those who call.
//!
//! [`Editor`]: super::Editor

use smallvec::SmallVec;

use super::as_path::SegmentKind;
use super::set::{Facts, bit};
use super::{AttrCode, EXTENDED, ExtendedCommunity, NextHop, PARTIAL, PathAttributes, RawAttribute, TRANSITIVE, row};
use crate::num::{Asn, ClusterId, RouterId};

/// Values beyond this are left to the editor, which knows where to stop.
const LONG: usize = 4096;

/// An attribute that is put in, or takes the place of the one that is there; `None` leaves it out.
type Change<'a> = (AttrCode, Option<&'a [u8]>);

impl PathAttributes {
    /// As an external peer gets it: without what does not leave the AS, `asn` in front of the path (RFC 4271 §5.1), and this MED.
    pub fn to_external(&self, next_hop: NextHop, med: Option<u32>, asn: Asn) -> PathAttributes {
        let Some(path) = self.path_behind(asn).filter(|_| !self.has_internal_communities()) else {
            let mut editor = self.edit();
            return editor.set_next_hop(next_hop).set_partial_on_unknown().strip_non_transitive().set_med(med).prepend(asn, 1).finish();
        };
        let facts = Facts {
            med,
            local_pref: None,
            originator_id: None,
            cluster_list_len: 0,
            path_len: self.facts().path_len.saturating_add(1),
            neighbor_as: Some(asn),
            ..self.facts()
        };
        let med = med.map(u32::to_be_bytes);
        let changes = [(AttrCode::AS_PATH, Some(&path[..])), (AttrCode::MULTI_EXIT_DISC, med.as_ref().map(|o| &o[..]))];
        self.rewritten(next_hop, &changes, facts, |a| a.flags & TRANSITIVE != 0 && a.code != AttrCode::LOCAL_PREF)
    }

    /// As an internal peer gets it: this LOCAL_PREF if there was none (RFC 4271 §5.1.5); and if it is reflected, where it began if that
    /// was not known, and our cluster in front of the list (RFC 4456 §8).
    pub fn to_internal(&self, next_hop: NextHop, local_pref: u32, reflected: Option<(RouterId, ClusterId)>) -> PathAttributes {
        let mut facts = self.facts();
        let local_pref = facts.local_pref.is_none().then_some(local_pref);
        let originator = reflected.map(|(id, _)| id).filter(|_| facts.originator_id.is_none());
        facts.local_pref = facts.local_pref.or(local_pref);
        facts.originator_id = facts.originator_id.or(originator);
        let mut clusters: SmallVec<[u8; 32]> = SmallVec::new();
        if let Some((_, own)) = reflected {
            facts.cluster_list_len = facts.cluster_list_len.saturating_add(1);
            clusters.extend_from_slice(&own.0.octets());
            clusters.extend_from_slice(self.value(AttrCode::CLUSTER_LIST).unwrap_or_default());
        }
        let local_pref = local_pref.map(u32::to_be_bytes);
        let originator = originator.map(|id| u32::from(id).to_be_bytes());
        let put = [
            (AttrCode::LOCAL_PREF, local_pref.as_ref().map(|o| &o[..])),
            (AttrCode::ORIGINATOR_ID, originator.as_ref().map(|o| &o[..])),
            (AttrCode::CLUSTER_LIST, (!clusters.is_empty()).then_some(&clusters[..])),
        ];
        let changes: SmallVec<[Change<'_>; 3]> = put.into_iter().filter(|(_, value)| value.is_some()).collect();
        self.rewritten(next_hop, &changes, facts, |_| true)
    }

    /// The path with this number in front, if that is done by writing it there.
    fn path_behind(&self, asn: Asn) -> Option<SmallVec<[u8; 64]>> {
        let old = self.value(AttrCode::AS_PATH).unwrap_or_default();
        let mut path = SmallVec::new();
        let rest = match old {
            [kind, count, rest @ ..] if *kind == SegmentKind::Sequence as u8 && *count < u8::MAX => {
                path.extend_from_slice(&[*kind, count.saturating_add(1)]);
                rest
            }
            other => {
                path.extend_from_slice(&[SegmentKind::Sequence as u8, 1]);
                other
            }
        };
        path.extend_from_slice(&asn.0.to_be_bytes());
        path.extend_from_slice(rest);
        (old.len() < LONG).then_some(path)
    }

    /// Extended communities that stay inside of the AS (RFC 4360 §6).
    fn has_internal_communities(&self) -> bool {
        self.has(AttrCode::EXTENDED_COMMUNITIES) && !self.extended_communities().all(ExtendedCommunity::is_transitive)
    }

    /// `changes` are in the order of their codes; `facts` are those of the result, but for its next hop and what is present.
    fn rewritten(
        &self,
        next_hop: NextHop,
        changes: &[Change<'_>],
        facts: Facts,
        stays: impl Fn(&RawAttribute<'_>) -> bool,
    ) -> PathAttributes {
        let v4 = if let NextHop::V4(addr) = next_hop { Some(addr) } else { None };
        let own = v4.map(|addr| addr.octets());
        let own = (AttrCode::NEXT_HOP, own.as_ref().map(|o| &o[..]));
        let at = changes.partition_point(|(code, _)| *code < AttrCode::NEXT_HOP);
        let (before, after) = changes.split_at_checked(at).unwrap_or_default();
        let mut changes = before.iter().chain(std::iter::once(&own)).chain(after).peekable();
        let mut out = Writer { octets: SmallVec::new(), present: 0 };
        for attribute in self.attributes() {
            while let Some((code, value)) = changes.next_if(|(code, _)| *code < attribute.code) {
                out.put(*code, *value);
            }
            match changes.next_if(|(code, _)| *code == attribute.code) {
                Some((code, value)) => out.put(*code, *value),
                None if stays(&attribute) => out.copy(&attribute),
                None => {}
            }
        }
        changes.for_each(|(code, value)| out.put(*code, *value));
        PathAttributes::new(&out.octets, next_hop, &facts, out.present)
    }
}

/// The new octets, and what is present in them.
struct Writer {
    octets: SmallVec<[u8; 512]>,
    present: u64,
}

impl Writer {
    fn put(&mut self, code: AttrCode, value: Option<&[u8]>) {
        let (Some(value), Some(row)) = (value, row(code)) else { return };
        match u8::try_from(value.len()) {
            Ok(len) => self.octets.extend_from_slice(&[row.flags, code.0, len]),
            Err(_) => {
                let [high, low] = u16::try_from(value.len()).unwrap_or(u16::MAX).to_be_bytes();
                self.octets.extend_from_slice(&[row.flags | EXTENDED, code.0, high, low]);
            }
        }
        self.octets.extend_from_slice(value);
        self.present |= bit(code.0);
    }

    /// RFC 4271 §5: unknown attributes that are passed on carry the Partial bit.
    fn copy(&mut self, attribute: &RawAttribute<'_>) {
        let at = self.octets.len();
        self.octets.extend_from_slice(attribute.octets);
        if let Some(flags) = self.octets.get_mut(at).filter(|_| row(attribute.code).is_none()) {
            *flags |= PARTIAL;
        }
        self.present |= bit(attribute.code.0);
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use proptest::prelude::*;

    use super::super::{Community, Editor, LargeCommunity, Origin};
    use super::*;

    /// Any set that an editor can make, odd ones among them.
    fn sets() -> impl Strategy<Value = PathAttributes> {
        let path = proptest::collection::vec((1u8..3, proptest::collection::vec(1u32..70_000, 0..300)), 0..3);
        let next_hop = prop_oneof![
            any::<u32>().prop_map(|a| NextHop::V4(a.into())),
            any::<u128>().prop_map(|a| NextHop::V6 { global: a.into(), link_local: None }),
        ];
        let numbers = (any::<Option<u32>>(), any::<Option<u32>>(), any::<Option<u32>>(), proptest::collection::vec(any::<u32>(), 0..4));
        let lists = (proptest::collection::vec(any::<u32>(), 0..80), proptest::collection::vec(any::<[u8; 8]>(), 0..3), any::<bool>());
        (path, next_hop, numbers, lists).prop_map(|(path, next_hop, (med, local_pref, originator, clusters), (plain, extended, more))| {
            let mut editor = PathAttributes::builder(Origin::Egp, next_hop);
            let path: Vec<(SegmentKind, Vec<Asn>)> = path
                .into_iter()
                .map(|(kind, asns)| (if kind == 1 { SegmentKind::Set } else { SegmentKind::Sequence }, asns.into_iter().map(Asn).collect()))
                .collect();
            editor.replace_as_path(path.iter().map(|(kind, asns)| (*kind, &asns[..])));
            editor.set_med(med).set_local_pref(local_pref);
            editor.set_originator_id(originator.and_then(|id| RouterId::new(id.into())));
            clusters.iter().for_each(|c| drop(editor.prepend_cluster(ClusterId((*c).into())).clone()));
            plain.iter().for_each(|c| drop(editor.add_community(Community(*c)).clone()));
            extended.iter().for_each(|c| drop(editor.add_extended_community(ExtendedCommunity(*c)).clone()));
            if more {
                editor.add_large_community(LargeCommunity::new(1, 2, 3)).set_unknown(AttrCode(99), &[1, 2]).set_atomic_aggregate(true);
            }
            editor.finish()
        })
    }

    fn next_hops() -> impl Strategy<Value = NextHop> {
        prop_oneof![
            Just(NextHop::V4(Ipv4Addr::new(192, 0, 2, 1))),
            Just(NextHop::V4(Ipv4Addr::UNSPECIFIED)),
            Just(NextHop::V6 { global: "2001:db8::1".parse().expect("an address"), link_local: None }),
        ]
    }

    fn same(fast: &PathAttributes, slow: &mut Editor) {
        let slow = slow.finish();
        assert_eq!(fast, &slow);
        assert_eq!(fast.facts(), slow.facts());
    }

    proptest! {
        #[test]
        fn one_pass_makes_what_the_editor_makes(set in sets(), next_hop in next_hops(), med in any::<Option<u32>>(), reflected in any::<Option<(u32, u32)>>()) {
            let asn = Asn(64512);
            let mut editor = set.edit();
            editor.set_next_hop(next_hop).set_partial_on_unknown().strip_non_transitive().set_med(med).prepend(asn, 1);
            same(&set.to_external(next_hop, med, asn), &mut editor);

            let reflected = reflected.and_then(|(id, cluster)| Some((RouterId::new(id.into())?, ClusterId(cluster.into()))));
            let mut editor = set.edit();
            editor.set_next_hop(next_hop).set_partial_on_unknown();
            if set.local_pref().is_none() {
                editor.set_local_pref(Some(100));
            }
            if let Some((id, cluster)) = reflected {
                if set.originator_id().is_none() {
                    editor.set_originator_id(Some(id));
                }
                editor.prepend_cluster(cluster);
            }
            same(&set.to_internal(next_hop, 100, reflected), &mut editor);
        }
    }
}
