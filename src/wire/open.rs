//! OPEN: who the peer is and what it can do (RFC 4271 §4.2, RFC 5492, RFC 9072).
//!
//! In: a body of at least ten octets. Out: an `Open` whose values are legal by themselves.
//! Whether they are the values that we expect from this peer is judged in `peer`.
//!
//! ```text
//! +---------------+
//! |    Version    |
//! +---------------+---------------+
//! |     My Autonomous System      |
//! +-------------------------------+
//! |           Hold Time           |
//! +-------------------------------+-------------------------------+
//! |                         BGP Identifier                        |
//! +---------------+-----------------------------------------------+
//! | Opt Parm Len  |   Optional Parameters: type, length, value    |
//! +---------------+-----------------------------------------------+
//! RFC 9072: Opt Parm Len != 0 and the first type = 255: two octets of length follow, and each parameter's length has two octets.
//! ```

use std::fmt;
use std::net::Ipv4Addr;

use bytes::{BufMut, Bytes, BytesMut};

use super::capability::Capability;
use super::error::DecodeError;
use super::header::HEADER_LEN;
use super::read::Reader;
use crate::num::{Asn, HoldTime, RouterId};

const VERSION: u8 = 4;
const PARAMETER_CAPABILITIES: u8 = 2;
const PARAMETER_EXTENDED: u8 = 255;

/// One OPEN message.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Open {
    /// As in the two octets of the message: AS_TRANS when the number has four.
    pub my_as: u16,
    /// The number of capability 65 if there is one, else `my_as`.
    pub asn: Asn,
    pub hold_time: HoldTime,
    pub router_id: RouterId,
    pub capabilities: Vec<Capability>,
}

impl Open {
    /// With `my_as` made from `asn`; `capabilities` are sent as they are given, capability 65 included or not.
    pub fn new(asn: Asn, hold_time: HoldTime, router_id: RouterId, capabilities: Vec<Capability>) -> Open {
        Open { my_as: asn.as_two_octets(), asn, hold_time, router_id, capabilities }
    }

    /// In the order of RFC 4271 §6.2: version, AS, hold time, identifier, parameters.
    pub(crate) fn decode(message: &Bytes) -> Result<Open, DecodeError> {
        let short = || DecodeError::MessageLength { len: u16::try_from(message.len()).unwrap_or(u16::MAX), kind: super::header::OPEN };
        let mut r = Reader::new(message.get(HEADER_LEN..).ok_or_else(short)?);
        let (Some(version), Some(my_as), Some(hold), Some(id)) = (r.u8(), r.u16(), r.u16(), r.u32()) else { return Err(short()) };
        if version != VERSION {
            return Err(DecodeError::Version { version });
        }
        if my_as == 0 {
            return Err(DecodeError::AsZero);
        }
        let hold_time = HoldTime::new(hold).map_err(|seconds| DecodeError::HoldTime { seconds })?;
        let router_id = RouterId::new(Ipv4Addr::from_bits(id)).ok_or(DecodeError::Identifier)?;
        let mut capabilities = Vec::new();
        decode_parameters(message, r, &mut capabilities)?;
        let asn = four_octet_as(&capabilities).map_or(Ok(Asn(u32::from(my_as))), |asn| match asn {
            Asn(0) => Err(DecodeError::AsZero),
            asn => Ok(asn),
        })?;
        Ok(Open { my_as, asn, hold_time, router_id, capabilities })
    }

    /// Parameters in the short form while they fit (RFC 9072 §2), all capabilities in one of them.
    pub(crate) fn encode_body(&self, out: &mut BytesMut) {
        out.put_u8(VERSION);
        out.put_u16(self.my_as);
        out.put_u16(self.hold_time.seconds());
        out.put_u32(self.router_id.into());
        let mut octets = BytesMut::new();
        for capability in &self.capabilities {
            capability.encode(&mut octets);
        }
        match u8::try_from(octets.len()) {
            Ok(0) => out.put_u8(0),
            Ok(len @ 1..=253) => {
                out.put_u8(len.saturating_add(2));
                out.put_u8(PARAMETER_CAPABILITIES);
                out.put_u8(len);
            }
            _ => {
                // 29 octets of fixed part, 3 of extended lengths and 3 of the parameter's head come before the capabilities.
                octets.truncate(4096 - 35);
                let len = u16::try_from(octets.len()).unwrap_or(u16::MAX);
                out.put_u8(PARAMETER_EXTENDED);
                out.put_u8(PARAMETER_EXTENDED);
                out.put_u16(len.saturating_add(3));
                out.put_u8(PARAMETER_CAPABILITIES);
                out.put_u16(len);
            }
        }
        out.put_slice(&octets);
    }

    /// Whether capability 65 is there, so that AS numbers have four octets if we offer it too.
    pub fn has_four_octet_as(&self) -> bool {
        four_octet_as(&self.capabilities).is_some()
    }
}

/// The last of several wins, as for any capability said twice (RFC 5492 §4).
fn four_octet_as(capabilities: &[Capability]) -> Option<Asn> {
    capabilities.iter().rev().find_map(|c| match c {
        Capability::FourOctetAs(asn) => Some(*asn),
        _ => None,
    })
}

/// `r` stands at Opt Parm Len.
fn decode_parameters(message: &Bytes, mut r: Reader<'_>, out: &mut Vec<Capability>) -> Result<(), DecodeError> {
    let at = |r: &Reader<'_>| u16::try_from(message.len().saturating_sub(r.len())).unwrap_or(u16::MAX);
    let malformed = |r: &Reader<'_>| DecodeError::MalformedParameter { offset: at(r) };
    let short_len = r.u8().ok_or_else(|| malformed(&r))?;
    let extended = short_len != 0 && r.rest().first() == Some(&PARAMETER_EXTENDED);
    let len = if extended { r.u8().zip(r.u16()).map(|(_, len)| len).ok_or_else(|| malformed(&r))? } else { u16::from(short_len) };
    if r.len() != usize::from(len) {
        return Err(malformed(&r));
    }
    while !r.is_empty() {
        let here = malformed(&r);
        let Some(kind) = r.u8() else { return Err(here) };
        let Some(len) = (if extended { r.u16() } else { r.u8().map(u16::from) }) else { return Err(here) };
        let Some(value) = r.take(usize::from(len)) else { return Err(here) };
        if kind != PARAMETER_CAPABILITIES {
            return Err(DecodeError::OptionalParameter { kind });
        }
        let known = out.len();
        Capability::decode_all(&message.slice_ref(value), out).ok_or(here.clone())?;
        // A four-octet AS number that is not four octets long leaves us without the peer's number (RFC 6793 §4.1).
        if out.iter().skip(known).any(|c| matches!(c, Capability::Other { code: 65, .. })) {
            return Err(here);
        }
    }
    Ok(())
}

impl fmt::Display for Open {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "as {} hold {} s id {}", self.asn, self.hold_time.seconds(), self.router_id)?;
        self.capabilities.iter().try_for_each(|c| write!(f, "\n  {c}"))
    }
}
