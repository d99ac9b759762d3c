//! AS4_AGGREGATOR (RFC 6793 §3): AGGREGATOR with four octets of AS, for speakers that carry it through an old world.
//!
//! Layout as AGGREGATOR with four octets. It never stands in a `PathAttributes`: on reading it is merged, on writing it is made.

use std::fmt;

use super::{AttrCode, OPTIONAL_TRANSITIVE, Row, aggregator, copy};
use crate::wire::error::Severity;

/// Malformed, it is left out and the route stays (RFC 6793 §6).
pub(crate) const ROW: Row = Row {
    code: AttrCode::AS4_AGGREGATOR,
    name: "AS4_AGGREGATOR",
    flags: OPTIONAL_TRANSITIVE,
    severity: Severity::Discard,
    internal_only: false,
    rule: "RFC 6793 §6",
    decode: |value, _, _| aggregator::decode(value, true).map(drop),
    encode: copy,
    show: |value, f| fmt::Display::fmt(&aggregator::decode(value, true).map_err(|_| fmt::Error)?, f),
};
