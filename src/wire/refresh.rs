//! ROUTE-REFRESH (RFC 2918) with the markers of RFC 7313.
//!
//! In: a body of four octets. Out: family and subtype, as numbers, because the family may be one that we do not route.
//! What to send again is left to the speaker.
//!
//! ```text
//! 0       7      15      23      31
//! +-------+-------+-------+-------+
//! |      AFI      |Subtype| SAFI  |
//! +-------+-------+-------+-------+
//! ```

use std::fmt;

use bytes::{BufMut, Bytes, BytesMut};
use nom::Parser;
use nom::bytes::complete::take;

use super::error::DecodeError;
use super::header::HEADER_LEN;
use super::read::{be_u8, be_u16};
use crate::num::Family;

/// The octet that RFC 2918 reserved and RFC 7313 §3.2 gave a meaning.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum RefreshSubtype {
    /// A request to send everything again.
    Normal,
    /// Beginning of a refresh: what is not announced again before the end is gone.
    BoRR,
    /// End of a refresh: what was not announced since its beginning is removed (RFC 7313 §4).
    EoRR,
    /// To be ignored (RFC 7313 §5).
    Other(u8),
}

impl RefreshSubtype {
    fn code(self) -> u8 {
        match self {
            RefreshSubtype::Normal => 0,
            RefreshSubtype::BoRR => 1,
            RefreshSubtype::EoRR => 2,
            RefreshSubtype::Other(code) => code,
        }
    }
}

/// One ROUTE-REFRESH message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct RouteRefresh {
    /// Address family, as a number: it may be one that we do not route.
    pub afi: u16,
    /// Subsequent address family.
    pub safi: u8,
    /// What it asks for.
    pub subtype: RefreshSubtype,
}

impl RouteRefresh {
    /// For a family that we route.
    pub fn new(family: Family, subtype: RefreshSubtype) -> RouteRefresh {
        RouteRefresh { afi: family.afi(), safi: family.safi(), subtype }
    }

    /// `None` for a family that we do not route.
    pub fn family(&self) -> Option<Family> {
        Family::from_codes(self.afi, self.safi)
    }

    /// RFC 7313 §5: begin and end markers must be exactly four octets; a request may carry outbound filters (RFC 5291), which we never offer and skip.
    /// From a sender without that capability all are requests: the subtype is a reserved octet, and what follows means nothing (RFC 2918 §3).
    pub(crate) fn decode(message: &Bytes, subtypes: bool) -> Result<RouteRefresh, DecodeError> {
        let wrong = || DecodeError::RefreshLength { message: message.clone() };
        let (rest, (_, afi, subtype, safi)) = (take(HEADER_LEN), be_u16, be_u8, be_u8).parse_complete(&message[..]).map_err(|_| wrong())?;
        let subtype = match subtype {
            _ if !subtypes => RefreshSubtype::Normal,
            0 => RefreshSubtype::Normal,
            1 => RefreshSubtype::BoRR,
            2 => RefreshSubtype::EoRR,
            other => RefreshSubtype::Other(other),
        };
        if !rest.is_empty() && matches!(subtype, RefreshSubtype::BoRR | RefreshSubtype::EoRR) {
            return Err(wrong());
        }
        Ok(RouteRefresh { afi, safi, subtype })
    }

    /// Four octets behind the header.
    pub(crate) fn encode_body(&self, out: &mut BytesMut) {
        out.put_u16(self.afi);
        out.put_u8(self.subtype.code());
        out.put_u8(self.safi);
    }
}

impl fmt::Display for RouteRefresh {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.subtype {
            RefreshSubtype::Normal => write!(f, "request")?,
            RefreshSubtype::BoRR => write!(f, "begin")?,
            RefreshSubtype::EoRR => write!(f, "end")?,
            RefreshSubtype::Other(code) => write!(f, "subtype {code}")?,
        }
        match self.family() {
            Some(family) => write!(f, " {family}"),
            None => write!(f, " afi {} safi {}", self.afi, self.safi),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::{Context, Decoder, Message, Notification};

    /// A ROUTE-REFRESH with this body.
    fn decode(body: &[u8], subtypes: bool) -> Result<RouteRefresh, DecodeError> {
        let mut decoder = Decoder::new();
        decoder.set_context(Context { refresh_subtypes: subtypes, ..Context::INITIAL });
        match decoder.decode([&[0xff; 16][..], &[0, body.len() as u8 + 19, 5], body].concat().into())? {
            Message::RouteRefresh(refresh) => Ok(refresh),
            other => panic!("{other}"),
        }
    }

    #[test]
    fn without_the_capability_the_third_octet_and_the_rest_mean_nothing() {
        let request = RouteRefresh::new(Family::Ipv4Unicast, RefreshSubtype::Normal);
        for body in [&[0, 1, 0, 1][..], &[0, 1, 1, 1], &[0, 1, 1, 1, 0], &[0, 1, 2, 1], &[0, 1, 255, 1, 7, 7]] {
            assert_eq!(decode(body, false), Ok(request), "{body:?}");
        }
    }

    #[test]
    fn with_the_capability_a_mark_has_exactly_four_octets() {
        for (code, subtype) in [(1, RefreshSubtype::BoRR), (2, RefreshSubtype::EoRR)] {
            assert_eq!(decode(&[0, 2, code, 1], true), Ok(RouteRefresh::new(Family::Ipv6Unicast, subtype)));
            let told = Notification::from(&decode(&[0, 2, code, 1, 0], true).unwrap_err());
            assert_eq!((told.code, told.subcode, &told.data[18..]), (7, 1, &[5, 0, 2, code, 1, 0][..]));
        }
        assert_eq!(decode(&[0, 1, 0, 1, 9], true).unwrap().subtype, RefreshSubtype::Normal, "a request may carry filters (RFC 5291)");
        assert_eq!(decode(&[0, 1, 3, 1, 9], true).unwrap().subtype, RefreshSubtype::Other(3));
    }
}
