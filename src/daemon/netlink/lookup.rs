//! Where the kernel would send a packet: RTM_GETROUTE, the question that `ip route get` asks.
//!
//! In: an address. Out: the route that the kernel chose, or what it says instead of one. Asked by who answers operators, never by the core.

use std::io;
use std::net::IpAddr;
use std::time::Duration;

use netlink_sys::protocols::NETLINK_ROUTE;
use netlink_sys::{Socket, SocketAddr};
use socket2::SockRef;

use super::message;
use crate::daemon::sys;
use crate::kernel::{KernelRoute, RouteKind};

/// The kernel answers within the call that asks; this is for one that does not.
const TIMEOUT: Duration = Duration::from_secs(1);

/// What the kernel does with a packet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Forwarding {
    Route(KernelRoute),
    /// A route says no, which the kernel tells by an error and without naming it: blackhole, unreachable or prohibit.
    Denied(RouteKind),
    NoRoute,
}

/// Asks.
///
/// # Errors
/// The kernel's, for want of a socket or of an answer.
pub fn route_to(addr: IpAddr) -> io::Result<Forwarding> {
    let mut socket = Socket::new(NETLINK_ROUTE)?;
    SockRef::from(&socket).set_read_timeout(Some(TIMEOUT))?;
    socket.bind_auto()?;
    socket.send_to(&message::lookup_request(addr), &SocketAddr::new(0, 0), 0)?;
    let (answer, _) = socket.recv_from_full()?;
    let Some(said) = message::messages(&answer).next() else { return Err(io::ErrorKind::UnexpectedEof.into()) };
    if let Some((message::RtnlEvent::Route(route), _)) = message::read(&said) {
        return Ok(Forwarding::Route(route));
    }
    match message::errno(&said) {
        libc::EINVAL => Ok(Forwarding::Denied(RouteKind::Blackhole)),
        libc::EHOSTUNREACH => Ok(Forwarding::Denied(RouteKind::Unreachable)),
        libc::EACCES => Ok(Forwarding::Denied(RouteKind::Prohibit)),
        libc::ENETUNREACH => Ok(Forwarding::NoRoute),
        other => Err(io::Error::from_raw_os_error(other)),
    }
}

/// As `ip route` would say it.
pub fn words(route: &KernelRoute) -> String {
    let hop = |hop: &crate::kernel::Hop| {
        let via = hop.gateway.map_or_else(String::new, |gateway| format!(" via {gateway}"));
        let dev = sys::interface_name(hop.ifindex.0).unwrap_or_else(|| format!("if{}", hop.ifindex.0));
        format!("{via} dev {dev}")
    };
    let (kind, ways) = match &route.kind {
        RouteKind::Unicast(hops) if hops.len() == 1 => ("", hops.iter().map(hop).collect()),
        RouteKind::Unicast(hops) => ("", hops.iter().map(|h| format!(" nexthop{}", hop(h))).collect()),
        RouteKind::Blackhole => ("blackhole ", String::new()),
        RouteKind::Unreachable => ("unreachable ", String::new()),
        RouteKind::Prohibit => ("prohibit ", String::new()),
        RouteKind::Local => ("local ", String::new()),
    };
    let metric = if route.metric == 0 { String::new() } else { format!(" metric {}", route.metric) };
    let source = route.source.map_or_else(String::new, |source| format!(" src {source}"));
    format!("{kind}{}{ways} proto {}{metric}{source}", route.net, protocol(route.protocol))
}

/// As `/etc/iproute2/rt_protos` has it.
pub fn protocol(number: u8) -> String {
    let known = match number {
        1 => "redirect",
        2 => "kernel",
        3 => "boot",
        4 => "static",
        9 => "ra",
        11 => "zebra",
        12 => "bird",
        16 => "dhcp",
        18 => "keepalived",
        42 => "babel",
        186 => "bgp",
        188 => "ospf",
        other => return other.to_string(),
    };
    known.to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernel_says_that_loopback_is_local() {
        let Ok(Forwarding::Route(route)) = route_to([127, 0, 0, 1].into()) else { panic!("no route to ourselves") };
        assert_eq!(route.kind, RouteKind::Local);
        assert!(words(&route).starts_with("local 127.0.0.") && words(&route).contains("proto kernel"), "{}", words(&route));
    }
}
