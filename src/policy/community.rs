//! Communities as rules speak of them: of all three kinds, one of them or all that agree in some fields.
//!
//! In: text such as `64512:100`, `64512:1:*` or `rt:64512:7`. Out: a value to set, or a question to a route. What they mean to others is
//! the operator's affair; the well-known ones are `rib::adj_out`'s (RFC 1997).

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::wire::{Community, Editor, ExtendedCommunity, LargeCommunity, PathAttributes};

/// A community of any kind (RFC 1997, RFC 4360, RFC 8092).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum AnyCommunity {
    /// RFC 1997.
    Standard(Community),
    /// RFC 4360.
    Extended(ExtendedCommunity),
    /// RFC 8092.
    Large(LargeCommunity),
}

impl AnyCommunity {
    /// All of its bits, in the order of the wire.
    fn bits(self) -> u128 {
        match self {
            AnyCommunity::Standard(c) => c.0.into(),
            AnyCommunity::Extended(c) => u64::from_be_bytes(c.0).into(),
            AnyCommunity::Large(c) => u128::from(c.global) << 64 | u128::from(c.local1) << 32 | u128::from(c.local2),
        }
    }

    /// The bits of each number that a `*` may stand for, the last first.
    fn fields(self) -> &'static [u128] {
        match self {
            AnyCommunity::Standard(_) => &[0xFFFF, 0xFFFF_0000],
            AnyCommunity::Large(_) => &[0xFFFF_FFFF, 0xFFFF_FFFF << 32, 0xFFFF_FFFF << 64],
            // RFC 4360 §3.1: two octets of AS and four of number; §3.2 and RFC 5668: four and two
            AnyCommunity::Extended(c) => match c.0.first() {
                Some(0 | 0x40) => &[0xFFFF_FFFF],
                Some(1 | 2) => &[0xFFFF],
                _ => &[],
            },
        }
    }

    /// Puts it at the end, unless it is there.
    pub(super) fn add_to(self, editor: &mut Editor) {
        match self {
            AnyCommunity::Standard(c) => editor.add_community(c),
            AnyCommunity::Extended(c) => editor.add_extended_community(c),
            AnyCommunity::Large(c) => editor.add_large_community(c),
        };
    }
}

impl fmt::Display for AnyCommunity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            AnyCommunity::Standard(c) => c.fmt(f),
            AnyCommunity::Extended(c) => c.fmt(f),
            AnyCommunity::Large(c) => c.fmt(f),
        }
    }
}

impl FromStr for AnyCommunity {
    type Err = String;

    fn from_str(text: &str) -> Result<AnyCommunity, String> {
        let extended = ["rt:", "soo:", "ro:", "0x", "bandwidth:", "bandwidth-transitive:"].iter().any(|start| text.starts_with(start));
        match text.split(':').count() {
            _ if extended => text.parse().map(AnyCommunity::Extended),
            3 => text.parse().map(AnyCommunity::Large),
            _ => text.parse().map(AnyCommunity::Standard),
        }
    }
}

/// One community, or all of a kind that are alike where the mask has bits: `64512:*`, `64512:*:7`, `rt:64512:*`, `0x43*`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct CommunityMatch {
    like: AnyCommunity,
    mask: u128,
}

impl CommunityMatch {
    /// This one and no other.
    pub fn exactly(community: AnyCommunity) -> CommunityMatch {
        CommunityMatch { like: community, mask: u128::MAX }
    }

    fn means(&self, other: AnyCommunity) -> bool {
        (self.like.bits() ^ other.bits()) & self.mask == 0
    }

    /// Does the route carry one?
    pub fn holds(&self, attrs: &PathAttributes) -> bool {
        match self.like {
            AnyCommunity::Standard(_) => attrs.communities().any(|c| self.means(AnyCommunity::Standard(c))),
            AnyCommunity::Extended(_) => attrs.extended_communities().any(|c| self.means(AnyCommunity::Extended(c))),
            AnyCommunity::Large(_) => attrs.large_communities().any(|c| self.means(AnyCommunity::Large(c))),
        }
    }

    /// Takes all of them away.
    pub(super) fn remove_from(&self, editor: &mut Editor) {
        match self.like {
            AnyCommunity::Standard(_) => editor.remove_communities(|c| self.means(AnyCommunity::Standard(c))),
            AnyCommunity::Extended(_) => editor.remove_extended_communities(|c| self.means(AnyCommunity::Extended(c))),
            AnyCommunity::Large(_) => editor.remove_large_communities(|c| self.means(AnyCommunity::Large(c))),
        };
    }

    /// `0x` and the first digits of an extended one.
    fn begins(digits: &str) -> Option<CommunityMatch> {
        let open = 16_u32.checked_sub(u32::try_from(digits.len()).ok()?)?.saturating_mul(4);
        let value = u64::from_str_radix(digits, 16).ok()?.checked_shl(open)?;
        let mask = u128::MAX.checked_shl(open)?;
        Some(CommunityMatch { like: AnyCommunity::Extended(ExtendedCommunity(value.to_be_bytes())), mask })
    }
}

impl fmt::Display for CommunityMatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let whole = self.like.to_string();
        let fields = self.like.fields();
        match self.like {
            _ if self.mask == u128::MAX => f.write_str(&whole),
            AnyCommunity::Extended(_) if fields.first() == Some(&!self.mask) && whole.contains(':') => {
                write!(f, "{}:*", whole.rsplit_once(':').map_or("", |(before, _)| before))
            }
            AnyCommunity::Extended(c) => {
                let open = self.mask.trailing_zeros() / 4;
                let digits = format!("{:016x}", u64::from_be_bytes(c.0));
                write!(f, "0x{}*", digits.get(..16_u32.saturating_sub(open) as usize).unwrap_or(""))
            }
            like => {
                let number = |field: &u128| match (like.bits() & field).checked_shr(field.trailing_zeros()) {
                    Some(number) if self.mask & field != 0 => number.to_string(),
                    _ => "*".to_owned(),
                };
                f.write_str(&fields.iter().rev().map(number).collect::<Vec<_>>().join(":"))
            }
        }
    }
}

impl FromStr for CommunityMatch {
    type Err = String;

    fn from_str(text: &str) -> Result<CommunityMatch, String> {
        if let Some(digits) = text.strip_prefix("0x").and_then(|digits| digits.strip_suffix('*')) {
            return CommunityMatch::begins(digits).ok_or_else(|| format!("{text:?}: 0x, up to fifteen digits, and *"));
        }
        let parts: Vec<&str> = text.split(':').collect();
        let like: AnyCommunity = parts.iter().map(|part| if *part == "*" { "0" } else { part }).collect::<Vec<_>>().join(":").parse()?;
        let open = parts.iter().rev().zip(like.fields()).filter(|(part, _)| **part == "*");
        let mask = open.fold(u128::MAX, |mask, (_, field)| mask & !field);
        if parts.iter().rev().skip(like.fields().len()).any(|part| *part == "*") {
            return Err(format!("{text:?}: of an extended community the last number may be *"));
        }
        Ok(CommunityMatch { like, mask })
    }
}

macro_rules! serde_as_text {
    ($($ty:ty)*) => {$(
        impl Serialize for $ty {
            fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
                s.collect_str(self)
            }
        }
        impl<'de> Deserialize<'de> for $ty {
            fn deserialize<D: Deserializer<'de>>(d: D) -> Result<$ty, D::Error> {
                String::deserialize(d)?.parse().map_err(serde::de::Error::custom)
            }
        }
    )*};
}
serde_as_text!(AnyCommunity CommunityMatch);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn communities_of_all_kinds_are_read_as_they_are_written() {
        for text in ["64512:100", "no-export", "64512:1:4294967295", "rt:64512:77", "soo:192.0.2.1:5", "rt:65536:9", "0x4300000000000001"] {
            assert_eq!(text.parse::<AnyCommunity>().map(|c| c.to_string()).as_deref(), Ok(text));
            assert_eq!(text.parse::<CommunityMatch>().map(|c| c.to_string()).as_deref(), Ok(text));
        }
        assert_eq!("ro:64512:1".parse::<AnyCommunity>(), "soo:64512:1".parse());
        for wrong in ["64512", "65536:1", "1:2:3:4", "no_export", "1:-1", "*", "64512:1*", "rt:*:1", "rt:1", "0x43", "0x43000000000000011*"]
        {
            assert!(wrong.parse::<CommunityMatch>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_star_stands_for_any_number() {
        let cases: [(&str, &[&str], &[&str]); 9] = [
            ("64512:*", &["64512:0", "64512:65535"], &["64513:0", "64512:1:2"]),
            ("*:100", &["1:100"], &["1:101"]),
            ("64512:*:7", &["64512:1:7"], &["64512:1:8", "64513:1:7"]),
            ("64512:*:*", &["64512:1:7"], &["64513:1:7"]),
            ("rt:64512:*", &["rt:64512:1", "rt:64512:4294967295"], &["rt:64513:1", "soo:64512:1"]),
            ("rt:192.0.2.1:*", &["rt:192.0.2.1:9"], &["rt:192.0.2.2:9"]),
            ("bandwidth:64512:*", &["bandwidth:64512:10G"], &["bandwidth-transitive:64512:10G", "bandwidth:1:10G"]),
            ("0x43*", &["0x4300000000000001"], &["rt:64512:1"]),
            ("0x0002*", &["rt:64512:1"], &["rt:192.0.2.1:9"]),
        ];
        for (pattern, like, unlike) in cases {
            let parsed: CommunityMatch = pattern.parse().expect(pattern);
            assert_eq!(parsed.to_string(), pattern);
            for (text, wanted) in like.iter().map(|t| (t, true)).chain(unlike.iter().map(|t| (t, false))) {
                let community: AnyCommunity = text.parse().expect("a community");
                let kind = std::mem::discriminant(&community) == std::mem::discriminant(&parsed.like);
                assert_eq!(kind && parsed.means(community), wanted, "{pattern} {text}");
            }
        }
    }
}
