//! AS4_PATH (RFC 6793 §3): AS_PATH with four octets a number, for speakers that carry it through an old world.
//!
//! Layout as AS_PATH with four octets. It never stands in a `PathAttributes`: on reading it is merged, on writing it is made.

use std::fmt;

use bytes::{BufMut, BytesMut};
use smallvec::SmallVec;

use super::as_path::{self, AsPath, SegmentKind};
use super::{AttrCode, OPTIONAL_TRANSITIVE, Row, copy};
use crate::wire::error::{Fault, Severity};

/// Malformed, it is left out and the route stays (RFC 6793 §6).
pub(crate) const ROW: Row = Row {
    code: AttrCode::AS4_PATH,
    name: "AS4_PATH",
    flags: OPTIONAL_TRANSITIVE,
    severity: Severity::Discard,
    internal_only: false,
    rule: "RFC 6793 §6",
    decode: |value, _, _| check(value),
    encode: copy,
    show: |value, f| fmt::Display::fmt(&AsPath(value), f),
};

/// RFC 6793 §6. Confederation segments are no reason to drop it; they are left out when it is merged.
fn check(value: &[u8]) -> Result<(), Fault> {
    if value.is_empty() { Err(Fault::SegmentOverrun) } else { as_path::check(value, 4, true).map(drop) }
}

/// The path as it was before an old speaker narrowed it (RFC 6793 §4.2.3): the leading part of `as_path` (two octets a number, checked) that is longer
/// than `as4_path` (checked), then `as4_path`. An AS4_PATH with more numbers than AS_PATH is ignored,
/// and so is one that makes the path longer than an attribute can be.
pub(crate) fn merge(as_path: &[u8], as4_path: &[u8], out: &mut SmallVec<[u8; 64]>) {
    let mut wide = SmallVec::new();
    as_path::widen(as_path, &mut wide);
    let newer: SmallVec<[_; 4]> = AsPath(as4_path).segments().filter(|s| !s.kind.is_confederation()).collect();
    let (have, tail) = (AsPath(&wide).len(), newer.iter().map(|s| s.path_len()).sum::<usize>());
    let Some(mut missing) = have.checked_sub(tail).filter(|_| tail > 0) else {
        out.extend_from_slice(&wide);
        return;
    };
    for (position, segment) in AsPath(&wide).segments().enumerate() {
        let whole = segment.kind.is_confederation() || segment.kind == SegmentKind::Set;
        // A confederation segment goes along if it leads, or if it stands next to one that is taken.
        if missing == 0 && !(segment.kind.is_confederation() && (position == 0 || !out.is_empty())) {
            break;
        }
        let take = if whole { segment.asns().len() } else { missing.min(segment.asns().len()) };
        put_segment(segment.kind, segment.asns().take(take).map(|a| a.0), out);
        missing = missing.saturating_sub(if whole { segment.path_len() } else { take });
    }
    for segment in newer {
        put_segment(segment.kind, segment.asns().map(|a| a.0), out);
    }
    // Sets count as one number and may hold 255: both together can be longer than an attribute.
    if out.len() > usize::from(u16::MAX) {
        out.clear();
        out.extend_from_slice(&wide);
    }
}

/// One segment; two sequences that meet become one while it fits, as they were before they were cut.
fn put_segment(kind: SegmentKind, asns: impl Iterator<Item = u32>, out: &mut SmallVec<[u8; 64]>) {
    let asns: SmallVec<[u32; 16]> = asns.collect();
    let last = as_path::segments(out, 4).last().map(|(kind, octets)| (kind, octets.len()));
    if let Some((SegmentKind::Sequence, len)) = last.filter(|_| kind == SegmentKind::Sequence) {
        let joined = u8::try_from((len / 4).saturating_add(asns.len()));
        let at = out.len().saturating_sub(len).saturating_sub(1);
        if let (Ok(joined), Some(count)) = (joined, out.get_mut(at)) {
            *count = joined;
            asns.iter().for_each(|asn| out.extend_from_slice(&asn.to_be_bytes()));
            return;
        }
    }
    out.extend_from_slice(&[kind as u8, u8::try_from(asns.len()).unwrap_or(u8::MAX)]);
    asns.iter().for_each(|asn| out.extend_from_slice(&asn.to_be_bytes()));
}

/// The value to send to an old speaker beside AS_PATH; nothing when every number fits into two octets (RFC 6793 §4.2.2).
pub(crate) fn for_old_speaker(path: AsPath<'_>) -> Option<BytesMut> {
    let lost = path.segments().filter(|s| !s.kind.is_confederation()).any(|s| s.asns().any(|a| a.0 > u32::from(u16::MAX)));
    if !lost {
        return None;
    }
    let mut value = BytesMut::new();
    for segment in path.segments().filter(|s| !s.kind.is_confederation()) {
        value.put_u8(segment.kind as u8);
        value.put_u8(u8::try_from(segment.asns().len()).unwrap_or(u8::MAX));
        segment.asns().for_each(|asn| value.put_u32(asn.0));
    }
    Some(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn merged(as_path: &[u8], as4_path: &[u8]) -> String {
        let mut out = SmallVec::new();
        merge(as_path, as4_path, &mut out);
        as_path::check(&out, 4, true).expect("a well-formed path");
        AsPath(&out).to_string()
    }

    #[test]
    fn the_new_path_replaces_the_tail_of_the_old_one() {
        // AS_PATH 64512 AS_TRANS AS_TRANS, AS4_PATH 65536 65537
        let old = [2, 3, 0xfc, 0, 0x5b, 0xa0, 0x5b, 0xa0];
        assert_eq!(merged(&old, &[2, 2, 0, 1, 0, 0, 0, 1, 0, 1]), "64512 65536 65537");
    }

    #[test]
    fn a_longer_new_path_is_ignored() {
        let old = [2, 1, 0x5b, 0xa0];
        assert_eq!(merged(&old, &[2, 2, 0, 1, 0, 0, 0, 1, 0, 1]), "23456");
    }

    #[test]
    fn an_equally_long_new_path_is_the_path() {
        let old = [2, 1, 0x5b, 0xa0];
        assert_eq!(merged(&old, &[2, 1, 0, 1, 0, 0]), "65536");
    }

    #[test]
    fn a_leading_confederation_segment_stays_and_one_in_the_new_path_goes() {
        // AS_PATH (65001) AS_TRANS; AS4_PATH (65002) 65536
        let old = [3, 1, 0xfd, 0xe9, 2, 1, 0x5b, 0xa0];
        assert_eq!(merged(&old, &[3, 1, 0, 0, 0xfd, 0xea, 2, 1, 0, 1, 0, 0]), "(65001) 65536");
    }

    #[test]
    fn a_set_counts_as_one_when_the_tail_is_cut() {
        // AS_PATH 1 {2 3} AS_TRANS; AS4_PATH 65536: the set is kept whole.
        let old = [2, 1, 0, 1, 1, 2, 0, 2, 0, 3, 2, 1, 0x5b, 0xa0];
        assert_eq!(merged(&old, &[2, 1, 0, 1, 0, 0]), "1 {2 3} 65536");
    }

    #[test]
    fn an_old_speaker_gets_it_only_when_a_number_is_lost() {
        assert!(for_old_speaker(AsPath(&[2, 1, 0, 0, 0xfc, 0])).is_none());
        let path = [3, 1, 0, 0, 0xfd, 0xe9, 2, 1, 0, 1, 0, 0];
        assert_eq!(&for_old_speaker(AsPath(&path)).unwrap()[..], &path[6..], "without the confederation segment");
    }
}
