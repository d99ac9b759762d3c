//! AS_PATH (RFC 4271 §5.1.2, RFC 5065, RFC 6793): which ASes the route came through.
//!
//! ```text
//! +---------------+---------------+----------------------------------------+
//! | Segment type  | Number of ASes|  AS numbers, two or four octets each   |
//! +---------------+---------------+----------------------------------------+
//! ```
//! In a `PathAttributes` the numbers always have four octets.

use std::fmt::{self, Display};

use bytes::{BufMut, BytesMut};
use serde::{Serialize, Serializer};
use smallvec::SmallVec;

use super::{AttrCode, Row, WELL_KNOWN, length};
use crate::num::Asn;
use crate::wire::context::Context;
use crate::wire::error::{Fault, Severity};
use crate::wire::read::Reader;

/// Malformed, the route is treated as withdrawn (RFC 7606 §7.2): a path that cannot be read could hide a loop.
pub(crate) const ROW: Row = Row {
    code: AttrCode::AS_PATH,
    name: "AS_PATH",
    flags: WELL_KNOWN,
    severity: Severity::Withdraw,
    internal_only: false,
    rule: "RFC 7606 §7.2",
    decode: |value, ctx, facts| {
        if !ctx.four_octet_as && value.len() > MAX_NARROW {
            return Err(length(value));
        }
        let counted = check(value, if ctx.four_octet_as { 4 } else { 2 }, ctx.confederation)?;
        facts.path_len = counted.len;
        facts.neighbor_as = counted.neighbor_as;
        Ok(())
    },
    encode,
    show: |value, f| AsPath(value).fmt(f),
};

/// With two octets a number; one that is longer would be longer than an attribute can be when its numbers have four.
const MAX_NARROW: usize = u16::MAX as usize / 2;

/// RFC 4271 §4.3, RFC 5065 §3.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum SegmentKind {
    /// ASes in no order, left by an aggregation; counts as one.
    Set = 1,
    /// ASes in order, the last that it passed first.
    Sequence = 2,
    /// The same among members of a confederation; does not count.
    ConfedSequence = 3,
    /// The same for a set.
    ConfedSet = 4,
}

impl SegmentKind {
    /// `None`: a type that no RFC defines, which makes the attribute malformed.
    #[inline]
    pub(crate) fn from_code(code: u8) -> Option<SegmentKind> {
        match code {
            1 => Some(SegmentKind::Set),
            2 => Some(SegmentKind::Sequence),
            3 => Some(SegmentKind::ConfedSequence),
            4 => Some(SegmentKind::ConfedSet),
            _ => None,
        }
    }

    /// A segment that never leaves the confederation (RFC 5065 §4).
    pub fn is_confederation(self) -> bool {
        matches!(self, SegmentKind::ConfedSequence | SegmentKind::ConfedSet)
    }
}

/// One segment; the numbers have four octets.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Segment<'a> {
    /// How its numbers are to be read.
    pub kind: SegmentKind,
    octets: &'a [u8],
}

impl<'a> Segment<'a> {
    /// Its numbers, in the order of the octets.
    pub fn asns(self) -> impl DoubleEndedIterator<Item = Asn> + ExactSizeIterator + Clone + 'a {
        self.octets.as_chunks::<4>().0.iter().map(|o| Asn(u32::from_be_bytes(*o)))
    }

    /// What it adds to the length of the path (RFC 4271 §9.1.2.2 a, RFC 5065 §5.3): a set is one, a confederation nothing.
    pub fn path_len(self) -> usize {
        match self.kind {
            SegmentKind::Sequence => self.octets.len() / 4,
            SegmentKind::Set => 1,
            SegmentKind::ConfedSequence | SegmentKind::ConfedSet => 0,
        }
    }
}

/// The whole path, checked.
#[derive(Clone, Copy, Default, PartialEq, Eq, Hash)]
pub struct AsPath<'a>(pub(crate) &'a [u8]);

impl<'a> AsPath<'a> {
    /// In the order of the octets; none for a route of our own AS.
    pub fn segments(self) -> impl Iterator<Item = Segment<'a>> + Clone {
        segments(self.0, 4).map(|(kind, octets)| Segment { kind, octets })
    }

    /// Every number in it, in order.
    pub fn asns(self) -> impl Iterator<Item = Asn> + Clone + 'a {
        self.segments().flat_map(Segment::asns)
    }

    /// As RFC 4271 §9.1.2.2 a counts.
    pub fn len(self) -> usize {
        self.segments().map(Segment::path_len).sum()
    }

    /// No segment at all: the route is of our own AS.
    pub fn is_empty(self) -> bool {
        self.0.is_empty()
    }

    /// In any segment, sets and confederations included, as the search for loops wants it (RFC 4271 §9.1.2).
    pub fn contains(self, asn: Asn) -> bool {
        self.asns().any(|a| a == asn)
    }

    /// How often the number occurs.
    pub fn count(self, asn: Asn) -> usize {
        self.asns().filter(|a| *a == asn).count()
    }

    /// The leftmost number, if the path begins with a sequence (of a confederation or not): the AS that sent it.
    pub fn first_as(self) -> Option<Asn> {
        let first = self.segments().next()?;
        matches!(first.kind, SegmentKind::Sequence | SegmentKind::ConfedSequence).then(|| first.asns().next())?
    }

    /// The neighbouring AS that MEDs are compared within (RFC 4271 §9.1.2.2 c); confederation segments are looked through.
    pub fn neighbor_as(self) -> Option<Asn> {
        let first = self.segments().find(|s| !s.kind.is_confederation())?;
        (first.kind == SegmentKind::Sequence).then(|| first.asns().next())?
    }

    /// The rightmost number, if the path ends in a sequence: the AS that the route comes from.
    pub fn origin_as(self) -> Option<Asn> {
        let last = self.segments().last()?;
        (last.kind == SegmentKind::Sequence).then(|| last.asns().next_back())?
    }

    /// The origin as RFC 6811 §2 has it, for an AS whose number is `own`: where the path is empty or ends inside a confederation, ours; where it ends in a set,
    /// none.
    pub fn route_origin(self, own: Asn) -> Option<Asn> {
        match self.segments().last() {
            None => Some(own),
            Some(last) if last.kind.is_confederation() => Some(own),
            Some(_) => self.origin_as(),
        }
    }

    /// As on the wire, four octets a number.
    pub fn octets(self) -> &'a [u8] {
        self.0
    }
}

/// Segments of checked octets; stops at what cannot be read.
pub(crate) fn segments(octets: &[u8], width: usize) -> impl Iterator<Item = (SegmentKind, &[u8])> + Clone {
    let mut r = Reader::new(octets);
    std::iter::from_fn(move || {
        let kind = SegmentKind::from_code(r.u8()?)?;
        let count = r.u8()?;
        Some((kind, r.take(usize::from(count).checked_mul(width)?)?))
    })
}

/// What the check of a path has counted on its way.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Counted {
    /// As [`AsPath::len`].
    pub(crate) len: u16,
    /// As [`AsPath::neighbor_as`].
    pub(crate) neighbor_as: Option<Asn>,
}

/// RFC 7606 §7.2: type, length and number of each segment; RFC 7607: no AS 0; RFC 5065 §5.3: confederation segments from members only.
#[inline]
pub(crate) fn check(value: &[u8], width: usize, confederation: bool) -> Result<Counted, Fault> {
    let mut r = Reader::new(value);
    let (mut counted, mut inside) = (Counted::default(), true);
    while let [kind, rest @ ..] = r.rest() {
        let segment = SegmentKind::from_code(*kind).ok_or(Fault::SegmentType { kind: *kind })?;
        let (count, rest) = rest.split_first().ok_or(Fault::SegmentOverrun)?;
        r = Reader::new(rest);
        if *count == 0 {
            return Err(Fault::SegmentEmpty);
        }
        let len = usize::from(*count).checked_mul(width).ok_or(Fault::SegmentOverrun)?;
        let asns = r.take(len).ok_or(Fault::SegmentOverrun)?;
        if has_zero(asns, width) {
            return Err(Fault::AsZero);
        }
        match segment {
            SegmentKind::Sequence => {
                counted.len = counted.len.saturating_add(u16::from(*count));
                counted.neighbor_as = counted.neighbor_as.or_else(|| first(asns, width).filter(|_| inside));
            }
            SegmentKind::Set => counted.len = counted.len.saturating_add(1),
            SegmentKind::ConfedSequence | SegmentKind::ConfedSet if !confederation => return Err(Fault::Confederation),
            SegmentKind::ConfedSequence | SegmentKind::ConfedSet => continue,
        }
        inside = false;
    }
    Ok(counted)
}

#[inline]
fn first(asns: &[u8], width: usize) -> Option<Asn> {
    if width == 4 {
        asns.first_chunk::<4>().map(|o| Asn(u32::from_be_bytes(*o)))
    } else {
        asns.first_chunk::<2>().map(|o| Asn(u32::from(u16::from_be_bytes(*o))))
    }
}

#[inline]
fn has_zero(asns: &[u8], width: usize) -> bool {
    if width == 4 {
        asns.as_chunks::<4>().0.iter().any(|o| u32::from_ne_bytes(*o) == 0)
    } else {
        asns.as_chunks::<2>().0.iter().any(|o| u16::from_ne_bytes(*o) == 0)
    }
}

/// Two-octet numbers written with four.
pub(crate) fn widen(value: &[u8], out: &mut SmallVec<[u8; 64]>) {
    for (kind, octets) in segments(value, 2) {
        out.extend_from_slice(&[kind as u8, u8::try_from(octets.len() / 2).unwrap_or(u8::MAX)]);
        octets.as_chunks::<2>().0.iter().for_each(|[high, low]| out.extend_from_slice(&[0, 0, *high, *low]));
    }
}

/// With two octets a number where the session has no more (RFC 6793 §4.2.2); AS4_PATH then says the rest.
fn encode(value: &[u8], ctx: &Context, out: &mut BytesMut) {
    if ctx.four_octet_as {
        out.put_slice(value);
        return;
    }
    for segment in AsPath(value).segments() {
        out.put_u8(segment.kind as u8);
        out.put_u8(u8::try_from(segment.asns().len()).unwrap_or(u8::MAX));
        segment.asns().for_each(|asn| out.put_u16(asn.as_two_octets()));
    }
}

impl fmt::Display for AsPath<'_> {
    /// `64512 64513 {64514 64515} (65001) (64599 {..})`: sets in braces, confederation sequences in round and sets in square brackets.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, segment) in self.segments().enumerate() {
            if i > 0 {
                f.write_str(" ")?;
            }
            let (open, close) = match segment.kind {
                SegmentKind::Sequence => ("", ""),
                SegmentKind::Set => ("{", "}"),
                SegmentKind::ConfedSequence => ("(", ")"),
                SegmentKind::ConfedSet => ("[", "]"),
            };
            f.write_str(open)?;
            super::spaced(segment.asns(), f)?;
            f.write_str(close)?;
        }
        Ok(())
    }
}

impl fmt::Debug for AsPath<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "AsPath({self})")
    }
}

impl Serialize for AsPath<'_> {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.collect_str(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// AS_SEQUENCE 64512 64513, AS_SET 65537 1.
    const PATH: [u8; 20] = [2, 2, 0, 0, 0xfc, 0, 0, 0, 0xfc, 1, 1, 2, 0, 1, 0, 1, 0, 0, 0, 1];

    #[test]
    fn a_set_counts_as_one_however_large() {
        let path = AsPath(&PATH);
        assert_eq!(check(&PATH, 4, false), Ok(Counted { len: 3, neighbor_as: Some(Asn(64512)) }));
        assert_eq!(path.len(), 3);
        assert_eq!(path.to_string(), "64512 64513 {65537 1}");
        assert_eq!(path.first_as(), Some(Asn(64512)));
        assert_eq!(path.neighbor_as(), Some(Asn(64512)));
        assert_eq!(path.origin_as(), None, "a set does not say which of them");
        assert_eq!(path.route_origin(Asn(9)), None);
        assert_eq!(AsPath(&[]).route_origin(Asn(9)), Some(Asn(9)));
        assert!(path.contains(Asn(65537)) && !path.contains(Asn(2)));
    }

    #[test]
    fn confederation_segments_do_not_count_and_are_looked_through() {
        // AS_CONFED_SEQUENCE 65001, AS_SEQUENCE 7
        let octets = [3, 1, 0, 0, 0xfd, 0xe9, 2, 1, 0, 0, 0, 7];
        assert_eq!(check(&octets, 4, true), Ok(Counted { len: 1, neighbor_as: Some(Asn(7)) }));
        assert_eq!(check(&octets, 4, false), Err(Fault::Confederation));
        let path = AsPath(&octets);
        assert_eq!((path.len(), path.first_as(), path.neighbor_as()), (1, Some(Asn(65001)), Some(Asn(7))));
        assert_eq!(path.to_string(), "(65001) 7");
        assert_eq!(path.route_origin(Asn(9)), Some(Asn(7)));
        assert_eq!(AsPath(&octets[..6]).route_origin(Asn(9)), Some(Asn(9)), "inside the confederation it is ours");
    }

    #[test]
    fn each_way_of_being_malformed_has_its_name() {
        assert_eq!(check(&[], 4, false), Ok(Counted::default()), "an empty path is a path");
        assert_eq!(check(&[5, 1, 0, 0, 0, 1], 4, false), Err(Fault::SegmentType { kind: 5 }));
        assert_eq!(check(&[2, 0], 4, false), Err(Fault::SegmentEmpty));
        assert_eq!(check(&[2, 2, 0, 0, 0, 1], 4, false), Err(Fault::SegmentOverrun));
        assert_eq!(check(&[2, 1, 0, 0, 0, 1, 2], 4, false), Err(Fault::SegmentOverrun), "one octet is left over");
        assert_eq!(check(&[2, 1, 0, 0, 0, 0], 4, false), Err(Fault::AsZero));
    }
}
