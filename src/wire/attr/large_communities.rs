//! LARGE_COMMUNITY (RFC 8092): marks of three numbers.
//!
//! ```text
//! +---------------------------------------------------------------+
//! |  Global Administrator | Local Data 1 | Local Data 2 (4 each)  |  ... one after the other
//! +---------------------------------------------------------------+
//! ```

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::{AttrCode, OPTIONAL_TRANSITIVE, Row, copy, entries, spaced};
use crate::wire::error::Severity;

/// Malformed, the route is treated as withdrawn (RFC 8092 §5).
pub(crate) const ROW: Row = Row {
    code: AttrCode::LARGE_COMMUNITIES,
    name: "LARGE_COMMUNITIES",
    flags: OPTIONAL_TRANSITIVE,
    severity: Severity::Withdraw,
    internal_only: false,
    rule: "RFC 8092 §5",
    decode: |value, _, _| entries(value, 12),
    encode: copy,
    show: |value, f| spaced(iter(value), f),
};

/// One large community, written `64512:1:2`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LargeCommunity {
    /// The AS that gives the two others their meaning.
    pub global: u32,
    /// As that AS defines it.
    pub local1: u32,
    /// As that AS defines it.
    pub local2: u32,
}

impl LargeCommunity {
    /// `global:local1:local2`, as it is written (RFC 8092 §4).
    pub fn new(global: u32, local1: u32, local2: u32) -> LargeCommunity {
        LargeCommunity { global, local1, local2 }
    }

    /// As in the attribute.
    pub(crate) fn octets(self) -> [u8; 12] {
        let mut octets = [0; 12];
        let words = [self.global, self.local1, self.local2];
        octets.as_chunks_mut::<4>().0.iter_mut().zip(words).for_each(|(to, word)| *to = word.to_be_bytes());
        octets
    }
}

impl fmt::Display for LargeCommunity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:{}", self.global, self.local1, self.local2)
    }
}

impl FromStr for LargeCommunity {
    type Err = String;

    fn from_str(text: &str) -> Result<LargeCommunity, String> {
        let numbers: Option<Vec<u32>> = text.split(':').map(|n| n.parse().ok()).collect();
        match numbers.as_deref() {
            Some([global, local1, local2]) => Ok(LargeCommunity::new(*global, *local1, *local2)),
            _ => Err(format!("{text:?} is not a large community: three numbers with colons between them")),
        }
    }
}

impl Serialize for LargeCommunity {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for LargeCommunity {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<LargeCommunity, D::Error> {
        String::deserialize(d)?.parse().map_err(serde::de::Error::custom)
    }
}

/// In the order of the octets. What makes no whole entry is left out.
pub(crate) fn iter(value: &[u8]) -> impl Iterator<Item = LargeCommunity> + Clone + '_ {
    value.as_chunks::<12>().0.iter().map(|[a, b, c, d, e, f, g, h, i, j, k, l]| LargeCommunity {
        global: u32::from_be_bytes([*a, *b, *c, *d]),
        local1: u32::from_be_bytes([*e, *f, *g, *h]),
        local2: u32::from_be_bytes([*i, *j, *k, *l]),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn three_numbers_of_four_octets() {
        let one: LargeCommunity = "4200000000:1:2".parse().unwrap();
        assert_eq!(one.octets(), [0xfa, 0x56, 0xea, 0, 0, 0, 0, 1, 0, 0, 0, 2]);
        assert_eq!(iter(&one.octets()).collect::<Vec<_>>(), [one]);
        assert!("1:2".parse::<LargeCommunity>().is_err());
    }
}
