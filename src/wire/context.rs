//! What was agreed, as far as octets depend on it.
//!
//! In: made by `peer` from two OPENs. Out: read by every decoder and encoder. Nothing here changes by itself.

use crate::num::FamilySet;

use super::header;

/// How one direction of one session is read or written.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Context {
    /// AS numbers have four octets (RFC 6793).
    pub four_octet_as: bool,
    /// Families that are read; others are skipped unparsed.
    pub families: FamilySet,
    /// Families whose prefixes carry a Path Identifier in this direction (RFC 7911).
    pub add_path: FamilySet,
    /// Families whose prefixes may have an IPv6 next hop (RFC 8950); IPv6 itself always may.
    pub extended_next_hop: FamilySet,
    /// The third octet of a ROUTE-REFRESH is its subtype: the sender has offered capability 70 (RFC 7313 §3.2, §5). Without that it is reserved.
    pub refresh_subtypes: bool,
    /// The longest message in this direction: 4,096, or 65,535 (RFC 8654).
    pub max_len: u16,
    /// The peer is in another AS.
    pub external: bool,
    /// The peer is in the same confederation.
    pub confederation: bool,
}

impl Context {
    /// Before OPENs are exchanged: two-octet AS numbers, IPv4 alone, short messages, and nobody is trusted.
    pub const INITIAL: Context = Context {
        four_octet_as: false,
        families: FamilySet::IPV4,
        add_path: FamilySet::NONE,
        extended_next_hop: FamilySet::NONE,
        refresh_subtypes: false,
        max_len: header::MAX_LEN,
        external: true,
        confederation: false,
    };

    /// How `PathAttributes` are kept: wide, and all that is well formed is allowed.
    pub(crate) const CANONICAL: Context = Context {
        four_octet_as: true,
        families: FamilySet::ALL,
        add_path: FamilySet::NONE,
        extended_next_hop: FamilySet::ALL,
        refresh_subtypes: true,
        max_len: header::MAX_EXTENDED_LEN,
        external: false,
        confederation: true,
    };
}
