//! LOCAL_PREF (RFC 4271 §5.1.5): what the AS prefers; higher is better; between internal peers only.
//!
//! ```text
//! +---------------------------------------------------------------+
//! |                 preference (4 octets)                         |
//! +---------------------------------------------------------------+
//! ```

use std::fmt::{self, Display};

use super::{AttrCode, Row, WELL_KNOWN, copy, length};
use crate::wire::error::{Fault, Severity};
use crate::wire::read::exact_u32;

/// Malformed, the route is treated as withdrawn (RFC 7606 §7.5); from an external peer it is left out whatever it holds.
pub(crate) const ROW: Row = Row {
    code: AttrCode::LOCAL_PREF,
    name: "LOCAL_PREF",
    flags: WELL_KNOWN,
    severity: Severity::Withdraw,
    internal_only: true,
    rule: "RFC 7606 §7.5",
    decode: |value, _, facts| {
        facts.local_pref = Some(decode(value)?);
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
