//! Router Solicitation and Router Advertisement (RFC 4861 §4.1, §4.2).
//!
//! ```text
//!  0                   1                   2                   3
//! |     Type      |     Code      |          Checksum             |
//! |                  Solicitation: Reserved                       |
//! | Cur Hop Limit |M|O|  Reserved |       Router Lifetime         |
//! |                         Reachable Time                        |
//! |                          Retrans Timer                        |
//! |   Options: type, length in units of eight octets, ...         |
//! ```
//!
//! The kernel computes checksums, and drops what has a wrong one.

use std::net::Ipv6Addr;

/// To whom routers speak (RFC 4291 §2.7.1).
pub const ALL_NODES: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1);
/// To whom nodes speak that ask for routers.
pub const ALL_ROUTERS: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 2);
/// ICMPv6 type.
pub const SOLICITATION: u8 = 133;
/// ICMPv6 type.
pub const ADVERTISEMENT: u8 = 134;

/// What has come over a router has another (RFC 4861 §6.1).
const HOP_LIMIT: u8 = 255;
const SOURCE_LINK_LAYER_ADDRESS: u8 = 1;

/// What was heard, as far as it concerns us.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Heard {
    /// Somebody asks for routers.
    Solicitation,
    /// This router is on the link. (What it says of addresses and of its being a default router is the kernel's to use.)
    Advertisement(Ipv6Addr),
}

/// Why a packet is dropped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dropped {
    /// It came over a router.
    HopLimit,
    /// Neither of the two, or with a code.
    Kind,
    /// Shorter than it must be, or with an option that has no length.
    Length,
    /// An advertisement from an address that is not link-local.
    Source,
}

/// A packet of ICMPv6, without its IPv6 header. `octets` may be the beginning of a longer one.
///
/// # Errors
/// Why it is dropped (RFC 4861 §6.1.1, §6.1.2).
pub fn read(octets: &[u8], from: Ipv6Addr, hop_limit: u8) -> Result<Heard, Dropped> {
    if hop_limit != HOP_LIMIT {
        return Err(Dropped::HopLimit);
    }
    let (kind, code) = (octets.first().copied(), octets.get(1).copied());
    let (heard, fixed) = match kind {
        Some(SOLICITATION) => (Heard::Solicitation, 8),
        Some(ADVERTISEMENT) => (Heard::Advertisement(from), 16),
        _ => return Err(Dropped::Kind),
    };
    if code != Some(0) {
        return Err(Dropped::Kind);
    }
    let mut options = octets.get(fixed..).ok_or(Dropped::Length)?;
    while let Some(units) = options.get(1) {
        if *units == 0 {
            return Err(Dropped::Length);
        }
        options = options.get(usize::from(*units).saturating_mul(8)..).unwrap_or_default();
    }
    if kind == Some(ADVERTISEMENT) && !from.is_unicast_link_local() {
        return Err(Dropped::Source);
    }
    Ok(heard)
}

/// What we say of ourselves: here is a router, the default one for so many seconds (zero: for nobody), and without a word on anybody's addresses.
pub fn advertisement(mac: Option<[u8; 6]>, lifetime: u16) -> Vec<u8> {
    let mut octets = vec![ADVERTISEMENT, 0, 0, 0, 0, 0];
    octets.extend(lifetime.to_be_bytes());
    octets.resize(16, 0);
    octets.extend(source(mac));
    octets
}

/// Is there a router?
pub fn solicitation(mac: Option<[u8; 6]>) -> Vec<u8> {
    let mut octets = vec![SOLICITATION];
    octets.resize(8, 0);
    octets.extend(source(mac));
    octets
}

/// Saves who hears it a question of its own (RFC 4861 §4.6.1).
fn source(mac: Option<[u8; 6]>) -> impl Iterator<Item = u8> {
    mac.into_iter().flat_map(|mac| [SOURCE_LINK_LAYER_ADDRESS, 1].into_iter().chain(mac))
}

#[cfg(test)]
mod tests {
    use super::*;

    const ROUTER: Ipv6Addr = Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 2);

    #[test]
    fn what_we_say_has_these_octets() {
        let mac = [2, 0, 0, 0, 0, 9];
        let said = advertisement(Some(mac), 0);
        #[rustfmt::skip]
        assert_eq!(said, [
            134, 0, 0, 0, // the kernel writes the checksum
            0, 0, 0, 0,   // no hop limit, no flags, router lifetime 0: no default router
            0, 0, 0, 0,   // no reachable time
            0, 0, 0, 0,   // no retransmission timer
            1, 1, 2, 0, 0, 0, 0, 9, // our link-layer address
        ]);
        assert_eq!(read(&said, ROUTER, 255), Ok(Heard::Advertisement(ROUTER)));
        assert_eq!(
            advertisement(None, 0x1234),
            [134, 0, 0, 0, 0, 0, 0x12, 0x34, 0, 0, 0, 0, 0, 0, 0, 0],
            "the default router for 4660 seconds"
        );
        assert_eq!(solicitation(None), [133, 0, 0, 0, 0, 0, 0, 0]);
        assert_eq!(read(&solicitation(Some(mac)), Ipv6Addr::UNSPECIFIED, 255), Ok(Heard::Solicitation));
    }

    #[test]
    fn what_is_not_from_this_link_or_not_whole_is_dropped() {
        let said = advertisement(Some([2, 0, 0, 0, 0, 9]), 0);
        assert_eq!(read(&said, ROUTER, 254), Err(Dropped::HopLimit));
        assert_eq!(read(&said, "2001:db8::1".parse().unwrap(), 255), Err(Dropped::Source));
        assert_eq!(read(&said[..15], ROUTER, 255), Err(Dropped::Length));
        assert_eq!(read(&solicitation(None)[..7], ROUTER, 255), Err(Dropped::Length));
        assert_eq!(read(&[], ROUTER, 255), Err(Dropped::Kind));
        assert_eq!(read(&[135, 0, 0, 0, 0, 0, 0, 0], ROUTER, 255), Err(Dropped::Kind));
        let code = [&[134, 1], &said[2..]].concat();
        assert_eq!(read(&code, ROUTER, 255), Err(Dropped::Kind));
        let option = [&said[..16], &[5, 0, 0, 0]].concat();
        assert_eq!(read(&option, ROUTER, 255), Err(Dropped::Length), "an option of no length");
        let long = [&said[..16], &[3, 4, 0, 0]].concat();
        assert_eq!(read(&long, ROUTER, 255), Ok(Heard::Advertisement(ROUTER)), "what was cut off has no say");
    }
}
