//! CLUSTER_LIST (RFC 4456 §8): the reflection clusters that the route went through.
//!
//! ```text
//! +---------------------------------------------------------------+
//! |                 CLUSTER_ID (4 octets)                         |  ... one after the other
//! +---------------------------------------------------------------+
//! ```

use std::net::Ipv4Addr;

use super::{AttrCode, OPTIONAL_NON_TRANSITIVE, Row, copy, entries, spaced};
use crate::num::ClusterId;
use crate::wire::error::Severity;

/// Malformed, the route is treated as withdrawn (RFC 7606 §7.10); from an external peer it is left out.
pub(crate) const ROW: Row = Row {
    code: AttrCode::CLUSTER_LIST,
    name: "CLUSTER_LIST",
    flags: OPTIONAL_NON_TRANSITIVE,
    severity: Severity::Withdraw,
    internal_only: true,
    rule: "RFC 7606 §7.10",
    decode: |value, _, facts| {
        entries(value, 4)?;
        facts.cluster_list_len = u16::try_from(value.len() / 4).unwrap_or(u16::MAX);
        Ok(())
    },
    encode: copy,
    show: |value, f| spaced(iter(value), f),
};

/// The newest cluster first. Octets that make no whole entry, which a checked value does not have, are left out.
pub(crate) fn iter(value: &[u8]) -> impl Iterator<Item = ClusterId> + Clone + '_ {
    value.as_chunks::<4>().0.iter().map(|o| ClusterId(Ipv4Addr::from(*o)))
}
