//! ORIGINATOR_ID (RFC 4456 §8): the router inside of the AS that a reflected route comes from.
//!
//! ```text
//! +---------------------------------------------------------------+
//! |                 BGP Identifier (4 octets)                     |
//! +---------------------------------------------------------------+
//! ```

use std::fmt::{self, Display};
use std::net::Ipv4Addr;

use super::{AttrCode, OPTIONAL_NON_TRANSITIVE, Row, copy, length};
use crate::num::RouterId;
use crate::wire::error::{Fault, Severity};
use crate::wire::read::exact_u32;

/// Malformed, the route is treated as withdrawn (RFC 7606 §7.9); from an external peer it is left out.
pub(crate) const ROW: Row = Row {
    code: AttrCode::ORIGINATOR_ID,
    name: "ORIGINATOR_ID",
    flags: OPTIONAL_NON_TRANSITIVE,
    severity: Severity::Withdraw,
    internal_only: true,
    rule: "RFC 7606 §7.9",
    decode: |value, _, facts| {
        facts.originator_id = Some(decode(value)?);
        Ok(())
    },
    encode: copy,
    show: |value, f| decode(value).map_err(|_| fmt::Error)?.fmt(f),
};

/// Zero is no identifier (RFC 6286 §2.1), so it names nobody.
fn decode(value: &[u8]) -> Result<RouterId, Fault> {
    let id = exact_u32(value).ok_or_else(|| length(value))?;
    RouterId::new(Ipv4Addr::from_bits(id)).ok_or(Fault::Address)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_identifier_has_four_octets_and_is_not_zero() {
        assert_eq!(decode(&[10, 0, 0, 1]).unwrap().to_string(), "10.0.0.1");
        assert_eq!(decode(&[0; 4]), Err(Fault::Address));
        assert_eq!(decode(&[0; 5]), Err(Fault::Length { len: 5 }));
    }
}
