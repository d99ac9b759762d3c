//! What this machine does with one packet: the kernel's own answer, the links and neighbours on its way, and what BGP says of it.
//!
//! In: a packet (source, destination, the address of ours that it was sent to); what the router knows of its destination. Out: an
//! [`api::ForwardingReport`](ForwardingReport). A handful of lookups over netlink and files of `/proc/sys`, each of bounded time; nothing
//! is changed. Which hop is at fault is judged by who has all reports (`cli::path`).

use std::io;
use std::net::IpAddr;

use crate::api::{Explanation, ForwardingHop, ForwardingReport, KernelAnswer, LinkRow, NeighbourRow};
use crate::config::Config;
use crate::daemon::netlink::lookup::{self, Forwarding, Lookup};
use crate::daemon::sys;
use crate::fib;
use crate::fib::overlay::{ActualKind, Mac};
use crate::kernel::{IfIndex, RouteKind};

/// Ways of a multipath route that are looked at.
const HOPS: usize = 16;

/// The packet in question.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Packet {
    pub to: IpAddr,
    /// `None`: any address of this machine.
    pub from: Option<IpAddr>,
    /// The address of ours that the one before sends it to.
    pub at: Option<IpAddr>,
    /// `fwmark`.
    pub mark: u32,
}

/// The whole answer.
pub fn report(packet: Packet, why: Box<Explanation>, draining: bool, config: &Config) -> ForwardingReport {
    let input = input(&packet);
    let lookup = Lookup { to: packet.to, from: packet.from, input: input.as_ref().map(|(ifindex, _)| *ifindex), mark: packet.mark };
    let (verdict, route, hops) = journey(&lookup, &why, &config.fib);
    let input = input.map(|(_, row)| row);
    ForwardingReport {
        node: config.node.name.clone(),
        to: packet.to,
        from: packet.from,
        strict_reverse_path: input.as_ref().is_some_and(|row| packet.to.is_ipv4() && strict_reverse_path(&row.interface)),
        input,
        verdict: verdict.to_owned(),
        route,
        hops,
        draining,
        http_port: config.metrics.listen.map(|address| address.port()),
        why,
    }
}

/// The link by which such a packet comes in: the one that has the address it was sent to, else the one that its source is behind.
fn input(packet: &Packet) -> Option<(IfIndex, LinkRow)> {
    let from = packet.from?;
    if matches!(lookup::route_to(from), Ok(Forwarding::Route(route)) if route.kind == RouteKind::Local) {
        return None;
    }
    let (ifindex, _) = lookup::way(&Lookup::to(packet.at.unwrap_or(from)), packet.at.is_some()).ok()?;
    Some((ifindex, link(ifindex)))
}

fn link(ifindex: IfIndex) -> LinkRow {
    let interface = sys::interface_name(ifindex.0).unwrap_or_else(|| format!("#{}", ifindex.0));
    let Ok((link, carrier)) = lookup::link(ifindex) else { return LinkRow { interface, ..LinkRow::default() } };
    let tunnel = match link.kind {
        ActualKind::Vxlan { .. } => Some("vxlan".to_owned()),
        ActualKind::Ipip => Some("ipip".to_owned()),
        ActualKind::Other(_) => None,
    };
    LinkRow { interface, up: link.up && carrier, mtu: link.mtu, mac: link.mac.map(mac), tunnel }
}

fn mac(Mac(octets): Mac) -> String {
    octets.map(|octet| format!("{octet:02x}")).join(":")
}

type Journey = (&'static str, Option<KernelAnswer>, Vec<ForwardingHop>);

fn journey(lookup: &Lookup, why: &Explanation, fib: &fib::Params) -> Journey {
    let own = Lookup { from: None, input: None, ..*lookup };
    match lookup::forwarding(lookup) {
        Ok(found) => {
            let answer = kernel_answer(lookup.to, &found, why, fib);
            let hops = hops(lookup, &found);
            let verdict = match &found {
                Forwarding::Route(route) => match &route.kind {
                    RouteKind::Unicast(_) if hops.iter().any(|hop| hop.chosen && hop.gateway.is_some()) => "forwarded",
                    RouteKind::Unicast(_) => "on_link",
                    kind => kind_name(kind),
                },
                Forwarding::Denied(kind) => kind_name(kind),
                Forwarding::NoRoute => "no_route",
            };
            (verdict, Some(answer), hops)
        }
        // Why a packet that comes in is refused: for its destination, as one of ours would be, or else for its source.
        Err(error) => {
            let found = lookup::forwarding(&own).ok();
            let verdict = match refusal(&error, found.as_ref(), lookup.to) {
                // Newer kernels (6.18) have one error number for both.
                "martian" if is_refused_by_filter(lookup) => "reverse_path",
                other => other,
            };
            (verdict, found.map(|found| kernel_answer(lookup.to, &found, why, fib)), Vec::new())
        }
    }
}

/// The way back to the source is by another link than it comes in by, and the filter of that one is strict.
fn is_refused_by_filter(lookup: &Lookup) -> bool {
    let (Some(from), Some(input)) = (lookup.from, lookup.input) else { return false };
    let back = lookup::way(&Lookup::to(from), false);
    let strict = sys::interface_name(input.0).is_some_and(|name| strict_reverse_path(&name));
    from.is_ipv4() && strict && back.is_ok_and(|(output, _)| output != input)
}

fn refusal(error: &io::Error, own: Option<&Forwarding>, to: IpAddr) -> &'static str {
    match (error.raw_os_error(), own) {
        (_, Some(Forwarding::Denied(kind))) => kind_name(kind),
        (_, Some(Forwarding::NoRoute)) => "no_route",
        (Some(libc::EXDEV), _) => "reverse_path",
        (Some(libc::EHOSTUNREACH), _) if !forwards(to) => "not_forwarding",
        (Some(libc::EHOSTUNREACH), _) => "unreachable",
        (Some(libc::ENETUNREACH), _) => "no_route",
        (Some(libc::EACCES), _) => "prohibit",
        (Some(libc::EINVAL), _) => "martian",
        _ => "unknown",
    }
}

fn sysctl(path: &str) -> Option<String> {
    std::fs::read_to_string(format!("/proc/sys/net/{path}")).ok().map(|text| text.trim().to_owned())
}

fn forwards(to: IpAddr) -> bool {
    let path = if to.is_ipv4() { "ipv4/ip_forward" } else { "ipv6/conf/all/forwarding" };
    sysctl(path).is_none_or(|value| value != "0")
}

/// The kernel takes the greater of both settings.
fn strict_reverse_path(interface: &str) -> bool {
    let value = |name: &str| sysctl(&format!("ipv4/conf/{name}/rp_filter")).and_then(|text| text.parse::<u8>().ok()).unwrap_or(0);
    value("all").max(value(interface)) == 1
}

fn hops(lookup: &Lookup, found: &Forwarding) -> Vec<ForwardingHop> {
    let Forwarding::Route(route) = found else { return Vec::new() };
    let RouteKind::Unicast(ways) = &route.kind else { return Vec::new() };
    let chosen = lookup::way(lookup, false).ok();
    let only = ways.len() == 1;
    let hop = |hop: &crate::kernel::Hop| {
        let chosen = only || chosen == Some((hop.ifindex, hop.gateway));
        let (link, neighbour, tunnel_to) = end(hop.ifindex, hop.gateway.unwrap_or(lookup.to));
        ForwardingHop { gateway: hop.gateway, link, chosen, tunnel_to, neighbour }
    };
    ways.iter().take(HOPS).map(hop).collect()
}

/// What stands at the end of a way: the link, the neighbour there, and the other end of a tunnel.
fn end(ifindex: IfIndex, address: IpAddr) -> (LinkRow, Option<NeighbourRow>, Option<IpAddr>) {
    let link = link(ifindex);
    let entry = lookup::neighbour(ifindex, address).ok();
    let remote = match link.tunnel.as_deref() {
        Some("vxlan") => entry.as_ref().and_then(|(mac, _)| *mac).and_then(|mac| lookup::tunnel_end(ifindex, mac).ok()),
        Some(_) => Some(address),
        None => None,
    };
    (link, entry.map(|(lladdr, state)| NeighbourRow { address, mac: lladdr.map(mac), state }), remote)
}

/// The kernel's answer about an address, as a row.
pub fn kernel_answer(address: IpAddr, found: &Forwarding, story: &Explanation, fib: &fib::Params) -> KernelAnswer {
    let mut answer = KernelAnswer {
        address,
        net: None,
        table: fib.table,
        metric: 0,
        protocol: String::new(),
        ours: false,
        kind: "none".to_owned(),
        route: "no route leads there".to_owned(),
    };
    match found {
        Forwarding::Route(route) => {
            answer.net = Some(route.net);
            (answer.table, answer.metric) = (route.table, route.metric);
            answer.protocol = lookup::protocol(route.protocol);
            answer.ours = route.protocol == fib.protocol && route.table == fib.table;
            answer.kind = kind_name(&route.kind).to_owned();
            answer.route = lookup::words(route);
        }
        Forwarding::Denied(kind) => {
            // Which route says so the kernel does not tell; a blackhole that we want and that stands is ours.
            let wanted = story.fib.as_ref().filter(|row| row.state == "installed").and_then(|row| row.wanted.as_ref());
            answer.ours = wanted.is_some_and(|route| route.kind == "blackhole") && *kind == RouteKind::Blackhole;
            answer.kind = kind_name(kind).to_owned();
            answer.route = format!("{}: packets are dropped", answer.kind);
        }
        Forwarding::NoRoute => {}
    }
    answer
}

fn kind_name(kind: &RouteKind) -> &'static str {
    match kind {
        RouteKind::Unicast(_) => "unicast",
        RouteKind::Blackhole => "blackhole",
        RouteKind::Unreachable => "unreachable",
        RouteKind::Prohibit => "prohibit",
        RouteKind::Local => "local",
    }
}
