//! What the kernel reports, as data: links, addresses, routes and the way a packet leaves.
//!
//! In: made by the shell from netlink, or by a test from thin air. Out: read by `rib::nexthop` (which next hops are reachable and how)
//! and by `fib` (what is really installed). It leaves to them what the facts mean.

use std::net::IpAddr;

use ipnet::IpNet;
use serde::{Deserialize, Serialize};
use smallvec::SmallVec;

/// The kernel's number of an interface.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(transparent)]
pub struct IfIndex(pub u32);

/// Names of interfaces: `*` stands for any number of characters.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct NamePattern(String);

impl NamePattern {
    /// Every other character stands for itself.
    pub fn new(text: &str) -> NamePattern {
        NamePattern(text.to_owned())
    }

    /// The whole name, not a part of it.
    pub fn matches(&self, name: &str) -> bool {
        let Some((head, rest)) = self.0.split_once('*') else { return self.0 == name };
        let Some(mut name) = name.strip_prefix(head) else { return false };
        let (inner, tail) = rest.rsplit_once('*').map_or((None, rest), |(inner, tail)| (Some(inner), tail));
        for part in inner.iter().flat_map(|inner| inner.split('*')) {
            let Some(at) = name.find(part) else { return false };
            name = name.get(at + part.len()..).unwrap_or_default();
        }
        name.ends_with(tail)
    }
}

/// One way out: a gateway on an interface, or an interface alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub struct Hop {
    /// `None`: the destination is on the link itself.
    pub gateway: Option<IpAddr>,
    /// The interface.
    pub ifindex: IfIndex,
    /// Take the gateway to be on the link although no address says so (`ip route ... onlink`).
    pub onlink: bool,
    /// Its share of the route's load. The only way of a route has weight 1.
    #[serde(skip_serializing_if = "Weight::is_one")]
    pub weight: Weight,
}

impl Hop {
    /// The way itself, whatever its share.
    pub fn way(self) -> Hop {
        Hop { weight: Weight::ONE, ..self }
    }
}

/// The share of a way among those of its route, 1 to 256: a way of weight 3 carries thrice what one of weight 1 does.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Weight(u8);

impl Weight {
    /// What has no other.
    pub const ONE: Weight = Weight(0);
    /// The kernel keeps one octet (`rtnh_hops`, one less than the weight).
    pub const MOST: u16 = 256;

    /// The nearest that there is.
    pub fn new(weight: u64) -> Weight {
        Weight(u8::try_from(weight.saturating_sub(1)).unwrap_or(u8::MAX))
    }

    /// As the kernel has it (`rtnh_hops`).
    pub fn from_rtnh_hops(octet: u8) -> Weight {
        Weight(octet)
    }

    /// As the kernel has it (`rtnh_hops`).
    pub fn rtnh_hops(self) -> u8 {
        self.0
    }

    /// 1 to 256.
    pub fn get(self) -> u16 {
        u16::from(self.0).saturating_add(1)
    }

    /// Is it what every way has that was given none?
    pub fn is_one(&self) -> bool {
        *self == Weight::ONE
    }
}

impl Serialize for Weight {
    fn serialize<S: serde::Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.serialize_u16(self.get())
    }
}

/// The ways out of a route, in the order of their gateways; one inline.
pub type Hops = SmallVec<[Hop; 1]>;

/// In order, and the only one without a weight: so the kernel shows it, too.
pub fn in_order(hops: &mut Hops) {
    hops.sort_unstable();
    if let [only] = hops.as_mut_slice() {
        only.weight = Weight::ONE;
    }
}

/// What a kernel route does with a packet.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum RouteKind {
    /// Sends it on, by one of these ways.
    Unicast(Hops),
    /// Drops it without a word.
    Blackhole,
    /// Drops it and says that the host cannot be reached (ICMP).
    Unreachable,
    /// Drops it and says that it is forbidden (ICMP).
    Prohibit,
    /// An address of this machine (`local`), or another type that carries no traffic onwards.
    Local,
}

/// A route as it stands in the kernel. (`net`, `table`, `metric`, and `tos` = 0 are its key.)
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct KernelRoute {
    /// The destination.
    pub net: IpNet,
    /// 254 is `main`.
    pub table: u32,
    /// RTA_PRIORITY; IPv6 shows 1024 where none was given.
    pub metric: u32,
    /// RTA protocol: 2 kernel, 3 boot, 4 static, 12 bird, 80 Felix, 186 bgp.
    pub protocol: u8,
    /// What becomes of a packet.
    pub kind: RouteKind,
    /// RTA_PREFSRC.
    pub source: Option<IpAddr>,
}

/// A change that the kernel reported, or one line of a dump.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum KernelEvent {
    /// A link exists, with this name; `up` is administratively up with carrier.
    Link {
        /// Its number.
        ifindex: IfIndex,
        /// As `ip link` shows it.
        name: String,
        /// It carries packets.
        up: bool,
    },
    /// The link is gone, with its addresses and routes.
    LinkGone {
        /// Its number.
        ifindex: IfIndex,
    },
    /// An address of this machine, with the prefix of its link.
    Address {
        /// The link.
        ifindex: IfIndex,
        /// The address, with the length of its prefix.
        net: IpNet,
    },
    /// The address is no longer ours.
    AddressGone {
        /// The link.
        ifindex: IfIndex,
        /// As it was reported.
        net: IpNet,
    },
    /// A route is there, or is another now under the same key.
    Route(KernelRoute),
    /// It is gone.
    RouteGone(KernelRoute),
    /// A tunnel device of ours (`fib::overlay`) carries packets to this node: what it needs to know of it stands. Routes over it name
    /// the gateway.
    Tunnel {
        /// The node's address.
        node: IpAddr,
        /// What routes over the tunnel name.
        gateway: IpAddr,
        /// The device.
        ifindex: IfIndex,
    },
    /// The device no longer carries packets to this node.
    TunnelGone {
        /// The node's address.
        node: IpAddr,
    },
    /// A full dump begins: what is not reported again before `DumpEnd` is no longer there.
    DumpStart,
    /// Everything was reported.
    DumpEnd,
}

#[cfg(test)]
mod tests {
    use super::NamePattern;

    #[test]
    fn a_star_stands_for_any_characters() {
        let matches = |pattern: &str, name: &str| NamePattern::new(pattern).matches(name);
        for (pattern, name) in
            [("cali*", "cali1"), ("cali*", "cali"), ("*", ""), ("*.cali", "vxlan.cali"), ("e*0", "eth0"), ("a*b*c*d", "axbycd")]
        {
            assert!(matches(pattern, name), "{pattern} {name}");
        }
        for (pattern, name) in [("cali*", "xcali"), ("eth0", "eth00"), ("e*0", "eth01"), ("a*a", "a"), ("a*b*c", "acb"), ("", "x")] {
            assert!(!matches(pattern, name), "{pattern} {name}");
        }
    }
}
