//! The kinds of value that settings have: numbers with a range, addresses, prefixes, durations, words from a list.
//!
//! In: one TOML value. Out: the value as meant, or a finding that says what would have been accepted.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::num::{NonZeroU8, NonZeroU16, NonZeroU32};
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use ipnet::IpNet;
use toml::de::DeValue;

use super::reader::{Value, integer, text, wrong_type};
use super::redact::is_path;
use super::report::{At, Diagnostics, Problem, Span};
use crate::fib::{Conflict, overlay};
use crate::num::{Asn, ClusterId, Family, FamilySet, HoldTime, Role};
use crate::policy::{LocalKind, Step};
use crate::speaker::{Forwarding, NextHopSetting, OnTerm, Shape};
use crate::wire::Origin;

/// Reads a string with a parser, and says what was expected if that fails.
pub(super) fn parsed<T>(
    value: &DeValue<'_>,
    span: &Span,
    diagnostics: &Diagnostics,
    expected: &'static str,
    parse: impl Fn(&str) -> Option<T>,
) -> Option<T> {
    let found = text(value, span, diagnostics, expected)?;
    let result = parse(found);
    if result.is_none() {
        diagnostics.report(span.clone(), Problem::BadValue { found: found.to_owned(), expected: expected.to_owned() });
    }
    result
}

/// Reads an integer of a range, and says the range if it is outside.
fn ranged<T: FromStr>(value: &DeValue<'_>, span: &Span, diagnostics: &Diagnostics, expected: &'static str) -> Option<T> {
    let found = integer(value, span, diagnostics, expected)?;
    // by its decimal digits: all of them are read so, and those that cannot be zero as well
    let result = found.to_string().parse().ok();
    if result.is_none() {
        diagnostics.report(span.clone(), Problem::BadValue { found: found.to_string(), expected: expected.to_owned() });
    }
    result
}

macro_rules! integers {
    ($($ty:ty: $expected:literal;)*) => {$(
        impl Value for $ty {
            fn read(value: &DeValue<'_>, span: &Span, diagnostics: &Diagnostics) -> Option<$ty> {
                ranged(value, span, diagnostics, $expected)
            }
        }
    )*};
}
integers! {
    u8: "an integer from 0 to 255";
    u16: "an integer from 0 to 65535";
    u32: "an integer from 0 to 4294967295";
    NonZeroU8: "an integer from 1 to 255";
    NonZeroU16: "an integer from 1 to 65535";
    NonZeroU32: "an integer from 1 to 4294967295";
}

macro_rules! parsed_strings {
    ($($ty:ty: $expected:literal, $parse:expr;)*) => {$(
        impl Value for $ty {
            fn read(value: &DeValue<'_>, span: &Span, diagnostics: &Diagnostics) -> Option<$ty> {
                parsed(value, span, diagnostics, $expected, $parse)
            }
        }
    )*};
}
parsed_strings! {
    String: "a string that is not empty, without control characters", |s| {
        (!s.trim().is_empty() && !s.chars().any(char::is_control)).then(|| s.to_owned())
    };
    PathBuf: "a path", |s| (!s.is_empty()).then(|| PathBuf::from(s));
    IpAddr: "an IPv4 or IPv6 address", |s| s.parse().ok();
    Ipv4Addr: "an IPv4 address", |s| s.parse().ok();
    Ipv6Addr: "an IPv6 address", |s| s.parse().ok();
    SocketAddr: "an address and a port, such as \"127.0.0.1:9179\" or \"[::]:9179\"", |s| s.parse().ok();
    ClusterId: "a cluster id, written as an IPv4 address", |s| s.parse().ok().map(ClusterId);
}

/// A quantity of memory: `"512MiB"`, `"2GiB"`, or octets as an integer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Octets(pub u64);

impl Value for Octets {
    fn read(value: &DeValue<'_>, span: &Span, diagnostics: &Diagnostics) -> Option<Octets> {
        const EXPECTED: &str = "a quantity of memory, such as \"512MiB\", \"64KiB\", \"2GiB\" or 1048576 (octets)";
        match value {
            DeValue::Integer(_) => ranged::<u64>(value, span, diagnostics, EXPECTED).map(Octets),
            _ => parsed(value, span, diagnostics, EXPECTED, octets_text),
        }
    }
}

fn octets_text(text: &str) -> Option<Octets> {
    let (number, unit) = text.split_at(text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len()));
    let shift = match unit.trim() {
        "" => 0,
        "KiB" => 10,
        "MiB" => 20,
        "GiB" => 30,
        _ => return None,
    };
    number.parse::<u32>().ok().map(|number| Octets(u64::from(number) << shift))
}

/// Where a secret is kept. The secret itself is no path, and is not shown.
#[derive(Clone, Debug)]
pub struct SecretPath(pub PathBuf);

impl Value for SecretPath {
    fn read(value: &DeValue<'_>, span: &Span, diagnostics: &Diagnostics) -> Option<SecretPath> {
        const EXPECTED: &str = "the path of a file, such as \"/etc/catbird/tor.password\" or \"./tor.password\": the secret stands there";
        let found = text(value, span, diagnostics, EXPECTED)?;
        if !is_path(found) {
            diagnostics.report(span.clone(), Problem::BadValue { found: "***".into(), expected: EXPECTED.into() });
            return None;
        }
        Some(SecretPath(found.into()))
    }
}

impl Value for bool {
    fn read(value: &DeValue<'_>, span: &Span, diagnostics: &Diagnostics) -> Option<bool> {
        let found = value.as_bool();
        if found.is_none() {
            wrong_type(value, span, diagnostics, "true or false");
        }
        found
    }
}

impl Value for f64 {
    fn read(value: &DeValue<'_>, span: &Span, diagnostics: &Diagnostics) -> Option<f64> {
        let found = match value {
            DeValue::Float(float) => float.as_str().parse().ok(),
            DeValue::Integer(int) => int.as_str().parse().ok(),
            _ => None,
        };
        if found.is_none() {
            wrong_type(value, span, diagnostics, "a number");
        }
        found
    }
}

impl<T: Value> Value for Vec<At<T>> {
    fn read(value: &DeValue<'_>, span: &Span, diagnostics: &Diagnostics) -> Option<Vec<At<T>>> {
        let Some(array) = value.as_array() else {
            // one value where a list may stand is a list of one
            if !matches!(value, DeValue::Table(_)) {
                return T::read(value, span, diagnostics).map(|v| vec![At::new(v, span.clone())]);
            }
            wrong_type(value, span, diagnostics, "an array");
            return None;
        };
        let read = |item: &toml::Spanned<DeValue<'_>>| {
            let span = item.span();
            T::read(item.get_ref(), &span, diagnostics).map(|v| At::new(v, span))
        };
        Some(array.iter().filter_map(read).collect())
    }
}

impl Value for IpNet {
    /// Bits beyond the length are an error, with the prefix that was perhaps meant.
    fn read(value: &DeValue<'_>, span: &Span, diagnostics: &Diagnostics) -> Option<IpNet> {
        const EXPECTED: &str = "a prefix, such as \"10.244.1.0/26\"";
        let found = text(value, span, diagnostics, EXPECTED)?;
        let expected = match found.parse::<IpNet>() {
            Ok(net) if net.addr() == net.network() => return Some(net),
            Ok(net) => format!("a prefix: its host bits are not zero (perhaps {}?)", net.trunc()),
            Err(_) => no_prefix(found).unwrap_or_else(|| EXPECTED.to_owned()),
        };
        diagnostics.report(span.clone(), Problem::BadValue { found: found.to_owned(), expected });
        None
    }
}

/// What an address without a length, or with an impossible one, lacks to be a prefix.
fn no_prefix(found: &str) -> Option<String> {
    let (addr, len) = found.split_once('/').unwrap_or((found, ""));
    let most = if addr.parse::<IpAddr>().ok()?.is_ipv4() { 32 } else { 128 };
    match len {
        "" => Some(format!("a prefix: its length is missing (perhaps {addr}/{most}?)")),
        len => len.parse::<u32>().is_ok().then(|| format!("a prefix: the length behind {addr} is at most {most}")),
    }
}

impl Value for Asn {
    /// An integer, or "high.low" as RFC 5396 writes large ones.
    fn read(value: &DeValue<'_>, span: &Span, diagnostics: &Diagnostics) -> Option<Asn> {
        const EXPECTED: &str = "an AS number from 1 to 4294967294";
        let number = match value {
            DeValue::String(_) => parsed(value, span, diagnostics, EXPECTED, asn_text)?,
            _ => ranged::<u32>(value, span, diagnostics, EXPECTED)?,
        };
        // RFC 7607: zero; RFC 7300: the last of each width; RFC 6793: AS_TRANS
        if matches!(number, 0 | 23456 | 65535 | u32::MAX) {
            let expected = format!("{EXPECTED}; {number} is reserved");
            diagnostics.report(span.clone(), Problem::BadValue { found: number.to_string(), expected });
            return None;
        }
        Some(Asn(number))
    }
}

fn asn_text(text: &str) -> Option<u32> {
    match text.split_once('.') {
        Some((high, low)) => Some(u32::from(high.parse::<u16>().ok()?) << 16 | u32::from(low.parse::<u16>().ok()?)),
        None => text.trim_start_matches("AS").parse().ok(),
    }
}

/// A span of time of at most a year: `"90s"`, `"500ms"`, `"2m"`, `"1h"`, or whole seconds as an integer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Time(pub Duration);

impl Time {
    const MOST: Duration = Duration::from_secs(365 * 24 * 3600);

    /// From whole seconds.
    pub const fn seconds(seconds: u64) -> Time {
        Time(Duration::from_secs(seconds))
    }

    /// As a field of sixteen bits; `None` for parts of a second, and for what does not fit.
    pub fn whole_seconds(self) -> Option<u16> {
        u16::try_from(self.0.as_secs()).ok().filter(|_| self.0.subsec_nanos() == 0)
    }

    fn checked(self) -> Option<Time> {
        Some(self).filter(|time| time.0 <= Time::MOST)
    }
}

impl Value for Time {
    fn read(value: &DeValue<'_>, span: &Span, diagnostics: &Diagnostics) -> Option<Time> {
        read_time(
            value,
            span,
            diagnostics,
            "a time from 0 to 8760h (a year), such as 90, \"90s\", \"500ms\", \"2m\" or \"1h\"",
            Duration::ZERO,
        )
    }
}

/// A span of time after which something is tried again, or given up: not so short that there is no time at all.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Interval(pub Duration);

impl Value for Interval {
    fn read(value: &DeValue<'_>, span: &Span, diagnostics: &Diagnostics) -> Option<Interval> {
        const EXPECTED: &str = "a time from 100ms to 8760h (a year), such as 90, \"90s\", \"500ms\", \"2m\" or \"1h\"";
        read_time(value, span, diagnostics, EXPECTED, Duration::from_millis(100)).map(|time| Interval(time.0))
    }
}

fn read_time(value: &DeValue<'_>, span: &Span, diagnostics: &Diagnostics, expected: &'static str, least: Duration) -> Option<Time> {
    let (found, time) = match value {
        DeValue::Integer(_) => {
            let seconds = integer(value, span, diagnostics, expected)?;
            (seconds.to_string(), u64::try_from(seconds).ok().map(Time::seconds).and_then(Time::checked))
        }
        _ => {
            let found = text(value, span, diagnostics, expected)?;
            (found.to_owned(), time_text(found))
        }
    };
    let time = time.filter(|time| time.0 >= least);
    if time.is_none() {
        diagnostics.report(span.clone(), Problem::BadValue { found, expected: expected.to_owned() });
    }
    time
}

impl FromStr for Time {
    type Err = String;

    /// As in the file; bare digits are seconds.
    fn from_str(text: &str) -> Result<Time, String> {
        let seconds = text.parse::<u32>().ok().map(|s| Time::seconds(u64::from(s)));
        let time = seconds.and_then(Time::checked).or_else(|| time_text(text));
        time.ok_or_else(|| "a time of at most a year, such as 90, 90s, 500ms, 2m or 1h".to_owned())
    }
}

fn time_text(text: &str) -> Option<Time> {
    let digits = text.find(|c: char| !c.is_ascii_digit())?;
    let (number, unit) = text.split_at(digits);
    let number: u64 = u64::from(number.parse::<u32>().ok()?);
    let millis = match unit.trim() {
        "ms" => number,
        "s" => number.saturating_mul(1000),
        "m" => number.saturating_mul(60_000),
        "h" => number.saturating_mul(3_600_000),
        _ => return None,
    };
    Time(Duration::from_millis(millis)).checked()
}

impl fmt::Display for Time {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let millis = self.0.as_millis();
        match millis {
            0 => f.write_str("0s"),
            ms if ms % 3_600_000 == 0 => write!(f, "{}h", ms / 3_600_000),
            ms if ms % 60_000 == 0 => write!(f, "{}m", ms / 60_000),
            ms if ms % 1000 == 0 => write!(f, "{}s", ms / 1000),
            ms => write!(f, "{ms}ms"),
        }
    }
}

impl Value for HoldTime {
    fn read(value: &DeValue<'_>, span: &Span, diagnostics: &Diagnostics) -> Option<HoldTime> {
        let time = Time::read(value, span, diagnostics)?;
        let hold = time.whole_seconds().and_then(|seconds| HoldTime::new(seconds).ok());
        if hold.is_none() {
            let expected = "a hold time: 0 (off) or 3 to 65535 whole seconds (RFC 4271 §4.2)".to_owned();
            diagnostics.report(span.clone(), Problem::BadValue { found: time.to_string(), expected });
        }
        hold
    }
}

/// Words that stand for values: one table for reading, listing and showing.
pub trait Keyword: Sized + Copy + PartialEq + 'static {
    const KEYWORDS: &'static [(&'static str, Self)];
    /// Words of a former release, and what they are called now.
    const FORMER: &'static [(&'static str, &'static str)] = &[];

    /// As it is written in the file.
    fn keyword(self) -> &'static str {
        Self::KEYWORDS.iter().find(|(_, value)| *value == self).map_or("", |(word, _)| word)
    }
}

/// Reads one of a list of words.
pub fn read_keyword<T: Keyword>(value: &DeValue<'_>, span: &Span, diagnostics: &Diagnostics) -> Option<T> {
    let typed = text(value, span, diagnostics, "a word")?;
    let former = T::FORMER.iter().find(|(former, _)| *former == typed);
    let found = former.map_or(typed, |(old, new)| {
        diagnostics.report(span.clone(), Problem::Renamed { old: format!("\"{old}\""), new: format!("\"{new}\"") });
        new
    });
    let result = T::KEYWORDS.iter().find(|(word, _)| *word == found).map(|(_, value)| *value);
    if result.is_none() {
        let accepted = T::KEYWORDS.iter().map(|(word, _)| (*word).to_owned()).collect();
        diagnostics.report(span.clone(), Problem::UnknownKeyword { found: found.to_owned(), accepted });
    }
    result
}

/// Gives the values of types their words in the file.
macro_rules! keywords {
    ($($ty:ty { $($variant:ident = $word:literal),* $(; formerly $($old:literal = $new:literal),*)? })*) => {$(
        impl $crate::config::values::Keyword for $ty {
            const KEYWORDS: &'static [(&'static str, Self)] = &[$(($word, <$ty>::$variant)),*];
            $(const FORMER: &'static [(&'static str, &'static str)] = &[$(($old, $new)),*];)?
        }
        impl $crate::config::reader::Value for $ty {
            fn read(value: &toml::de::DeValue<'_>, span: &$crate::config::report::Span, to: &$crate::config::report::Diagnostics) -> Option<Self> {
                $crate::config::values::read_keyword(value, span, to)
            }
        }
    )*};
}
pub(crate) use keywords;

/// Declares an enum whose values are words of the configuration.
macro_rules! keyword_enum {
    ($(#[$doc:meta])* $name:ident { $($(#[$vdoc:meta])* $variant:ident = $word:literal),* $(,)? }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, serde::Serialize)]
        pub enum $name { $($(#[$vdoc])* #[serde(rename = $word)] $variant),* }
        $crate::config::values::keywords! { $name { $($variant = $word),* } }
        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str($crate::config::values::Keyword::keyword(*self))
            }
        }
    };
}
pub(crate) use keyword_enum;

keywords! {
    Family { Ipv4Unicast = "ipv4-unicast", Ipv6Unicast = "ipv6-unicast" }
    LocalKind { Block = "block", Pod = "pod", Service = "service", Network = "network"; formerly "borrowed" = "pod" }
    Shape { Unicast = "unicast", Blackhole = "blackhole" }
    Conflict { Yield = "yield", Heal = "heal", Take = "take" }
    overlay::Mode { Never = "never", CrossSubnet = "cross-subnet", Always = "always" }
    overlay::Kind { Vxlan = "vxlan", Ipip = "ipip" }
    OnTerm { Keep = "keep", Withdraw = "withdraw" }
    NextHopSetting { Auto = "auto", SelfAddress = "self", Unchanged = "keep", ThirdParty = "third-party" }
    Forwarding { Auto = "auto", Preserved = "preserved" }
    Role { Provider = "provider", Customer = "customer", Peer = "peer", Rs = "rs", RsClient = "rs-client" }
    Step { Accept = "accept", Reject = "reject", Next = "next" }
    Origin { Igp = "igp", Egp = "egp", Incomplete = "incomplete" }
}

impl Value for FamilySet {
    fn read(value: &DeValue<'_>, span: &Span, diagnostics: &Diagnostics) -> Option<FamilySet> {
        if value.as_array().is_some_and(|array| array.is_empty()) {
            diagnostics.report(span.clone(), Problem::BadValue { found: "[]".into(), expected: "at least one family".into() });
        }
        let families: FamilySet = Vec::<At<Family>>::read(value, span, diagnostics)?.iter().map(|f| f.value).collect();
        Some(families).filter(|families| !families.is_empty())
    }
}

/// A neighbour's address, with the interface if it is link-local: `"fe80::1%eth0"`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ZonedAddr {
    /// The address.
    pub addr: IpAddr,
    /// The interface of a link-local address, behind `%` (RFC 4007 §11).
    pub zone: Option<String>,
}

impl Value for ZonedAddr {
    fn read(value: &DeValue<'_>, span: &Span, diagnostics: &Diagnostics) -> Option<ZonedAddr> {
        parsed(
            value,
            span,
            diagnostics,
            "an IPv4 or IPv6 address (names are not looked up; a link-local one with its interface: \"fe80::1%eth0\")",
            |s| {
                let (addr, zone) = match s.split_once('%') {
                    Some((addr, zone)) if !zone.is_empty() => (addr, Some(zone.to_owned())),
                    Some(_) => return None,
                    None => (s, None),
                };
                addr.parse().ok().map(|addr| ZonedAddr { addr, zone })
            },
        )
    }
}

impl fmt::Display for ZonedAddr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.zone {
            Some(zone) => write!(f, "{}%{zone}", self.addr),
            None => self.addr.fmt(f),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read_and_shown_alike() {
        for (text, millis) in [("90s", 90_000), ("500ms", 500), ("2m", 120_000), ("1h", 3_600_000), ("0s", 0)] {
            let time = time_text(text).expect(text);
            assert_eq!(time.0.as_millis(), millis, "{text}");
            assert_eq!(time.to_string(), text);
        }
        for text in ["", "90", "s", "1d", "-1s", "1.5s", "99999999999s"] {
            assert!(time_text(text).is_none(), "{text}");
        }
    }

    #[test]
    fn memory_has_units() {
        for (text, octets) in [("64KiB", 65_536), ("512MiB", 512 << 20), ("2 GiB", 2 << 30), ("100", 100)] {
            assert_eq!(octets_text(text), Some(Octets(octets)), "{text}");
        }
        for text in ["", "MiB", "1MB", "-1MiB", "1.5GiB", "5000000000KiB"] {
            assert_eq!(octets_text(text), None, "{text}");
        }
    }

    #[test]
    fn as_numbers_may_have_a_dot() {
        assert_eq!(asn_text("1.10"), Some(65546));
        assert_eq!(asn_text("64512"), Some(64512));
        assert_eq!(asn_text("AS64512"), Some(64512));
        assert_eq!(asn_text("1.70000"), None);
    }
}
