//! From a captured frame to a TCP segment: link layer, IPv4 or IPv6, TCP. Everything else is passed over.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// What TCP says in one packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Segment<'a> {
    pub(super) from: SocketAddr,
    pub(super) to: SocketAddr,
    pub(super) seq: u32,
    pub(super) syn: bool,
    pub(super) payload: &'a [u8],
}

/// `None` for whatever is not a whole TCP segment over IP on a link that we know.
pub(super) fn segment(link: u32, frame: &[u8]) -> Option<Segment<'_>> {
    let ip = match link {
        0 | 108 => frame.get(4..)?,         // NULL and LOOP: a family word
        1 => ethernet(frame.get(12..)?)?,   // Ethernet
        12 | 14 | 101 | 228 | 229 => frame, // RAW, IPV4, IPV6
        113 => ethernet(frame.get(14..)?)?, // Linux cooked
        276 => {
            let (kind, rest) = (frame.first_chunk::<2>()?, frame.get(20..)?);
            is_ip(*kind).then_some(rest)? // Linux cooked, version 2
        }
        _ => return None,
    };
    match ip.first()? >> 4 {
        4 => ipv4(ip),
        6 => ipv6(ip),
        _ => None,
    }
}

fn is_ip(kind: [u8; 2]) -> bool {
    matches!(kind, [0x08, 0x00] | [0x86, 0xdd])
}

/// From the EtherType on; VLAN tags are stepped over.
fn ethernet(octets: &[u8]) -> Option<&[u8]> {
    let (kind, rest) = octets.split_first_chunk::<2>()?;
    match kind {
        [0x81, 0x00] | [0x88, 0xa8] => ethernet(rest.get(2..)?),
        kind => is_ip(*kind).then_some(rest),
    }
}

fn ipv4(packet: &[u8]) -> Option<Segment<'_>> {
    let header = packet.first_chunk::<20>()?;
    let (total, offset) = (word(packet, 2)?, word(packet, 6)?);
    // Only whole datagrams: BGP does not fragment where path MTU discovery works.
    if header[9] != 6 || offset & 0x3fff != 0 {
        return None;
    }
    let head = usize::from(header[0] & 15) * 4;
    let from = Ipv4Addr::from(*packet.get(12..)?.first_chunk::<4>()?);
    let to = Ipv4Addr::from(*packet.get(16..)?.first_chunk::<4>()?);
    // A total length of zero is what offloading leaves behind.
    let end = if total == 0 { packet.len() } else { usize::from(total) };
    tcp(from.into(), to.into(), packet.get(head.max(20)..end.min(packet.len()))?)
}

fn ipv6(packet: &[u8]) -> Option<Segment<'_>> {
    let header = packet.first_chunk::<40>()?;
    let len = usize::from(word(packet, 4)?);
    let from = Ipv6Addr::from(*packet.get(8..)?.first_chunk::<16>()?);
    let to = Ipv6Addr::from(*packet.get(24..)?.first_chunk::<16>()?);
    let body = packet.get(40..)?;
    let mut body = body.get(..if len == 0 { body.len() } else { len.min(body.len()) })?;
    let mut next = header[6];
    while matches!(next, 0 | 43 | 60) {
        let (kind, len) = (*body.first()?, usize::from(*body.get(1)?));
        body = body.get(len.checked_mul(8)?.checked_add(8)?..)?;
        next = kind;
    }
    (next == 6).then(|| tcp(from.into(), to.into(), body))?
}

fn tcp(from: IpAddr, to: IpAddr, octets: &[u8]) -> Option<Segment<'_>> {
    let header = octets.first_chunk::<20>()?;
    let (from_port, to_port) = (word(octets, 0)?, word(octets, 2)?);
    let seq = u32::from_be_bytes(*octets.get(4..)?.first_chunk::<4>()?);
    let head = usize::from(header[12] >> 4) * 4;
    Some(Segment {
        from: SocketAddr::new(from, from_port),
        to: SocketAddr::new(to, to_port),
        seq,
        syn: header[13] & 2 != 0,
        payload: octets.get(head.max(20)..)?,
    })
}

fn word(octets: &[u8], at: usize) -> Option<u16> {
    octets.get(at..)?.first_chunk::<2>().map(|o| u16::from_be_bytes(*o))
}
