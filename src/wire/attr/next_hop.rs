//! NEXT_HOP (RFC 4271 §5.1.3), and the next hop of MP_REACH_NLRI, as one noun.
//!
//! ```text
//! +---------------------------------------------------------------+
//! |                 IPv4 address (4 octets)                       |
//! +---------------------------------------------------------------+
//! ```

use std::fmt::{self, Display};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use serde::{Serialize, Serializer};

use super::{AttrCode, Row, WELL_KNOWN, copy, length};
use crate::wire::error::{Fault, Severity};
use crate::wire::read::exact_u32;

/// Malformed, the route is treated as withdrawn (RFC 7606 §7.3).
pub(crate) const ROW: Row = Row {
    code: AttrCode::NEXT_HOP,
    name: "NEXT_HOP",
    flags: WELL_KNOWN,
    severity: Severity::Withdraw,
    internal_only: false,
    rule: "RFC 7606 §7.3",
    decode: |value, _, facts| {
        facts.next_hop = Some(decode(value)?);
        Ok(())
    },
    encode: copy,
    show: |value, f| decode(value).map_err(|_| fmt::Error)?.fmt(f),
};

/// Where to send packets for the route.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum NextHop {
    /// Of NEXT_HOP (RFC 4271 §5.1.3).
    V4(Ipv4Addr),
    /// RFC 2545 §3: a global address, and perhaps a link-local one beside it.
    V6 {
        /// Of global scope, unless a session runs between link-local addresses alone.
        global: Ipv6Addr,
        /// On the link that both ends share.
        link_local: Option<Ipv6Addr>,
    },
}

impl NextHop {
    /// The one to resolve: the global address, unless there is only a link-local one.
    pub fn addr(self) -> IpAddr {
        match self {
            NextHop::V4(addr) => addr.into(),
            NextHop::V6 { global, link_local: Some(link_local) } if global.is_unspecified() => link_local.into(),
            NextHop::V6 { global, .. } => global.into(),
        }
    }
}

impl From<IpAddr> for NextHop {
    fn from(addr: IpAddr) -> NextHop {
        match addr {
            IpAddr::V4(addr) => NextHop::V4(addr),
            IpAddr::V6(global) => NextHop::V6 { global, link_local: None },
        }
    }
}

impl fmt::Display for NextHop {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            NextHop::V4(addr) => addr.fmt(f),
            NextHop::V6 { global, link_local: None } => global.fmt(f),
            NextHop::V6 { global, link_local: Some(link_local) } => write!(f, "{global} ({link_local})"),
        }
    }
}

impl Serialize for NextHop {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.collect_str(self)
    }
}

#[inline]
fn decode(value: &[u8]) -> Result<Ipv4Addr, Fault> {
    let addr = Ipv4Addr::from_bits(exact_u32(value).ok_or_else(|| length(value))?);
    if is_host_v4(addr) { Ok(addr) } else { Err(Fault::Address) }
}

/// RFC 4271 §6.3: a valid host address. Loopback is one; whether it can be reached is not the codec's to say.
#[inline]
pub(crate) fn is_host_v4(addr: Ipv4Addr) -> bool {
    !addr.is_unspecified() && addr.octets().first().is_some_and(|first| *first < 224)
}

/// Not unspecified, not multicast.
#[inline]
pub(crate) fn is_host_v6(addr: Ipv6Addr) -> bool {
    !addr.is_unspecified() && !addr.is_multicast()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_next_hop_is_four_octets_of_a_host_address() {
        assert_eq!(decode(&[192, 0, 2, 1]), Ok(Ipv4Addr::new(192, 0, 2, 1)));
        for bad in [[0, 0, 0, 0], [224, 0, 0, 1], [255, 255, 255, 255]] {
            assert_eq!(decode(&bad), Err(Fault::Address), "{bad:?}");
        }
        assert_eq!(decode(&[192, 0, 2]), Err(Fault::Length { len: 3 }));
        assert_eq!(decode(&[192, 0, 2, 1, 0]), Err(Fault::Length { len: 5 }));
    }
}
