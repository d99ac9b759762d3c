//! The kernel's tables by our own hand: links, addresses, routes, neighbours over raw rtnetlink.
//!
//! In: calls, from the namespace of the calling thread. Out: what stands in the kernel, printed as `ip route` would.
//! It shares no line with the daemon's netlink: what one of them gets wrong the other shall see.

use std::collections::HashMap;
use std::ffi::CString;
use std::fmt;
use std::io;
use std::mem;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::os::fd::{AsRawFd as _, FromRawFd as _, OwnedFd, RawFd};

use ipnet::{IpNet, Ipv4Net, Ipv6Net};

const VETH_INFO_PEER: u16 = 1;
const HEADER: usize = 16;
const ACK: u16 = (libc::NLM_F_REQUEST | libc::NLM_F_ACK) as u16;
const CREATE: u16 = ACK | (libc::NLM_F_CREATE | libc::NLM_F_EXCL) as u16;
const DUMP: u16 = (libc::NLM_F_REQUEST | libc::NLM_F_DUMP) as u16;
const NESTED: u16 = 1 << 15;
const RTNH_F_ONLINK: u32 = 4;

/// A conversation with the kernel of one network namespace.
#[derive(Debug)]
pub struct Rtnl {
    fd: OwnedFd,
    seq: u32,
}

/// One way out of a route.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct KHop {
    pub via: Option<IpAddr>,
    pub dev: Option<String>,
}

/// A route of the main table, as the kernel tells it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct KRoute {
    pub net: IpNet,
    /// `unicast`, `blackhole`, ...
    pub kind: &'static str,
    pub hops: Vec<KHop>,
    pub protocol: u8,
    pub metric: u32,
}

/// Where a new route leads.
#[derive(Clone, Copy, Debug)]
pub enum Via {
    Gateway(IpAddr),
    /// A gateway that is taken to be on this link whatever the addresses say.
    OnLink(IpAddr, u32),
    Link(u32),
    Blackhole,
}

impl Rtnl {
    /// # Errors
    /// When netlink is not to be had.
    pub fn open() -> io::Result<Self> {
        // SAFETY: plain socket call.
        let raw = unsafe { libc::socket(libc::AF_NETLINK, libc::SOCK_RAW | libc::SOCK_CLOEXEC, libc::NETLINK_ROUTE) };
        if raw < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: fresh and ours.
        Ok(Self { fd: unsafe { OwnedFd::from_raw_fd(raw) }, seq: 0 })
    }

    /// The index of a link by its name.
    ///
    /// # Errors
    /// ENODEV.
    pub fn index(&mut self, name: &str) -> io::Result<u32> {
        let name = CString::new(name)?;
        // SAFETY: a C string that lives through the call.
        match unsafe { libc::if_nametoindex(name.as_ptr()) } {
            0 => Err(io::Error::last_os_error()),
            index => Ok(index),
        }
    }

    /// A cable: `name` here (with `mac`, if given), `far_name` in the namespace behind `far`; both ends up.
    ///
    /// # Errors
    /// EEXIST for a name that is taken, EPERM without rights.
    pub fn add_veth(&mut self, name: &str, mac: Option<[u8; 6]>, far_name: &str, far: RawFd) -> io::Result<()> {
        let mut msg = Msg::new(libc::RTM_NEWLINK, CREATE);
        msg.link(0, 0, 0);
        msg.text(libc::IFLA_IFNAME, name);
        if let Some(mac) = mac {
            msg.attr(libc::IFLA_ADDRESS, &mac);
        }
        msg.nest(libc::IFLA_LINKINFO, |info| {
            info.text(libc::IFLA_INFO_KIND, "veth");
            info.nest(libc::IFLA_INFO_DATA, |data| {
                data.nest(VETH_INFO_PEER, |peer| {
                    peer.link(0, 0, 0);
                    peer.text(libc::IFLA_IFNAME, far_name);
                    peer.attr(libc::IFLA_NET_NS_FD, &far.to_ne_bytes());
                });
            });
        });
        self.talk(msg)
    }

    /// # Errors
    /// EEXIST for a name that is taken.
    pub fn add_bridge(&mut self, name: &str) -> io::Result<()> {
        let mut msg = Msg::new(libc::RTM_NEWLINK, CREATE);
        msg.link(0, 0, 0);
        msg.text(libc::IFLA_IFNAME, name);
        msg.nest(libc::IFLA_LINKINFO, |info| info.text(libc::IFLA_INFO_KIND, "bridge"));
        self.talk(msg)
    }

    /// Makes `port` a port of `bridge`.
    ///
    /// # Errors
    /// ENODEV.
    pub fn set_master(&mut self, port: u32, bridge: u32) -> io::Result<()> {
        let mut msg = Msg::new(libc::RTM_NEWLINK, ACK);
        msg.link(port, 0, 0);
        msg.attr(libc::IFLA_MASTER, &bridge.to_ne_bytes());
        self.talk(msg)
    }

    /// # Errors
    /// ENODEV.
    pub fn set_up(&mut self, index: u32) -> io::Result<()> {
        self.set_flags(index, libc::IFF_UP as u32)
    }

    /// # Errors
    /// ENODEV.
    pub fn set_down(&mut self, index: u32) -> io::Result<()> {
        self.set_flags(index, 0)
    }

    /// Asks for one link, upon which the kernel (6.8 and later) acts on a carrier that has just come.
    /// It would else do so within a second, and IPv6 is not on the link until then.
    ///
    /// # Errors
    /// ENODEV.
    pub fn settle(&mut self, index: u32) -> io::Result<()> {
        let mut msg = Msg::new(libc::RTM_GETLINK, ACK);
        msg.link(index, 0, 0);
        self.talk(msg)
    }

    fn set_flags(&mut self, index: u32, flags: u32) -> io::Result<()> {
        let mut msg = Msg::new(libc::RTM_NEWLINK, ACK);
        msg.link(index, flags, libc::IFF_UP as u32);
        self.talk(msg)
    }

    /// Adds an address; an IPv6 one without asking around first (no duplicate address detection).
    ///
    /// # Errors
    /// EEXIST, ENODEV.
    pub fn add_addr(&mut self, index: u32, net: IpNet) -> io::Result<()> {
        let mut msg = Msg::new(libc::RTM_NEWADDR, CREATE);
        let flags = if net.addr().is_ipv6() { libc::IFA_F_NODAD as u8 } else { 0 };
        msg.buf.extend([family(net.addr()), net.prefix_len(), flags, 0]);
        msg.buf.extend(index.to_ne_bytes());
        msg.addr(libc::IFA_LOCAL, net.addr());
        msg.addr(libc::IFA_ADDRESS, net.addr());
        self.talk(msg)
    }

    /// Adds a route of protocol `static` to the main table.
    ///
    /// # Errors
    /// EEXIST, ENETUNREACH for a gateway that no link leads to.
    pub fn add_route(&mut self, net: IpNet, via: Via) -> io::Result<()> {
        let (kind, scope) = match via {
            Via::Blackhole => (libc::RTN_BLACKHOLE, libc::RT_SCOPE_UNIVERSE),
            Via::Link(_) if net.addr().is_ipv4() => (libc::RTN_UNICAST, libc::RT_SCOPE_LINK),
            _ => (libc::RTN_UNICAST, libc::RT_SCOPE_UNIVERSE),
        };
        let onlink = if matches!(via, Via::OnLink(..)) { RTNH_F_ONLINK } else { 0 };
        let mut msg = Msg::new(libc::RTM_NEWROUTE, CREATE);
        msg.route(net, libc::RTPROT_STATIC, scope, kind, onlink);
        match via {
            Via::Gateway(gateway) => msg.addr(libc::RTA_GATEWAY, gateway),
            Via::OnLink(gateway, index) => {
                msg.addr(libc::RTA_GATEWAY, gateway);
                msg.attr(libc::RTA_OIF, &index.to_ne_bytes());
            }
            Via::Link(index) => msg.attr(libc::RTA_OIF, &index.to_ne_bytes()),
            Via::Blackhole => {}
        }
        self.talk(msg)
    }

    /// Deletes the route to `net`, whoever wrote it.
    ///
    /// # Errors
    /// ESRCH.
    pub fn del_route(&mut self, net: IpNet) -> io::Result<()> {
        let mut msg = Msg::new(libc::RTM_DELROUTE, ACK);
        msg.route(net, 0, libc::RT_SCOPE_NOWHERE, 0, 0);
        self.talk(msg)
    }

    /// A neighbour entry that never ages: this address has this MAC, no question asked.
    ///
    /// # Errors
    /// EEXIST, ENODEV.
    pub fn add_neighbour(&mut self, index: u32, addr: IpAddr, mac: [u8; 6]) -> io::Result<()> {
        let mut msg = Msg::new(libc::RTM_NEWNEIGH, CREATE);
        msg.buf.extend([family(addr), 0, 0, 0]);
        msg.buf.extend(index.to_ne_bytes());
        msg.buf.extend(libc::NUD_PERMANENT.to_ne_bytes());
        msg.buf.extend([0, 0]);
        msg.addr(libc::NDA_DST, addr);
        msg.attr(libc::NDA_LLADDR, &mac);
        self.talk(msg)
    }

    /// Names of the links by index.
    ///
    /// # Errors
    /// What the kernel answered.
    pub fn links(&mut self) -> io::Result<HashMap<u32, String>> {
        let mut msg = Msg::new(libc::RTM_GETLINK, DUMP);
        msg.link(0, 0, 0);
        let answers = self.dump(msg)?;
        Ok(answers.iter().filter(|(kind, _)| *kind == libc::RTM_NEWLINK).filter_map(|(_, body)| parse_link(body)).collect())
    }

    /// Every route of the main table but the kernel's own for link-local and multicast, IPv4 first, by prefix.
    ///
    /// # Errors
    /// What the kernel answered.
    pub fn routes(&mut self) -> io::Result<Vec<KRoute>> {
        let links = self.links()?;
        let mut routes = Vec::new();
        for family in [libc::AF_INET, libc::AF_INET6] {
            let mut msg = Msg::new(libc::RTM_GETROUTE, DUMP);
            msg.buf.extend([family as u8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
            let answers = self.dump(msg)?;
            routes.extend(answers.iter().filter_map(|(_, body)| parse_route(body, &links)));
        }
        routes.sort();
        Ok(merge_paths(routes))
    }

    fn talk(&mut self, msg: Msg) -> io::Result<()> {
        let seq = self.send(msg)?;
        self.receive(seq, |_, _| {})
    }

    fn dump(&mut self, msg: Msg) -> io::Result<Vec<(u16, Vec<u8>)>> {
        let seq = self.send(msg)?;
        let mut answers = Vec::new();
        self.receive(seq, |kind, body| answers.push((kind, body.to_vec())))?;
        Ok(answers)
    }

    fn send(&mut self, msg: Msg) -> io::Result<u32> {
        self.seq += 1;
        let octets = msg.finish(self.seq);
        // SAFETY: valid for its length; an unbound netlink socket sends to the kernel.
        let sent = unsafe { libc::send(self.fd.as_raw_fd(), octets.as_ptr().cast(), octets.len(), 0) };
        if sent < 0 { Err(io::Error::last_os_error()) } else { Ok(self.seq) }
    }

    /// Hands each message of the answer to `each` until the kernel says that it is done or what went wrong.
    fn receive(&mut self, seq: u32, mut each: impl FnMut(u16, &[u8])) -> io::Result<()> {
        let mut buffer = vec![0_u8; 64 * 1024];
        loop {
            // SAFETY: the buffer is valid for its length.
            let got = unsafe { libc::recv(self.fd.as_raw_fd(), buffer.as_mut_ptr().cast(), buffer.len(), 0) };
            let len = usize::try_from(got).map_err(|_| io::Error::last_os_error())?;
            for (kind, body) in messages(&buffer[..len], seq) {
                match i32::from(kind) {
                    libc::NLMSG_ERROR => {
                        return match i32_at(body, 0) {
                            0 => Ok(()),
                            errno => Err(io::Error::from_raw_os_error(-errno)),
                        };
                    }
                    libc::NLMSG_DONE => return Ok(()),
                    _ => each(kind, body),
                }
            }
        }
    }
}

/// IPv6 paths of one route can come as several answers; show them as the one route that they are.
fn merge_paths(routes: Vec<KRoute>) -> Vec<KRoute> {
    let mut merged: Vec<KRoute> = Vec::with_capacity(routes.len());
    for route in routes {
        match merged.last_mut() {
            Some(last) if (last.net, last.metric, last.protocol, last.kind) == (route.net, route.metric, route.protocol, route.kind) => {
                last.hops.extend(route.hops);
            }
            _ => merged.push(route),
        }
    }
    merged
}

fn parse_link(body: &[u8]) -> Option<(u32, String)> {
    let index = u32::from_ne_bytes(body.get(4..8)?.try_into().ok()?);
    let name = attrs(body.get(16..)?).find(|(kind, _)| *kind == libc::IFLA_IFNAME)?.1;
    Some((index, String::from_utf8_lossy(name.split(|&c| c == 0).next()?).into_owned()))
}

fn parse_route(body: &[u8], links: &HashMap<u32, String>) -> Option<KRoute> {
    let [family, len, _, _, table, protocol, _, kind] = *body.first_chunk::<8>()?;
    let v6 = i32::from(family) == libc::AF_INET6;
    let mut net: IpNet = if v6 { Ipv6Net::default().into() } else { Ipv4Net::default().into() };
    let (mut table, mut metric, mut hop, mut hops) = (u32::from(table), 0, KHop { via: None, dev: None }, Vec::new());
    for (attr, value) in attrs(body.get(12..)?) {
        match attr {
            libc::RTA_DST => net = IpNet::new(ip(value)?, len).ok()?,
            libc::RTA_TABLE => table = u32_of(value)?,
            libc::RTA_PRIORITY => metric = u32_of(value)?,
            libc::RTA_MULTIPATH => hops = parse_hops(value, links),
            _ => read_hop(attr, value, links, &mut hop),
        }
    }
    let local = matches!(net, IpNet::V6(net) if net.addr().is_unicast_link_local() || net.addr().is_multicast());
    if table != u32::from(libc::RT_TABLE_MAIN) || (local && i32::from(protocol) == i32::from(libc::RTPROT_KERNEL)) {
        return None;
    }
    if hops.is_empty() {
        hops.push(hop);
    }
    Some(KRoute { net, kind: kind_name(kind), hops, protocol, metric })
}

fn read_hop(attr: u16, value: &[u8], links: &HashMap<u32, String>, hop: &mut KHop) {
    match attr {
        libc::RTA_GATEWAY => hop.via = ip(value),
        // RFC 8950: a gateway of the other family, behind two octets that say which.
        libc::RTA_VIA => hop.via = value.get(2..).and_then(ip),
        libc::RTA_OIF => hop.dev = u32_of(value).and_then(|index| links.get(&index).cloned()),
        _ => {}
    }
}

fn parse_hops(mut rest: &[u8], links: &HashMap<u32, String>) -> Vec<KHop> {
    let mut hops = Vec::new();
    while let Some(head) = rest.first_chunk::<8>() {
        let len = usize::from(u16::from_ne_bytes([head[0], head[1]]));
        let index = u32::from_ne_bytes([head[4], head[5], head[6], head[7]]);
        let Some(inner) = rest.get(8..len) else { break };
        let mut hop = KHop { via: None, dev: links.get(&index).cloned() };
        attrs(inner).for_each(|(attr, value)| read_hop(attr, value, links, &mut hop));
        hops.push(hop);
        rest = rest.get(len.next_multiple_of(4)..).unwrap_or_default();
    }
    hops
}

fn kind_name(kind: u8) -> &'static str {
    match kind {
        libc::RTN_UNICAST => "unicast",
        libc::RTN_BLACKHOLE => "blackhole",
        libc::RTN_UNREACHABLE => "unreachable",
        libc::RTN_PROHIBIT => "prohibit",
        libc::RTN_LOCAL => "local",
        _ => "other",
    }
}

impl KRoute {
    pub fn is_default(&self) -> bool {
        self.net.prefix_len() == 0
    }
}

/// As `ip route` prints it.
impl fmt::Display for KRoute {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.kind != "unicast" {
            write!(f, "{} ", self.kind)?;
        }
        if self.is_default() {
            write!(f, "default")?
        } else if self.net.prefix_len() == self.net.max_prefix_len() {
            write!(f, "{}", self.net.addr())?;
        } else {
            write!(f, "{}", self.net)?;
        }
        for hop in &self.hops {
            if self.hops.len() > 1 {
                write!(f, " nexthop")?;
            }
            if let Some(via) = hop.via {
                let inet6 = if via.is_ipv6() && self.net.addr().is_ipv4() { "inet6 " } else { "" };
                write!(f, " via {inet6}{via}")?;
            }
            // The kernel puts an IPv6 blackhole on `lo`; that says nothing.
            if let (Some(dev), "unicast") = (&hop.dev, self.kind) {
                write!(f, " dev {dev}")?;
            }
        }
        write!(f, " proto {}", protocol_name(self.protocol))?;
        if self.metric != 0 {
            write!(f, " metric {}", self.metric)?;
        }
        Ok(())
    }
}

/// Names of `/etc/iproute2/rt_protos`.
pub fn protocol_name(protocol: u8) -> String {
    match protocol {
        2 => "kernel".into(),
        3 => "boot".into(),
        4 => "static".into(),
        9 => "ra".into(),
        11 => "zebra".into(),
        12 => "bird".into(),
        186 => "bgp".into(),
        196 => "static(zebra)".into(),
        other => other.to_string(),
    }
}

/// A request under construction.
struct Msg {
    buf: Vec<u8>,
}

impl Msg {
    fn new(kind: u16, flags: u16) -> Self {
        let mut buf = vec![0; HEADER];
        buf[4..6].copy_from_slice(&kind.to_ne_bytes());
        buf[6..8].copy_from_slice(&flags.to_ne_bytes());
        Self { buf }
    }

    fn finish(mut self, seq: u32) -> Vec<u8> {
        let len = u32::try_from(self.buf.len()).expect("requests are short");
        self.buf[..4].copy_from_slice(&len.to_ne_bytes());
        self.buf[8..12].copy_from_slice(&seq.to_ne_bytes());
        self.buf
    }

    /// struct ifinfomsg
    fn link(&mut self, index: u32, flags: u32, change: u32) {
        self.buf.extend([0; 4]);
        for word in [index, flags, change] {
            self.buf.extend(word.to_ne_bytes());
        }
    }

    /// struct rtmsg, and the destination unless it is the default
    fn route(&mut self, net: IpNet, protocol: u8, scope: u8, kind: u8, flags: u32) {
        let table = libc::RT_TABLE_MAIN;
        self.buf.extend([family(net.addr()), net.prefix_len(), 0, 0, table, protocol, scope, kind]);
        self.buf.extend(flags.to_ne_bytes());
        if net.prefix_len() > 0 {
            self.addr(libc::RTA_DST, net.network());
        }
    }

    fn attr(&mut self, kind: u16, value: &[u8]) {
        let len = u16::try_from(value.len() + 4).expect("attributes are short");
        self.buf.extend(len.to_ne_bytes());
        self.buf.extend(kind.to_ne_bytes());
        self.buf.extend(value);
        self.buf.resize(self.buf.len().next_multiple_of(4), 0);
    }

    fn addr(&mut self, kind: u16, addr: IpAddr) {
        match addr {
            IpAddr::V4(ip) => self.attr(kind, &ip.octets()),
            IpAddr::V6(ip) => self.attr(kind, &ip.octets()),
        }
    }

    fn text(&mut self, kind: u16, text: &str) {
        let mut octets = text.as_bytes().to_vec();
        octets.push(0);
        self.attr(kind, &octets);
    }

    fn nest(&mut self, kind: u16, fill: impl FnOnce(&mut Self)) {
        let start = self.buf.len();
        self.buf.extend([0, 0]);
        self.buf.extend((kind | if kind == VETH_INFO_PEER { 0 } else { NESTED }).to_ne_bytes());
        fill(self);
        let len = u16::try_from(self.buf.len() - start).expect("attributes are short");
        self.buf[start..start + 2].copy_from_slice(&len.to_ne_bytes());
    }
}

/// The messages of one datagram that answer request `seq`.
fn messages(mut rest: &[u8], seq: u32) -> Vec<(u16, &[u8])> {
    let mut found = Vec::new();
    while let Some(head) = rest.first_chunk::<HEADER>() {
        let len = i32_at(head, 0) as usize;
        let kind = u16::from_ne_bytes([head[4], head[5]]);
        let Some(body) = rest.get(HEADER..len) else { break };
        if i32_at(head, 8) as u32 == seq {
            found.push((kind, body));
        }
        rest = rest.get(len.next_multiple_of(4)..).unwrap_or_default();
    }
    found
}

fn attrs(mut rest: &[u8]) -> impl Iterator<Item = (u16, &[u8])> {
    std::iter::from_fn(move || {
        let head = rest.first_chunk::<4>()?;
        let len = usize::from(u16::from_ne_bytes([head[0], head[1]]));
        let kind = u16::from_ne_bytes([head[2], head[3]]) & 0x3fff;
        let value = rest.get(4..len)?;
        rest = rest.get(len.next_multiple_of(4)..).unwrap_or_default();
        Some((kind, value))
    })
}

fn ip(octets: &[u8]) -> Option<IpAddr> {
    match octets.len() {
        4 => Some(Ipv4Addr::from(<[u8; 4]>::try_from(octets).ok()?).into()),
        16 => Some(Ipv6Addr::from(<[u8; 16]>::try_from(octets).ok()?).into()),
        _ => None,
    }
}

fn u32_of(octets: &[u8]) -> Option<u32> {
    Some(u32::from_ne_bytes(octets.try_into().ok()?))
}

fn i32_at(octets: &[u8], at: usize) -> i32 {
    octets.get(at..at + mem::size_of::<i32>()).map_or(0, |four| i32::from_ne_bytes([four[0], four[1], four[2], four[3]]))
}

fn family(addr: IpAddr) -> u8 {
    (if addr.is_ipv4() { libc::AF_INET } else { libc::AF_INET6 }) as u8
}
