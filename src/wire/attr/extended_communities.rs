//! EXTENDED COMMUNITIES (RFC 4360): marks of eight octets with a type. Opaque to us except for being shown.
//!
//! ```text
//! +---------------+---------------+-------------------------------+
//! |  Type high    |  Type low     |   value (6 octets)            |  ... one after the other
//! +---------------+---------------+-------------------------------+
//! ```

use std::fmt;
use std::net::Ipv4Addr;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::{AttrCode, OPTIONAL_TRANSITIVE, Row, copy, entries, spaced};
use crate::wire::error::Severity;
use crate::wire::read::Reader;

/// Malformed, the route is treated as withdrawn (RFC 7606 §7.14).
pub(crate) const ROW: Row = Row {
    code: AttrCode::EXTENDED_COMMUNITIES,
    name: "EXTENDED_COMMUNITIES",
    flags: OPTIONAL_TRANSITIVE,
    severity: Severity::Withdraw,
    internal_only: false,
    rule: "RFC 7606 §7.14",
    decode: |value, _, _| entries(value, 8),
    encode: copy,
    show: |value, f| spaced(iter(value), f),
};

/// One extended community as it came.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ExtendedCommunity(pub [u8; 8]);

impl ExtendedCommunity {
    /// Bit 6 of the first octet (RFC 4360 §2): not to leave the AS when set.
    pub fn is_transitive(self) -> bool {
        self.0.first().is_some_and(|kind| kind & 0x40 == 0)
    }

    /// Type, sub-type, and the value as an administrator and a number, for the three layouts of RFC 4360 §3 and RFC 5668.
    fn parts(self) -> Option<(u8, u8, Administrator, u32)> {
        let mut r = Reader::new(&self.0);
        let (kind, sub) = (r.u8()?, r.u8()?);
        Some(match kind & 0x3f {
            0 => (kind, sub, Administrator::As(u32::from(r.u16()?)), r.u32()?),
            1 => (kind, sub, Administrator::Addr(Ipv4Addr::from_bits(r.u32()?)), u32::from(r.u16()?)),
            2 => (kind, sub, Administrator::As(r.u32()?), u32::from(r.u16()?)),
            _ => return None,
        })
    }
}

enum Administrator {
    /// An AS number, of two or four octets by the layout.
    As(u32),
    /// An IPv4 address.
    Addr(Ipv4Addr),
}

impl fmt::Display for ExtendedCommunity {
    /// `rt:64512:77`, `soo:192.0.2.1:1`; others as `0x` and sixteen digits.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let named = self.parts().and_then(|(kind, sub, administrator, number)| {
            let name = match (kind & 0xc0, sub) {
                (0, 2) => "rt",
                (0, 3) => "soo",
                _ => return None,
            };
            // A small AS number in the four-octet layout would be read back in the other one.
            (!(kind == 2 && matches!(administrator, Administrator::As(asn) if asn <= 65535))).then_some((name, administrator, number))
        });
        match named {
            Some((name, Administrator::As(asn), number)) => write!(f, "{name}:{asn}:{number}"),
            Some((name, Administrator::Addr(addr), number)) => write!(f, "{name}:{addr}:{number}"),
            None => {
                f.write_str("0x")?;
                super::hex(&self.0, f)
            }
        }
    }
}

impl FromStr for ExtendedCommunity {
    type Err = String;

    fn from_str(text: &str) -> Result<ExtendedCommunity, String> {
        parse(text)
            .ok_or_else(|| format!("{text:?} is not an extended community: rt:AS:NUMBER, soo:ADDRESS:NUMBER, or 0x and sixteen digits"))
    }
}

fn parse(text: &str) -> Option<ExtendedCommunity> {
    if let Some(digits) = text.strip_prefix("0x").filter(|d| d.len() == 16) {
        return u64::from_str_radix(digits, 16).ok().map(|n| ExtendedCommunity(n.to_be_bytes()));
    }
    let mut parts = text.splitn(3, ':');
    let sub = match parts.next()? {
        "rt" => 2u64,
        "soo" | "ro" => 3,
        _ => return None,
    };
    let (administrator, number) = (parts.next()?, parts.next()?.parse::<u32>().ok()?);
    let small = || u16::try_from(number).ok().map(u64::from);
    let (kind, value) = if let Ok(addr) = administrator.parse::<Ipv4Addr>() {
        (1u64, (u64::from(addr.to_bits()) << 16) | small()?)
    } else if let Ok(asn) = administrator.parse::<u16>() {
        (0, (u64::from(asn) << 32) | u64::from(number))
    } else {
        (2, (u64::from(administrator.parse::<u32>().ok()?) << 16) | small()?)
    };
    Some(ExtendedCommunity(((kind << 56) | (sub << 48) | value).to_be_bytes()))
}

impl Serialize for ExtendedCommunity {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for ExtendedCommunity {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<ExtendedCommunity, D::Error> {
        String::deserialize(d)?.parse().map_err(serde::de::Error::custom)
    }
}

/// In the order of the octets. What makes no whole entry is left out.
pub(crate) fn iter(value: &[u8]) -> impl Iterator<Item = ExtendedCommunity> + Clone + '_ {
    value.as_chunks::<8>().0.iter().map(|o| ExtendedCommunity(*o))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn route_targets_are_read_as_they_are_written() {
        for text in ["rt:64512:77", "soo:192.0.2.1:5", "rt:65536:9", "0x4300000000000001", "0x0202000000010009"] {
            assert_eq!(text.parse::<ExtendedCommunity>().unwrap().to_string(), text);
        }
        assert_eq!("rt:64512:77".parse::<ExtendedCommunity>().unwrap().0, [0, 2, 0xfc, 0, 0, 0, 0, 77]);
        assert!("rt:65536:70000".parse::<ExtendedCommunity>().is_err());
    }

    #[test]
    fn the_second_bit_keeps_it_inside_of_the_as() {
        assert!(!ExtendedCommunity([0x40, 4, 0, 0, 0, 0, 0, 0]).is_transitive());
        assert!(ExtendedCommunity([0, 2, 0, 0, 0, 0, 0, 0]).is_transitive());
    }
}
