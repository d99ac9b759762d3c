//! PDUs of the protocol between router and cache (RFC 8210 §5; version 0: RFC 6810 §5).
//!
//! In: octets as they arrive. Out: one PDU after the other, or the [`Fault`] that ends the connection. Whether a PDU fits what was asked is decided by
//! `link`, and so are versions: the only thing that is said of one here is how long its PDUs are.
//!
//! ```text
//! version (1), type (1), session or flags or error code (2), length of the PDU (4)
//!   0 Serial Notify, 1 Serial Query   serial (4)
//!   2 Reset Query, 3 Cache Response, 8 Cache Reset
//!   4 IPv4 Prefix, 6 IPv6 Prefix      flags (1), length (1), longest length (1), zero (1), prefix (4 or 16), AS (4)
//!   7 End of Data                     serial (4); from version 1 on also refresh (4), retry (4), expire (4)
//!   9 Router Key (from version 1 on)  key identifier (20), AS (4), key
//!  10 Error Report                    length (4), PDU, length (4), text
//! ```

use std::fmt;
use std::time::Duration;

use bytes::{BufMut, Bytes, BytesMut};
use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use nom::Parser;
use nom::combinator::rest;
use nom::multi::length_data;

use super::vrp::Vrp;
use crate::num::Asn;
use crate::wire::read::{Read, array, be_u8, be_u16, be_u32, whole};

/// The versions that we speak: RFC 8210, RFC 6810.
pub const NEWEST: u8 = 1;
/// RFC 6810.
pub const OLDEST: u8 = 0;

/// Every PDU begins with so many octets.
pub const HEADER_LEN: usize = 8;

/// The longest PDU that is taken: a text or a key may be long, but not so long.
pub const MOST_OCTETS: u32 = 8192;

/// What of a PDU is sent back with a complaint.
const SENT_BACK: usize = 64;

/// RFC 8210 §12.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Code(pub u16);

impl Code {
    /// In a manner that no other code names.
    pub const CORRUPT: Code = Code(0);
    /// Ours.
    pub const INTERNAL: Code = Code(1);
    /// The cache is well and has nothing yet.
    pub const NO_DATA: Code = Code(2);
    /// What was asked makes no sense.
    pub const INVALID_REQUEST: Code = Code(3);
    /// Not known at all.
    pub const UNSUPPORTED_VERSION: Code = Code(4);
    /// Not known at all.
    pub const UNSUPPORTED_TYPE: Code = Code(5);
    /// What is withdrawn was never announced.
    pub const UNKNOWN: Code = Code(6);
    /// What is announced is there already.
    pub const DUPLICATE: Code = Code(7);
    /// Another one than was agreed.
    pub const UNEXPECTED_VERSION: Code = Code(8);
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.0 {
            0 => "Corrupt Data",
            1 => "Internal Error",
            2 => "No Data Available",
            3 => "Invalid Request",
            4 => "Unsupported Protocol Version",
            5 => "Unsupported PDU Type",
            6 => "Withdrawal of Unknown Record",
            7 => "Duplicate Announcement Received",
            8 => "Unexpected Protocol Version",
            other => return write!(f, "error {other}"),
        })
    }
}

/// What is wrong, as the cache is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// Of which kind.
    pub code: Code,
    /// In words.
    pub what: String,
}

impl Fault {
    /// Of this kind, in these words.
    pub fn new(code: Code, what: impl Into<String>) -> Fault {
        Fault { code, what: what.into() }
    }

    fn corrupt(what: impl Into<String>) -> Fault {
        Fault::new(Code::CORRUPT, what)
    }
}

/// How long things last, as the cache has it (RFC 8210 §6), each within its bounds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Intervals {
    /// Between two questions.
    pub refresh: Duration,
    /// Between two attempts.
    pub retry: Duration,
    /// Until what was said counts no more.
    pub expire: Duration,
}

impl Default for Intervals {
    /// What RFC 8210 §6 recommends, for caches that say nothing of it.
    fn default() -> Intervals {
        Intervals::of(3600, 600, 7200)
    }
}

impl Intervals {
    fn of(refresh: u32, retry: u32, expire: u32) -> Intervals {
        let within = |seconds: u32, least, most| Duration::from_secs(u64::from(seconds.clamp(least, most)));
        Intervals { refresh: within(refresh, 1, 86_400), retry: within(retry, 1, 7_200), expire: within(expire, 600, 172_800) }
    }
}

/// What a cache says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Pdu {
    /// There is something new.
    SerialNotify { session: u16, serial: u32 },
    /// What follows is the answer.
    CacheResponse { session: u16 },
    /// One VRP.
    Prefix { announced: bool, vrp: Vrp },
    /// That was the answer.
    EndOfData {
        session: u16,
        serial: u32,
        /// From version 1 on.
        intervals: Option<Intervals>,
    },
    /// What was asked for cannot be said; everything can.
    CacheReset,
    /// For BGPsec, which we do not speak.
    RouterKey,
    /// The cache complains.
    Error { code: Code, text: String },
}

/// The first PDU, its version and its length, as soon as all of it is there.
///
/// # Errors
/// What makes everything behind it unreadable.
pub fn next(octets: &[u8]) -> Result<Option<(u8, Pdu, usize)>, Fault> {
    let Ok((_, (version, kind, word, length))) = (be_u8, be_u8, be_u16, be_u32).parse_complete(octets) else { return Ok(None) };
    let (least, most) = lengths(version, kind)?;
    if !(least..=most).contains(&length) {
        return Err(Fault::corrupt(format!("a PDU of type {kind} has {length} octets")));
    }
    let length = length as usize;
    let Some(body) = octets.get(HEADER_LEN..length) else { return Ok(None) };
    Ok(Some((version, pdu(kind, word, body)?, length)))
}

/// How short and how long a PDU can be.
fn lengths(version: u8, kind: u8) -> Result<(u32, u32), Fault> {
    Ok(match kind {
        0 => (12, 12),
        3 | 8 => (8, 8),
        4 => (20, 20),
        6 => (32, 32),
        7 if version == OLDEST => (12, 12),
        7 => (24, 24),
        9 if version != OLDEST => (32, MOST_OCTETS),
        10 => (16, MOST_OCTETS),
        1 | 2 => return Err(Fault::new(Code::INVALID_REQUEST, "a router answers no queries")),
        _ => return Err(Fault::new(Code::UNSUPPORTED_TYPE, format!("there is no PDU of type {kind} in version {version}"))),
    })
}

fn pdu(kind: u8, word: u16, body: &[u8]) -> Result<Pdu, Fault> {
    let pdu = match kind {
        0 => whole(body, be_u32).map(|serial| Pdu::SerialNotify { session: word, serial }),
        3 => Some(Pdu::CacheResponse { session: word }),
        4 => return prefix(whole(body, prefix_of::<4>), |addr, len| Some(Ipv4Net::new(addr.into(), len).ok()?.into())),
        6 => return prefix(whole(body, prefix_of::<16>), |addr, len| Some(Ipv6Net::new(addr.into(), len).ok()?.into())),
        7 => end_of_data(word, body),
        8 => Some(Pdu::CacheReset),
        9 => Some(Pdu::RouterKey),
        _ => whole(body, (length_data(be_u32), length_data(be_u32), rest))
            .map(|(_, text, _)| Pdu::Error { code: Code(word), text: printable(text) }),
    };
    pdu.ok_or_else(|| Fault::corrupt(format!("a PDU of type {kind} is shorter inside than its length says")))
}

/// Flags, length, longest length, zero, prefix, AS.
type Fields<const N: usize> = (u8, u8, u8, u8, [u8; N], u32);

fn prefix_of<const N: usize>(octets: &[u8]) -> Read<'_, Fields<N>> {
    (be_u8, be_u8, be_u8, be_u8, array::<N>, be_u32).parse_complete(octets)
}

fn prefix<const N: usize>(fields: Option<Fields<N>>, net: impl Fn([u8; N], u8) -> Option<IpNet>) -> Result<Pdu, Fault> {
    let (flags, len, max_len, _, addr, asn) = fields.ok_or_else(|| Fault::corrupt("a prefix is cut short"))?;
    let net = net(addr, len).ok_or_else(|| Fault::corrupt(format!("a prefix has {len} bits")))?;
    if !(len..=net.max_prefix_len()).contains(&max_len) {
        return Err(Fault::corrupt(format!("the longest length of {net} is {max_len}")));
    }
    if net != net.trunc() {
        return Err(Fault::corrupt(format!("the host bits of {net} are not zero")));
    }
    Ok(Pdu::Prefix { announced: flags & 1 == 1, vrp: Vrp { net, asn: Asn(asn), max_len } })
}

fn end_of_data(session: u16, body: &[u8]) -> Option<Pdu> {
    if let Some(serial) = whole(body, be_u32) {
        return Some(Pdu::EndOfData { session, serial, intervals: None });
    }
    let (serial, refresh, retry, expire) = whole(body, (be_u32, be_u32, be_u32, be_u32))?;
    Some(Pdu::EndOfData { session, serial, intervals: Some(Intervals::of(refresh, retry, expire)) })
}

/// For the log: no control characters, and not too long.
fn printable(text: &[u8]) -> String {
    String::from_utf8_lossy(text).chars().filter(|c| !c.is_control()).take(200).collect()
}

/// What we ask.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ask {
    /// Everything.
    Reset,
    /// What has changed since.
    Serial { session: u16, serial: u32 },
}

impl Ask {
    /// As a PDU.
    pub fn put(self, version: u8, out: &mut BytesMut) {
        match self {
            Ask::Reset => header(version, 2, 0, HEADER_LEN, out),
            Ask::Serial { session, serial } => {
                header(version, 1, session, 12, out);
                out.put_u32(serial);
            }
        }
    }
}

fn header(version: u8, kind: u8, word: u16, length: usize, out: &mut BytesMut) {
    out.put_u8(version);
    out.put_u8(kind);
    out.put_u16(word);
    out.put_u32(length as u32);
}

/// An Error Report about this PDU (RFC 8210 §5.11), of which a part is sent back.
pub fn complaint(version: u8, fault: &Fault, about: &[u8]) -> Bytes {
    let about = about.get(..SENT_BACK).unwrap_or(about);
    let mut out = BytesMut::new();
    header(version, 10, fault.code.0, HEADER_LEN + 4 + about.len() + 4 + fault.what.len(), &mut out);
    out.put_u32(about.len() as u32);
    out.put_slice(about);
    out.put_u32(fault.what.len() as u32);
    out.put_slice(fault.what.as_bytes());
    out.freeze()
}
