//! MP_REACH_NLRI (RFC 4760 §3, RFC 2545, RFC 8950): announced prefixes of a family, with their next hop.
//!
//! ```text
//! +---------------------------------------------------------+
//! | Address Family Identifier (2 octets)                    |
//! | Subsequent Address Family Identifier (1 octet)          |
//! | Length of Next Hop (1 octet): 4, 16 or 32               |
//! | Next Hop                                                |
//! | Reserved (1 octet)                                      |
//! | NLRI (variable)                                         |
//! +---------------------------------------------------------+
//! ```
//! It never stands in a `PathAttributes`: the next hop goes there, the prefixes go beside.

use std::net::{Ipv4Addr, Ipv6Addr};

use bytes::{BufMut, BytesMut};

use super::next_hop::{is_host_v4, is_host_v6};
use super::{AttrCode, NextHop, OPTIONAL_NON_TRANSITIVE, Row, copy, length};
use crate::num::Family;
use crate::wire::context::Context;
use crate::wire::error::{Fault, Severity};
use crate::wire::read::Reader;

/// Malformed, the session is reset (RFC 7606 §7.11): without the next hop's length nobody knows where prefixes begin.
pub(crate) const ROW: Row = Row {
    code: AttrCode::MP_REACH_NLRI,
    name: "MP_REACH_NLRI",
    flags: OPTIONAL_NON_TRANSITIVE,
    severity: Severity::Reset,
    internal_only: false,
    rule: "RFC 7606 §7.11",
    decode: |value, ctx, _| decode(value, ctx).map(drop),
    encode: copy,
    show: super::hex,
};

/// What stands before the prefixes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct MpReach<'a> {
    /// `None`: not negotiated, so nothing more was read.
    pub(crate) family: Option<Family>,
    /// Unspecified where the family is not read.
    pub(crate) next_hop: NextHop,
    /// The next hop cannot be used: the prefixes are known, so they are withdrawn.
    pub(crate) bad_next_hop: bool,
    /// Octets of the prefixes, unchecked.
    pub(crate) nlri: &'a [u8],
}

/// RFC 7606 §7.11: a next hop of an unexpected length leaves us without the prefixes.
pub(crate) fn decode<'a>(value: &'a [u8], ctx: &Context) -> Result<MpReach<'a>, Fault> {
    let short = || length(value);
    let mut r = Reader::new(value);
    let (afi, safi) = (r.u16().ok_or_else(short)?, r.u8().ok_or_else(short)?);
    let unspecified = NextHop::V4(Ipv4Addr::UNSPECIFIED);
    let Some(family) = Family::from_codes(afi, safi).filter(|f| ctx.families.contains(*f)) else {
        return Ok(MpReach { family: None, next_hop: unspecified, bad_next_hop: false, nlri: r.rest() });
    };
    let len = r.u8().ok_or_else(short)?;
    let wrong = Fault::NextHopLength { len };
    let v6_allowed = family == Family::Ipv6Unicast || ctx.extended_next_hop.contains(family);
    let next_hop = match len {
        4 if family == Family::Ipv4Unicast => NextHop::V4(Ipv4Addr::from_bits(r.u32().ok_or(wrong)?)),
        16 if v6_allowed => NextHop::V6 { global: v6(&mut r).ok_or(wrong)?, link_local: None },
        32 if v6_allowed => NextHop::V6 { global: v6(&mut r).ok_or(wrong)?, link_local: Some(v6(&mut r).ok_or(wrong)?) },
        _ => return Err(wrong),
    };
    let _reserved = r.u8().ok_or_else(short)?;
    let bad_next_hop = match (next_hop, next_hop.addr()) {
        (NextHop::V4(addr), _) => !is_host_v4(addr),
        (_, std::net::IpAddr::V6(addr)) => !is_host_v6(addr),
        _ => true,
    };
    Ok(MpReach { family: Some(family), next_hop, bad_next_hop, nlri: r.rest() })
}

fn v6(r: &mut Reader<'_>) -> Option<Ipv6Addr> {
    r.array::<16>().map(Ipv6Addr::from)
}

/// How many octets [`put_head`] writes.
pub(crate) fn head_len(family: Family, next_hop: NextHop) -> usize {
    match next_hop {
        NextHop::V4(_) if family == Family::Ipv4Unicast => 9,
        NextHop::V4(_) | NextHop::V6 { link_local: None, .. } => 21,
        NextHop::V6 { link_local: Some(_), .. } => 37,
    }
}

/// AFI, SAFI, next hop and the reserved octet. An IPv4 next hop of IPv6 prefixes is written as a mapped address (RFC 4798 §2).
pub(crate) fn put_head(family: Family, next_hop: NextHop, out: &mut BytesMut) {
    out.put_u16(family.afi());
    out.put_u8(family.safi());
    match next_hop {
        NextHop::V4(addr) if family == Family::Ipv4Unicast => {
            out.put_u8(4);
            out.put_slice(&addr.octets());
        }
        NextHop::V4(addr) => {
            out.put_u8(16);
            out.put_slice(&addr.to_ipv6_mapped().octets());
        }
        NextHop::V6 { global, link_local: None } => {
            out.put_u8(16);
            out.put_slice(&global.octets());
        }
        NextHop::V6 { global, link_local: Some(link_local) } => {
            out.put_u8(32);
            out.put_slice(&global.octets());
            out.put_slice(&link_local.octets());
        }
    }
    out.put_u8(0);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::num::FamilySet;

    fn ctx(extended_next_hop: FamilySet) -> Context {
        Context { families: FamilySet::ALL, extended_next_hop, ..Context::INITIAL }
    }

    fn value(afi: u8, next_hop: &[u8]) -> Vec<u8> {
        [&[0, afi, 1, next_hop.len() as u8], next_hop, &[0, 8, 10]].concat()
    }

    #[test]
    fn next_hops_have_the_length_of_their_family() {
        let global: [u8; 16] = "2001:db8::1".parse::<Ipv6Addr>().unwrap().octets();
        let both = [global, "fe80::1".parse::<Ipv6Addr>().unwrap().octets()].concat();
        let plain = ctx(FamilySet::NONE);
        assert_eq!(decode(&value(2, &both), &plain).unwrap().next_hop.to_string(), "2001:db8::1 (fe80::1)");
        assert_eq!(decode(&value(2, &global), &plain).unwrap().nlri, [8, 10]);
        assert_eq!(decode(&value(1, &[10, 0, 0, 1]), &plain).unwrap().next_hop.to_string(), "10.0.0.1");
        assert_eq!(decode(&value(2, &[10, 0, 0, 1]), &plain), Err(Fault::NextHopLength { len: 4 }));
        assert_eq!(decode(&value(2, &both[..24]), &plain), Err(Fault::NextHopLength { len: 24 }));
    }

    #[test]
    fn ipv4_prefixes_have_an_ipv6_next_hop_only_after_rfc_8950() {
        let global: [u8; 16] = "2001:db8::1".parse::<Ipv6Addr>().unwrap().octets();
        assert_eq!(decode(&value(1, &global), &ctx(FamilySet::NONE)), Err(Fault::NextHopLength { len: 16 }));
        let octets = value(1, &global);
        let got = decode(&octets, &ctx(Family::Ipv4Unicast.into())).unwrap();
        assert_eq!((got.family, got.bad_next_hop), (Some(Family::Ipv4Unicast), false));
    }

    #[test]
    fn a_family_that_was_not_negotiated_is_not_read_further() {
        let got = decode(&[0, 25, 70, 99, 1, 2, 3], &ctx(FamilySet::NONE)).unwrap();
        assert_eq!(got.family, None);
        assert_eq!(decode(&[0, 2], &ctx(FamilySet::NONE)), Err(Fault::Length { len: 2 }));
    }

    #[test]
    fn a_multicast_next_hop_is_not_usable_but_the_prefixes_are_known() {
        let octets = value(2, &[0xff; 16]);
        let got = decode(&octets, &ctx(FamilySet::NONE)).unwrap();
        assert!(got.bad_next_hop);
        assert_eq!(got.nlri, [8, 10]);
    }

    #[test]
    fn the_head_is_as_long_as_foretold() {
        let link_local = Some("fe80::1".parse().unwrap());
        for family in Family::ALL {
            for next_hop in [NextHop::V4([192, 0, 2, 1].into()), NextHop::V6 { global: Ipv6Addr::LOCALHOST, link_local: None }]
                .into_iter()
                .chain([NextHop::V6 { global: Ipv6Addr::LOCALHOST, link_local }])
            {
                let mut head = BytesMut::new();
                put_head(family, next_hop, &mut head);
                assert_eq!(head.len(), head_len(family, next_hop), "{family} {next_hop}");
            }
        }
    }
}
