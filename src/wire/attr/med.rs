//! MULTI_EXIT_DISC (RFC 4271 §5.1.4): which of several entries into the neighbouring AS it prefers; lower is better.
//!
//! ```text
//! +---------------------------------------------------------------+
//! |                 metric (4 octets)                             |
//! +---------------------------------------------------------------+
//! ```

use std::fmt::{self, Display};

use super::{AttrCode, OPTIONAL_NON_TRANSITIVE, Row, copy, length};
use crate::wire::error::{Fault, Severity};
use crate::wire::read::exact_u32;

/// Malformed, the route is treated as withdrawn (RFC 7606 §7.4).
pub(crate) const ROW: Row = Row {
    code: AttrCode::MULTI_EXIT_DISC,
    name: "MULTI_EXIT_DISC",
    flags: OPTIONAL_NON_TRANSITIVE,
    severity: Severity::Withdraw,
    internal_only: false,
    rule: "RFC 7606 §7.4",
    decode: |value, _, facts| {
        facts.med = Some(decode(value)?);
        Ok(())
    },
    encode: copy,
    show: |value, f| decode(value).map_err(|_| fmt::Error)?.fmt(f),
};

#[inline]
fn decode(value: &[u8]) -> Result<u32, Fault> {
    exact_u32(value).ok_or_else(|| length(value))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_length_is_four() {
        assert_eq!(decode(&[0, 0, 1, 2]), Ok(258));
        assert_eq!(decode(&[0, 0, 1]), Err(Fault::Length { len: 3 }));
        assert_eq!(decode(&[]), Err(Fault::Length { len: 0 }));
    }
}
