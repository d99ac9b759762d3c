//! The sockets of all sessions: for each family and port one for each queue to receive, and for each family one to send.
//!
//! RFC 5881 §4: to port 3784 (RFC 5883 §5: 4784) from a port of 49152 on; §5: with TTL 255. One source port serves all sessions of a family, where
//! §4 would like one each: what a session is known by is its discriminator, and two sockets are quicker served than thousands. Traffic class CS6, as routing
//! protocols have it (RFC 4594 §3.1).

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::AsFd;

use socket2::{Domain, Socket, Type};

use super::steer::{self, Queue};
use crate::bfd::Path;
use crate::daemon::sys;

/// CS6: 48 in the upper six bits.
const TRAFFIC_CLASS: u8 = 48 << 2;

/// Where source ports begin (RFC 5881 §4).
const FIRST_PORT: u16 = 49152;

/// A socket that receives.
pub struct Receiving {
    pub socket: Socket,
    pub path: Path,
    pub queue: Queue,
    /// The kernel's count of packets that found no room.
    pub lost: u32,
}

/// All of them.
pub struct Sockets {
    pub receiving: Vec<Receiving>,
    sending: [Option<Socket>; 2],
}

impl Sockets {
    /// Opens them. IPv6 may be missing on this machine. `nth` varies the source ports; `tag` is what our discriminators have in common.
    ///
    /// # Errors
    /// The kernel's; a port that another daemon holds is `AddrInUse`.
    pub fn open(nth: u16, tag: u32) -> io::Result<Sockets> {
        let mut receiving = Vec::new();
        for v4 in [true, false] {
            for path in [Path::SingleHop, Path::MultiHop] {
                match receive(v4, path, tag) {
                    Ok(sockets) => receiving.extend(sockets.into_iter().zip(Queue::ALL).map(|(socket, queue)| Receiving {
                        socket,
                        path,
                        queue,
                        lost: 0,
                    })),
                    Err(error) if !v4 && is_missing(&error) => {}
                    Err(error) => {
                        let (port, family) = (path.port(), if v4 { "IPv4" } else { "IPv6" });
                        return Err(io::Error::new(error.kind(), format!("port {port} of {family}: {error}")));
                    }
                }
            }
        }
        let v6 = match send(false, nth) {
            Ok(socket) => Some(socket),
            Err(error) if is_missing(&error) => None,
            Err(error) => return Err(error),
        };
        Ok(Sockets { receiving, sending: [Some(send(true, nth)?), v6] })
    }

    /// The one that packets to this address leave by.
    pub fn towards(&self, addr: IpAddr) -> Option<(usize, &Socket)> {
        let index = usize::from(addr.is_ipv6());
        Some((index, self.sending.get(index)?.as_ref()?))
    }

    /// By the index that [`Sockets::towards`] said.
    pub fn sending(&self, index: usize) -> Option<&Socket> {
        self.sending.get(index)?.as_ref()
    }
}

fn is_missing(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::EAFNOSUPPORT | libc::EADDRNOTAVAIL | libc::EPROTONOSUPPORT))
}

fn unspecified(v4: bool) -> IpAddr {
    if v4 { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() }
}

fn open(v4: bool) -> io::Result<Socket> {
    let socket = Socket::new(if v4 { Domain::IPV4 } else { Domain::IPV6 }, Type::DGRAM, None)?;
    if !v4 {
        socket.set_only_v6(true)?;
    }
    socket.set_nonblocking(true)?;
    Ok(socket)
}

/// Of one port, in the order of [`Queue::ALL`].
fn receive(v4: bool, path: Path, tag: u32) -> io::Result<[Socket; 3]> {
    let to = SocketAddr::new(unspecified(v4), path.port());
    // Sockets that share a port are of one user, whichever process they belong to: another daemon is found by one that shares nothing.
    open(v4)?.bind(&to.into())?;
    let sockets = [shared(to, Queue::Known)?, shared(to, Queue::First)?, shared(to, Queue::Rubbish)?];
    steer::steer(&sockets, v4, path, tag)?;
    Ok(sockets)
}

/// One of those that share a port.
pub(super) fn shared(to: SocketAddr, queue: Queue) -> io::Result<Socket> {
    let socket = open(to.is_ipv4())?;
    sys::want_arrivals(&socket.as_fd(), to.is_ipv4())?;
    sys::set_receive_buffer(&socket.as_fd(), queue.room())?;
    socket.set_reuse_port(true)?;
    socket.bind(&to.into())?;
    Ok(socket)
}

fn send(v4: bool, nth: u16) -> io::Result<Socket> {
    let socket = open(v4)?;
    sys::set_ttl(&socket.as_fd(), v4, 255)?;
    sys::set_traffic_class(&socket.as_fd(), v4, TRAFFIC_CLASS)?;
    let room = u16::MAX - FIRST_PORT + 1;
    let mut last = io::Error::from(io::ErrorKind::AddrInUse);
    for step in 0..64 {
        let port = FIRST_PORT + nth.wrapping_add(step * 257) % room;
        match socket.bind(&SocketAddr::new(unspecified(v4), port).into()) {
            Ok(()) => return Ok(socket),
            Err(error) => last = error,
        }
    }
    Err(last)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::daemon::sys::DatagramBatch;

    /// On ports that the test was given: those of BFD may be taken.
    #[test]
    fn a_batch_goes_out_and_comes_in_with_link_ttl_and_time() {
        for v4 in [true, false] {
            let to = if v4 { IpAddr::from(Ipv4Addr::LOCALHOST) } else { Ipv6Addr::LOCALHOST.into() };
            let socket = open(v4).expect("a socket");
            sys::want_arrivals(&socket.as_fd(), v4).expect("options");
            if socket.bind(&SocketAddr::new(to, 0).into()).is_err() {
                // No IPv6 here.
                continue;
            }
            let port = socket.local_addr().expect("bound").as_socket().expect("an address").port();
            let sender = send(v4, 7).expect("a port from 49152 on");
            let mut out = DatagramBatch::default();
            for n in 0..10_u8 {
                assert!(out.put(SocketAddr::new(to, port), Some(to).filter(|_| n % 2 == 0), None, &[n; 24]));
            }
            assert_eq!(out.send(&sender.as_fd()), (10, 0));
            let mut heard = DatagramBatch::default();
            assert_eq!(heard.receive(&socket.as_fd()).expect("they wait"), 10);
            let since_1970 = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).expect("after 1970");
            for (n, datagram) in heard.received().enumerate() {
                assert_eq!((datagram.octets, datagram.ttl), (&[n as u8; 24][..], 255));
                assert_eq!(datagram.from.ip(), to);
                assert!(datagram.from.port() >= FIRST_PORT);
                assert_eq!(Some(datagram.ifindex), sys::interface_index("lo"));
                let age = since_1970.saturating_sub(datagram.arrived.expect("stamped"));
                assert!(age.as_secs() < 5, "{age:?}");
            }
            let nothing = heard.receive(&socket.as_fd()).expect_err("nothing more");
            assert_eq!(nothing.kind(), io::ErrorKind::WouldBlock);
        }
    }

    #[test]
    fn one_that_the_kernel_refuses_does_not_keep_the_others() {
        let sender = send(true, 9).expect("a socket");
        let mut out = DatagramBatch::default();
        let nowhere = SocketAddr::new(Ipv4Addr::BROADCAST.into(), 9);
        let here = SocketAddr::new(Ipv4Addr::LOCALHOST.into(), 9);
        for to in [here, nowhere, here, nowhere] {
            assert!(out.put(to, None, None, &[0; 24]));
        }
        assert_eq!(out.send(&sender.as_fd()), (2, 2));
        assert!(out.is_empty());
    }
}
