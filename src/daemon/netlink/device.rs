//! A tunnel device in the terms of netlink: what is asked of the kernel, and what stands there, as `overlay::ActualDevice`.
//!
//! In: `overlay::DeviceOp`s; messages of the kernel. Out: requests; links and entries as they stand. What is to be done is decided in
//! `fib::overlay`, when it is done in [`super::tunnels`].

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::IpNet;
use netlink_packet_core::{NLM_F_ACK, NLM_F_REQUEST};
use netlink_packet_route::AddressFamily;
use netlink_packet_route::address::{AddressAttribute, AddressHeaderFlags, AddressMessage};
use netlink_packet_route::link::{InfoData, InfoIpTunnel, InfoKind, InfoVxlan, LinkAttribute, LinkFlags, LinkInfo, LinkMessage};
use netlink_packet_route::neighbour::{NeighbourAddress, NeighbourAttribute, NeighbourFlags, NeighbourMessage, NeighbourState};
use rtnetlink::{Error, Handle, LinkIpIp, LinkMessageBuilder, LinkUnspec, LinkVxlan};

use crate::fib::Errno;
use crate::fib::overlay::{ActualKind, Device, DeviceOp, Mac, Tunnel, aside};
use crate::kernel::IfIndex;

/// A link as it stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Link {
    /// Its number.
    pub ifindex: IfIndex,
    /// What it is.
    pub kind: ActualKind,
    /// Source of its outer packets.
    pub local: Option<IpAddr>,
    /// Its address, of a VXLAN device.
    pub mac: Option<Mac>,
    /// Octets.
    pub mtu: u32,
    /// Administratively.
    pub up: bool,
    /// It leads to this machine only.
    pub loopback: bool,
    /// Packets that came over it so far.
    pub received: u64,
}

/// Which table an entry stands in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Table {
    /// IP address to MAC address (`ip neighbour`).
    Neighbours,
    /// MAC address to the other end of a tunnel (`bridge fdb`).
    Forwarding,
}

/// An entry of the neighbour or of the forwarding table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Which.
    pub table: Table,
    /// Of which device.
    pub ifindex: IfIndex,
    /// None of a neighbour that has not answered, or was removed while packets went there.
    pub mac: Option<Mac>,
    /// The node.
    pub to: IpAddr,
    /// Put there by us or an operator, not learned.
    pub permanent: bool,
}

// ------------------------------------------------------------------------------------------------ asking

/// Does it; `ifindex` is the device's, if it stands.
///
/// # Errors
/// The kernel's.
pub async fn carry_out(handle: &Handle, op: DeviceOp, device: &Device, ifindex: IfIndex) -> Result<(), Errno> {
    let index = ifindex.0;
    let link = || LinkUnspec::new_with_index(index);
    let done = match op {
        DeviceOp::Create => handle.link().add(new_link(device)).execute().await,
        DeviceOp::Delete => handle.link().del(index).execute().await,
        DeviceOp::SetAside => return rename(handle, ifindex, &aside(&device.name)).await,
        DeviceOp::SetUp => handle.link().set(link().up().build()).execute().await,
        DeviceOp::SetMtu(mtu) => handle.link().set(link().mtu(mtu).build()).execute().await,
        DeviceOp::SetMac(mac) => handle.link().set(link().address(mac.0.to_vec()).build()).execute().await,
        // What belongs to the kind of the device is changed by RTM_NEWLINK only.
        DeviceOp::SetLocal(local) => {
            let message = with_local(LinkMessageBuilder::<LinkVxlan>::new_with_info_kind(InfoKind::Vxlan).index(index), local).build();
            handle.link().add(message).set_flags(NLM_F_REQUEST | NLM_F_ACK).execute().await
        }
        DeviceOp::AddAddress(net) => {
            let mut request = handle.address().add(index, net.addr(), net.prefix_len()).replace();
            if net.addr().is_ipv6() {
                request.message_mut().header.flags |= AddressHeaderFlags::Nodad;
            }
            request.execute().await
        }
        DeviceOp::DeleteAddress(net) => handle.address().del(address_of(net, index)).execute().await,
        DeviceOp::Neighbour(to, mac) => handle.neighbours().add(index, to).link_layer_address(&mac.0).replace().execute().await,
        DeviceOp::DeleteNeighbour(to) => handle.neighbours().del(entry_of(family(to), index, &[destination(to)])).execute().await,
        DeviceOp::Forward(mac, to) => {
            let request = handle.neighbours().add_bridge(index, &mac.0).destination(to).flags(NeighbourFlags::Own);
            request.replace().execute().await
        }
        DeviceOp::DeleteForward(mac, to) => {
            let mac = NeighbourAttribute::LinkLayerAddress(mac.0.to_vec());
            handle.neighbours().del(entry_of(AddressFamily::Bridge, index, &[mac, destination(to)])).execute().await
        }
    };
    done.map_err(errno)
}

/// Gives a device another name; one that is up must go down for it on old kernels (before Linux 6.3), which takes its routes along.
///
/// # Errors
/// The kernel's.
pub async fn rename(handle: &Handle, ifindex: IfIndex, name: &str) -> Result<(), Errno> {
    let link = || LinkUnspec::new_with_index(ifindex.0);
    let renamed = |message| async move { handle.link().set(message).execute().await.map_err(errno) };
    match renamed(link().name(name.to_owned()).build()).await {
        Err(Errno(libc::EBUSY)) => {
            renamed(link().down().build()).await?;
            renamed(link().name(name.to_owned()).build()).await
        }
        answer => answer,
    }
}

/// Removes a link.
///
/// # Errors
/// The kernel's.
pub async fn remove(handle: &Handle, ifindex: IfIndex) -> Result<(), Errno> {
    handle.link().del(ifindex.0).execute().await.map_err(errno)
}

fn new_link(device: &Device) -> LinkMessage {
    match device.tunnel {
        Tunnel::Vxlan { vni, port, checksum } => {
            let link = LinkVxlan::new(&device.name, vni).port(port).learning(false).address(Mac::of(device.local).0.to_vec());
            // RFC 7348 §5: a packet without a checksum is taken, whatever we send ourselves. (Over IPv4 the kernel does.)
            let link = link.udp_csum(checksum).udp_zero_csum6_tx(!checksum).udp_zero_csum6_rx(true);
            with_local(link, device.local).build()
        }
        Tunnel::Ipip => match device.local {
            IpAddr::V4(local) if !device.is_fallback() => LinkIpIp::new(&device.name).local(local).build(),
            _ => LinkIpIp::new(&device.name).build(),
        },
    }
}

fn with_local(link: LinkMessageBuilder<LinkVxlan>, local: IpAddr) -> LinkMessageBuilder<LinkVxlan> {
    match local {
        IpAddr::V4(local) => link.local(local),
        IpAddr::V6(local) => link.local6(local),
    }
}

fn address_of(net: IpNet, index: u32) -> AddressMessage {
    let mut message = AddressMessage::default();
    (message.header.family, message.header.prefix_len, message.header.index) = (family(net.addr()), net.prefix_len(), index);
    message.attributes = vec![AddressAttribute::Local(net.addr()), AddressAttribute::Address(net.addr())];
    message
}

/// A message about an entry of this device's tables.
pub fn entry_of(family: AddressFamily, index: u32, attributes: &[NeighbourAttribute]) -> NeighbourMessage {
    let mut message = NeighbourMessage::default();
    (message.header.family, message.header.ifindex) = (family, index);
    if family == AddressFamily::Bridge {
        (message.header.state, message.header.flags) = (NeighbourState::Permanent, NeighbourFlags::Own);
    }
    message.attributes = attributes.to_vec();
    message
}

/// As an attribute.
pub fn destination(addr: IpAddr) -> NeighbourAttribute {
    NeighbourAttribute::Destination(match addr {
        IpAddr::V4(a) => NeighbourAddress::Inet(a),
        IpAddr::V6(a) => NeighbourAddress::Inet6(a),
    })
}

/// Of the address.
pub fn family(addr: IpAddr) -> AddressFamily {
    if addr.is_ipv4() { AddressFamily::Inet } else { AddressFamily::Inet6 }
}

/// The kernel's error number; EPIPE if the connection to it is closed, ENOBUFS if an answer was lost.
pub fn errno(error: Error) -> Errno {
    match error {
        Error::NetlinkError(message) => Errno(message.raw_code().saturating_abs()),
        Error::RequestFailed => Errno::EPIPE,
        _ => Errno::ENOBUFS,
    }
}

// ------------------------------------------------------------------------------------------------ reading

/// The name of the link that a message is about.
pub fn name_of(message: &LinkMessage) -> String {
    let name = |a: &LinkAttribute| if let LinkAttribute::IfName(name) = a { Some(name.clone()) } else { None };
    message.attributes.iter().find_map(name).unwrap_or_default()
}

/// The link that a message is about.
pub fn read_link(message: &LinkMessage) -> Link {
    let up = message.header.flags.contains(LinkFlags::Up);
    let ifindex = IfIndex(message.header.index);
    let loopback = message.header.flags.contains(LinkFlags::Loopback);
    let mut link = Link { ifindex, kind: ActualKind::Other(String::new()), local: None, mac: None, mtu: 0, up, loopback, received: 0 };
    for attribute in &message.attributes {
        match attribute {
            LinkAttribute::Address(octets) => link.mac = mac(octets),
            LinkAttribute::Mtu(mtu) => link.mtu = *mtu,
            LinkAttribute::Stats64(stats) => link.received = stats.rx_packets,
            LinkAttribute::LinkInfo(infos) => read_info(infos, &mut link),
            _ => {}
        }
    }
    link
}

fn read_info(infos: &[LinkInfo], link: &mut Link) {
    for info in infos {
        match info {
            LinkInfo::Kind(InfoKind::IpIp) => link.kind = ActualKind::Ipip,
            LinkInfo::Kind(kind) => link.kind = ActualKind::Other(kind.to_string()),
            _ => {}
        }
    }
    for info in infos {
        match info {
            LinkInfo::Data(InfoData::Vxlan(data)) => link.kind = read_vxlan(data, &mut link.local),
            LinkInfo::Data(InfoData::IpTunnel(data)) => {
                let local = data.iter().find_map(|i| if let InfoIpTunnel::Local(addr) = i { Some(*addr) } else { None });
                link.local = local.filter(|addr| !addr.is_unspecified());
            }
            _ => {}
        }
    }
}

fn read_vxlan(data: &[InfoVxlan], local: &mut Option<IpAddr>) -> ActualKind {
    let (mut vni, mut port, mut learning, mut checksum4, mut zero6) = (0, 0, false, false, false);
    for info in data {
        match info {
            InfoVxlan::Id(id) => vni = *id,
            InfoVxlan::Port(number) => port = *number,
            InfoVxlan::Learning(on) => learning = *on,
            InfoVxlan::Local(addr) => *local = Some(IpAddr::V4(*addr)),
            InfoVxlan::Local6(addr) => *local = Some(IpAddr::V6(*addr)),
            InfoVxlan::UDPCsum(on) => checksum4 = *on,
            InfoVxlan::UDPZeroCsumTX(on) => zero6 = *on,
            _ => {}
        }
    }
    let checksum = if local.is_some_and(|l| l.is_ipv6()) { !zero6 } else { checksum4 };
    ActualKind::Vxlan { vni, port, checksum, learning }
}

/// The address of this machine that a message is about, and its link.
pub fn read_address(message: &AddressMessage) -> Option<(IfIndex, IpNet)> {
    let local = message.attributes.iter().find_map(|a| if let AddressAttribute::Local(addr) = a { Some(*addr) } else { None });
    let other = message.attributes.iter().find_map(|a| if let AddressAttribute::Address(addr) = a { Some(*addr) } else { None });
    Some((IfIndex(message.header.index), IpNet::new(local.or(other)?, message.header.prefix_len).ok()?))
}

/// The entry that a message is about; those without another end do not concern us.
pub fn read_entry(message: &NeighbourMessage) -> Option<Entry> {
    let (mut to, mut lladdr) = (None, None);
    for attribute in &message.attributes {
        match attribute {
            NeighbourAttribute::Destination(NeighbourAddress::Inet(addr)) => to = Some(IpAddr::V4(*addr)),
            NeighbourAttribute::Destination(NeighbourAddress::Inet6(addr)) => to = Some(IpAddr::V6(*addr)),
            // That of a forwarding entry: its family is not the message's.
            NeighbourAttribute::Destination(NeighbourAddress::Other(octets)) => to = any_ip(octets),
            NeighbourAttribute::LinkLayerAddress(octets) => lladdr = mac(octets),
            _ => {}
        }
    }
    let table = if message.header.family == AddressFamily::Bridge { Table::Forwarding } else { Table::Neighbours };
    let permanent = message.header.state == NeighbourState::Permanent;
    Some(Entry { table, ifindex: IfIndex(message.header.ifindex), mac: lladdr, to: to?, permanent })
}

fn any_ip(octets: &[u8]) -> Option<IpAddr> {
    let v4 = <[u8; 4]>::try_from(octets).map(|o| IpAddr::V4(Ipv4Addr::from(o)));
    v4.or_else(|_| <[u8; 16]>::try_from(octets).map(|o| IpAddr::V6(Ipv6Addr::from(o)))).ok()
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

    #[test]
    fn the_device_that_is_asked_for_is_the_one_that_is_read() {
        for (v6, checksum) in [(false, true), (false, false), (true, true), (true, false)] {
            let device = device(&Params { vni: 77, port: 8472, checksum, ..Params::default() }, v6);
            let link = read_link(&new_link(&device));
            assert_eq!(link.kind, ActualKind::Vxlan { vni: 77, port: 8472, checksum, learning: false });
            assert_eq!((link.local, link.mac), (Some(device.local), Some(Mac::of(device.local))));
        }
        let ipip = device(&Params { kind: Kind::Ipip, device: "ip0".into(), ..Params::default() }, false);
        let link = read_link(&new_link(&ipip));
        assert_eq!((link.kind, link.local), (ActualKind::Ipip, Some(ipip.local)));
    }

    #[test]
    fn entries_and_addresses_are_read_as_they_are_written() {
        for node in ["10.0.1.1", "fd00::2"].map(|a| a.parse().unwrap()) {
            let lladdr = NeighbourAttribute::LinkLayerAddress(Mac::of(node).0.to_vec());
            for (family, table) in [(family(node), Table::Neighbours), (AddressFamily::Bridge, Table::Forwarding)] {
                let mut message = entry_of(family, 7, &[destination(node), lladdr.clone()]);
                message.header.state = NeighbourState::Permanent;
                let entry = Entry { table, ifindex: IfIndex(7), mac: Some(Mac::of(node)), to: node, permanent: true };
                assert_eq!(read_entry(&message), Some(entry));
            }
            assert_eq!(read_entry(&entry_of(family(node), 7, &[destination(node)])).map(|e| (e.mac, e.to)), Some((None, node)));
            assert_eq!(read_entry(&entry_of(family(node), 7, &[lladdr])), None, "nobody's");
            let net = IpNet::new(node, 24).unwrap();
            assert_eq!(read_address(&address_of(net, 3)), Some((IfIndex(3), net)));
        }
    }
}
