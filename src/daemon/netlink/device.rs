//! rtnetlink's octets for tunnel devices: what is asked and told of one link, its addresses, neighbours and forwarding entries.
//!
//! In: `overlay::Deed`s; answers of the kernel. Out: requests; what stands, as `overlay::Standing`. What is to be done is decided in
//! `fib::overlay`, when it is done in [`super::overlay`]. Reading is bounded as in [`super::message`].

use std::net::IpAddr;

use ipnet::IpNet;

use super::message::{self, AF_INET, AF_INET6, Message, NLM_F_ACK, NLM_F_CREATE, NLM_F_DUMP, NLM_F_EXCL, NLM_F_REPLACE, NLM_F_REQUEST};
use super::message::{attributes, end, ip, put, put_header, put_ip, set_len, u16_at, u32_at};
use crate::fib::overlay::{Deed, Device, Mac, StandingKind, Tunnel};
use crate::kernel::IfIndex;

pub const RTM_NEWNEIGH: u16 = 28;
const RTM_DELNEIGH: u16 = 29;
const RTM_GETNEIGH: u16 = 30;
pub const AF_BRIDGE: u8 = 7;

const IFF_UP: u32 = 1;
const IFLA_ADDRESS: u16 = 1;
const IFLA_IFNAME: u16 = 3;
const IFLA_MTU: u16 = 4;
const IFLA_LINKINFO: u16 = 18;
const INFO_KIND: u16 = 1;
const INFO_DATA: u16 = 2;
const VXLAN_ID: u16 = 1;
const VXLAN_LOCAL: u16 = 4;
const VXLAN_LEARNING: u16 = 7;
const VXLAN_PORT: u16 = 15;
const VXLAN_LOCAL6: u16 = 17;
const VXLAN_UDP_CSUM: u16 = 18;
const VXLAN_ZERO_CSUM6_TX: u16 = 19;
const VXLAN_ZERO_CSUM6_RX: u16 = 20;
const IPTUN_LOCAL: u16 = 2;
const IFA_ADDRESS: u16 = 1;
const IFA_LOCAL: u16 = 2;
const IFA_F_NODAD: u8 = 2;
const NDA_DST: u16 = 1;
const NDA_LLADDR: u16 = 2;
const NUD_PERMANENT: u16 = 0x80;
const NTF_SELF: u8 = 2;

/// A link as it stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Link {
    pub ifindex: IfIndex,
    pub kind: StandingKind,
    pub local: Option<IpAddr>,
    pub mac: Option<Mac>,
    pub mtu: u32,
    pub up: bool,
}

/// An entry of the neighbour or of the forwarding table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entry {
    pub ifindex: IfIndex,
    pub mac: Mac,
    pub to: IpAddr,
    pub permanent: bool,
}

// ------------------------------------------------------------------------------------------------ asking

/// Tell of the link with this name.
pub fn link_by_name(name: &str) -> Vec<u8> {
    let mut out = begin(message::RTM_GETLINK, NLM_F_ACK);
    out.resize(out.len() + 16, 0);
    put_name(&mut out, name);
    finish(out)
}

/// Tell of the link with this number.
pub fn link_by_index(ifindex: IfIndex) -> Vec<u8> {
    let mut out = begin(message::RTM_GETLINK, NLM_F_ACK);
    put_link_header(&mut out, ifindex, 0, 0);
    finish(out)
}

/// Tell all addresses.
pub fn addresses() -> Vec<u8> {
    let mut out = begin(message::RTM_GETADDR, NLM_F_DUMP);
    out.resize(out.len() + 8, 0);
    finish(out)
}

/// Tell the entries of this device: `AF_INET` and `AF_INET6` mean neighbours, `AF_BRIDGE` forwarding entries. An old kernel tells more.
pub fn entries(family: u8, ifindex: IfIndex) -> Vec<u8> {
    let mut out = begin(RTM_GETNEIGH, NLM_F_DUMP);
    let bridge = if family == AF_BRIDGE { ifindex.0 } else { 0 };
    put_neighbour_header(&mut out, family, IfIndex(bridge), 0, 0);
    if family != AF_BRIDGE {
        const NDA_IFINDEX: u16 = 8;
        put(&mut out, NDA_IFINDEX, &ifindex.0.to_ne_bytes());
    }
    finish(out)
}

/// The request that does the deed; `ifindex` is the device's, if it stands.
pub fn deed(deed: Deed, device: &Device, ifindex: IfIndex) -> Vec<u8> {
    let newer = NLM_F_ACK | NLM_F_CREATE | NLM_F_REPLACE;
    let mut out = match deed {
        Deed::Create => begin(message::RTM_NEWLINK, NLM_F_ACK | NLM_F_CREATE | NLM_F_EXCL),
        Deed::Delete => begin(message::RTM_DELLINK, NLM_F_ACK),
        Deed::SetLocal(_) | Deed::SetMac(_) | Deed::SetMtu(_) | Deed::SetUp => begin(message::RTM_NEWLINK, NLM_F_ACK),
        Deed::AddAddress(_) => begin(message::RTM_NEWADDR, newer),
        Deed::DeleteAddress(_) => begin(message::RTM_DELADDR, NLM_F_ACK),
        Deed::Neighbour(..) | Deed::Forward(..) => begin(RTM_NEWNEIGH, newer),
        Deed::DeleteNeighbour(_) | Deed::DeleteForward(..) => begin(RTM_DELNEIGH, NLM_F_ACK),
    };
    match deed {
        Deed::Create => put_new_link(&mut out, device),
        Deed::Delete => put_link_header(&mut out, ifindex, 0, 0),
        Deed::SetUp => put_link_header(&mut out, ifindex, IFF_UP, IFF_UP),
        Deed::SetMtu(mtu) => {
            put_link_header(&mut out, ifindex, 0, 0);
            put(&mut out, IFLA_MTU, &mtu.to_ne_bytes());
        }
        Deed::SetMac(mac) => {
            put_link_header(&mut out, ifindex, 0, 0);
            put(&mut out, IFLA_ADDRESS, &mac.0);
        }
        Deed::SetLocal(local) => {
            put_link_header(&mut out, ifindex, 0, 0);
            put_info(&mut out, "vxlan", |out| put_ip(out, if local.is_ipv4() { VXLAN_LOCAL } else { VXLAN_LOCAL6 }, local));
        }
        Deed::AddAddress(net) | Deed::DeleteAddress(net) => put_address(&mut out, net, ifindex),
        Deed::Neighbour(node, mac) => {
            put_neighbour_header(&mut out, family(node), ifindex, NUD_PERMANENT, 0);
            put_ip(&mut out, NDA_DST, node);
            put(&mut out, NDA_LLADDR, &mac.0);
        }
        Deed::DeleteNeighbour(node) => {
            put_neighbour_header(&mut out, family(node), ifindex, 0, 0);
            put_ip(&mut out, NDA_DST, node);
        }
        Deed::Forward(mac, node) | Deed::DeleteForward(mac, node) => {
            put_neighbour_header(&mut out, AF_BRIDGE, ifindex, NUD_PERMANENT, NTF_SELF);
            put(&mut out, NDA_LLADDR, &mac.0);
            put_ip(&mut out, NDA_DST, node);
        }
    }
    finish(out)
}

fn put_new_link(out: &mut Vec<u8>, device: &Device) {
    out.resize(out.len() + 16, 0);
    put_name(out, &device.name);
    match device.tunnel {
        Tunnel::Vxlan { vni, port, checksum } => {
            put(out, IFLA_ADDRESS, &Mac::of(device.local).0);
            put_info(out, "vxlan", |out| {
                put(out, VXLAN_ID, &vni.to_ne_bytes());
                put(out, VXLAN_PORT, &port.to_be_bytes());
                put(out, VXLAN_LEARNING, &[0]);
                put_ip(out, if device.local.is_ipv4() { VXLAN_LOCAL } else { VXLAN_LOCAL6 }, device.local);
                put(out, VXLAN_UDP_CSUM, &[u8::from(checksum)]);
                put(out, VXLAN_ZERO_CSUM6_TX, &[u8::from(!checksum)]);
                // RFC 7348 §5: a packet without one is taken, whatever we send ourselves. (Over IPv4 the kernel does.)
                put(out, VXLAN_ZERO_CSUM6_RX, &[1]);
            });
        }
        Tunnel::Ipip => put_info(out, "ipip", |out| {
            if !device.is_fallback() {
                put_ip(out, IPTUN_LOCAL, device.local);
            }
        }),
    }
}

fn put_info(out: &mut Vec<u8>, kind: &str, data: impl FnOnce(&mut Vec<u8>)) {
    let info = nest(out, IFLA_LINKINFO);
    put(out, INFO_KIND, kind.as_bytes());
    let inner = nest(out, INFO_DATA);
    data(out);
    set_len(out, inner);
    set_len(out, info);
}

/// Begins an attribute that holds others; `set_len` ends it.
fn nest(out: &mut Vec<u8>, kind: u16) -> usize {
    let start = out.len();
    out.extend_from_slice(&[0; 2]);
    out.extend_from_slice(&kind.to_ne_bytes());
    start
}

fn put_name(out: &mut Vec<u8>, name: &str) {
    let mut value = name.as_bytes().to_vec();
    value.push(0);
    put(out, IFLA_IFNAME, &value);
}

fn put_address(out: &mut Vec<u8>, net: IpNet, ifindex: IfIndex) {
    let nodad = if net.addr().is_ipv6() { IFA_F_NODAD } else { 0 };
    out.extend_from_slice(&[family(net.addr()), net.prefix_len(), nodad, 0]);
    out.extend_from_slice(&ifindex.0.to_ne_bytes());
    put_ip(out, IFA_LOCAL, net.addr());
    put_ip(out, IFA_ADDRESS, net.addr());
}

fn put_link_header(out: &mut Vec<u8>, ifindex: IfIndex, flags: u32, change: u32) {
    out.extend_from_slice(&[0; 4]);
    for word in [ifindex.0, flags, change] {
        out.extend_from_slice(&word.to_ne_bytes());
    }
}

fn put_neighbour_header(out: &mut Vec<u8>, family: u8, ifindex: IfIndex, state: u16, flags: u8) {
    out.extend_from_slice(&[family, 0, 0, 0]);
    out.extend_from_slice(&ifindex.0.to_ne_bytes());
    out.extend_from_slice(&state.to_ne_bytes());
    out.extend_from_slice(&[flags, 0]);
}

fn begin(kind: u16, flags: u16) -> Vec<u8> {
    let mut out = Vec::with_capacity(160);
    put_header(&mut out, kind, NLM_F_REQUEST | flags, 0);
    out
}

fn finish(mut out: Vec<u8>) -> Vec<u8> {
    end(&mut out, 0);
    out
}

fn family(addr: IpAddr) -> u8 {
    if addr.is_ipv4() { AF_INET } else { AF_INET6 }
}

// ------------------------------------------------------------------------------------------------ reading

/// The link that RTM_NEWLINK tells of.
pub fn read_link(message: &Message<'_>) -> Option<Link> {
    let body = Some(message.body).filter(|_| message.kind == message::RTM_NEWLINK)?;
    let (ifindex, flags) = (IfIndex(u32_at(body, 4)?), u32_at(body, 8)?);
    let mut link = Link { ifindex, kind: StandingKind::Other(String::new()), local: None, mac: None, mtu: 0, up: flags & IFF_UP != 0 };
    for (kind, value) in attributes(body.get(16..)?) {
        match kind {
            IFLA_ADDRESS => link.mac = mac(value),
            IFLA_MTU => link.mtu = u32_at(value, 0)?,
            IFLA_LINKINFO => read_info(value, &mut link),
            _ => {}
        }
    }
    Some(link)
}

fn read_info(info: &[u8], link: &mut Link) {
    let (mut name, mut data) = (&[][..], &[][..]);
    for (kind, value) in attributes(info) {
        match kind {
            INFO_KIND => name = value.strip_suffix(&[0]).unwrap_or(value),
            INFO_DATA => data = value,
            _ => {}
        }
    }
    link.kind = match name {
        b"vxlan" => read_vxlan(data, link),
        b"ipip" => {
            let local = attributes(data).find(|(kind, _)| *kind == IPTUN_LOCAL);
            link.local = local.and_then(|(_, value)| ip(AF_INET, value)).filter(|a| !a.is_unspecified());
            StandingKind::Ipip
        }
        other => StandingKind::Other(String::from_utf8_lossy(other).into_owned()),
    };
}

fn read_vxlan(data: &[u8], link: &mut Link) -> StandingKind {
    let (mut vni, mut port, mut learning, mut csum, mut zero6) = (0, 0, false, false, false);
    let yes = |value: &[u8]| value.first().is_some_and(|v| *v != 0);
    for (kind, value) in attributes(data) {
        match kind {
            VXLAN_ID => vni = u32_at(value, 0).unwrap_or(0),
            VXLAN_PORT => port = value.first_chunk().copied().map_or(0, u16::from_be_bytes),
            VXLAN_LEARNING => learning = yes(value),
            VXLAN_LOCAL => link.local = ip(AF_INET, value),
            VXLAN_LOCAL6 => link.local = ip(AF_INET6, value),
            VXLAN_UDP_CSUM => csum = yes(value),
            VXLAN_ZERO_CSUM6_TX => zero6 = yes(value),
            _ => {}
        }
    }
    let checksum = if link.local.is_some_and(|l| l.is_ipv6()) { !zero6 } else { csum };
    StandingKind::Vxlan { vni, port, checksum, learning }
}

/// The entry that RTM_NEWNEIGH tells of; those without a MAC address or another end do not concern us.
pub fn read_entry(message: &Message<'_>) -> Option<(u8, Entry)> {
    let body = Some(message.body).filter(|_| message.kind == RTM_NEWNEIGH)?;
    let (of, ifindex, state) = (*body.first()?, IfIndex(u32_at(body, 4)?), u16_at(body, 8)?);
    let (mut to, mut lladdr) = (None, None);
    for (kind, value) in attributes(body.get(12..)?) {
        match kind {
            NDA_DST => to = ip(if value.len() == 4 { AF_INET } else { AF_INET6 }, value),
            NDA_LLADDR => lladdr = mac(value),
            _ => {}
        }
    }
    Some((of, Entry { ifindex, mac: lladdr?, to: to?, permanent: state & NUD_PERMANENT != 0 }))
}

/// The link that a message about links, addresses or entries is about.
pub fn concerned(message: &Message<'_>) -> Option<IfIndex> {
    u32_at(message.body, 4).map(IfIndex)
}

fn mac(octets: &[u8]) -> Option<Mac> {
    octets.try_into().ok().map(Mac)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fib::overlay::{Kind, Mode, Params};

    fn device(params: &Params, v6: bool) -> Device {
        let own = ("10.0.0.1".parse().unwrap(), "fd00::1".parse().unwrap());
        let params = Params { mode: Mode::Always, ..params.clone() };
        params.wanted((!v6).then_some(own.0), v6.then_some(own.1), &[].into()).devices.remove(0)
    }

    fn only(octets: &[u8]) -> Message<'_> {
        let mut all = message::messages(octets);
        let message = all.next().expect("a message");
        assert!(all.next().is_none());
        message
    }

    #[test]
    fn the_device_that_is_asked_for_is_the_one_that_is_read() {
        for (v6, checksum) in [(false, true), (false, false), (true, true), (true, false)] {
            let device = device(&Params { vni: 77, port: 8472, checksum, ..Params::default() }, v6);
            let octets = deed(Deed::Create, &device, IfIndex(0));
            let link = read_link(&only(&octets)).expect("a link");
            assert_eq!(link.kind, StandingKind::Vxlan { vni: 77, port: 8472, checksum, learning: false });
            assert_eq!((link.local, link.mac), (Some(device.local), Some(Mac::of(device.local))));
        }
        let ipip = device(&Params { kind: Kind::Ipip, device: "ip0".into(), ..Params::default() }, false);
        let octets = deed(Deed::Create, &ipip, IfIndex(0));
        let link = read_link(&only(&octets)).expect("a link");
        assert_eq!((link.kind, link.local), (StandingKind::Ipip, Some(ipip.local)));
    }

    #[test]
    fn entries_are_read_as_they_are_written() {
        let device = device(&Params::default(), false);
        for node in ["10.0.1.1", "fd00::2"].map(|a| a.parse().unwrap()) {
            let entry = Entry { ifindex: IfIndex(7), mac: Mac::of(node), to: node, permanent: true };
            for (of, deed_) in [(family(node), Deed::Neighbour(node, Mac::of(node))), (AF_BRIDGE, Deed::Forward(Mac::of(node), node))] {
                let octets = deed(deed_, &device, IfIndex(7));
                assert_eq!(read_entry(&only(&octets)), Some((of, entry)));
                assert_eq!(concerned(&only(&octets)), Some(IfIndex(7)));
            }
        }
    }

    #[test]
    fn cut_short_anywhere_it_is_nothing_or_less_and_never_a_panic() {
        let device = device(&Params::default(), true);
        let node = "fd00::2".parse().unwrap();
        for octets in [deed(Deed::Create, &device, IfIndex(0)), deed(Deed::Forward(Mac::of(node), node), &device, IfIndex(7))] {
            let whole = only(&octets);
            for len in 0..whole.body.len() {
                let cut = Message { body: &whole.body[..len], ..whole };
                let (link, entry) = (read_link(&cut), read_entry(&cut));
                assert!(len >= 12 || (link.is_none() && entry.is_none()));
            }
        }
    }
}
