//! AGGREGATOR (RFC 4271 §5.1.7, RFC 6793): who made the aggregate.
//!
//! ```text
//! +-------------------------------+-------------------------------+
//! | AS number (2 or 4 octets)     | IPv4 address (4 octets)       |
//! +-------------------------------+-------------------------------+
//! ```
//! In a `PathAttributes` the number always has four octets.

use std::fmt::{self, Display};
use std::net::Ipv4Addr;

use bytes::{BufMut, BytesMut};
use serde::Serialize;

use super::{AttrCode, OPTIONAL_TRANSITIVE, Row, length};
use crate::num::Asn;
use crate::wire::context::Context;
use crate::wire::error::{Fault, Severity};
use crate::wire::read::Reader;

/// Malformed, it is left out and the route stays (RFC 7606 §7.7).
pub(crate) const ROW: Row = Row {
    code: AttrCode::AGGREGATOR,
    name: "AGGREGATOR",
    flags: OPTIONAL_TRANSITIVE,
    severity: Severity::Discard,
    internal_only: false,
    rule: "RFC 7606 §7.7",
    decode: |value, ctx, _| decode(value, ctx.four_octet_as).map(drop),
    encode,
    show: |value, f| decode(value, true).map_err(|_| fmt::Error)?.fmt(f),
};

/// The AS and the router that aggregated.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
pub struct Aggregator {
    /// Four octets, whatever the session carried.
    pub asn: Asn,
    /// The BGP Identifier of the router that aggregated.
    pub addr: Ipv4Addr,
}

impl Aggregator {
    /// The value as a `PathAttributes` keeps it.
    pub(crate) fn octets(self) -> [u8; 8] {
        let ([a, b, c, d], [e, f, g, h]) = (self.asn.0.to_be_bytes(), self.addr.octets());
        [a, b, c, d, e, f, g, h]
    }
}

/// # Errors
/// [`Fault::Length`] unless it is six octets, or eight with four-octet numbers; [`Fault::AsZero`] (RFC 7607 §2).
pub(crate) fn decode(value: &[u8], four_octet_as: bool) -> Result<Aggregator, Fault> {
    let mut r = Reader::new(value);
    let asn = if four_octet_as { r.u32() } else { r.u16().map(u32::from) };
    let (Some(asn), Some(addr), true) = (asn, r.u32(), r.is_empty()) else { return Err(length(value)) };
    if asn == 0 {
        return Err(Fault::AsZero);
    }
    Ok(Aggregator { asn: Asn(asn), addr: Ipv4Addr::from_bits(addr) })
}

/// Two octets of AS where the session has no more (RFC 6793 §4.2.2); AS4_AGGREGATOR then says the rest.
fn encode(value: &[u8], ctx: &Context, out: &mut BytesMut) {
    match decode(value, true) {
        Ok(aggregator) if !ctx.four_octet_as => {
            out.put_u16(aggregator.asn.as_two_octets());
            out.put_slice(&aggregator.addr.octets());
        }
        _ => out.put_slice(value),
    }
}

impl fmt::Display for Aggregator {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.asn, self.addr)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn six_octets_in_the_old_world_and_eight_in_the_new() {
        let old = [0xfc, 0, 192, 0, 2, 1];
        let new = [0, 1, 0, 0, 192, 0, 2, 1];
        assert_eq!(decode(&old, false).unwrap().to_string(), "64512 192.0.2.1");
        assert_eq!(decode(&new, true).unwrap().to_string(), "65536 192.0.2.1");
        assert_eq!(decode(&new, true).unwrap().octets(), new);
        assert_eq!(decode(&old, true), Err(Fault::Length { len: 6 }));
        assert_eq!(decode(&new, false), Err(Fault::Length { len: 8 }));
        assert_eq!(decode(&[0, 0, 1, 2, 3, 4], false), Err(Fault::AsZero));
    }
}
