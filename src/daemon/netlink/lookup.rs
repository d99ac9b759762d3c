//! Where the kernel would send a packet: RTM_GETROUTE, the question that `ip route get` asks; and what stands at the end of that way.
//!
//! In: an address, a link. Out: the route that the kernel chose, or what it says instead of one; a link, the entry of a neighbour, the end of
//! a tunnel. Each is a lookup, not a dump. Asked by who answers operators, never by the core.

use std::io;
use std::net::IpAddr;
use std::time::Duration;

use netlink_packet_core::{NLM_F_REQUEST, NetlinkMessage, NetlinkPayload};
use netlink_packet_route::link::{LinkFlags, LinkMessage};
use netlink_packet_route::neighbour::{NeighbourAttribute, NeighbourState};
use netlink_packet_route::{AddressFamily, RouteNetlinkMessage};
use netlink_sys::protocols::NETLINK_ROUTE;
use netlink_sys::{Socket, SocketAddr};
use socket2::SockRef;

use super::device;
pub use super::device::Link;
use super::message;
pub use super::message::Lookup;
use crate::daemon::sys;
use crate::fib::overlay::Mac;
use crate::kernel::{IfIndex, KernelRoute, RouteKind};

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

/// Asks about a packet of this machine.
///
/// # Errors
/// The kernel's, for want of a socket or of an answer.
pub fn route_to(addr: IpAddr) -> io::Result<Forwarding> {
    forwarding(&Lookup::to(addr))
}

/// Asks. A packet that comes in by a link is also refused by what the kernel thinks of its source (EXDEV: `rp_filter`, EINVAL) and of
/// forwarding (EHOSTUNREACH): that is an error here.
///
/// # Errors
/// The kernel's.
pub fn forwarding(lookup: &Lookup) -> io::Result<Forwarding> {
    let answer = request(&message::lookup_request(lookup, true))?;
    let Some(said) = message::messages(&answer).next() else { return Err(io::ErrorKind::UnexpectedEof.into()) };
    if let Some((message::RtnlEvent::Route(route), _)) = message::read(&said) {
        return Ok(Forwarding::Route(route));
    }
    match message::errno(&said) {
        errno if lookup.input.is_some() => Err(io::Error::from_raw_os_error(errno)),
        libc::EINVAL => Ok(Forwarding::Denied(RouteKind::Blackhole)),
        libc::EHOSTUNREACH => Ok(Forwarding::Denied(RouteKind::Unreachable)),
        libc::EACCES => Ok(Forwarding::Denied(RouteKind::Prohibit)),
        libc::ENETUNREACH => Ok(Forwarding::NoRoute),
        other => Err(io::Error::from_raw_os_error(other)),
    }
}

/// The one way that this packet takes; with `entry` where the table's entry points, which of an address of ours is the link that has it.
///
/// # Errors
/// The kernel's.
pub fn way(lookup: &Lookup, entry: bool) -> io::Result<(IfIndex, Option<IpAddr>)> {
    let answer = request(&message::lookup_request(lookup, entry))?;
    let said = message::messages(&answer).next().ok_or(io::ErrorKind::UnexpectedEof)?;
    if said.kind == message::NLMSG_ERROR {
        return Err(io::Error::from_raw_os_error(message::errno(&said)));
    }
    message::chosen_hop(&said).ok_or_else(|| io::ErrorKind::InvalidData.into())
}

/// A link: what it is, and whether it has a carrier.
///
/// # Errors
/// The kernel's: there is none of this number.
pub fn link(ifindex: IfIndex) -> io::Result<(Link, bool)> {
    let mut message = LinkMessage::default();
    message.header.index = ifindex.0;
    match one(RouteNetlinkMessage::GetLink(message))? {
        RouteNetlinkMessage::NewLink(link) => Ok((device::read_link(&link), link.header.flags.contains(LinkFlags::LowerUp))),
        _ => Err(io::ErrorKind::InvalidData.into()),
    }
}

/// The entry of the neighbour table (`ip neighbour`), with its state as `ip neighbour` says it.
///
/// # Errors
/// The kernel's; ENOENT if there is none.
pub fn neighbour(ifindex: IfIndex, address: IpAddr) -> io::Result<(Option<Mac>, String)> {
    let message = device::entry_of(device::family(address), ifindex.0, &[device::destination(address)]);
    match one(RouteNetlinkMessage::GetNeighbour(message))? {
        RouteNetlinkMessage::NewNeighbour(entry) => {
            let mac = device::read_entry(&entry).and_then(|entry| entry.mac);
            Ok((mac, format!("{:?}", entry.header.state).to_uppercase()))
        }
        _ => Err(io::ErrorKind::InvalidData.into()),
    }
}

/// The other end of a VXLAN tunnel for a MAC address (`bridge fdb`).
///
/// # Errors
/// The kernel's; ENOENT if there is none.
pub fn tunnel_end(ifindex: IfIndex, mac: Mac) -> io::Result<IpAddr> {
    let mut message = device::entry_of(AddressFamily::Bridge, ifindex.0, &[NeighbourAttribute::LinkLayerAddress(mac.0.to_vec())]);
    message.header.state = NeighbourState::None;
    match one(RouteNetlinkMessage::GetNeighbour(message))? {
        RouteNetlinkMessage::NewNeighbour(entry) => {
            device::read_entry(&entry).map(|entry| entry.to).ok_or_else(|| io::ErrorKind::NotFound.into())
        }
        _ => Err(io::ErrorKind::InvalidData.into()),
    }
}

/// A request whose answer is one message.
fn one(body: RouteNetlinkMessage) -> io::Result<RouteNetlinkMessage> {
    let mut message = NetlinkMessage::from(body);
    message.header.flags = NLM_F_REQUEST;
    message.finalize();
    let mut octets = vec![0; message.buffer_len()];
    message.serialize(&mut octets);
    let answer = request(&octets)?;
    let parsed = NetlinkMessage::<RouteNetlinkMessage>::deserialize(&answer).map_err(io::Error::other)?;
    match parsed.payload {
        NetlinkPayload::InnerMessage(inner) => Ok(inner),
        NetlinkPayload::Error(error) => Err(error.to_io()),
        _ => Err(io::ErrorKind::InvalidData.into()),
    }
}

/// Within the call that asks: the kernel looks and answers.
fn request(octets: &[u8]) -> io::Result<Vec<u8>> {
    let mut socket = Socket::new(NETLINK_ROUTE)?;
    SockRef::from(&socket).set_read_timeout(Some(TIMEOUT))?;
    socket.bind_auto()?;
    socket.send_to(octets, &SocketAddr::new(0, 0), 0)?;
    Ok(socket.recv_from_full()?.0)
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
