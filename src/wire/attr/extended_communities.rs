//! EXTENDED COMMUNITIES (RFC 4360): marks of eight octets with a type. Opaque to us but for the bandwidth of a link, by which several paths
//! share the load (draft-ietf-idr-link-bandwidth: an AS number, and octets a second as an IEEE 754 float).
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
use crate::num::show_bits;
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

    /// What a link bandwidth community says, in bits a second, to six digits: a float has no more in common with the number that was meant.
    /// `None` for other types, and for no bandwidth at all (zero, negative, infinite, not a number).
    pub fn link_bandwidth(self) -> Option<u64> {
        let (kind, sub, _, value) = self.parts()?;
        let bits = f64::from(f32::from_bits(value)) * 8.0;
        let is_one = kind & 0xbf == 0 && sub == LINK_BANDWIDTH && bits.is_finite() && (1.0..MOST_BITS).contains(&bits);
        is_one.then(|| six_digits(bits as u64))
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

/// Of AS-specific communities of both kinds, transitive (0x00) and not (0x40).
const LINK_BANDWIDTH: u8 = 4;

/// Nothing is that fast.
const MOST_BITS: f64 = 1e18;

/// The one that may leave the AS.
const TRANSITIVE_BANDWIDTH: &str = "bandwidth-transitive";

fn six_digits(n: u64) -> u64 {
    let unit = 10u64.pow(n.checked_ilog10().unwrap_or(0).saturating_sub(5));
    n.saturating_add(unit / 2).checked_div(unit).unwrap_or(0).saturating_mul(unit)
}

/// `10G`, `2500M`; `None` if that would be read as other octets.
fn bandwidth(octets: u32) -> Option<String> {
    let bits = f64::from(f32::from_bits(octets)) * 8.0;
    let text = show_bits((0.0..MOST_BITS).contains(&bits).then(|| six_digits(bits as u64))?);
    (parse_bandwidth(&text) == Some(octets)).then_some(text)
}

/// Bits a second, with a unit or none, as octets a second in a float's octets.
fn parse_bandwidth(text: &str) -> Option<u32> {
    let (number, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
    let (number, power) = match unit {
        "k" => (number, 1),
        "M" => (number, 2),
        "G" => (number, 3),
        "T" => (number, 4),
        _ => (text, 0),
    };
    let digits = number.bytes().all(|b| b.is_ascii_digit() || b == b'.');
    let bits = number.parse::<f64>().ok().filter(|_| digits)? * 1000f64.powi(power);
    (bits < MOST_BITS).then(|| ((bits / 8.0) as f32).to_bits())
}

enum Administrator {
    /// An AS number, of two or four octets by the layout.
    As(u32),
    /// An IPv4 address.
    Addr(Ipv4Addr),
}

impl fmt::Display for ExtendedCommunity {
    /// `rt:64512:77`, `soo:192.0.2.1:1`, `bandwidth:64512:10G`; others as `0x` and sixteen digits.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some((kind @ (0 | 0x40), LINK_BANDWIDTH, Administrator::As(asn), value)) = self.parts()
            && let Some(bandwidth) = bandwidth(value)
        {
            let name = if kind == 0 { TRANSITIVE_BANDWIDTH } else { "bandwidth" };
            return write!(f, "{name}:{asn}:{bandwidth}");
        }
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
        parse(text).ok_or_else(|| {
            format!("{text:?} is not an extended community: rt:AS:NUMBER, soo:ADDRESS:NUMBER, bandwidth:AS:10G, or 0x and sixteen digits")
        })
    }
}

fn parse(text: &str) -> Option<ExtendedCommunity> {
    if let Some(digits) = text.strip_prefix("0x").filter(|d| d.len() == 16) {
        return u64::from_str_radix(digits, 16).ok().map(|n| ExtendedCommunity(n.to_be_bytes()));
    }
    let mut parts = text.splitn(3, ':');
    let sub = match parts.next()? {
        name @ ("bandwidth" | TRANSITIVE_BANDWIDTH) => {
            let kind = if name == "bandwidth" { 0x40u64 } else { 0 };
            let (asn, value) = (parts.next()?.parse::<u16>().ok()?, parse_bandwidth(parts.next()?)?);
            let octets = (kind << 56) | (u64::from(LINK_BANDWIDTH) << 48) | (u64::from(asn) << 32) | u64::from(value);
            return Some(ExtendedCommunity(octets.to_be_bytes()));
        }
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
    fn a_link_bandwidth_is_a_number_of_bits_a_second() {
        for (text, octets, bits) in [
            ("bandwidth:64512:10G", [0x40, 4, 0xfc, 0, 0x4e, 0x95, 0x02, 0xf9], Some(10_000_000_000)),
            ("bandwidth:64512:30G", [0x40, 4, 0xfc, 0, 0x4f, 0x5f, 0x84, 0x76], Some(30_000_000_000)),
            ("bandwidth-transitive:1:2500M", [0, 4, 0, 1, 0x4d, 0x95, 0x02, 0xf9], Some(2_500_000_000)),
            ("bandwidth:0:8", [0x40, 4, 0, 0, 0x3f, 0x80, 0, 0], Some(8)),
            ("bandwidth:0:0", [0x40, 4, 0, 0, 0, 0, 0, 0], None),
            // Minus one, infinity, not a number, and a number that needs more digits than are shown.
            ("0x40040000bf800000", [0x40, 4, 0, 0, 0xbf, 0x80, 0, 0], None),
            ("0x400400007f800000", [0x40, 4, 0, 0, 0x7f, 0x80, 0, 0], None),
            ("0x400400007fc00000", [0x40, 4, 0, 0, 0x7f, 0xc0, 0, 0], None),
            ("0x400400004e9502fa", [0x40, 4, 0, 0, 0x4e, 0x95, 0x02, 0xfa], Some(10_000_000_000)),
            ("0x0104000000000000", [1, 4, 0, 0, 0, 0, 0, 0], None),
        ] {
            let community = ExtendedCommunity(octets);
            assert_eq!((community.to_string().as_str(), community.link_bandwidth()), (text, bits));
            assert_eq!(text.parse(), Ok(community));
        }
        assert_eq!("bandwidth:1:2.5G".parse::<ExtendedCommunity>(), "bandwidth:1:2500M".parse());
        for wrong in
            ["bandwidth:1:", "bandwidth:1:G", "bandwidth:65536:1G", "bandwidth:1:-1G", "bandwidth:1:nan", "bandwidth:1:1e3", "bandwidth:1"]
        {
            assert!(wrong.parse::<ExtendedCommunity>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn the_second_bit_keeps_it_inside_of_the_as() {
        assert!(!ExtendedCommunity([0x40, 4, 0, 0, 0, 0, 0, 0]).is_transitive());
        assert!(ExtendedCommunity([0, 2, 0, 0, 0, 0, 0, 0]).is_transitive());
    }
}
