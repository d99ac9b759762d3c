//! Small nouns that every room uses: numbers with a meaning, each a type of its own.
//!
//! In: raw integers, checked once at the edge. Out: values that are legal because they exist.
//! Nothing here knows of messages, tables, sockets or clocks.

use std::fmt;
use std::net::Ipv4Addr;
use std::ops::{Add, Sub};
use std::sync::Arc;
use std::time::Duration;

use ipnet::IpNet;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// An autonomous system number of four octets (RFC 6793).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "daemon", derive(schemars::JsonSchema))]
#[serde(transparent)]
pub struct Asn(pub u32);

impl Asn {
    /// AS_TRANS, which stands in a two-octet field for a number that does not fit (RFC 6793 §9).
    pub const TRANS: Asn = Asn(23456);

    /// The number as a two-octet speaker may see it: itself, or AS_TRANS (RFC 6793 §4.2.2).
    pub fn as_two_octets(self) -> u16 {
        u16::try_from(self.0).unwrap_or(23456)
    }

    /// Reserved for private use (RFC 6996 §5).
    pub fn is_private(self) -> bool {
        matches!(self.0, 64512..=65534 | 4_200_000_000..=4_294_967_294)
    }
}

impl fmt::Display for Asn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A BGP Identifier: four octets, not zero (RFC 6286 §2.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(into = "Ipv4Addr", try_from = "Ipv4Addr")]
pub struct RouterId(Ipv4Addr);

impl RouterId {
    /// `None` for 0.0.0.0.
    pub fn new(id: Ipv4Addr) -> Option<RouterId> {
        (!id.is_unspecified()).then_some(RouterId(id))
    }

    /// As an address, which is how it is written.
    pub fn addr(self) -> Ipv4Addr {
        self.0
    }
}

impl From<RouterId> for Ipv4Addr {
    fn from(id: RouterId) -> Ipv4Addr {
        id.0
    }
}

impl TryFrom<Ipv4Addr> for RouterId {
    type Error = &'static str;

    fn try_from(id: Ipv4Addr) -> Result<RouterId, &'static str> {
        RouterId::new(id).ok_or("a router id is not 0.0.0.0")
    }
}

impl From<RouterId> for u32 {
    fn from(id: RouterId) -> u32 {
        u32::from(id.0)
    }
}

impl fmt::Display for RouterId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A CLUSTER_ID of a route reflector (RFC 4456 §7).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ClusterId(pub Ipv4Addr);

impl fmt::Display for ClusterId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A Hold Time in whole seconds: zero (no keepalives) or at least three (RFC 4271 §4.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(into = "u16", try_from = "u16")]
pub struct HoldTime(u16);

impl HoldTime {
    /// Hold timer off.
    pub const ZERO: HoldTime = HoldTime(0);
    /// As RFC 4271 §10 suggests.
    pub const DEFAULT: HoldTime = HoldTime(90);

    /// # Errors
    /// The value itself when it is one or two seconds, which RFC 4271 §6.2 has us reject.
    pub fn new(seconds: u16) -> Result<HoldTime, u16> {
        if matches!(seconds, 1 | 2) { Err(seconds) } else { Ok(HoldTime(seconds)) }
    }

    /// In seconds.
    pub fn seconds(self) -> u16 {
        self.0
    }

    /// `None` when the timer is off.
    pub fn duration(self) -> Option<Duration> {
        (self.0 != 0).then(|| Duration::from_secs(u64::from(self.0)))
    }
}

impl From<HoldTime> for u16 {
    fn from(time: HoldTime) -> u16 {
        time.0
    }
}

impl TryFrom<u16> for HoldTime {
    type Error = &'static str;

    fn try_from(seconds: u16) -> Result<HoldTime, &'static str> {
        HoldTime::new(seconds).map_err(|_| "a hold time is zero or at least three seconds")
    }
}

/// A Path Identifier of ADD-PATH (RFC 7911 §3). Zero where ADD-PATH was not negotiated.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(transparent)]
pub struct PathId(pub u32);

/// One configured or accepted neighbour, for as long as this process lives. Never used again after removal.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(transparent)]
pub struct PeerId(pub u32);

impl PeerId {
    /// Ourselves: the source of routes that we originate.
    pub const LOCAL: PeerId = PeerId(0);
}

/// One transport connection, or the attempt at one. Never used again, so a late event is recognised.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(transparent)]
pub struct ConnId(pub u64);

impl ConnId {
    /// The shell numbers accepted connections from here on; the core numbers dialled ones below.
    pub const FIRST_ACCEPTED: u64 = 1 << 63;
}

/// The families that catbird routes (RFC 4760; AFI 1 and 2 with SAFI 1).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "daemon", derive(schemars::JsonSchema))]
pub enum Family {
    /// AFI 1, SAFI 1.
    #[serde(rename = "ipv4-unicast")]
    Ipv4Unicast,
    /// AFI 2, SAFI 1.
    #[serde(rename = "ipv6-unicast")]
    Ipv6Unicast,
}

impl Family {
    /// Both, IPv4 first.
    pub const ALL: [Family; 2] = [Family::Ipv4Unicast, Family::Ipv6Unicast];

    /// Address Family Identifier.
    pub fn afi(self) -> u16 {
        match self {
            Family::Ipv4Unicast => 1,
            Family::Ipv6Unicast => 2,
        }
    }

    /// Subsequent Address Family Identifier.
    pub fn safi(self) -> u8 {
        1
    }

    /// `None` for a family that we do not route.
    pub fn from_codes(afi: u16, safi: u8) -> Option<Family> {
        match (afi, safi) {
            (1, 1) => Some(Family::Ipv4Unicast),
            (2, 1) => Some(Family::Ipv6Unicast),
            _ => None,
        }
    }

    /// Of an address or prefix.
    pub fn of(net: &ipnet::IpNet) -> Family {
        match net {
            ipnet::IpNet::V4(_) => Family::Ipv4Unicast,
            ipnet::IpNet::V6(_) => Family::Ipv6Unicast,
        }
    }

    /// 32 or 128.
    pub fn max_len(self) -> u8 {
        match self {
            Family::Ipv4Unicast => 32,
            Family::Ipv6Unicast => 128,
        }
    }

    /// 0 or 1, to index a pair by.
    pub fn index(self) -> usize {
        self as usize
    }
}

impl fmt::Display for Family {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Family::Ipv4Unicast => "ipv4-unicast",
            Family::Ipv6Unicast => "ipv6-unicast",
        })
    }
}

/// A set of families, as small as a byte.
#[derive(Clone, Copy, Default, PartialEq, Eq, Hash)]
pub struct FamilySet(u8);

impl FamilySet {
    /// No family.
    pub const NONE: FamilySet = FamilySet(0);
    /// Both.
    pub const ALL: FamilySet = FamilySet(3);
    /// IPv4 unicast alone.
    pub const IPV4: FamilySet = FamilySet(1);
    /// IPv6 unicast alone.
    pub const IPV6: FamilySet = FamilySet(2);

    /// Is it one of these?
    pub fn contains(self, family: Family) -> bool {
        self.0 & (1 << family.index()) != 0
    }

    /// Adds one.
    pub fn insert(&mut self, family: Family) {
        self.0 |= 1 << family.index();
    }

    /// Takes one out.
    pub fn remove(&mut self, family: Family) {
        self.0 &= !(1 << family.index());
    }

    /// None at all.
    pub fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// Those that both have.
    pub fn and(self, other: FamilySet) -> FamilySet {
        FamilySet(self.0 & other.0)
    }

    /// Those that either has.
    pub fn or(self, other: FamilySet) -> FamilySet {
        FamilySet(self.0 | other.0)
    }

    /// Those that the other does not have.
    pub fn minus(self, other: FamilySet) -> FamilySet {
        FamilySet(self.0 & !other.0)
    }

    /// IPv4 first.
    pub fn iter(self) -> impl Iterator<Item = Family> {
        Family::ALL.into_iter().filter(move |f| self.contains(*f))
    }
}

impl FromIterator<Family> for FamilySet {
    fn from_iter<I: IntoIterator<Item = Family>>(iter: I) -> FamilySet {
        let mut set = FamilySet::NONE;
        iter.into_iter().for_each(|f| set.insert(f));
        set
    }
}

impl From<Family> for FamilySet {
    fn from(family: Family) -> FamilySet {
        FamilySet(1 << family.index())
    }
}

impl fmt::Debug for FamilySet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.iter()).finish()
    }
}

impl Serialize for FamilySet {
    fn serialize<S: serde::Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.collect_seq(self.iter())
    }
}

impl<'de> Deserialize<'de> for FamilySet {
    fn deserialize<D: serde::Deserializer<'de>>(d: D) -> Result<FamilySet, D::Error> {
        Ok(Vec::<Family>::deserialize(d)?.into_iter().collect())
    }
}

/// A moment on the speaker's own time line: nanoseconds since an origin that the shell or the lab chose.
///
/// The core never reads a clock; it gets the time with each input, so virtual time is as good as real time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Instant(u64);

impl Instant {
    /// Where the line begins; the speaker is made no earlier.
    pub const ZERO: Instant = Instant(0);

    /// Nanoseconds since [`Instant::ZERO`].
    pub fn from_nanos(nanos: u64) -> Instant {
        Instant(nanos)
    }

    /// Nanoseconds since [`Instant::ZERO`].
    pub fn as_nanos(self) -> u64 {
        self.0
    }

    /// Zero if `earlier` is in truth later.
    pub fn since(self, earlier: Instant) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(earlier.0))
    }
}

impl Add<Duration> for Instant {
    type Output = Instant;
    fn add(self, d: Duration) -> Instant {
        Instant(self.0.saturating_add(u64::try_from(d.as_nanos()).unwrap_or(u64::MAX)))
    }
}

impl Sub<Instant> for Instant {
    type Output = Duration;
    fn sub(self, earlier: Instant) -> Duration {
        self.since(earlier)
    }
}

/// What our AS is to the peer's on an external session (RFC 9234 §4.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Role {
    /// We sell it transit.
    Provider,
    /// We are the route server, it is a client.
    Rs,
    /// It is a route server, we are a client.
    RsClient,
    /// It sells us transit.
    Customer,
    /// Both exchange their own and their customers' routes.
    Peer,
}

impl Role {
    /// By their codes.
    pub const ALL: [Role; 5] = [Role::Provider, Role::Rs, Role::RsClient, Role::Customer, Role::Peer];

    /// As in the capability.
    pub fn code(self) -> u8 {
        match self {
            Role::Provider => 0,
            Role::Rs => 1,
            Role::RsClient => 2,
            Role::Customer => 3,
            Role::Peer => 4,
        }
    }

    /// As in the capability.
    pub fn from_code(code: u8) -> Option<Role> {
        Role::ALL.into_iter().find(|role| role.code() == code)
    }

    /// What the peer must be to us (RFC 9234 §4.2).
    pub fn counterpart(self) -> Role {
        match self {
            Role::Provider => Role::Customer,
            Role::Rs => Role::RsClient,
            Role::RsClient => Role::Rs,
            Role::Customer => Role::Provider,
            Role::Peer => Role::Peer,
        }
    }

    /// What comes from this neighbour goes down from here, to customers alone: it is a provider, a peer or a route server.
    pub fn learns_downwards(self) -> bool {
        matches!(self, Role::Customer | Role::Peer | Role::RsClient)
    }

    /// What we tell this neighbour goes down from there: it is a customer, a peer or a client of our route server.
    pub fn tells_downwards(self) -> bool {
        matches!(self, Role::Provider | Role::Peer | Role::Rs)
    }

    /// As in the configuration.
    pub fn as_str(self) -> &'static str {
        match self {
            Role::Provider => "provider",
            Role::Rs => "rs",
            Role::RsClient => "rs-client",
            Role::Customer => "customer",
            Role::Peer => "peer",
        }
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A seeded generator (splitmix64): the same seed gives the same jitter.
#[derive(Clone, Debug)]
pub struct Rng(u64);

impl Rng {
    /// The same seed gives the same sequence.
    pub fn new(seed: u64) -> Rng {
        Rng(seed)
    }

    /// The next number of the sequence.
    pub fn next_u64(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// The time multiplied by a random factor of 0.75 to 1.0 (RFC 4271 §10, RFC 5880 §6.8.7).
    pub fn jitter(&mut self, time: Duration) -> Duration {
        let quarter = u64::try_from(time.as_nanos() / 4).unwrap_or(u64::MAX);
        time.saturating_sub(Duration::from_nanos(self.next_u64().checked_rem(quarter.saturating_add(1)).unwrap_or(0)))
    }
}

/// A key that no log shows. What is written of it tells whether it is another one, and is too short to find it by.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Secret {
    /// Empty in what was read back.
    key: Arc<[u8]>,
    fingerprint: u16,
}

impl Secret {
    /// Of any length; the kernel takes 80 octets at most (RFC 2385, `TCP_MD5SIG_MAXKEYLEN`).
    pub fn new(key: &[u8]) -> Secret {
        // FNV-1a, folded
        let hash = key.iter().fold(0x811C_9DC5_u32, |hash, octet| (hash ^ u32::from(*octet)).wrapping_mul(0x0100_0193));
        Secret { key: key.into(), fingerprint: (hash ^ (hash >> 16)) as u16 }
    }

    /// For the socket option, and for nothing else.
    pub fn expose(&self) -> &[u8] {
        &self.key
    }
}

impl Serialize for Secret {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        self.fingerprint.serialize(s)
    }
}

impl<'de> Deserialize<'de> for Secret {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Secret, D::Error> {
        Ok(Secret { key: Arc::default(), fingerprint: u16::deserialize(d)? })
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(..)")
    }
}

/// One reachable destination with its path identifier (RFC 4271 §4.3, RFC 7911 §3).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub struct Nlri {
    /// Without host bits.
    pub net: IpNet,
    /// Zero where ADD-PATH is not in use (RFC 7911 §3).
    pub path_id: PathId,
}

impl Nlri {
    /// Without a Path Identifier.
    pub fn new(net: IpNet) -> Nlri {
        Nlri { net, path_id: PathId(0) }
    }

    /// Of its prefix.
    pub fn family(&self) -> Family {
        Family::of(&self.net)
    }

    /// Whether a unicast route may lead there: not to what is multicast, loopback or the broadcast address, nor to `0.0.0.0/8`, `::` and
    /// `fe80::/10`, which no router forwards to. The default route may, and so may `240.0.0.0/4`, which some clusters use.
    #[inline]
    pub fn is_unicast(&self) -> bool {
        match self.net {
            IpNet::V4(net) => match net.addr().octets() {
                [0 | 127, ..] => net.prefix_len() < 8,
                [224..=239, ..] => net.prefix_len() < 4,
                [255, 255, 255, 255] => net.prefix_len() < 32,
                _ => true,
            },
            IpNet::V6(net) => match net.addr().octets() {
                [0, .., 0 | 1] => net.prefix_len() < 128 || net.addr().to_bits() > 1,
                [0xfe, 0x80..=0xbf, ..] => net.prefix_len() < 10,
                [0xff, ..] => net.prefix_len() < 8,
                _ => true,
            },
        }
    }
}

impl fmt::Display for Nlri {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.path_id {
            PathId(0) => self.net.fmt(f),
            PathId(id) => write!(f, "{} path {id}", self.net),
        }
    }
}

/// Date and time of day in UTC, to the microsecond, of nanoseconds since 1970.
pub fn utc(nanos: u64) -> String {
    let (seconds, micros) = (nanos / 1_000_000_000, nanos % 1_000_000_000 / 1000);
    let (days, second) = (seconds / 86_400, seconds % 86_400);
    let (mut year, mut left) = (1970u64, days);
    let leap = |y: u64| (y.is_multiple_of(4) && !y.is_multiple_of(100)) || y.is_multiple_of(400);
    while left >= if leap(year) { 366 } else { 365 } {
        left = left.saturating_sub(if leap(year) { 366 } else { 365 });
        year = year.saturating_add(1);
    }
    let lengths = [31, if leap(year) { 29 } else { 28 }, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31];
    let mut month = 1_u64;
    for length in lengths {
        if left < length {
            break;
        }
        left = left.saturating_sub(length);
        month = month.saturating_add(1);
    }
    format!("{year}-{month:02}-{:02} {:02}:{:02}:{:02}.{micros:06}", left.saturating_add(1), second / 3600, second / 60 % 60, second % 60)
}

/// Bits a second, shortly: `10G`, `2500M`.
pub fn show_bits(bits: u64) -> String {
    let mut number = bits;
    let mut units = ["", "k", "M", "G", "T"].into_iter().peekable();
    while number > 0 && number.is_multiple_of(1000) && units.len() > 1 {
        (number, _) = (number / 1000, units.next());
    }
    format!("{number}{}", units.next().unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hold_time_of_one_or_two_seconds_does_not_exist() {
        assert_eq!(HoldTime::new(1), Err(1));
        assert_eq!(HoldTime::new(2), Err(2));
        assert_eq!(HoldTime::new(3).map(HoldTime::seconds), Ok(3));
        assert_eq!(HoldTime::new(0), Ok(HoldTime::ZERO));
    }

    #[test]
    fn as_numbers_that_do_not_fit_become_as_trans() {
        assert_eq!(Asn(65535).as_two_octets(), 65535);
        assert_eq!(Asn(65536).as_two_octets(), 23456);
    }

    #[test]
    fn what_no_unicast_route_leads_to_is_no_unicast_prefix() {
        let unicast = |text: &str| Nlri::new(text.parse().expect("a prefix")).is_unicast();
        let never = [
            "224.0.0.0/4",
            "224.1.0.0/16",
            "239.255.255.255/32",
            "127.0.0.0/8",
            "127.5.0.0/16",
            "0.0.0.0/8",
            "0.0.0.0/32",
            "0.1.2.0/24",
            "255.255.255.255/32",
            "ff00::/8",
            "ff02::1/128",
            "fe80::/10",
            "fe80::/64",
            "febf::1/128",
            "::/128",
            "::1/128",
        ];
        never.iter().for_each(|n| assert!(!unicast(n), "{n}"));
        let routes = [
            "0.0.0.0/0",
            "0.0.0.0/1",
            "0.0.0.0/7",
            "126.0.0.0/7",
            "224.0.0.0/3",
            "1.0.0.0/8",
            "126.0.0.0/8",
            "128.0.0.0/8",
            "223.255.255.0/24",
            "240.0.0.0/4",
            "240.1.0.0/16",
            "255.255.255.0/24",
            "255.255.255.254/32",
            "::/0",
            "::/127",
            "::2/128",
            "1::/128",
            "1::1/128",
            "64:ff9b::/96",
            "fc00::/7",
            "fd00::/8",
            "fe80::/9",
            "fec0::/10",
            "fe00::/7",
            "fe00::/8",
            "2001:db8::1/128",
        ];
        routes.iter().for_each(|n| assert!(unicast(n), "{n}"));
    }

    #[test]
    fn family_sets_are_sets() {
        let mut set = FamilySet::from(Family::Ipv6Unicast);
        assert!(!set.contains(Family::Ipv4Unicast) && set.contains(Family::Ipv6Unicast));
        set.insert(Family::Ipv4Unicast);
        assert_eq!(set, FamilySet::ALL);
        assert_eq!(set.minus(Family::Ipv4Unicast.into()).iter().collect::<Vec<_>>(), [Family::Ipv6Unicast]);
    }

    #[test]
    fn jitter_stays_between_three_quarters_and_one_and_uses_the_room() {
        let mut rng = Rng::new(7);
        let all: Vec<u64> = (0..1000).map(|_| rng.jitter(Duration::from_secs(100)).as_millis() as u64).collect();
        assert!(all.iter().all(|ms| (75_000..=100_000).contains(ms)));
        assert!(all.iter().any(|ms| *ms < 76_000) && all.iter().any(|ms| *ms > 99_000));
    }

    #[test]
    fn dates_know_leap_years() {
        assert_eq!(utc(0), "1970-01-01 00:00:00.000000");
        assert_eq!(utc(951_782_400_000_001_000), "2000-02-29 00:00:00.000001");
        assert_eq!(utc(1_704_067_199_999_999_999), "2023-12-31 23:59:59.999999");
    }
}
