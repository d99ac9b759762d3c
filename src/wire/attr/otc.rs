//! ONLY_TO_CUSTOMER (RFC 9234 §5): the AS that said "only downwards from here". Recognised and passed on.
//!
//! ```text
//! +---------------------------------------------------------------+
//! |                 AS number (4 octets)                          |
//! +---------------------------------------------------------------+
//! ```

use std::fmt::{self, Display};

use super::{AttrCode, OPTIONAL_TRANSITIVE, Row, copy, length};
use crate::num::Asn;
use crate::wire::error::{Fault, Severity};
use crate::wire::read::exact_u32;

/// Malformed, the route is treated as withdrawn (RFC 9234 §5).
pub(crate) const ROW: Row = Row {
    code: AttrCode::OTC,
    name: "ONLY_TO_CUSTOMER",
    flags: OPTIONAL_TRANSITIVE,
    severity: Severity::Withdraw,
    internal_only: false,
    rule: "RFC 9234 §5",
    decode: |value, _, _| decode(value).map(drop),
    encode: copy,
    show: |value, f| decode(value).map_err(|_| fmt::Error)?.fmt(f),
};

/// # Errors
/// [`Fault::Length`] unless it is four octets.
pub(crate) fn decode(value: &[u8]) -> Result<Asn, Fault> {
    exact_u32(value).map(Asn).ok_or_else(|| length(value))
}
