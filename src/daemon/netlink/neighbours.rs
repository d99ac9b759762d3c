//! What the kernel says of a few links, and of the neighbours on them: for peers that are configured by their interface.
//!
//! In: the rtnetlink groups of links and neighbours. Out: [`News`]. On a socket of its own, open as long as there are such peers: on a node with
//! thousands of pods the neighbour table changes all the time, and the monitor of routes is not to be woken for it.

use std::future::poll_fn;
use std::io;
use std::net::{IpAddr, Ipv6Addr};

use netlink_sys::protocols::NETLINK_ROUTE;
use netlink_sys::{AsyncSocket, SocketAddr, TokioSocket};

use super::message::{self, AF_INET6, Message, RTM_GETLINK, RTM_GETNEIGH, RTM_NEWLINK, RTM_NEWNEIGH, RtnlEvent};
use crate::ndp::Sign;

/// RTNLGRP_LINK, RTNLGRP_NEIGH.
const GROUPS: [u32; 2] = [1, 3];
const BUFFER: usize = 64 << 10;

/// Something is there, or is otherwise than before.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum News {
    Link { ifindex: u32, name: String, up: bool, mac: Option<[u8; 6]> },
    LinkGone { ifindex: u32 },
    Neighbour { ifindex: u32, addr: Ipv6Addr, sign: Sign },
}

/// The socket.
pub struct Watch {
    socket: TokioSocket,
    buffer: Vec<u8>,
}

impl Watch {
    /// Begins with all links; neighbours are told when they are [asked for](Watch::ask_neighbours).
    ///
    /// # Errors
    /// The kernel's.
    pub fn open() -> io::Result<Watch> {
        let mut socket = TokioSocket::new(NETLINK_ROUTE)?;
        socket.socket_mut().bind_auto()?;
        for group in GROUPS {
            socket.socket_mut().add_membership(group)?;
        }
        let watch = Watch { socket, buffer: Vec::with_capacity(BUFFER) };
        watch.ask(RTM_GETLINK, 0)?;
        Ok(watch)
    }

    /// Has the kernel tell all neighbours that it knows.
    ///
    /// # Errors
    /// The kernel's.
    pub fn ask_neighbours(&self) -> io::Result<()> {
        self.ask(RTM_GETNEIGH, AF_INET6)
    }

    fn ask(&self, kind: u16, family: u8) -> io::Result<()> {
        self.socket.socket_ref().send_to(&message::dump_request(kind, family, None, 1), &SocketAddr::new(0, 0), 0).map(drop)
    }

    /// What comes next. After an overrun everything is asked for anew.
    ///
    /// # Errors
    /// The kernel's.
    pub async fn next(&mut self) -> io::Result<Vec<News>> {
        self.buffer.clear();
        match poll_fn(|cx| self.socket.poll_recv_from(cx, &mut self.buffer)).await {
            // From the kernel and nobody else.
            Ok(from) if from.port_number() == 0 => Ok(message::messages(&self.buffer).filter_map(|message| read(&message)).collect()),
            Ok(_) => Ok(Vec::new()),
            Err(error) if error.raw_os_error() == Some(libc::ENOBUFS) => {
                self.ask(RTM_GETLINK, 0)?;
                Ok(Vec::new())
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => Ok(Vec::new()),
            Err(error) => Err(error),
        }
    }
}

fn read(message: &Message<'_>) -> Option<News> {
    if message.kind == RTM_NEWNEIGH {
        return neighbour(message.body);
    }
    match message::read(message)?.0 {
        RtnlEvent::Link { ifindex, name, up, .. } if message.kind == RTM_NEWLINK => {
            let mac = message::attributes(message.body.get(16..)?).find(|(kind, _)| *kind == libc::IFLA_ADDRESS);
            Some(News::Link { ifindex: ifindex.0, name, up, mac: mac.and_then(|(_, octets)| octets.try_into().ok()) })
        }
        RtnlEvent::LinkGone(ifindex) => Some(News::LinkGone { ifindex: ifindex.0 }),
        _ => None,
    }
}

/// `struct ndmsg`, and NDA_DST. An entry that the kernel has only begun to ask for is no sign of anybody.
fn neighbour(body: &[u8]) -> Option<News> {
    const NDA_DST: u16 = 1;
    const KNOWN: u16 = libc::NUD_REACHABLE | libc::NUD_STALE | libc::NUD_DELAY | libc::NUD_PROBE | libc::NUD_PERMANENT;
    let header = body.get(..12)?;
    if header[0] != AF_INET6 {
        return None;
    }
    let ifindex = u32::from_ne_bytes(header[4..8].try_into().ok()?);
    let (state, flags) = (u16::from_ne_bytes([header[8], header[9]]), header[10]);
    let (_, octets) = message::attributes(body.get(12..)?).find(|(kind, _)| *kind == NDA_DST)?;
    let IpAddr::V6(addr) = message::ip(AF_INET6, octets)? else { return None };
    let sign = match state {
        state if state & libc::NUD_FAILED != 0 => Sign::Lost,
        state if state & KNOWN == 0 => return None,
        _ if flags & libc::NTF_ROUTER != 0 => Sign::Router,
        _ => Sign::Resolved,
    };
    addr.is_unicast_link_local().then_some(News::Neighbour { ifindex, addr, sign })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(state: u16, flags: u8, addr: &str) -> Option<News> {
        let mut body = vec![AF_INET6, 0, 0, 0];
        body.extend(7_u32.to_ne_bytes());
        body.extend(state.to_ne_bytes());
        body.extend([flags, 1]);
        body.extend(20_u16.to_ne_bytes());
        body.extend(1_u16.to_ne_bytes());
        body.extend(addr.parse::<Ipv6Addr>().expect("an address").octets());
        read(&Message { kind: RTM_NEWNEIGH, flags: 0, seq: 0, body: &body })
    }

    #[test]
    fn an_entry_is_a_sign_as_good_as_its_state() {
        let sign = |state, flags| match told(state, flags, "fe80::2") {
            Some(News::Neighbour { ifindex: 7, sign, .. }) => Some(sign),
            _ => None,
        };
        assert_eq!(sign(libc::NUD_REACHABLE, 0), Some(Sign::Resolved));
        assert_eq!(sign(libc::NUD_STALE, libc::NTF_ROUTER), Some(Sign::Router));
        assert_eq!(sign(libc::NUD_FAILED, libc::NTF_ROUTER), Some(Sign::Lost));
        assert_eq!(sign(libc::NUD_INCOMPLETE, 0), None, "nobody has answered");
        assert_eq!(sign(libc::NUD_NOARP, 0), None, "a multicast group");
        assert_eq!(told(libc::NUD_REACHABLE, 0, "fd00::2"), None, "not link-local");
    }

    #[tokio::test]
    async fn the_loopback_interface_is_told_of_first_of_all() {
        let mut watch = Watch::open().expect("netlink");
        let news = watch.next().await.expect("links");
        assert!(news.iter().any(|news| matches!(news, News::Link { name, .. } if name == "lo")), "{news:?}");
    }
}
