//! ATOMIC_AGGREGATE (RFC 4271 §5.1.6): something more specific was left out. No value.

use super::{AttrCode, Row, WELL_KNOWN, copy, length};
use crate::wire::error::Severity;

/// Malformed, it is left out and the route stays (RFC 7606 §7.6).
pub(crate) const ROW: Row = Row {
    code: AttrCode::ATOMIC_AGGREGATE,
    name: "ATOMIC_AGGREGATE",
    flags: WELL_KNOWN,
    severity: Severity::Discard,
    internal_only: false,
    rule: "RFC 7606 §7.6",
    decode: |value, _, _| if value.is_empty() { Ok(()) } else { Err(length(value)) },
    encode: copy,
    show: |_, f| f.write_str("yes"),
};
