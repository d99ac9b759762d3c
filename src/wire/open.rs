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
use nom::Parser;
use nom::bytes::complete::{tag, take};
use nom::combinator::{cond, opt, verify};
use nom::multi::length_data;
use nom::sequence::preceded;

use super::capability::Capability;
use super::error::DecodeError;
use super::header::HEADER_LEN;
use super::read::{Read, be_u8, be_u16, be_u32, position};
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
    /// What the sender offers; the lower of both holds (RFC 4271 §4.2).
    pub hold_time: HoldTime,
    /// Its BGP Identifier, which is not zero (RFC 6286 §2.1).
    pub router_id: RouterId,
    /// In the order of the message, those that we do not know among them.
    pub capabilities: Vec<Capability>,
}

impl Open {
    /// With `my_as` made from `asn`; `capabilities` are sent as they are given, capability 65 included or not.
    pub fn new(asn: Asn, hold_time: HoldTime, router_id: RouterId, capabilities: Vec<Capability>) -> Open {
        Open { my_as: asn.as_two_octets(), asn, hold_time, router_id, capabilities }
    }

    /// In the order of RFC 4271 §6.2: version, AS, hold time, identifier, parameters.
    pub(crate) fn decode(message: &Bytes) -> Result<Open, DecodeError> {
        let short = |_| DecodeError::MessageLength { len: u16::try_from(message.len()).unwrap_or(u16::MAX), kind: super::header::OPEN };
        let mut fixed = (take(HEADER_LEN), be_u8, be_u16, be_u16, be_u32);
        let (optional, (_, version, my_as, hold, id)) = fixed.parse_complete(message).map_err(short)?;
        if version != VERSION {
            return Err(DecodeError::Version { version });
        }
        if my_as == 0 {
            return Err(DecodeError::AsZero);
        }
        let hold_time = HoldTime::new(hold).map_err(|seconds| DecodeError::HoldTime { seconds })?;
        let router_id = RouterId::new(Ipv4Addr::from_bits(id)).ok_or(DecodeError::Identifier)?;
        let capabilities = capabilities(message, optional)?;
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

/// What the optional parameters say; `octets` begin at Opt Parm Len.
fn capabilities(message: &Bytes, octets: &[u8]) -> Result<Vec<Capability>, DecodeError> {
    let malformed = |rest: &[u8]| DecodeError::MalformedParameter { offset: offset(message, rest) };
    let (mut rest, extended) =
        parameters_length(octets).map_err(|stop| malformed(octets.get(position(octets, stop)..).unwrap_or_default()))?;
    let mut capabilities = Vec::new();
    while !rest.is_empty() {
        let (next, (kind, value)) = parameter(extended, rest).map_err(|_| malformed(rest))?;
        if kind != PARAMETER_CAPABILITIES {
            return Err(DecodeError::OptionalParameter { kind });
        }
        let (_, list) = Capability::read_all(value).map_err(|_| malformed(rest))?;
        let known = capabilities.len();
        capabilities.extend(list.into_iter().map(|(code, value)| Capability::decode(code, value, message)));
        // A four-octet AS number that is not four octets long leaves us without the peer's number (RFC 6793 §4.1).
        if capabilities.iter().skip(known).any(|c| matches!(c, Capability::Other { code: 65, .. })) {
            return Err(malformed(rest));
        }
        rest = next;
    }
    Ok(capabilities)
}

/// Where `rest`, the end of the message, begins.
fn offset(message: &Bytes, rest: &[u8]) -> u16 {
    u16::try_from(message.len().saturating_sub(rest.len())).unwrap_or(u16::MAX)
}

/// Opt Parm Len, which must be that of all that follows; whether it came in the extended form (RFC 9072 §2).
fn parameters_length(octets: &[u8]) -> Read<'_, bool> {
    let (rest, short) = be_u8(octets)?;
    let (rest, long) = cond(short != 0, opt(preceded(tag(&[PARAMETER_EXTENDED][..]), be_u16))).map(Option::flatten).parse_complete(rest)?;
    let len = usize::from(long.unwrap_or(u16::from(short)));
    let (_, _) = verify(nom::combinator::rest, |rest: &[u8]| rest.len() == len).parse_complete(rest)?;
    Ok((rest, long.is_some()))
}

/// Type, length and value.
fn parameter(extended: bool, octets: &[u8]) -> Read<'_, (u8, &[u8])> {
    match extended {
        true => (be_u8, length_data(be_u16)).parse_complete(octets),
        false => (be_u8, length_data(be_u8)).parse_complete(octets),
    }
}

impl fmt::Display for Open {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "as {} hold {} s id {}", self.asn, self.hold_time.seconds(), self.router_id)?;
        self.capabilities.iter().try_for_each(|c| write!(f, "\n  {c}"))
    }
}
