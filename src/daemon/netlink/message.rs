//! rtnetlink's octets, as far as routes need them: what we write, and what the kernel reports.
//!
//! In: octets of a datagram; our `FibChange`s. Out: `RtnlEvent`s, one for each message; octets for the kernel.
//!
//! Routes are read and written here and not by a crate, because a million pass in one dump: one pass, no allocation a message beyond the
//! hops; nexthop objects, because `netlink-packet-route` does not know them. Addresses and the headers of links are the crate's. The
//! tests below hold what is written against it. Numbers are in the machine's own order, as the kernel wants them; every read is bounded,
//! a message that does not fit its own lengths is `None`.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::IpNet;
use libc::{RT_SCOPE_LINK, RT_SCOPE_NOWHERE, RTA_DST, RTA_GATEWAY, RTA_MULTIPATH, RTA_OIF, RTA_PREFSRC, RTA_PRIORITY, RTA_TABLE};
pub use libc::{
    RTM_DELADDR, RTM_DELLINK, RTM_DELROUTE, RTM_GETADDR, RTM_GETLINK, RTM_GETNEIGH, RTM_GETROUTE, RTM_NEWADDR, RTM_NEWLINK, RTM_NEWNEIGH,
    RTM_NEWROUTE,
};
use libc::{RTM_F_CLONED, RTN_BLACKHOLE, RTN_PROHIBIT, RTN_UNICAST, RTN_UNREACHABLE};
use netlink_packet_core::Parseable;
pub use netlink_packet_core::{
    NLM_F_ACK, NLM_F_APPEND, NLM_F_CREATE, NLM_F_DUMP, NLM_F_DUMP_INTR, NLM_F_EXCL, NLM_F_MULTIPART, NLM_F_REPLACE, NLM_F_REQUEST,
    NLMSG_DONE, NLMSG_ERROR,
};
use netlink_packet_route::address::AddressMessage;
use netlink_packet_route::link::{LinkFlags, LinkHeader};

use super::device::read_address;
use crate::fib::{FibChange, FibKind, FibRoute, Owner};
use crate::kernel::{Hop, Hops, IfIndex, KernelRoute, RouteKind, Weight, in_order};

// Of nexthop objects, which neither crate knows.
/// linux/rtnetlink.h; `libc` lacks it.
pub const RTM_NEWNEXTHOP: u16 = 104;
/// linux/rtnetlink.h; `libc` lacks it.
pub const RTM_DELNEXTHOP: u16 = 105;
/// linux/rtnetlink.h; `libc` lacks it.
pub const RTM_GETNEXTHOP: u16 = 106;

/// As a family stands in a message.
pub const AF_INET: u8 = libc::AF_INET as u8;
/// As a family stands in a message.
pub const AF_INET6: u8 = libc::AF_INET6 as u8;

const RTA_MARK: u16 = 16;
const RTA_VIA: u16 = 18;
const RTA_NH_ID: u16 = 30;
const RTNH_F_ONLINK: u8 = 4;
/// One message, with what every one begins with.
#[derive(Clone, Copy, Debug)]
pub struct Message<'a> {
    /// `nlmsg_type`.
    pub kind: u16,
    /// `nlmsg_flags`.
    pub flags: u16,
    /// Of the request that it answers; zero for what happens by itself.
    pub seq: u32,
    /// Behind the header.
    pub body: &'a [u8],
}

/// The messages of a datagram. Ends at the first that does not fit.
pub fn messages(mut octets: &[u8]) -> impl Iterator<Item = Message<'_>> {
    std::iter::from_fn(move || {
        let len = usize::try_from(u32_at(octets, 0)?).ok()?;
        let message = Message { kind: u16_at(octets, 4)?, flags: u16_at(octets, 6)?, seq: u32_at(octets, 8)?, body: octets.get(16..len)? };
        octets = octets.get(len.next_multiple_of(4)..).unwrap_or(&[]);
        Some(message)
    })
}

/// What a message reports.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RtnlEvent {
    /// An interface is there, or has changed.
    Link {
        /// Its number.
        ifindex: IfIndex,
        /// Its name.
        name: String,
        /// Administratively up.
        admin: bool,
        /// Its operational state is not down: what the kernel keeps nexthop objects for.
        running: bool,
        /// And with carrier.
        up: bool,
    },
    /// It is gone.
    LinkGone(IfIndex),
    /// An address of this machine.
    Address(IfIndex, IpNet),
    /// No longer.
    AddressGone(IfIndex, IpNet),
    /// A route with its next hops in itself.
    Route(KernelRoute),
    /// It is gone.
    RouteGone(KernelRoute),
    /// A route that names its way by a nexthop object only: its `kind` is to be found there.
    RouteBy(KernelRoute, u32),
    /// A route by a nexthop object is gone.
    RouteByGone(KernelRoute, u32),
    /// A nexthop object is there, or has changed.
    Nexthop(u32, NexthopObject),
    /// It is gone, and with it every route by it, of which the kernel does not speak.
    NexthopGone(u32),
}

/// A nexthop object of the kernel (`ip nexthop`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NexthopObject {
    /// One way.
    One(Hop),
    /// Several objects together, by number.
    Group(Vec<(u32, Weight)>),
    /// Packets are dropped.
    Blackhole,
}

/// The id of the nexthop object that a route used besides telling its way in full.
pub type ObjectId = Option<u32>;

/// `None` for what does not concern us, or is malformed.
pub fn read(message: &Message<'_>) -> Option<(RtnlEvent, ObjectId)> {
    let body = message.body;
    match message.kind {
        RTM_NEWLINK | RTM_DELLINK => link(body, message.kind == RTM_DELLINK).map(|s| (s, None)),
        RTM_NEWADDR | RTM_DELADDR => {
            let (ifindex, net) = read_address(&AddressMessage::parse(body).ok()?)?;
            Some((if message.kind == RTM_NEWADDR { RtnlEvent::Address(ifindex, net) } else { RtnlEvent::AddressGone(ifindex, net) }, None))
        }
        RTM_NEWROUTE | RTM_DELROUTE => route(body, message.kind == RTM_DELROUTE),
        RTM_NEWNEXTHOP | RTM_DELNEXTHOP => nexthop(body, message.kind == RTM_DELNEXTHOP).map(|s| (s, None)),
        _ => None,
    }
}

/// The error number of NLMSG_ERROR or NLMSG_DONE: 0 is good news, others are positive.
pub fn errno(message: &Message<'_>) -> i32 {
    u32_at(message.body, 0).map_or(0, |n| n.cast_signed().saturating_neg().max(0))
}

// ------------------------------------------------------------------------------------------------ reading

/// Header and name only: whatever else a new kernel may tell of a link is no reason to miss it.
fn link(body: &[u8], gone: bool) -> Option<RtnlEvent> {
    let header = LinkHeader::parse(body).ok()?;
    // Another family speaks of a bridge's port, which is no link of its own.
    if *body.first()? != 0 {
        return None;
    }
    let ifindex = IfIndex(header.index);
    if gone {
        return Some(RtnlEvent::LinkGone(ifindex));
    }
    let name = attributes(body.get(16..)?).find(|(kind, _)| *kind == libc::IFLA_IFNAME).map_or(&[][..], |(_, v)| v);
    let name = String::from_utf8_lossy(name.split(|&c| c == 0).next().unwrap_or(&[])).into_owned();
    let admin = header.flags.contains(LinkFlags::Up);
    let running = header.flags.intersects(LinkFlags::Running | LinkFlags::LowerUp);
    Some(RtnlEvent::Link { ifindex, name, admin, running, up: admin && header.flags.contains(LinkFlags::LowerUp) })
}

fn route(body: &[u8], gone: bool) -> Option<(RtnlEvent, ObjectId)> {
    let header = body.get(..12)?;
    let (family, dst_len, src_len, tos) = (header[0], header[1], header[2], header[3]);
    let flags = u32_at(header, 8)?;
    if src_len != 0 || tos != 0 || flags & RTM_F_CLONED != 0 {
        return None;
    }
    let unspecified = match family {
        AF_INET => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
        AF_INET6 => IpAddr::V6(Ipv6Addr::UNSPECIFIED),
        _ => return None,
    };
    let mut r = KernelRoute {
        net: IpNet::new(unspecified, dst_len).ok()?,
        table: u32::from(header[4]),
        metric: 0,
        protocol: header[5],
        kind: RouteKind::Local,
        source: None,
    };
    let (mut gateway, mut oif, mut several, mut object) = (None, None, Hops::new(), None);
    for (kind, value) in attributes(&body[12..]) {
        match kind {
            RTA_DST => r.net = IpNet::new(ip(family, value)?, dst_len).ok()?,
            RTA_OIF => oif = Some(IfIndex(u32_at(value, 0)?)),
            RTA_GATEWAY => gateway = ip(family, value),
            RTA_VIA => gateway = via(value),
            RTA_PRIORITY => r.metric = u32_at(value, 0)?,
            RTA_PREFSRC => r.source = ip(family, value),
            RTA_MULTIPATH => several = multipath(family, value)?,
            RTA_TABLE => r.table = u32_at(value, 0)?,
            RTA_NH_ID => object = Some(u32_at(value, 0)?),
            _ => {}
        }
    }
    let told = oif.is_some() || !several.is_empty();
    r.kind = match header[7] {
        RTN_UNICAST if !several.is_empty() => RouteKind::Unicast(several),
        RTN_UNICAST => {
            let onlink = flags & u32::from(RTNH_F_ONLINK) != 0;
            RouteKind::Unicast(oif.map(|ifindex| Hop { gateway, ifindex, onlink, weight: Weight::ONE }).into_iter().collect())
        }
        RTN_BLACKHOLE => RouteKind::Blackhole,
        RTN_UNREACHABLE => RouteKind::Unreachable,
        RTN_PROHIBIT => RouteKind::Prohibit,
        _ => RouteKind::Local,
    };
    Some(match object.filter(|_| !told && header[7] == RTN_UNICAST) {
        Some(id) if gone => (RtnlEvent::RouteByGone(r, id), object),
        Some(id) => (RtnlEvent::RouteBy(r, id), object),
        None if gone => (RtnlEvent::RouteGone(r), object),
        None => (RtnlEvent::Route(r), object),
    })
}

fn multipath(family: u8, mut octets: &[u8]) -> Option<Hops> {
    let mut hops = Hops::new();
    while octets.len() >= 8 {
        let len = usize::from(u16_at(octets, 0)?).max(8);
        let gateway = attributes(octets.get(8..len)?).find_map(|(kind, value)| match kind {
            RTA_GATEWAY => ip(family, value),
            RTA_VIA => via(value),
            _ => None,
        });
        let (onlink, weight) = (*octets.get(2)? & RTNH_F_ONLINK != 0, Weight::from_rtnh_hops(*octets.get(3)?));
        hops.push(Hop { gateway, ifindex: IfIndex(u32_at(octets, 4)?), onlink, weight });
        octets = octets.get(len.next_multiple_of(4)..).unwrap_or(&[]);
    }
    in_order(&mut hops);
    Some(hops)
}

fn nexthop(body: &[u8], gone: bool) -> Option<RtnlEvent> {
    const NHA_ID: u16 = 1;
    const NHA_GROUP: u16 = 2;
    const NHA_BLACKHOLE: u16 = 4;
    const NHA_OIF: u16 = 5;
    const NHA_GATEWAY: u16 = 6;
    let (family, flags) = (*body.first()?, u32_at(body, 4)?);
    let (mut id, mut group, mut blackhole, mut oif, mut gateway) = (None, None, false, None, None);
    for (kind, value) in attributes(body.get(8..)?) {
        match kind {
            NHA_ID => id = u32_at(value, 0),
            NHA_GROUP => group = Some(value.chunks_exact(8).filter_map(grouped).collect()),
            NHA_BLACKHOLE => blackhole = true,
            NHA_OIF => oif = u32_at(value, 0),
            NHA_GATEWAY => gateway = ip(family, value),
            _ => {}
        }
    }
    let onlink = flags & u32::from(RTNH_F_ONLINK) != 0;
    match (gone, group, oif) {
        (true, ..) => Some(RtnlEvent::NexthopGone(id?)),
        (false, Some(ids), _) => Some(RtnlEvent::Nexthop(id?, NexthopObject::Group(ids))),
        (false, None, _) if blackhole => Some(RtnlEvent::Nexthop(id?, NexthopObject::Blackhole)),
        (false, None, Some(oif)) => {
            let hop = Hop { gateway, ifindex: IfIndex(oif), onlink, weight: Weight::ONE };
            Some(RtnlEvent::Nexthop(id?, NexthopObject::One(hop)))
        }
        (false, None, None) => None,
    }
}

/// One of a group (`struct nexthop_grp`): its number, and its weight less one.
fn grouped(octets: &[u8]) -> Option<(u32, Weight)> {
    Some((u32_at(octets, 0)?, Weight::from_rtnh_hops(*octets.get(4)?)))
}

/// Type and value; ends at the first that does not fit. The two uppermost bits of a type are flags. (`NlasIterator` lends its values out
/// for one step only.)
pub(super) fn attributes(mut octets: &[u8]) -> impl Iterator<Item = (u16, &[u8])> {
    std::iter::from_fn(move || {
        let len = usize::from(u16_at(octets, 0)?);
        let (kind, value) = (u16_at(octets, 2)? & 0x3fff, octets.get(4..len)?);
        octets = octets.get(len.next_multiple_of(4)..).unwrap_or(&[]);
        Some((kind, value))
    })
}

pub(super) fn ip(family: u8, octets: &[u8]) -> Option<IpAddr> {
    match family {
        AF_INET => <[u8; 4]>::try_from(octets).ok().map(IpAddr::from),
        AF_INET6 => <[u8; 16]>::try_from(octets).ok().map(IpAddr::from),
        _ => None,
    }
}

/// RTA_VIA: a gateway of another family (RFC 8950).
fn via(octets: &[u8]) -> Option<IpAddr> {
    ip(u8::try_from(u16_at(octets, 0)?).ok()?, octets.get(2..)?)
}

fn u16_at(octets: &[u8], at: usize) -> Option<u16> {
    octets.get(at..)?.first_chunk().copied().map(u16::from_ne_bytes)
}

fn u32_at(octets: &[u8], at: usize) -> Option<u32> {
    octets.get(at..)?.first_chunk().copied().map(u32::from_ne_bytes)
}

// ------------------------------------------------------------------------------------------------ writing

/// Appends the change as one message with this number.
/// The route is `owner`'s, unless it says itself whose it is.
pub fn put_change(out: &mut Vec<u8>, change: &FibChange, owner: Owner, seq: u32, ack: bool) {
    let start = out.len();
    let owner = change.route().former.unwrap_or(owner);
    let (kind, flags) = match change {
        FibChange::Add(_) => (RTM_NEWROUTE, NLM_F_CREATE | NLM_F_EXCL),
        FibChange::Replace(_) => (RTM_NEWROUTE, NLM_F_CREATE | NLM_F_REPLACE),
        FibChange::Remove(_) => (RTM_DELROUTE, 0),
    };
    put_header(out, kind, NLM_F_REQUEST | flags | if ack { NLM_F_ACK } else { 0 }, seq);
    put_route(out, change.route(), owner, matches!(change, FibChange::Remove(_)));
    end(out, start);
}

fn put_route(out: &mut Vec<u8>, route: &FibRoute, owner: Owner, remove: bool) {
    let (family, kind) = (if route.net.addr().is_ipv4() { AF_INET } else { AF_INET6 }, &route.kind);
    let hops: &[Hop] = if let FibKind::Unicast(hops) = kind { hops } else { &[] };
    let scope = match hops {
        _ if remove => RT_SCOPE_NOWHERE,
        [Hop { gateway: None, .. }] if family == AF_INET => RT_SCOPE_LINK,
        _ => 0,
    };
    let flags = if let [Hop { onlink: true, .. }] = hops { u32::from(RTNH_F_ONLINK) } else { 0 };
    let kind = if matches!(kind, FibKind::Blackhole) { RTN_BLACKHOLE } else { RTN_UNICAST };
    let short = u8::try_from(owner.table).unwrap_or(0);
    out.extend_from_slice(&[family, route.net.prefix_len(), 0, 0, short, owner.protocol, scope, kind]);
    out.extend_from_slice(&if remove { 0 } else { flags }.to_ne_bytes());
    put_ip(out, RTA_DST, route.net.addr());
    if short == 0 {
        put(out, RTA_TABLE, &owner.table.to_ne_bytes());
    }
    if route.metric != 0 {
        put(out, RTA_PRIORITY, &route.metric.to_ne_bytes());
    }
    if remove {
        return;
    }
    if let Some(source) = route.source {
        put_ip(out, RTA_PREFSRC, source);
    }
    match hops {
        [hop] => {
            put_gateway(out, family, hop);
            put(out, RTA_OIF, &hop.ifindex.0.to_ne_bytes());
        }
        [] => {}
        several => put_multipath(out, family, several),
    }
}

fn put_multipath(out: &mut Vec<u8>, family: u8, hops: &[Hop]) {
    let start = out.len();
    out.extend_from_slice(&[0, 0, RTA_MULTIPATH as u8, 0]);
    set_u16(out, start + 2, RTA_MULTIPATH);
    for hop in hops {
        let from = out.len();
        out.extend_from_slice(&[0, 0, if hop.onlink { RTNH_F_ONLINK } else { 0 }, hop.weight.rtnh_hops()]);
        out.extend_from_slice(&hop.ifindex.0.to_ne_bytes());
        put_gateway(out, family, hop);
        set_len(out, from);
    }
    set_len(out, start);
}

fn put_gateway(out: &mut Vec<u8>, family: u8, hop: &Hop) {
    match hop.gateway {
        Some(IpAddr::V6(a)) if family == AF_INET => {
            let mut value = [0; 18];
            value[..2].copy_from_slice(&u16::from(AF_INET6).to_ne_bytes());
            value[2..].copy_from_slice(&a.octets());
            put(out, RTA_VIA, &value);
        }
        Some(gateway) => put_ip(out, RTA_GATEWAY, gateway),
        None => {}
    }
}

/// A request to tell everything of a kind; routes only of one table.
pub fn dump_request(kind: u16, family: u8, table: Option<u32>, seq: u32) -> Vec<u8> {
    let mut out = Vec::with_capacity(64);
    put_header(&mut out, kind, NLM_F_REQUEST | NLM_F_DUMP, seq);
    let header_len = match kind {
        RTM_GETLINK => 16,
        RTM_GETROUTE | RTM_GETNEIGH => 12,
        _ => 8,
    };
    out.push(family);
    out.resize(16 + header_len, 0);
    if let Some(table) = table {
        put(&mut out, RTA_TABLE, &table.to_ne_bytes());
    }
    end(&mut out, 0);
    out
}

/// What is asked of a packet's way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lookup {
    pub to: IpAddr,
    pub from: Option<IpAddr>,
    /// The link that the packet comes in by; `None`: it is this machine's own.
    pub input: Option<IfIndex>,
    /// `fwmark`, for `ip rule`.
    pub mark: u32,
}

impl Lookup {
    /// Of a packet of this machine, whose source is not known yet.
    pub fn to(to: IpAddr) -> Lookup {
        Lookup { to, from: None, input: None, mark: 0 }
    }
}

/// A request for a packet's route (RTM_GETROUTE): with `entry` as it stands in the table (RTM_F_FIB_MATCH), otherwise the one way that
/// the packet takes.
pub fn lookup_request(lookup: &Lookup, entry: bool) -> Vec<u8> {
    // And in which table (RTM_F_LOOKUP_TABLE).
    const RTM_F_FIB_MATCH: u32 = 0x3000;
    let (family, bits) = if lookup.to.is_ipv4() { (AF_INET, 32) } else { (AF_INET6, 128) };
    let mut out = Vec::with_capacity(96);
    put_header(&mut out, RTM_GETROUTE, NLM_F_REQUEST, 1);
    out.extend_from_slice(&[family, bits, if lookup.from.is_some() { bits } else { 0 }, 0, 0, 0, 0, 0]);
    out.extend_from_slice(&if entry { RTM_F_FIB_MATCH } else { 0 }.to_ne_bytes());
    put_ip(&mut out, RTA_DST, lookup.to);
    if let Some(from) = lookup.from {
        put_ip(&mut out, libc::RTA_SRC, from);
    }
    if let Some(IfIndex(input)) = lookup.input {
        put(&mut out, libc::RTA_IIF, &input.to_ne_bytes());
    }
    if lookup.mark != 0 {
        put(&mut out, RTA_MARK, &lookup.mark.to_ne_bytes());
    }
    end(&mut out, 0);
    out
}

/// The way that the answer to a [`lookup_request`] names: of several the one that the kernel's hash chose for this packet.
pub fn chosen_hop(message: &Message<'_>) -> Option<(IfIndex, Option<IpAddr>)> {
    let family = *message.body.first()?;
    let (mut oif, mut gateway) = (None, None);
    for (kind, value) in attributes(message.body.get(12..)?) {
        match kind {
            RTA_OIF => oif = u32_at(value, 0).map(IfIndex),
            RTA_GATEWAY => gateway = ip(family, value),
            RTA_VIA => gateway = via(value),
            _ => {}
        }
    }
    Some((oif?, gateway))
}

fn put_header(out: &mut Vec<u8>, kind: u16, flags: u16, seq: u32) {
    out.extend_from_slice(&[0; 4]);
    out.extend_from_slice(&kind.to_ne_bytes());
    out.extend_from_slice(&flags.to_ne_bytes());
    out.extend_from_slice(&seq.to_ne_bytes());
    out.extend_from_slice(&[0; 4]);
}

fn put_ip(out: &mut Vec<u8>, kind: u16, addr: IpAddr) {
    match addr {
        IpAddr::V4(a) => put(out, kind, &a.octets()),
        IpAddr::V6(a) => put(out, kind, &a.octets()),
    }
}

fn put(out: &mut Vec<u8>, kind: u16, value: &[u8]) {
    let start = out.len();
    out.extend_from_slice(&[0; 2]);
    out.extend_from_slice(&kind.to_ne_bytes());
    out.extend_from_slice(value);
    set_len(out, start);
}

/// The length of what began at `start`, then padding to four octets.
fn set_len(out: &mut Vec<u8>, start: usize) {
    let len = u16::try_from(out.len() - start).expect("an attribute of ours is far below 64 KiB: at most 256 hops of 32 octets");
    set_u16(out, start, len);
    out.resize(out.len().next_multiple_of(4), 0);
}

fn set_u16(out: &mut [u8], at: usize, value: u16) {
    out[at..at + 2].copy_from_slice(&value.to_ne_bytes());
}

fn end(out: &mut [u8], start: usize) {
    let len = u32::try_from(out.len() - start).expect("a message of ours is below 64 KiB");
    out[start..start + 4].copy_from_slice(&len.to_ne_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;
    use netlink_packet_core::{NetlinkMessage, NetlinkPayload};
    use netlink_packet_route::RouteNetlinkMessage;

    const OWNER: Owner = Owner { table: 254, protocol: 186 };

    fn hop(gateway: &str, ifindex: u32, onlink: bool) -> Hop {
        Hop { gateway: (!gateway.is_empty()).then(|| gateway.parse().unwrap()), ifindex: IfIndex(ifindex), onlink, weight: Weight::ONE }
    }

    fn samples() -> Vec<FibRoute> {
        let route = |net: &str, metric, hops: &[Hop], source: Option<&str>| FibRoute {
            net: net.parse().unwrap(),
            metric,
            kind: FibKind::Unicast(hops.iter().copied().collect()),
            source: source.map(|s| s.parse().unwrap()),
            former: None,
        };
        vec![
            route("10.244.2.0/26", 0, &[hop("192.0.2.2", 7, false)], None),
            route("10.244.2.0/26", 1024, &[hop("192.0.2.2", 7, true)], Some("192.0.2.1")),
            route("10.96.0.0/12", 5, &[hop("192.0.2.2", 7, false), hop("198.51.100.3", 8, true)], None),
            route("0.0.0.0/0", 0, &[hop("fe80::1", 7, false)], None),
            route("10.1.0.0/16", 0, &[hop("fe80::1", 7, false), hop("fe80::2", 8, false)], None),
            route("10.2.0.0/16", 0, &[hop("", 9, false)], None),
            route("fd00:1::/64", 1024, &[hop("2001:db8::2", 4, false), hop("fe80::2", 3, false)], Some("2001:db8::1")),
            FibRoute { kind: FibKind::Blackhole, ..route("10.244.1.0/26", 0, &[], None) },
            FibRoute { kind: FibKind::Blackhole, ..route("fd10::/122", 1024, &[], None) },
        ]
    }

    #[test]
    fn what_a_former_owner_left_is_removed_under_its_name() {
        let former = Some(Owner { table: 100_000, protocol: 12 });
        let route = FibRoute { former, ..samples().remove(0) };
        let mut octets = Vec::new();
        put_change(&mut octets, &FibChange::Remove(route), OWNER, 9, true);
        let Some((RtnlEvent::RouteGone(gone), None)) = read(&messages(&octets).next().unwrap()) else { panic!() };
        assert_eq!(Some(Owner::of(&gone)), former);
    }

    #[test]
    fn what_we_write_we_read_back() {
        for table in [254, 100_000] {
            for route in samples() {
                let mut octets = Vec::new();
                put_change(&mut octets, &FibChange::Add(route.clone()), Owner { table, ..OWNER }, 9, true);
                let message = messages(&octets).next().unwrap();
                assert_eq!((message.kind, message.seq, message.flags & NLM_F_ACK), (RTM_NEWROUTE, 9, NLM_F_ACK));
                let Some((RtnlEvent::Route(read), None)) = read(&message) else { panic!("{route:?}") };
                assert_eq!((read.table, read.protocol), (table, 186));
                assert_eq!(FibRoute::from_kernel(&read), Some(route));
            }
        }
    }

    #[test]
    fn another_reader_reads_the_same() {
        for route in samples() {
            let mut octets = Vec::new();
            put_change(&mut octets, &FibChange::Replace(route.clone()), OWNER, 1, false);
            let theirs = NetlinkMessage::<RouteNetlinkMessage>::deserialize(&octets).expect("well-formed");
            let NetlinkPayload::InnerMessage(RouteNetlinkMessage::NewRoute(theirs)) = theirs.payload else { panic!("a route") };
            assert_eq!(theirs.header.destination_prefix_length, route.net.prefix_len());
            assert_eq!(u8::from(theirs.header.protocol), 186);
            // And what it makes of it, we read as it was meant.
            let mut again = NetlinkMessage::from(RouteNetlinkMessage::NewRoute(theirs));
            again.finalize();
            let mut octets = vec![0; again.buffer_len()];
            again.serialize(&mut octets);
            let Some((RtnlEvent::Route(read), _)) = read(&messages(&octets).next().unwrap()) else { panic!("{route:?}") };
            assert_eq!(FibRoute::from_kernel(&read), Some(route));
        }
    }

    #[test]
    fn no_octets_can_make_it_panic() {
        let mut seed = 0x9e37_79b9_7f4a_7c15_u64;
        let mut octets = Vec::new();
        samples().into_iter().enumerate().for_each(|(i, r)| put_change(&mut octets, &FibChange::Replace(r), OWNER, i as u32, false));
        let mut read_some = 0;
        for _ in 0..200_000 {
            let mut broken = octets.clone();
            for _ in 0..4 {
                seed ^= seed << 13;
                seed ^= seed >> 7;
                seed ^= seed << 17;
                let at = seed as usize % broken.len();
                broken[at] = (seed >> 32) as u8;
            }
            broken.truncate(seed as usize % broken.len());
            read_some += messages(&broken).filter(|m| read(m).is_some()).count();
        }
        assert!(read_some > 100_000, "most of it was still readable: {read_some}");
    }

    /// FAILURES.md, classes 1 and 2: no length, of a message or of what is nested in it, leads the reader astray.
    #[test]
    fn class_1_and_2_any_octet_may_be_any_length_and_every_message_may_end_anywhere() {
        let mut messages_of_all_kinds: Vec<Vec<u8>> = Vec::new();
        for route in samples() {
            let mut octets = Vec::new();
            put_change(&mut octets, &FibChange::Add(route), Owner { table: 1000, ..OWNER }, 1, false);
            messages_of_all_kinds.push(octets);
        }
        // A group of two nexthop objects; an address; a link.
        let bodies: [(u16, &[u8]); 3] = [
            (
                RTM_NEWNEXTHOP,
                &[2, 0, 0, 0, 0, 0, 0, 0, 8, 0, 1, 0, 9, 0, 0, 0, 20, 0, 2, 0, 7, 0, 0, 0, 0, 0, 0, 0, 8, 0, 0, 0, 0, 0, 0, 0],
            ),
            (RTM_NEWADDR, &[2, 24, 0, 0, 3, 0, 0, 0, 8, 0, 1, 0, 10, 0, 0, 1, 8, 0, 2, 0, 10, 0, 0, 1]),
            (RTM_NEWLINK, &[0, 0, 0, 0, 3, 0, 0, 0, 1, 0, 1, 0, 0, 0, 0, 0, 9, 0, 3, 0, b'e', b't', b'h', b'1', 0, 0, 0, 0]),
        ];
        for (kind, body) in bodies {
            let mut octets = Vec::new();
            put_header(&mut octets, kind, 0, 1);
            octets.extend_from_slice(body);
            end(&mut octets, 0);
            messages_of_all_kinds.push(octets);
        }
        for octets in messages_of_all_kinds {
            assert_eq!(messages(&octets).filter(|m| read(m).is_some()).count(), 1, "whole, it says something");
            for at in 0..octets.len() {
                assert_eq!(messages(&octets[..at]).count(), 0, "cut off, it is no message");
                let mut broken = octets.clone();
                for value in 0..=255 {
                    broken[at] = value;
                    for message in messages(&broken) {
                        let inside = broken.as_ptr_range().contains(&message.body.as_ptr()) || message.body.is_empty();
                        assert!(inside && message.body.len() <= octets.len() - 16);
                        if let Some((said, _)) = read(&message) {
                            assert!(!format!("{said:?}").is_empty());
                        }
                    }
                }
            }
        }
    }

    #[test]
    fn a_batch_is_cut_into_its_messages() {
        let mut octets = Vec::new();
        samples().into_iter().enumerate().for_each(|(i, r)| put_change(&mut octets, &FibChange::Remove(r), OWNER, i as u32, false));
        let seqs: Vec<u32> = messages(&octets).filter(|m| m.kind == RTM_DELROUTE).map(|m| m.seq).collect();
        assert_eq!(seqs, (0..samples().len() as u32).collect::<Vec<_>>());
    }
}
