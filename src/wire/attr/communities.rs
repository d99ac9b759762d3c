//! COMMUNITIES (RFC 1997): marks on a route.
//!
//! ```text
//! +-------------------------------+-------------------------------+
//! |   AS number (2 octets)        |   value (2 octets)            |  ... one after the other
//! +-------------------------------+-------------------------------+
//! ```

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::{AttrCode, OPTIONAL_TRANSITIVE, Row, copy, entries, spaced};
use crate::wire::error::Severity;

/// Malformed, the route is treated as withdrawn (RFC 7606 §7.8): a mark that is lost could leak the route.
pub(crate) const ROW: Row = Row {
    code: AttrCode::COMMUNITIES,
    name: "COMMUNITIES",
    flags: OPTIONAL_TRANSITIVE,
    severity: Severity::Withdraw,
    internal_only: false,
    rule: "RFC 7606 §7.8",
    decode: |value, _, _| entries(value, 4),
    encode: copy,
    show: |value, f| spaced(iter(value), f),
};

/// One community, written `64512:77` or by its well-known name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Community(pub u32);

/// Names of the IANA registry.
const NAMES: [(u32, &str); 9] = [
    (0xffff_0000, "graceful-shutdown"),
    (0xffff_0001, "accept-own"),
    (0xffff_0006, "llgr-stale"),
    (0xffff_0007, "no-llgr"),
    (0xffff_029a, "blackhole"),
    (0xffff_ff01, "no-export"),
    (0xffff_ff02, "no-advertise"),
    (0xffff_ff03, "no-export-subconfed"),
    (0xffff_ff04, "no-peer"),
];

impl Community {
    /// RFC 8326.
    pub const GRACEFUL_SHUTDOWN: Community = Community(0xffff_0000);
    /// Kept long after the session with who said it has ended (RFC 9494).
    pub const LLGR_STALE: Community = Community(0xffff_0006);
    /// Not to be kept so long (RFC 9494).
    pub const NO_LLGR: Community = Community(0xffff_0007);
    /// Not to peers outside of the confederation, or of the AS where there is none (RFC 1997).
    pub const NO_EXPORT: Community = Community(0xffff_ff01);
    /// To no peer at all (RFC 1997).
    pub const NO_ADVERTISE: Community = Community(0xffff_ff02);
    /// Not to external peers, those of the same confederation included (RFC 1997).
    pub const NO_EXPORT_SUBCONFED: Community = Community(0xffff_ff03);

    /// By convention the AS that gives the value its meaning, and the value.
    pub fn new(asn: u16, value: u16) -> Community {
        Community((u32::from(asn) << 16) | u32::from(value))
    }

    /// The name of a well-known one.
    pub fn name(self) -> Option<&'static str> {
        NAMES.iter().find(|(code, _)| *code == self.0).map(|(_, name)| *name)
    }
}

impl fmt::Display for Community {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.name() {
            Some(name) => f.pad(name),
            None => write!(f, "{}:{}", self.0 >> 16, self.0 & 0xffff),
        }
    }
}

impl FromStr for Community {
    type Err = String;

    fn from_str(text: &str) -> Result<Community, String> {
        if let Some((code, _)) = NAMES.iter().find(|(_, name)| *name == text) {
            return Ok(Community(*code));
        }
        let halves = text.split_once(':').and_then(|(asn, value)| Some((asn.parse().ok()?, value.parse().ok()?)));
        halves.map(|(asn, value)| Community::new(asn, value)).ok_or_else(|| {
            let names: Vec<&str> = NAMES.iter().map(|(_, name)| *name).collect();
            format!("{text:?} is not a community: two numbers up to 65535 with a colon between them, or one of {}", names.join(", "))
        })
    }
}

impl Serialize for Community {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Community {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Community, D::Error> {
        String::deserialize(d)?.parse().map_err(serde::de::Error::custom)
    }
}

/// In the order of the octets. What makes no whole entry is left out.
pub(crate) fn iter(value: &[u8]) -> impl Iterator<Item = Community> + Clone + '_ {
    value.as_chunks::<4>().0.iter().map(|o| Community(u32::from_be_bytes(*o)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn communities_are_read_as_they_are_written() {
        for text in ["64512:77", "no-export", "graceful-shutdown", "0:0", "65535:65535"] {
            assert_eq!(text.parse::<Community>().unwrap().to_string(), text);
        }
        assert_eq!("65535:65281".parse(), Ok(Community::NO_EXPORT));
        assert!("65536:1".parse::<Community>().is_err());
        assert!("no-such".parse::<Community>().unwrap_err().contains("no-advertise"));
    }
}
