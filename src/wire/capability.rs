//! Capabilities (RFC 5492), each known one a variant, all others kept as they came.
//!
//! In: the value of a Capabilities parameter. Out: a list of `Capability`, and the octets again.
//! What two lists have in common is negotiated in `peer`.
//!
//! ```text
//! +------------------------------+
//! | Capability Code (1 octet)    |
//! | Capability Length (1 octet)  |
//! | Capability Value (variable)  |
//! +------------------------------+
//! ```
//!
//! A known code whose value does not have its shape stays `Other`: it is as if the peer had not offered it (for RFC 7911 §4 that is the rule).

use std::fmt;

use bytes::{BufMut, Bytes, BytesMut};
use nom::Parser;
use nom::combinator::{all_consuming, success};
use nom::multi::{length_data, many0};

use super::read::{Read, be_u8, be_u16, be_u32, whole};
use crate::num::{Asn, Family};

/// What a sender of ADD-PATH offers (RFC 7911 §4).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum AddPathMode {
    /// It can take several paths of a prefix.
    Receive,
    /// It wants to send several.
    Send,
    /// Both.
    Both,
}

impl AddPathMode {
    /// Able to receive several paths.
    pub fn receives(self) -> bool {
        self != AddPathMode::Send
    }

    /// Wishes to send several paths.
    pub fn sends(self) -> bool {
        self != AddPathMode::Receive
    }

    fn from_code(code: u8) -> Option<AddPathMode> {
        match code {
            1 => Some(AddPathMode::Receive),
            2 => Some(AddPathMode::Send),
            3 => Some(AddPathMode::Both),
            _ => None,
        }
    }

    fn code(self) -> u8 {
        match self {
            AddPathMode::Receive => 1,
            AddPathMode::Send => 2,
            AddPathMode::Both => 3,
        }
    }
}

/// RFC 4724 §3, with the N bit of RFC 8538 §2.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct GracefulRestart {
    /// R: the sender has restarted.
    pub restarting: bool,
    /// N: NOTIFICATIONs do not end the graceful restart either.
    pub notification: bool,
    /// Seconds, twelve bits.
    pub time: u16,
    /// AFI, SAFI, and F: forwarding state was kept.
    pub families: Vec<(u16, u8, bool)>,
}

/// RFC 9494 §4.2: AFI, SAFI, F bit, and stale time in seconds (24 bits).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct LongLivedFamily {
    /// Address family, as a number: it may be one that we do not route.
    pub afi: u16,
    /// Subsequent address family.
    pub safi: u8,
    /// Forwarding state was kept over the restart.
    pub forwarding: bool,
    /// Seconds, 24 bits.
    pub stale_time: u32,
}

/// One capability of an OPEN.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Capability {
    /// 1, RFC 4760 §8.
    Multiprotocol { afi: u16, safi: u8 },
    /// 2, RFC 2918.
    RouteRefresh,
    /// 5, RFC 8950 §4: AFI, SAFI, AFI of the next hop.
    ExtendedNextHop(Vec<(u16, u16, u16)>),
    /// 6, RFC 8654.
    ExtendedMessage,
    /// 9, RFC 9234 §4.1.
    Role(u8),
    /// 64, RFC 4724.
    GracefulRestart(GracefulRestart),
    /// 65, RFC 6793.
    FourOctetAs(Asn),
    /// 69, RFC 7911.
    AddPath(Vec<(u16, u8, AddPathMode)>),
    /// 70, RFC 7313.
    EnhancedRouteRefresh,
    /// 71, RFC 9494.
    LongLivedGracefulRestart(Vec<LongLivedFamily>),
    /// 73, draft-walton-bgp-hostname-capability.
    Hostname { host: String, domain: String },
    /// 74, draft-ietf-idr-bgp-bfd-strict-mode: the session waits for BFD.
    BfdStrict,
    /// 75, draft-abraitis-bgp-version-capability.
    SoftwareVersion(String),
    /// Any other, or one whose value is not as it should be.
    Other { code: u8, value: Bytes },
}

impl Capability {
    /// Offers a family that we route (RFC 4760 §8).
    pub fn multiprotocol(family: Family) -> Capability {
        Capability::Multiprotocol { afi: family.afi(), safi: family.safi() }
    }

    /// The IANA code.
    pub fn code(&self) -> u8 {
        match self {
            Capability::Multiprotocol { .. } => 1,
            Capability::RouteRefresh => 2,
            Capability::ExtendedNextHop(_) => 5,
            Capability::ExtendedMessage => 6,
            Capability::Role(_) => 9,
            Capability::GracefulRestart(_) => 64,
            Capability::FourOctetAs(_) => 65,
            Capability::AddPath(_) => 69,
            Capability::EnhancedRouteRefresh => 70,
            Capability::LongLivedGracefulRestart(_) => 71,
            Capability::Hostname { .. } => 73,
            Capability::BfdStrict => 74,
            Capability::SoftwareVersion(_) => 75,
            Capability::Other { code, .. } => *code,
        }
    }

    /// One Capabilities parameter, whole: code, length and value of each.
    pub(crate) fn read_all(octets: &[u8]) -> Read<'_, Vec<(u8, &[u8])>> {
        all_consuming(many0((be_u8, length_data(be_u8)))).parse_complete(octets)
    }

    /// A code that is unknown, or a value of another shape, is kept as it came; `message` holds the value.
    pub(crate) fn decode(code: u8, value: &[u8], message: &Bytes) -> Capability {
        Capability::known(code, value).unwrap_or_else(|| Capability::Other { code, value: message.slice_ref(value) })
    }

    /// `None` when the code is unknown or the value has another shape.
    fn known(code: u8, value: &[u8]) -> Option<Capability> {
        Some(match code {
            1 => whole(value, (be_u16, be_u8, be_u8).map(|(afi, _reserved, safi)| Capability::Multiprotocol { afi, safi }))?,
            2 => whole(value, success(Capability::RouteRefresh))?,
            5 => Capability::ExtendedNextHop(whole(value, many0((be_u16, be_u16, be_u16)))?),
            6 => whole(value, success(Capability::ExtendedMessage))?,
            9 => Capability::Role(whole(value, be_u8)?),
            64 => Capability::GracefulRestart(whole(value, graceful)?),
            65 => Capability::FourOctetAs(Asn(whole(value, be_u32)?)),
            69 => Capability::AddPath(whole(value, many0((be_u16, be_u8, be_u8.map_opt(AddPathMode::from_code))))?),
            70 => whole(value, success(Capability::EnhancedRouteRefresh))?,
            71 => Capability::LongLivedGracefulRestart(whole(value, many0(long_lived))?),
            73 => whole(value, (text, text).map(|(host, domain)| Capability::Hostname { host, domain }))?,
            74 => whole(value, success(Capability::BfdStrict))?,
            75 => Capability::SoftwareVersion(whole(value, text)?),
            _ => return None,
        })
    }

    /// Code, length and value. A value that does not fit into 255 octets is cut at an entry or a character.
    pub(crate) fn encode(&self, out: &mut BytesMut) {
        let mut value = BytesMut::new();
        self.encode_value(&mut value);
        out.put_u8(self.code());
        out.put_u8(u8::try_from(value.len()).unwrap_or(u8::MAX));
        out.put_slice(value.get(..255).unwrap_or(&value));
    }

    fn encode_value(&self, out: &mut BytesMut) {
        match self {
            Capability::Multiprotocol { afi, safi } => {
                out.put_u16(*afi);
                out.put_u8(0);
                out.put_u8(*safi);
            }
            Capability::RouteRefresh | Capability::ExtendedMessage | Capability::EnhancedRouteRefresh | Capability::BfdStrict => {}
            Capability::ExtendedNextHop(entries) => entries.iter().take(42).for_each(|(afi, safi, next_hop)| {
                out.put_u16(*afi);
                out.put_u16(*safi);
                out.put_u16(*next_hop);
            }),
            Capability::Role(role) => out.put_u8(*role),
            Capability::GracefulRestart(graceful) => encode_graceful(graceful, out),
            Capability::FourOctetAs(asn) => out.put_u32(asn.0),
            Capability::AddPath(entries) => entries.iter().take(63).for_each(|(afi, safi, mode)| {
                out.put_u16(*afi);
                out.put_u8(*safi);
                out.put_u8(mode.code());
            }),
            Capability::LongLivedGracefulRestart(families) => families.iter().take(36).for_each(|family| {
                out.put_u16(family.afi);
                out.put_u8(family.safi);
                out.put_u8(if family.forwarding { 0x80 } else { 0 });
                out.put_uint(u64::from(family.stale_time & 0x00ff_ffff), 3);
            }),
            Capability::Hostname { host, domain } => {
                put_text(host, 126, out);
                put_text(domain, 126, out);
            }
            Capability::SoftwareVersion(version) => put_text(version, 254, out),
            Capability::Other { value, .. } => out.put_slice(value),
        }
    }
}

/// Flags and time in two octets, then the families.
fn graceful(octets: &[u8]) -> Read<'_, GracefulRestart> {
    let family = (be_u16, be_u8, be_u8.map(|flags| flags & 0x80 != 0));
    let (rest, (head, families)) = (be_u16, many0(family)).parse_complete(octets)?;
    Ok((rest, GracefulRestart { restarting: head & 0x8000 != 0, notification: head & 0x4000 != 0, time: head & 0x0fff, families }))
}

fn encode_graceful(graceful: &GracefulRestart, out: &mut BytesMut) {
    let flags = (u16::from(graceful.restarting) << 15) | (u16::from(graceful.notification) << 14);
    out.put_u16(flags | graceful.time.min(0x0fff));
    for (afi, safi, forwarding) in graceful.families.iter().take(63) {
        out.put_u16(*afi);
        out.put_u8(*safi);
        out.put_u8(if *forwarding { 0x80 } else { 0 });
    }
}

/// AFI, SAFI, flags, and a stale time of three octets.
fn long_lived(octets: &[u8]) -> Read<'_, LongLivedFamily> {
    let (rest, (afi, safi, flags, high, low)) = (be_u16, be_u8, be_u8, be_u8, be_u16).parse_complete(octets)?;
    Ok((rest, LongLivedFamily { afi, safi, forwarding: flags & 0x80 != 0, stale_time: (u32::from(high) << 16) | u32::from(low) }))
}

/// A length octet and so much UTF-8.
fn text(octets: &[u8]) -> Read<'_, String> {
    length_data(be_u8).map_opt(|text: &[u8]| String::from_utf8(text.to_vec()).ok()).parse_complete(octets)
}

fn put_text(text: &str, most: usize, out: &mut BytesMut) {
    let end = (0..=text.len().min(most)).rev().find(|end| text.is_char_boundary(*end)).unwrap_or(0);
    let cut = text.get(..end).unwrap_or_default();
    out.put_u8(u8::try_from(cut.len()).unwrap_or(u8::MAX));
    out.put_slice(cut.as_bytes());
}

impl fmt::Display for Capability {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Capability::Multiprotocol { afi, safi } => write!(f, "multiprotocol {}", FamilyName(*afi, u16::from(*safi))),
            Capability::RouteRefresh => f.write_str("route-refresh"),
            Capability::ExtendedNextHop(entries) => {
                f.write_str("extended-next-hop")?;
                entries.iter().try_for_each(|(afi, safi, next_hop)| write!(f, " {} via afi {next_hop}", FamilyName(*afi, *safi)))
            }
            Capability::ExtendedMessage => f.write_str("extended-message"),
            Capability::Role(role) => match role_name(*role) {
                Some(name) => write!(f, "role {name}"),
                None => write!(f, "role {role}"),
            },
            Capability::GracefulRestart(graceful) => graceful.fmt(f),
            Capability::FourOctetAs(asn) => write!(f, "four-octet-as {asn}"),
            Capability::AddPath(entries) => {
                f.write_str("add-path")?;
                entries.iter().try_for_each(|(afi, safi, mode)| write!(f, " {} {mode}", FamilyName(*afi, u16::from(*safi))))
            }
            Capability::EnhancedRouteRefresh => f.write_str("enhanced-route-refresh"),
            Capability::LongLivedGracefulRestart(families) => {
                f.write_str("long-lived-graceful-restart")?;
                families.iter().try_for_each(|l| write!(f, " {} {} s", FamilyName(l.afi, u16::from(l.safi)), l.stale_time))
            }
            Capability::Hostname { host, domain } => write!(f, "hostname {host:?} domain {domain:?}"),
            Capability::BfdStrict => f.write_str("bfd-strict"),
            Capability::SoftwareVersion(version) => write!(f, "software-version {version:?}"),
            Capability::Other { code, value } => {
                write!(f, "capability {code}")?;
                if !value.is_empty() {
                    f.write_str(" ")?;
                }
                value.iter().try_for_each(|o| write!(f, "{o:02x}"))
            }
        }
    }
}

impl fmt::Display for AddPathMode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            AddPathMode::Receive => "receive",
            AddPathMode::Send => "send",
            AddPathMode::Both => "both",
        })
    }
}

impl fmt::Display for GracefulRestart {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "graceful-restart {} s", self.time)?;
        if self.restarting {
            f.write_str(" restarting")?;
        }
        if self.notification {
            f.write_str(" notification")?;
        }
        self.families.iter().try_for_each(|(afi, safi, forwarding)| {
            write!(f, " {}{}", FamilyName(*afi, u16::from(*safi)), if *forwarding { " (forwarding)" } else { "" })
        })
    }
}

/// RFC 9234 §4.1.
pub(crate) fn role_name(role: u8) -> Option<&'static str> {
    ["provider", "route-server", "route-server-client", "customer", "peer"].get(usize::from(role)).copied()
}

/// A family in words, or its two numbers.
pub(crate) struct FamilyName(pub(crate) u16, pub(crate) u16);

impl FamilyName {
    /// What people call a family that this house does not route (IANA's registries of AFI and SAFI).
    pub(crate) fn foreign(&self) -> Option<&'static str> {
        Some(match (self.0, self.1) {
            (1 | 2, 2) => "multicast",
            (1 | 2, 4) => "labeled unicast",
            (1 | 2, 5) => "multicast VPN",
            (1 | 2, 73) => "SR policy",
            (1 | 2, 128) => "MPLS VPN",
            (1 | 2, 129) => "multicast MPLS VPN",
            (1, 132) => "route target",
            (1 | 2, 133) => "flow specification",
            (1 | 2, 134) => "VPN flow specification",
            (25, 65) => "VPLS",
            (25, 70) => "EVPN",
            (16388, 71 | 72) => "link state",
            _ => return None,
        })
    }
}

impl fmt::Display for FamilyName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match u8::try_from(self.1).ok().and_then(|safi| Family::from_codes(self.0, safi)) {
            Some(family) => family.fmt(f),
            None => {
                write!(f, "afi {} safi {}", self.0, self.1)?;
                self.foreign().map_or(Ok(()), |name| write!(f, " ({name})"))
            }
        }
    }
}
