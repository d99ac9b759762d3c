//! Tunnels to nodes that are on no link of ours: which devices and entries there should be, and what to do where others stand.
//!
//! In: what the operator wants (`Params`), this node's addresses, the nodes that paths name, and what stands in the kernel (`ActualDevice`).
//! Out: `Device`s, whole, and the `DeviceOp`s that make the kernel so. Which next hop goes through a tunnel is `rib::nexthop`'s affair, the
//! route over it the planner's; netlink is the shell's.
//!
//! VXLAN (RFC 7348): one device for each address family of the nodes. It learns nothing and floods nothing: each remote node is a
//! permanent neighbour with a MAC address that follows from the node's address ([`Mac::of`]), and a forwarding entry from that MAC to that
//! address. So nodes need to tell each other nothing. The neighbour, and the gateway of a route over the device, is an IPv4 node itself,
//! `onlink`; of an IPv6 node it is the link-local address of its device ([`gateway`]), for Linux takes no other where a route that is not
//! the default one leads to the node over another link.
//! IPIP (RFC 2003): one device without a remote end; the gateway of the route is where the outer packet goes. IPv4 only.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use crate::kernel::IfIndex;

/// When nodes are reached through a tunnel.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Mode {
    /// There is no overlay.
    #[default]
    Never,
    /// When they are on no link of ours.
    CrossSubnet,
    /// On our link or not.
    Always,
}

/// How packets are wrapped.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Kind {
    /// In UDP (RFC 7348), of both families.
    #[default]
    Vxlan,
    /// IPv4 in IPv4 (RFC 2003).
    Ipip,
}

/// What the operator wants of the overlay.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Params {
    /// Which nodes.
    pub mode: Mode,
    /// How.
    pub kind: Kind,
    /// The name of the device; of VXLAN between IPv6 addresses, see [`Params::device_v6`].
    pub device: String,
    /// VXLAN Network Identifier, 24 bits; the same on all nodes.
    pub vni: u32,
    /// UDP, of both ends.
    pub port: u16,
    /// `None`: what the link of our own address and those that lead to the nodes carry, less what wrapping takes.
    pub mtu: Option<u32>,
    /// Checksums in the outer UDP header.
    pub checksum: bool,
    /// Addresses of the devices, one of each family at most: what the node's own packets carry as source when they go through a tunnel.
    pub addresses: Vec<IpAddr>,
    /// Which addresses are nodes.
    pub nodes: Vec<IpNet>,
}

impl Default for Params {
    fn default() -> Params {
        Params {
            mode: Mode::Never,
            kind: Kind::Vxlan,
            device: "catbird".to_owned(),
            vni: 4096,
            port: 4789,
            mtu: None,
            checksum: true,
            addresses: Vec::new(),
            nodes: Vec::new(),
        }
    }
}

/// What Linux takes as the name of an interface, at most.
pub const NAME_MOST: usize = 15;

impl Params {
    /// The VXLAN device between IPv6 addresses: `-v6` behind the name, which loses its end if that is too long.
    pub fn device_v6(&self) -> String {
        let room = NAME_MOST - 3;
        let kept: String = self.device.chars().take(room).collect();
        format!("{kept}-v6")
    }

    /// The prefixes of nodes that this kind of tunnel can reach.
    pub fn reachable_nodes(&self) -> impl Iterator<Item = IpNet> {
        self.nodes.iter().copied().filter(|net| self.kind == Kind::Vxlan || matches!(net, IpNet::V4(_)))
    }

    /// The devices that should be there.
    pub fn wanted(&self, v4: Option<Ipv4Addr>, v6: Option<Ipv6Addr>, nodes: &BTreeSet<IpAddr>) -> DesiredDevices {
        if self.mode == Mode::Never {
            return DesiredDevices::default();
        }
        let own = [v4.map(|a| (IpAddr::V4(a), self.device.clone())), v6.map(|a| (IpAddr::V6(a), self.device_v6()))];
        let reached = own.into_iter().flatten().filter(|(local, _)| self.kind == Kind::Vxlan || local.is_ipv4());
        let mut devices: Vec<Device> = reached.map(|(local, name)| self.one(local, name, nodes)).collect();
        devices.iter_mut().for_each(|device| device.carries_ipv6 = v6.is_none() && self.kind == Kind::Vxlan);
        DesiredDevices { devices, ..DesiredDevices::default() }
    }

    fn one(&self, local: IpAddr, name: String, nodes: &BTreeSet<IpAddr>) -> Device {
        let tunnel = match self.kind {
            Kind::Vxlan => Tunnel::Vxlan { vni: self.vni, port: self.port, checksum: self.checksum },
            Kind::Ipip => Tunnel::Ipip,
        };
        let same = |a: &IpAddr| a.is_ipv4() == local.is_ipv4();
        Device {
            name,
            local,
            tunnel,
            mtu: self.mtu,
            address: self.addresses.iter().copied().find(same).map(IpNet::from),
            nodes: nodes.iter().copied().filter(same).collect(),
            over: BTreeSet::new(),
            carries_ipv6: false,
        }
    }
}

/// Everything that should be there.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DesiredDevices {
    /// With all their settings.
    pub devices: Vec<Device>,
    /// Routes of a former life stand in the kernel and may be learned again: what their tunnels had ([`Device::left_behind`]) stays.
    pub recovering: bool,
    /// Names of devices of a former life: those that are none of `devices` go when nobody needs them any more.
    pub former: BTreeSet<String>,
}

/// A tunnel device as it should be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Device {
    /// As `ip link` shows it.
    pub name: String,
    /// This node's address, the source of the outer packets.
    pub local: IpAddr,
    /// How it wraps.
    pub tunnel: Tunnel,
    /// `None`: made from the link's.
    pub mtu: Option<u32>,
    /// Its own, as the source of the node's packets.
    pub address: Option<IpNet>,
    /// The nodes at its other ends.
    pub nodes: BTreeSet<IpAddr>,
    /// The links that lead to them, beside that of the local address: none may be too narrow for what is wrapped.
    pub over: BTreeSet<IfIndex>,
    /// It has IPv4 ends, and carries IPv6 packets too, for this node has no IPv6 address.
    pub carries_ipv6: bool,
}

/// What cannot be changed on a living device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tunnel {
    /// RFC 7348; `checksum`: in the outer UDP header.
    Vxlan { vni: u32, port: u16, checksum: bool },
    /// RFC 2003.
    Ipip,
}

/// A MAC address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Mac(pub [u8; 6]);

impl Mac {
    /// The address that a device with this MAC address gives itself (RFC 4291 appendix A).
    pub fn link_local(self) -> Ipv6Addr {
        let [a, b, c, d, e, f] = self.0;
        let [ab, cd, ef] = [[a ^ 2, b], [c, 0xff], [0xfe, d]].map(u16::from_be_bytes);
        Ipv6Addr::new(0xfe80, 0, 0, 0, ab, cd, ef, u16::from_be_bytes([e, f]))
    }

    /// That of the VXLAN device of the node with this address: locally administered, the same wherever it is computed. Of IPv6 addresses
    /// 40 bits of a hash (FNV-1a); among 5,000 nodes two share one with a chance of 1 in 90,000.
    pub fn of(node: IpAddr) -> Mac {
        match node {
            IpAddr::V4(a) => {
                let [a, b, c, d] = a.octets();
                Mac([0x02, 0xcb, a, b, c, d])
            }
            IpAddr::V6(a) => {
                let fnv = |hash: u64, octet: &u8| (hash ^ u64::from(*octet)).wrapping_mul(0x0100_0000_01b3);
                let hash = a.octets().iter().fold(0xcbf2_9ce4_8422_2325, fnv);
                let [.., a, b, c, d, e] = (hash ^ hash >> 40).to_be_bytes();
                Mac([0x06, a, b, c, d, e])
            }
        }
    }
}

/// What routes through a tunnel to this node name as their gateway.
pub fn gateway(node: IpAddr) -> IpAddr {
    match node {
        IpAddr::V4(_) => node,
        IpAddr::V6(_) => IpAddr::V6(Mac::of(node.to_canonical()).link_local()),
    }
}

/// An IPv4 node as IPv6 routes name it: mapped (RFC 4798 §2).
pub fn for_ipv6(node: IpAddr) -> Option<IpAddr> {
    if let IpAddr::V4(addr) = node { Some(IpAddr::V6(addr.to_ipv6_mapped())) } else { None }
}

impl fmt::Display for Mac {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d, e, g] = self.0;
        write!(f, "{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{g:02x}")
    }
}

/// The name of the device that stood under this name before, with other settings, until nobody needs it any more.
pub fn aside(name: &str) -> String {
    let (stem, family) = name.strip_suffix("-v6").map_or((name, ""), |stem| (stem, "6"));
    let kept: String = stem.chars().take(NAME_MOST - "-old6".len()).collect();
    format!("{kept}-old{family}")
}

/// Is a device of this kind one that this daemon, or a former life of it, has made? Its name is one that we used.
pub fn is_ours(kind: &ActualKind, local: Option<IpAddr>, mac: Option<Mac>) -> bool {
    match kind {
        ActualKind::Vxlan { .. } => local.map(Mac::of) == mac && mac.is_some(),
        // tunl0, which comes with the module and cannot go, has none.
        ActualKind::Ipip => local.is_some(),
        ActualKind::Other(_) => false,
    }
}

/// A device as it stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ActualDevice {
    /// As the kernel has it.
    pub kind: ActualKind,
    /// Source of outer packets.
    pub local: Option<IpAddr>,
    /// Of a VXLAN device.
    pub mac: Option<Mac>,
    /// Octets.
    pub mtu: u32,
    /// Administratively.
    pub up: bool,
    /// All of the device.
    pub addresses: BTreeSet<IpNet>,
    /// Permanent neighbours.
    pub neighbours: BTreeMap<IpAddr, Mac>,
    /// Forwarding entries: frames for this MAC address go to that node. Several nodes may stand behind one.
    pub forwards: BTreeSet<(Mac, IpAddr)>,
}

/// What a device is, as far as it matters to us.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ActualKind {
    /// `learning`: entries made from packets that come, which we switch off.
    Vxlan { vni: u32, port: u16, checksum: bool, learning: bool },
    /// RFC 2003.
    Ipip,
    /// Another kind of interface, by the kernel's name for it.
    Other(String),
}

/// One thing to do to a device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DeviceOp {
    /// Make it as far as [`Tunnel`] and the local address go; the rest follows when it stands.
    Create,
    /// Take it down, and with it all that it holds.
    Delete,
    /// Give it the name of [`aside`]: packets and routes go over it as before, and another one can be made under its name.
    SetAside,
    /// Another source of outer packets.
    SetLocal(IpAddr),
    /// Another MAC address.
    SetMac(Mac),
    /// Another MTU.
    SetMtu(u32),
    /// Administratively.
    SetUp,
    /// One more address of the device.
    AddAddress(IpNet),
    /// One fewer.
    DeleteAddress(IpNet),
    /// Puts it in the place of what stands there.
    Neighbour(IpAddr, Mac),
    /// A node that nobody names any more.
    DeleteNeighbour(IpAddr),
    /// Puts it in the place of what stands there.
    Forward(Mac, IpAddr),
    /// Likewise.
    DeleteForward(Mac, IpAddr),
}

/// The device's name is taken by another kind of interface, which is not ours to remove.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Occupied {
    /// As configured.
    pub name: String,
    /// What is there.
    pub by: String,
}

impl fmt::Display for Occupied {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "an interface {} of kind {:?} is there already; name another in [fib.overlay] device", self.name, self.by)
    }
}

impl Device {
    /// What is to be done, in this order: what is new comes before anything old goes. After `Create` look again.
    /// `link_mtu`: what the narrowest of the links below carries, if there is one.
    ///
    /// # Errors
    /// [`Occupied`].
    pub fn ops(&self, actual: Option<&ActualDevice>, link_mtu: Option<u32>) -> Result<Vec<DeviceOp>, Occupied> {
        let Some(actual) = actual else { return Ok(vec![DeviceOp::Create]) };
        if let ActualKind::Other(kind) = &actual.kind {
            return Err(Occupied { name: self.name.clone(), by: kind.clone() });
        }
        if !self.could_become(actual) {
            return Ok(vec![if self.stands_beside(&actual.kind) { DeviceOp::SetAside } else { DeviceOp::Delete }, DeviceOp::Create]);
        }
        let mut ops = self.setting_ops(actual, link_mtu);
        if matches!(self.tunnel, Tunnel::Vxlan { .. }) {
            self.entry_ops(actual, &mut ops);
        }
        Ok(ops)
    }

    /// Is it ours but for what can be changed?
    fn could_become(&self, actual: &ActualDevice) -> bool {
        match (self.tunnel, &actual.kind) {
            (Tunnel::Ipip, ActualKind::Ipip) => self.is_fallback() || actual.local == Some(self.local),
            (Tunnel::Vxlan { vni, port, checksum }, ActualKind::Vxlan { vni: v, port: p, checksum: c, learning }) => {
                let family = actual.local.is_some_and(|l| l.is_ipv4() == self.local.is_ipv4());
                (vni, port, checksum) == (*v, *p, *c) && !learning && family
            }
            _ => false,
        }
    }

    /// May a device of this kind live on beside this one? Of two with one VNI and port, or of two of IPIP from one address, one gets all packets.
    fn stands_beside(&self, kind: &ActualKind) -> bool {
        match (self.tunnel, kind) {
            (Tunnel::Vxlan { vni, port, .. }, ActualKind::Vxlan { vni: v, port: p, .. }) => (vni, port) != (*v, *p),
            (Tunnel::Vxlan { .. }, ActualKind::Ipip) | (Tunnel::Ipip, ActualKind::Vxlan { .. }) => true,
            (Tunnel::Ipip, ActualKind::Ipip) | (_, ActualKind::Other(_)) => false,
        }
    }

    /// Is a device that stands under another name this one, made by us? Its local address and MAC address may yet change.
    pub fn is_former(&self, kind: &ActualKind, local: Option<IpAddr>, mac: Option<Mac>) -> bool {
        let family = local.is_some_and(|l| l.is_ipv4() == self.local.is_ipv4());
        match (self.tunnel, kind) {
            (Tunnel::Ipip, ActualKind::Ipip) => !self.is_fallback() && local == Some(self.local),
            (Tunnel::Vxlan { vni, port, .. }, ActualKind::Vxlan { vni: v, port: p, .. }) => {
                (vni, port) == (*v, *p) && family && local.map(Mac::of) == mac
            }
            _ => false,
        }
    }

    /// `tunl0` comes with the kernel's module and has no local address.
    pub fn is_fallback(&self) -> bool {
        self.tunnel == Tunnel::Ipip && self.name == "tunl0"
    }

    /// What routes through it to this node name, in each family that it carries.
    pub fn gateways(&self, node: IpAddr) -> impl Iterator<Item = IpAddr> {
        let of_ipv6 = for_ipv6(node).filter(|_| self.carries_ipv6).map(gateway);
        [gateway(node)].into_iter().chain(of_ipv6)
    }

    fn setting_ops(&self, actual: &ActualDevice, link_mtu: Option<u32>) -> Vec<DeviceOp> {
        let mut ops = Vec::new();
        let mtu = self.mtu_over(link_mtu);
        let vxlan = matches!(self.tunnel, Tunnel::Vxlan { .. });
        let mut unless = |is_so: bool, op: DeviceOp| {
            if !is_so {
                ops.push(op);
            }
        };
        unless(!vxlan || actual.local == Some(self.local), DeviceOp::SetLocal(self.local));
        unless(!vxlan || actual.mac == Some(Mac::of(self.local)), DeviceOp::SetMac(Mac::of(self.local)));
        unless(actual.mtu == mtu, DeviceOp::SetMtu(mtu));
        unless(actual.up, DeviceOp::SetUp);
        if let Some(address) = self.address {
            unless(actual.addresses.contains(&address), DeviceOp::AddAddress(address));
        }
        let others = actual.addresses.iter().filter(|a| Some(**a) != self.address && !is_link_local(a));
        ops.extend(others.map(|a| DeviceOp::DeleteAddress(*a)));
        ops
    }

    /// What the inner packets may be long.
    fn mtu_over(&self, link_mtu: Option<u32>) -> u32 {
        let wrapping = match (self.tunnel, self.local) {
            (Tunnel::Ipip, _) => 20,
            (Tunnel::Vxlan { .. }, IpAddr::V4(_)) => 50,
            (Tunnel::Vxlan { .. }, IpAddr::V6(_)) => 70,
        };
        self.mtu.unwrap_or_else(|| link_mtu.unwrap_or(1500).saturating_sub(wrapping).max(576))
    }

    fn entry_ops(&self, actual: &ActualDevice, ops: &mut Vec<DeviceOp>) {
        for &node in &self.nodes {
            let mac = Mac::of(node);
            if !actual.forwards.contains(&(mac, node)) {
                ops.push(DeviceOp::Forward(mac, node));
            }
            let missing = self.gateways(node).filter(|gateway| actual.neighbours.get(gateway) != Some(&mac));
            ops.extend(missing.map(|gateway| DeviceOp::Neighbour(gateway, mac)));
        }
        // A node by its own address is what our first release wrote for IPv6: routes may lead there still.
        let wanted: BTreeSet<IpAddr> = self.nodes.iter().flat_map(|node| self.gateways(*node).chain([*node])).collect();
        let old = actual.neighbours.keys().filter(|addr| !wanted.contains(addr));
        ops.extend(old.map(|node| DeviceOp::DeleteNeighbour(*node)));
        // Of one MAC address' entries, the wanted one took the place of all others.
        let told: BTreeSet<Mac> = ops.iter().filter_map(|d| if let DeviceOp::Forward(mac, _) = d { Some(*mac) } else { None }).collect();
        let old = actual.forwards.iter().filter(|(mac, node)| {
            let wanted = self.nodes.contains(node) && Mac::of(*node) == *mac;
            !wanted && !told.contains(mac)
        });
        ops.extend(old.map(|(mac, node)| DeviceOp::DeleteForward(*mac, *node)));
    }

    /// The nodes for which entries of a former life stand: those by our form. Routes may lead over them still.
    pub fn left_behind(&self, actual: &ActualDevice) -> BTreeSet<IpAddr> {
        if !matches!(self.tunnel, Tunnel::Vxlan { .. }) || !self.could_become(actual) {
            return BTreeSet::new();
        }
        let entries = actual.neighbours.iter().map(|(node, mac)| (*mac, *node)).chain(actual.forwards.iter().copied());
        let ours = entries.filter(|(mac, node)| Mac::of(*node) == *mac && node.is_ipv4() == self.local.is_ipv4() && *node != self.local);
        ours.map(|(_, node)| node).collect()
    }

    /// Do packets to this node get through, as the device stands?
    pub fn carries(&self, node: IpAddr, actual: &ActualDevice) -> bool {
        let mac = Mac::of(node);
        let known = match self.tunnel {
            Tunnel::Ipip => true,
            Tunnel::Vxlan { .. } => {
                self.gateways(node).all(|gateway| actual.neighbours.get(&gateway) == Some(&mac)) && actual.forwards.contains(&(mac, node))
            }
        };
        actual.up && known && self.nodes.contains(&node)
    }
}

fn is_link_local(net: &IpNet) -> bool {
    matches!(net, IpNet::V6(n) if n.addr().is_unicast_link_local())
}

#[cfg(test)]
mod tests;
