//! Which queue a packet waits in, decided by the kernel before it waits.
//!
//! Each port has three sockets (SO_REUSEPORT), and a program of classic BPF chooses among them. A packet with a discriminator of ours, which only
//! a neighbour can know, waits where nothing else does: however much rubbish comes, it is neither lost in it nor read after it. What it means,
//! and why the others are dropped, is still `crate::bfd`'s to say; this is a matter of room and of order.

use std::io;

use socket2::{SockFilter, Socket};

use crate::bfd::packet::HEADER_LEN;
use crate::bfd::{Path, TAG_MASK};
use crate::daemon::sys;

/// In the order in which they are read, which is the order of the sockets of a port.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Queue {
    /// With a discriminator of ours.
    Known,
    /// Of somebody who does not know ours yet.
    First,
    /// Of which nothing can be believed.
    Rubbish,
}

impl Queue {
    pub const ALL: [Queue; 3] = [Queue::Known, Queue::First, Queue::Rubbish];

    /// Octets that may wait, as the kernel counts them (some 800 for a packet).
    pub fn room(self) -> usize {
        match self {
            Queue::Known => 8 << 20,
            Queue::First => 1 << 20,
            Queue::Rubbish => 256 << 10,
        }
    }

    /// Batches that are read before sessions are judged and served.
    pub fn rounds(self) -> usize {
        match self {
            Queue::Known => 16,
            Queue::First | Queue::Rubbish => 1,
        }
    }
}

/// `sockets` are those of one port, in the order of [`Queue::ALL`]; `tag` is what our discriminators have in common.
///
/// # Errors
/// The kernel's.
pub fn steer(sockets: &[Socket; 3], v4: bool, path: Path, tag: u32) -> io::Result<()> {
    sys::steer(&sockets[0], &program(v4, path, tag))
}

// Instructions of classic BPF; jumps count from the next one.
const LOAD_LEN: u16 = 0x80;
const LOAD_U32: u16 = 0x20;
const LOAD_U8: u16 = 0x30;
const COPY_TO_X: u16 = 0x07;
const AND: u16 = 0x54;
const IF_EQUAL: u16 = 0x15;
const IF_ABOVE_X: u16 = 0x2d;
const IF_AT_LEAST: u16 = 0x35;
const RETURN: u16 = 0x06;

/// Offsets from here on are of the network header (SKF_NET_OFF).
const NETWORK: u32 = -0x10_0000_i32 as u32;

/// The index of a packet's socket: what RFC 5880 §6.8.6 and RFC 5881 §5 look at before they look for the session.
fn program(v4: bool, path: Path, tag: u32) -> Vec<SockFilter> {
    let ttl = NETWORK + if v4 { 8 } else { 7 };
    let least_ttl = if path == Path::SingleHop { 255 } else { 0 };
    let op = SockFilter::new;
    let to_rubbish = |from: u8| 16 - from;
    vec![
        op(LOAD_LEN, 0, 0, 0),
        op(IF_AT_LEAST, 0, to_rubbish(1), HEADER_LEN as u32),
        op(COPY_TO_X, 0, 0, 0),
        op(LOAD_U8, 0, 0, 3),
        op(IF_ABOVE_X, to_rubbish(4), 0, 0),
        op(LOAD_U8, 0, 0, ttl),
        op(IF_AT_LEAST, 0, to_rubbish(6), least_ttl),
        op(LOAD_U8, 0, 0, 0),
        op(AND, 0, 0, 0xe0),
        op(IF_EQUAL, 0, to_rubbish(9), 1 << 5),
        op(LOAD_U32, 0, 0, 8),
        op(IF_EQUAL, 3, 0, 0),
        op(AND, 0, 0, TAG_MASK),
        op(IF_EQUAL, 0, to_rubbish(13), tag),
        op(RETURN, 0, 0, Queue::Known as u32),
        // Down or AdminDown: in every other state the neighbour knows our discriminator.
        op(LOAD_U8, 0, 0, 1),
        op(IF_AT_LEAST, 0, 1, 0x80),
        op(RETURN, 0, 0, Queue::Rubbish as u32),
        op(RETURN, 0, 0, Queue::First as u32),
    ]
}

#[cfg(test)]
mod tests {
    use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};

    use super::*;
    use crate::daemon::sys::{self, DatagramBatch};

    const TAG: u32 = 0xabc0_0000;

    /// A packet of version 1, Up, multiplier 3, with this Your Discriminator.
    fn packet(your: u32) -> [u8; 24] {
        let mut octets = [0; 24];
        octets[..8].copy_from_slice(&[0x20, 0xc0, 3, 24, 1, 2, 3, 4]);
        octets[8..12].copy_from_slice(&your.to_be_bytes());
        octets
    }

    /// Three sockets on a port of loopback that the test was given; `None` where there is no IPv6.
    fn port_of(addr: IpAddr, path: Path) -> Option<([Socket; 3], SocketAddr)> {
        let first = crate::daemon::bfd::sockets::shared(SocketAddr::new(addr, 0), Queue::Known).ok()?;
        let at = first.local_addr().unwrap().as_socket().unwrap();
        let more = |queue| crate::daemon::bfd::sockets::shared(at, queue).unwrap();
        let sockets = [first, more(Queue::First), more(Queue::Rubbish)];
        steer(&sockets, addr.is_ipv4(), path, TAG).unwrap();
        Some((sockets, at))
    }

    /// Where it arrives.
    fn queue_of(sockets: &[Socket; 3], to: SocketAddr, ttl: u8, octets: &[u8]) -> Vec<Queue> {
        let sender =
            UdpSocket::bind((if to.is_ipv4() { IpAddr::from(Ipv4Addr::LOCALHOST) } else { Ipv6Addr::LOCALHOST.into() }, 0)).unwrap();
        sys::set_ttl(&sender, to.is_ipv4(), ttl).unwrap();
        sender.send_to(octets, to).unwrap();
        let mut batch = DatagramBatch::default();
        Queue::ALL.into_iter().zip(sockets).filter(|(_, socket)| batch.receive(socket).is_ok()).map(|(queue, _)| queue).collect()
    }

    #[test]
    fn neighbours_strangers_and_rubbish_wait_apart() {
        let changed = |at: usize, octet: u8| {
            let mut octets = packet(TAG | 77);
            octets[at] = octet;
            octets.to_vec()
        };
        let of_down = |your: u32| {
            let mut octets = packet(your);
            octets[1] = 0x40;
            octets.to_vec()
        };
        let long = [&packet(TAG | 1)[..3], &[40], &packet(TAG | 1)[4..], &[0; 16]].concat();
        let cases: &[(&str, u8, Vec<u8>, Queue)] = &[
            ("ours", 255, packet(TAG | 77).to_vec(), Queue::Known),
            ("ours, authenticated", 255, long.clone(), Queue::Known),
            ("first contact", 255, of_down(0), Queue::First),
            ("without our number in state Up", 255, packet(0).to_vec(), Queue::Rubbish),
            ("another number", 255, packet(0x0909_0909).to_vec(), Queue::Rubbish),
            ("another version", 255, changed(0, 0x40), Queue::Rubbish),
            ("longer than it is", 255, changed(3, 25), Queue::Rubbish),
            ("short", 255, packet(TAG | 77)[..23].to_vec(), Queue::Rubbish),
            ("empty", 255, Vec::new(), Queue::Rubbish),
        ];
        for addr in [IpAddr::from(Ipv4Addr::LOCALHOST), Ipv6Addr::LOCALHOST.into()] {
            for path in [Path::SingleHop, Path::MultiHop] {
                let Some((sockets, at)) = port_of(addr, path) else { continue };
                for (what, ttl, octets, queue) in cases {
                    assert_eq!(queue_of(&sockets, at, *ttl, octets), [*queue], "{what} at {at}, {path:?}");
                }
                let far = if path == Path::SingleHop { Queue::Rubbish } else { Queue::Known };
                assert_eq!(queue_of(&sockets, at, 254, &packet(TAG | 5)), [far], "over a router, {path:?}");
            }
        }
    }

    #[test]
    fn a_full_queue_of_rubbish_leaves_room_for_neighbours() {
        let (sockets, at) = port_of(Ipv4Addr::LOCALHOST.into(), Path::SingleHop).unwrap();
        let sender = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        sys::set_ttl(&sender, true, 255).unwrap();
        for _ in 0..20_000 {
            sender.send_to(&packet(0x0909_0909), at).unwrap();
        }
        sender.send_to(&packet(TAG | 5), at).unwrap();
        let mut batch = DatagramBatch::default();
        assert_eq!(batch.receive(&sockets[0]).unwrap(), 1);
        let lost = sys::receive_queue(&sockets[2]).unwrap().drops;
        assert!((10_000..20_000).contains(&lost), "{lost} had no room, and that is counted");
    }
}
