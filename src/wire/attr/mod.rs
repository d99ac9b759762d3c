//! Path attributes: one file each, one row each in [`ATTRIBUTES`].
//!
//! In: the value of an attribute, cut to its length. Out: a verdict, the few facts that the rest of the house asks for all the time, and canonical octets.
//! [`block`] walks all attributes of an UPDATE; [`PathAttributes`] is the checked, immutable set; [`Editor`] makes another one from it.
//!
//! ```text
//!  0                   1
//!  0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5
//! +-+-+-+-+-------+---------------+---------------------+
//! |O|T|P|E| unused|  Type code    | Length (1 or 2)     | Value ...
//! +-+-+-+-+-------+---------------+---------------------+
//! O optional, T transitive, P partial, E two octets of length
//! ```

use std::fmt;

use bytes::{BufMut, BytesMut};
use serde::{Serialize, Serializer};

use super::context::Context;
use super::error::{Fault, Severity};

pub mod aggregator;
pub mod aigp;
pub mod as4_aggregator;
pub mod as4_path;
pub mod as_path;
pub mod atomic_aggregate;
pub(crate) mod block;
pub mod cluster_list;
pub mod communities;
mod edit;
pub mod extended_communities;
pub mod large_communities;
pub mod local_pref;
pub mod med;
pub mod mp_reach;
pub mod mp_unreach;
pub mod next_hop;
pub mod origin;
pub mod originator_id;
pub mod otc;
mod pass;
mod set;

pub use aggregator::Aggregator;
pub use as_path::{AsPath, Segment, SegmentKind};
pub use communities::Community;
pub use edit::Editor;
pub use extended_communities::ExtendedCommunity;
pub use large_communities::LargeCommunity;
pub use next_hop::NextHop;
pub use origin::Origin;
pub(crate) use set::raw;
pub use set::{PathAttributes, RawAttribute, UnknownAttribute};

/// Not well-known: a speaker need not understand it (RFC 4271 §4.3).
pub(crate) const OPTIONAL: u8 = 0x80;
/// Passed on by who does not understand it.
pub(crate) const TRANSITIVE: u8 = 0x40;
/// Somebody on the way did not understand it.
pub(crate) const PARTIAL: u8 = 0x20;
/// The length has two octets.
pub(crate) const EXTENDED: u8 = 0x10;

const WELL_KNOWN: u8 = TRANSITIVE;
const OPTIONAL_TRANSITIVE: u8 = OPTIONAL | TRANSITIVE;
const OPTIONAL_NON_TRANSITIVE: u8 = OPTIONAL;

/// The type code of an attribute.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AttrCode(pub u8);

impl AttrCode {
    /// RFC 4271 §5.1.1.
    pub const ORIGIN: AttrCode = AttrCode(1);
    /// RFC 4271 §5.1.2.
    pub const AS_PATH: AttrCode = AttrCode(2);
    /// RFC 4271 §5.1.3; in a `PathAttributes` only if it is IPv4.
    pub const NEXT_HOP: AttrCode = AttrCode(3);
    /// RFC 4271 §5.1.4.
    pub const MULTI_EXIT_DISC: AttrCode = AttrCode(4);
    /// RFC 4271 §5.1.5.
    pub const LOCAL_PREF: AttrCode = AttrCode(5);
    /// RFC 4271 §5.1.6.
    pub const ATOMIC_AGGREGATE: AttrCode = AttrCode(6);
    /// RFC 4271 §5.1.7.
    pub const AGGREGATOR: AttrCode = AttrCode(7);
    /// RFC 1997.
    pub const COMMUNITIES: AttrCode = AttrCode(8);
    /// RFC 4456 §8.
    pub const ORIGINATOR_ID: AttrCode = AttrCode(9);
    /// RFC 4456 §8.
    pub const CLUSTER_LIST: AttrCode = AttrCode(10);
    /// RFC 4760 §3.
    pub const MP_REACH_NLRI: AttrCode = AttrCode(14);
    /// RFC 4760 §4.
    pub const MP_UNREACH_NLRI: AttrCode = AttrCode(15);
    /// RFC 4360.
    pub const EXTENDED_COMMUNITIES: AttrCode = AttrCode(16);
    /// RFC 6793 §3.
    pub const AS4_PATH: AttrCode = AttrCode(17);
    /// RFC 6793 §3.
    pub const AS4_AGGREGATOR: AttrCode = AttrCode(18);
    /// RFC 7311.
    pub const AIGP: AttrCode = AttrCode(26);
    /// RFC 8092.
    pub const LARGE_COMMUNITIES: AttrCode = AttrCode(32);
    /// RFC 9234 §5.
    pub const OTC: AttrCode = AttrCode(35);

    /// The name of the IANA registry, if it has a row here.
    pub fn name(self) -> Option<&'static str> {
        row(self).map(|row| row.name)
    }
}

impl fmt::Display for AttrCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.name() {
            Some(name) => f.pad(name),
            None => write!(f, "attribute {}", self.0),
        }
    }
}

impl Serialize for AttrCode {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.collect_str(self)
    }
}

/// How the value is checked; what the house wants to know of it is noted in `Facts`.
pub(crate) type Decode = fn(value: &[u8], ctx: &Context, facts: &mut set::Facts) -> Result<(), Fault>;
/// How a canonical value is written for a session.
pub(crate) type Encode = fn(value: &[u8], ctx: &Context, out: &mut BytesMut);
/// How a canonical value is shown.
pub(crate) type Show = fn(value: &[u8], f: &mut fmt::Formatter<'_>) -> fmt::Result;

/// What there is to know of one attribute.
pub struct Row {
    /// Its type.
    pub code: AttrCode,
    /// As the RFC writes it; shown in errors and by `catbird decode`.
    pub name: &'static str,
    /// The Optional and Transitive bits.
    pub flags: u8,
    /// What a malformed one leads to.
    pub severity: Severity,
    /// Left out when it comes from an external peer.
    pub internal_only: bool,
    /// The section that says so.
    pub rule: &'static str,
    /// Checks a received value.
    pub(crate) decode: Decode,
    /// Writes a kept value in the form of a session.
    pub(crate) encode: Encode,
    /// Writes a kept value for people.
    pub(crate) show: Show,
}

/// One row per attribute, in the order of their codes.
pub static ATTRIBUTES: [Row; 18] = [
    origin::ROW,
    as_path::ROW,
    next_hop::ROW,
    med::ROW,
    local_pref::ROW,
    atomic_aggregate::ROW,
    aggregator::ROW,
    communities::ROW,
    originator_id::ROW,
    cluster_list::ROW,
    mp_reach::ROW,
    mp_unreach::ROW,
    extended_communities::ROW,
    as4_path::ROW,
    as4_aggregator::ROW,
    aigp::ROW,
    large_communities::ROW,
    otc::ROW,
];

/// Position in `ATTRIBUTES` plus one; zero for codes that have no row.
static INDEX: [u8; 256] = index();

#[allow(clippy::indexing_slicing, clippy::arithmetic_side_effects, reason = "evaluated by the compiler")]
const fn index() -> [u8; 256] {
    let codes = [1u8, 2, 3, 4, 5, 6, 7, 8, 9, 10, 14, 15, 16, 17, 18, 26, 32, 35];
    let mut index = [0; 256];
    let mut i = 0;
    while i < codes.len() {
        index[codes[i] as usize] = i as u8 + 1;
        i += 1;
    }
    index
}

/// The row of a code.
#[inline]
pub fn row(code: AttrCode) -> Option<&'static Row> {
    let position = usize::from(*INDEX.get(usize::from(code.0))?);
    ATTRIBUTES.get(position.wrapping_sub(1))
}

/// Written as it stands.
fn copy(value: &[u8], _: &Context, out: &mut BytesMut) {
    out.extend_from_slice(value);
}

/// Length of a value as it is named in a fault.
fn length(value: &[u8]) -> Fault {
    Fault::Length { len: u16::try_from(value.len()).unwrap_or(u16::MAX) }
}

/// A list of entries of `size` octets, at least one of them (RFC 7606 §7.8, §7.10, §7.14).
#[inline]
fn entries(value: &[u8], size: usize) -> Result<(), Fault> {
    if value.is_empty() || value.len().checked_rem(size) != Some(0) { Err(length(value)) } else { Ok(()) }
}

/// Items with a blank between them.
fn spaced<T: fmt::Display>(items: impl Iterator<Item = T>, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    for (i, item) in items.enumerate() {
        if i > 0 {
            f.write_str(" ")?;
        }
        write!(f, "{item}")?;
    }
    Ok(())
}

fn hex(octets: &[u8], f: &mut fmt::Formatter<'_>) -> fmt::Result {
    octets.iter().try_for_each(|o| write!(f, "{o:02x}"))
}

/// An attribute with canonical flags and the shortest length.
pub(crate) fn put_header(code: u8, flags: u8, len: usize, out: &mut impl BufMut) {
    let len = u16::try_from(len).unwrap_or(u16::MAX);
    match u8::try_from(len) {
        Ok(len) => out.put_slice(&[flags & !EXTENDED, code, len]),
        Err(_) => {
            let [high, low] = len.to_be_bytes();
            out.put_slice(&[flags | EXTENDED, code, high, low]);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_row_is_found_by_its_code_and_only_those() {
        for (i, r) in ATTRIBUTES.iter().enumerate() {
            let found = row(r.code).expect("a row");
            assert!(std::ptr::eq(found, &ATTRIBUTES[i]), "{}", r.name);
        }
        let known = (0..=255).filter(|c| row(AttrCode(*c)).is_some()).count();
        assert_eq!(known, ATTRIBUTES.len());
    }

    #[test]
    fn well_known_attributes_are_transitive() {
        for r in &ATTRIBUTES {
            assert!(r.flags & OPTIONAL != 0 || r.flags == TRANSITIVE, "{}", r.name);
            assert_eq!(r.flags & (PARTIAL | EXTENDED), 0, "{}", r.name);
        }
    }
}
