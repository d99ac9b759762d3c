//! From a captured frame to a TCP segment: link layer, IPv4 or IPv6, TCP. Everything else is passed over.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use nom::Parser;
use nom::bytes::complete::take;
use nom::combinator::{fail, rest, success, verify};
use nom::sequence::preceded;

use crate::wire::read::{Read, array, be_u8, be_u16, be_u32};

/// What TCP says in one packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Segment<'a> {
    /// Address and port of the sender.
    pub(super) from: SocketAddr,
    /// Address and port of the receiver.
    pub(super) to: SocketAddr,
    /// TCP sequence number of the first octet.
    pub(super) seq: u32,
    /// It begins a connection.
    pub(super) syn: bool,
    /// What TCP carries.
    pub(super) payload: &'a [u8],
}

/// `None` for whatever is not a whole TCP segment over IP on a link that we know.
pub(super) fn segment(link: u32, frame: &[u8]) -> Option<Segment<'_>> {
    let (packet, ()) = link_layer(link, frame).ok()?;
    let segment = match packet.first()? >> 4 {
        4 => ipv4(packet),
        6 => ipv6(packet),
        _ => return None,
    };
    segment.ok().map(|(_, segment)| segment)
}

/// Up to the IP packet.
fn link_layer(link: u32, frame: &[u8]) -> Read<'_, ()> {
    match link {
        0 | 108 => take(4usize).map(drop).parse_complete(frame), // NULL and LOOP: a family word
        1 => preceded(take(12usize), ethertype).parse_complete(frame), // Ethernet
        12 | 14 | 101 | 228 | 229 => success(()).parse_complete(frame), // RAW, IPV4, IPV6
        113 => preceded(take(14usize), ethertype).parse_complete(frame), // Linux cooked
        276 => preceded(verify(be_u16, is_ip), take(18usize)).map(drop).parse_complete(frame), // Linux cooked, version 2
        _ => fail().parse_complete(frame),
    }
}

fn is_ip(ethertype: &u16) -> bool {
    matches!(ethertype, 0x0800 | 0x86dd)
}

/// IP; VLAN tags are stepped over.
fn ethertype(octets: &[u8]) -> Read<'_, ()> {
    match be_u16(octets)? {
        (tagged, 0x8100 | 0x88a8) => preceded(take(2usize), ethertype).parse_complete(tagged),
        _ => verify(be_u16, is_ip).map(drop).parse_complete(octets),
    }
}

fn ipv4(packet: &[u8]) -> Read<'_, Segment<'_>> {
    let fields = (be_u8, be_u8, be_u16, be_u16, be_u16, be_u8, be_u8, be_u16, array::<4>, array::<4>);
    let (_, (head, _, total, _, offset, _, protocol, _, from, to)) = { fields }.parse_complete(packet)?;
    // Only whole datagrams: BGP does not fragment where path MTU discovery works.
    if protocol != 6 || offset & 0x3fff != 0 {
        return fail().parse_complete(packet);
    }
    // A total length of zero is what offloading leaves behind.
    let end = if total == 0 { packet.len() } else { usize::from(total).min(packet.len()) };
    let (_, packet) = take(end).parse_complete(packet)?;
    let (octets, _) = take((usize::from(head & 15) * 4).max(20)).parse_complete(packet)?;
    tcp(Ipv4Addr::from(from).into(), Ipv4Addr::from(to).into(), octets)
}

fn ipv6(packet: &[u8]) -> Read<'_, Segment<'_>> {
    let (body, (_, len, next, _, from, to)) = (be_u32, be_u16, be_u8, be_u8, array::<16>, array::<16>).parse_complete(packet)?;
    let len = if len == 0 { body.len() } else { usize::from(len).min(body.len()) };
    let (_, mut body) = take(len).parse_complete(body)?;
    let mut next = next;
    while matches!(next, 0 | 43 | 60) {
        let (_, (kind, len)) = (be_u8, be_u8).parse_complete(body)?;
        (body, _) = take((usize::from(len) + 1) * 8).parse_complete(body)?;
        next = kind;
    }
    if next == 6 { tcp(Ipv6Addr::from(from).into(), Ipv6Addr::from(to).into(), body) } else { fail().parse_complete(body) }
}

fn tcp(from: IpAddr, to: IpAddr, octets: &[u8]) -> Read<'_, Segment<'_>> {
    let (_, (from_port, to_port, seq, _ack, head, flags)) = (be_u16, be_u16, be_u32, be_u32, be_u8, be_u8).parse_complete(octets)?;
    let (left, payload) = preceded(take((usize::from(head >> 4) * 4).max(20)), rest).parse_complete(octets)?;
    let (from, to) = (SocketAddr::new(from, from_port), SocketAddr::new(to, to_port));
    Ok((left, Segment { from, to, seq, syn: flags & 2 != 0, payload }))
}
