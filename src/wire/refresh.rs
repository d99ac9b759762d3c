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

use super::error::DecodeError;
use super::header::HEADER_LEN;
use super::read::Reader;
use crate::num::Family;

/// The octet that RFC 2918 reserved and RFC 7313 §3.2 gave a meaning.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum RefreshSubtype {
    /// A request to send everything again.
    Normal,
    /// Beginning of a refresh: what is not said again before the end is gone.
    BoRR,
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
    pub afi: u16,
    pub safi: u8,
    pub subtype: RefreshSubtype,
}

impl RouteRefresh {
    pub fn new(family: Family, subtype: RefreshSubtype) -> RouteRefresh {
        RouteRefresh { afi: family.afi(), safi: family.safi(), subtype }
    }

    /// `None` for a family that we do not route.
    pub fn family(&self) -> Option<Family> {
        Family::from_codes(self.afi, self.safi)
    }

    /// RFC 7313 §5: begin and end markers must be exactly four octets; a request may carry outbound filters (RFC 5291), which we never offer and skip.
    pub(crate) fn decode(message: &Bytes) -> Result<RouteRefresh, DecodeError> {
        let wrong = || DecodeError::RefreshLength { message: message.clone() };
        let mut r = Reader::new(message.get(HEADER_LEN..).ok_or_else(wrong)?);
        let (Some(afi), Some(subtype), Some(safi)) = (r.u16(), r.u8(), r.u8()) else { return Err(wrong()) };
        let subtype = match subtype {
            0 => RefreshSubtype::Normal,
            1 => RefreshSubtype::BoRR,
            2 => RefreshSubtype::EoRR,
            other => RefreshSubtype::Other(other),
        };
        if !r.is_empty() && matches!(subtype, RefreshSubtype::BoRR | RefreshSubtype::EoRR) {
            return Err(wrong());
        }
        Ok(RouteRefresh { afi, safi, subtype })
    }

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
