//! One neighbour as it is meant: what the operator configured, defaulted and checked; and how a new meaning differs from an old one.

use std::fmt;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use serde::{Deserialize, Serialize};

pub use crate::num::Secret;
use crate::num::{Asn, Family, FamilySet, HoldTime, Role, RouterId};

/// One neighbour. A listen range makes one of these for each client that it accepts.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Params {
    /// For people, in logs and metrics; unique.
    pub name: String,
    /// For `catbird peer`.
    pub description: Option<String>,
    /// Where it is.
    pub remote: Remote,
    /// It is whoever is at the other end of the link that `remote` names; the address there is :: until it was heard.
    pub by_interface: bool,
    /// TCP; where we dial.
    pub port: u16,
    /// Our end; a connection that comes to another address is refused. `None`: any.
    pub local_addr: Option<IpAddr>,
    /// Bind to this interface (`SO_BINDTODEVICE`); also the zone of a link-local peer if `remote` names none.
    pub interface: Option<String>,
    /// Our AS as this peer sees it.
    pub local_as: Asn,
    /// Which AS its OPEN may carry.
    pub remote_as: RemoteAs,
    /// Our BGP Identifier.
    pub router_id: RouterId,
    /// PassiveTcpEstablishment (RFC 4271 §8.1.1): wait for the other side to connect.
    pub passive: bool,
    /// Started when it is made; false is an administrative shutdown.
    pub enabled: bool,
    /// What keeps it from being enabled although the operator wants it, in words.
    pub hindrance: Option<String>,
    /// What our OPEN offers; the lower of both holds (RFC 4271 §4.2).
    pub hold_time: HoldTime,
    /// Seconds between KEEPALIVEs; `None` is a third of the negotiated hold time.
    pub keepalive: Option<u16>,
    /// ConnectRetryTime: how long one attempt to connect may take, and the pause between attempts.
    pub connect_retry: Duration,
    /// IdleHoldTime after the first failure; doubled by each further one.
    pub idle_hold: Duration,
    /// The longest IdleHoldTime.
    pub idle_hold_max: Duration,
    /// DelayOpenTime: wait so long for the other side's OPEN before ours is sent.
    pub delay_open: Option<Duration>,
    /// The "large" HoldTimer of a connection that has not sent its OPEN (RFC 4271 §8.2.2 suggests four minutes).
    pub open_timeout: Duration,
    /// SendHoldTime (RFC 9687); `None` switches it off. Never shorter than the hold time in use.
    pub send_hold: Option<Duration>,
    /// Offered (RFC 4760 §8).
    pub families: FamilySet,
    /// The capabilities that we put into our OPEN.
    pub offer: Offer,
    /// How far away it may be.
    pub ttl: Ttl,
    /// Of TCP-MD5 (RFC 2385).
    pub md5: Option<Secret>,
    /// TCP_USER_TIMEOUT (RFC 5482); `None`: the kernel's.
    pub user_timeout: Option<Duration>,
    /// The longest TCP segment either side sends, in octets.
    pub mss: Option<u16>,
    /// CollisionDetectEstablishedState (RFC 4271 §8.1.1): a colliding connection may displace an established one.
    pub collide_established: bool,
    /// For metrics and reflection.
    pub kind: PeerKind,
}

impl Params {
    /// A neighbour with the defaults of this house. For a node in a cluster retries are quicker than RFC 4271 §10 suggests: the first
    /// failure costs a second, and a peer that stays away costs one attempt a minute.
    pub fn new(name: &str, remote: IpAddr, local_as: Asn, remote_as: RemoteAs, router_id: RouterId) -> Params {
        let external = !remote_as.is_internal(local_as);
        Params {
            name: name.to_owned(),
            description: None,
            remote: Remote { addr: remote, zone: None },
            by_interface: false,
            port: 179,
            local_addr: None,
            interface: None,
            local_as,
            remote_as,
            router_id,
            passive: false,
            enabled: true,
            hindrance: None,
            hold_time: HoldTime::DEFAULT,
            keepalive: None,
            connect_retry: Duration::from_secs(10),
            idle_hold: Duration::from_secs(1),
            idle_hold_max: Duration::from_secs(60),
            delay_open: None,
            open_timeout: Duration::from_secs(240),
            send_hold: Some(Duration::from_secs(480)),
            families: FamilySet::ALL,
            offer: Offer::default(),
            ttl: Ttl::Default,
            md5: None,
            user_timeout: None,
            mss: None,
            collide_established: false,
            kind: if external { PeerKind::External } else { PeerKind::Mesh },
        }
    }

    /// What the peer is known by, whoever is there: a neighbour found on a link is known by the link.
    pub fn identity(&self) -> Remote {
        if self.by_interface { Remote { addr: Ipv6Addr::UNSPECIFIED.into(), zone: self.remote.zone.clone() } } else { self.remote.clone() }
    }

    /// How the shell is to connect. `Ttl::Default` is made plain here: 1 to an external peer, 64 to an internal one.
    pub fn transport(&self) -> Transport {
        let default = if self.remote_as.is_internal(self.local_as) { Ttl::Multihop(64) } else { Ttl::Multihop(1) };
        Transport {
            remote: SocketAddr::new(self.remote.addr, self.port),
            local: self.local_addr,
            interface: self.interface.clone().or_else(|| self.remote.zone.clone()),
            ttl: if self.ttl == Ttl::Default { default } else { self.ttl },
            md5: self.md5.clone(),
            user_timeout: self.user_timeout,
            mss: self.mss,
        }
    }
}

/// The address of a neighbour; a link-local one needs its zone.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Remote {
    /// Of either family.
    pub addr: IpAddr,
    /// The interface of a link-local address (RFC 4007 §11).
    pub zone: Option<String>,
}

impl Remote {
    /// Nobody was heard yet on the link that is named.
    pub fn is_open(&self) -> bool {
        self.zone.is_some() && self.addr.is_unspecified()
    }
}

impl fmt::Display for Remote {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.zone {
            Some(zone) if self.is_open() => write!(f, "interface {zone}"),
            Some(zone) => write!(f, "{}%{zone}", self.addr),
            None => self.addr.fmt(f),
        }
    }
}

/// Which AS numbers the neighbour may have.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RemoteAs {
    /// This one.
    Exactly(Asn),
    /// Any but ours.
    External,
    /// Ours.
    Internal,
    /// Whichever it says, ours included.
    Any,
}

impl RemoteAs {
    /// RFC 4271 §6.2: is this AS number acceptable?
    pub fn accepts(self, asn: Asn, local: Asn) -> bool {
        match self {
            RemoteAs::Exactly(want) => asn == want,
            RemoteAs::External => asn != local,
            RemoteAs::Internal => asn == local,
            RemoteAs::Any => true,
        }
    }

    /// Known to be internal before any OPEN is seen.
    pub fn is_internal(self, local: Asn) -> bool {
        match self {
            RemoteAs::Exactly(want) => want == local,
            RemoteAs::Internal => true,
            RemoteAs::External | RemoteAs::Any => false,
        }
    }
}

impl fmt::Display for RemoteAs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            RemoteAs::Exactly(asn) => asn.fmt(f),
            RemoteAs::External => f.write_str("external"),
            RemoteAs::Internal => f.write_str("internal"),
            RemoteAs::Any => f.write_str("any"),
        }
    }
}

/// The capabilities that we offer besides the families and the four-octet AS number, which we always do.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Offer {
    /// RFC 2918.
    pub route_refresh: bool,
    /// RFC 7313.
    pub enhanced_refresh: bool,
    /// RFC 8654.
    pub extended_messages: bool,
    /// Families whose routes may have an IPv6 next hop though they are IPv4 (RFC 8950).
    pub extended_next_hop: FamilySet,
    /// Families of which we would send several paths of a prefix (RFC 7911).
    pub add_path_send: FamilySet,
    /// Families of which we take several.
    pub add_path_receive: FamilySet,
    /// Ours, for the peer's operator (draft-walton-bgp-hostname-capability).
    pub hostname: Option<String>,
    /// The session waits for BFD where the peer offers that, too (draft-ietf-idr-bgp-bfd-strict-mode).
    pub bfd_strict: bool,
    /// `None`: not offered.
    pub graceful_restart: Option<GracefulParams>,
    /// Seconds for which stale routes of a family may stay after the restart time (RFC 9494): ours at the peer, and at most its own here. Zero: not
    /// at all. By [`Family::index`]; only with graceful restart.
    pub long_lived: [u32; 2],
    /// What we are to the peer, of another AS (RFC 9234).
    pub role: Option<Role>,
    /// No session with a peer that does not say its role.
    pub role_strict: bool,
}

impl Offer {
    /// How long stale routes of a family may stay (RFC 9494), in seconds.
    pub fn long_lived(&self, family: Family) -> u32 {
        self.long_lived.get(family.index()).copied().unwrap_or(0)
    }
}

impl Default for Offer {
    fn default() -> Offer {
        Offer {
            route_refresh: true,
            enhanced_refresh: true,
            extended_messages: true,
            extended_next_hop: FamilySet::NONE,
            add_path_send: FamilySet::NONE,
            add_path_receive: FamilySet::NONE,
            hostname: None,
            bfd_strict: false,
            graceful_restart: Some(GracefulParams::default()),
            long_lived: [0; 2],
            role: None,
            role_strict: false,
        }
    }
}

/// Graceful restart as we offer it (RFC 4724, RFC 8538).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct GracefulParams {
    /// Restart Time: how long the peer shall keep our routes, in seconds (at most 4095).
    pub restart_time: u16,
    /// How long we keep the peer's stale routes when it is back but sends no End-of-RIB.
    pub stale_time: Duration,
    /// The N bit: a NOTIFICATION does not end the peer's routes, a hard reset does (RFC 8538).
    pub notification: bool,
}

impl Default for GracefulParams {
    fn default() -> GracefulParams {
        GracefulParams { restart_time: 120, stale_time: Duration::from_secs(120), notification: true }
    }
}

/// Distance in hops.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Ttl {
    /// One hop to an external peer, 64 to an internal one.
    Default,
    /// Send with this TTL.
    Multihop(u8),
    /// RFC 5082: send with 255, accept what came over at most so many hops.
    Security(u8),
}

/// What the neighbour is to us, in the metrics' label `kind`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PeerKind {
    /// An internal peer among equals.
    Mesh,
    /// We reflect to it (RFC 4456 §6).
    RrClient,
    /// It reflects to us.
    Rr,
    /// A peer of our own AS that the configuration names by itself, or a listen range.
    Internal,
    /// Of another AS.
    External,
}

impl PeerKind {
    /// As in metrics and JSON.
    pub fn as_str(self) -> &'static str {
        match self {
            PeerKind::Mesh => "mesh",
            PeerKind::RrClient => "rr_client",
            PeerKind::Rr => "rr",
            PeerKind::Internal => "internal",
            PeerKind::External => "external",
        }
    }
}

/// What the shell needs to know to connect.
#[derive(Clone, Debug, PartialEq)]
pub struct Transport {
    /// Address, port, and zone.
    pub remote: SocketAddr,
    /// Bind to it; `None`: the kernel chooses.
    pub local: Option<IpAddr>,
    /// `SO_BINDTODEVICE`.
    pub interface: Option<String>,
    /// Decided: `Multihop` or `Security`.
    pub ttl: Ttl,
    /// Set before the SYN is sent.
    pub md5: Option<Secret>,
    /// `TCP_USER_TIMEOUT`.
    pub user_timeout: Option<Duration>,
    /// TCP_MAXSEG: to be set before the SYN.
    pub mss: Option<u16>,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn params() -> Params {
        let id = RouterId::new([192, 0, 2, 1].into()).unwrap();
        Params::new("b", [192, 0, 2, 2].into(), Asn(64512), RemoteAs::Exactly(Asn(64512)), id)
    }

    #[test]
    fn the_secret_is_in_no_debug_output() {
        let shown = format!("{:?}", Params { md5: Some(Secret::new(b"hunter2")), ..params() });
        assert!(shown.contains("Secret(..)") && !shown.contains("hunter2"), "{shown}");
    }

    #[test]
    fn external_peers_are_one_hop_away_unless_told_otherwise() {
        let mut p = params();
        assert_eq!(p.transport().ttl, Ttl::Multihop(64));
        p.remote_as = RemoteAs::External;
        assert_eq!(p.transport().ttl, Ttl::Multihop(1));
        p.ttl = Ttl::Security(1);
        assert_eq!(p.transport().ttl, Ttl::Security(1));
    }
}
