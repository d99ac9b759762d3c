//! MP_UNREACH_NLRI (RFC 4760 §4): withdrawn prefixes of a family.
//!
//! ```text
//! +---------------------------------------------------------+
//! | Address Family Identifier (2 octets)                    |
//! | Subsequent Address Family Identifier (1 octet)          |
//! | Withdrawn Routes (variable)                             |
//! +---------------------------------------------------------+
//! ```
//! Without any prefix, and as the only attribute, it is the End-of-RIB marker of RFC 4724 §2.

use super::{AttrCode, OPTIONAL_NON_TRANSITIVE, Row, copy, length};
use crate::num::Family;
use crate::wire::context::Context;
use crate::wire::error::{Fault, Severity};
use crate::wire::read::Reader;

/// Malformed, the session is reset (RFC 7606 §7.12).
pub(crate) const ROW: Row = Row {
    code: AttrCode::MP_UNREACH_NLRI,
    name: "MP_UNREACH_NLRI",
    flags: OPTIONAL_NON_TRANSITIVE,
    severity: Severity::Reset,
    internal_only: false,
    rule: "RFC 7606 §7.12",
    decode: |value, ctx, _| decode(value, ctx).map(drop),
    encode: copy,
    show: super::hex,
};

/// The family, `None` if it was not negotiated, and the octets of the prefixes.
pub(crate) fn decode<'a>(value: &'a [u8], ctx: &Context) -> Result<(Option<Family>, &'a [u8]), Fault> {
    let mut r = Reader::new(value);
    let (Some(afi), Some(safi)) = (r.u16(), r.u8()) else { return Err(length(value)) };
    Ok((Family::from_codes(afi, safi).filter(|f| ctx.families.contains(*f)), r.rest()))
}
