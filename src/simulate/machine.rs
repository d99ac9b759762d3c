//! A machine: its router, the connections that its program holds, and its kernel.
//!
//! In: what arrives, in the order of arrival. Out: how much that was. When it is taken in, and what becomes of effects, is the world's matter.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::Duration;

use bytes::Bytes;
use foldhash::fast::FixedState;
use ipnet::{IpNet, Ipv4Net, Ipv6Net};

use super::cluster::{Machine, Role, addresses_of};
use crate::driver::Driver;
use crate::fib::{FibChange, FibKind, FibRoute};
use crate::kernel::{Hop, IfIndex, KernelEvent, KernelRoute, RouteKind, Weight};
use crate::num::{ConnId, Instant};
use crate::speaker::{Input, Params, Remembered, Speaker};
use crate::wire::Context;

/// The only link of a machine.
const ETH0: IfIndex = IfIndex(2);

/// Something for the program.
pub(super) enum Arrival {
    Input(Input),
    Octets { conn: ConnId, frames: Vec<Bytes> },
}

/// A connection as one end has it.
pub(super) struct Conn {
    pub driver: Driver,
    pub link: usize,
    pub side: usize,
    /// The other's address, as this end knows it.
    pub remote: IpAddr,
    /// The OPENs have agreed.
    pub context: Option<Context>,
}

/// Messages by their type, and octets.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Count {
    pub messages: u64,
    pub updates: u64,
    pub octets: u64,
}

impl Count {
    /// Whole messages.
    pub fn add(&mut self, frame: &[u8]) {
        self.octets += frame.len() as u64;
        let mut rest = frame;
        while let [_, _, _, _, _, _, _, _, _, _, _, _, _, _, _, _, high, low, kind, ..] = rest {
            self.messages += 1;
            self.updates += u64::from(*kind == 2);
            let len = usize::from(u16::from_be_bytes([*high, *low])).max(19);
            rest = rest.get(len..).unwrap_or_default();
        }
    }
}

/// See the module.
pub(super) struct Node {
    pub role: Role,
    pub addresses: Vec<IpAddr>,
    pub params: Params,
    pub speaker: Option<Box<Speaker>>,
    /// How many programs it has had.
    pub life: u32,
    pub conns: HashMap<ConnId, Conn, FixedState>,
    pub dialling: BTreeSet<ConnId>,
    pub accepted: u64,
    pub inbox: VecDeque<Arrival>,
    /// Octets that the kernel took, to be told to the router.
    pub taken: Vec<(ConnId, usize)>,
    /// Of a thin node: when UPDATEs came last over a connection, of which its program has yet to hear.
    pub heard: Vec<(ConnId, Instant)>,
    /// One of its sessions has a key.
    pub has_keys: bool,
    /// The processor has work until then.
    pub busy_until: Instant,
    pub busy: Duration,
    /// When the program wakes up.
    pub due: Option<Instant>,
    /// When it has to be asked at the latest, whatever comes.
    pub timer: Option<Instant>,
    pub kernel: BTreeMap<(IpNet, u32), FibRoute>,
    pub remembered: Option<Remembered>,
    /// The program ends and leaves the kernel alone from here on.
    pub leaves: bool,
    /// It is to be started as soon as it has ended.
    pub again: bool,
    pub sent: Count,
    pub received: Count,
}

impl Node {
    pub fn new(machine: Machine) -> Node {
        let mut addresses: Vec<IpAddr> = addresses_of(&machine.params).collect();
        addresses.dedup();
        Node {
            role: machine.role,
            addresses,
            speaker: None,
            life: 0,
            conns: HashMap::default(),
            dialling: BTreeSet::new(),
            accepted: 0,
            inbox: VecDeque::new(),
            taken: Vec::new(),
            heard: Vec::new(),
            has_keys: machine.params.peers.iter().any(|peer| peer.session.md5.is_some()),
            busy_until: Instant::ZERO,
            busy: Duration::ZERO,
            due: None,
            timer: None,
            kernel: BTreeMap::new(),
            remembered: None,
            leaves: false,
            again: false,
            params: machine.params,
            sent: Count::default(),
            received: Count::default(),
        }
    }

    /// Its own address of the family of the other's.
    pub fn address_towards(&self, remote: IpAddr) -> Option<IpAddr> {
        self.addresses.iter().copied().find(|own| own.is_ipv4() == remote.is_ipv4())
    }

    /// The key with which segments from `addr` must be signed.
    pub fn md5_for(&self, addr: IpAddr) -> Option<&[u8]> {
        if !self.has_keys {
            return None;
        }
        let peer = self.params.peers.iter().find(|peer| peer.session.remote.addr == addr);
        peer.and_then(|peer| peer.session.md5.as_ref()).map(|key| key.expose())
    }

    /// The program is gone, and what it had in memory.
    pub fn forget(&mut self) {
        self.speaker = None;
        self.life += 1;
        self.conns.clear();
        self.dialling.clear();
        self.inbox.clear();
        self.taken.clear();
        self.heard.clear();
        (self.due, self.timer) = (None, None);
        (self.again, self.leaves) = (false, false);
    }

    /// What the kernel answers when it is read: a link with the addresses, the network that all share, and the routes that stand.
    pub fn dump(&self, shared: &Shared) -> Vec<KernelEvent> {
        let mut all = vec![KernelEvent::DumpStart, KernelEvent::Link { ifindex: ETH0, name: "eth0".to_owned(), up: true }];
        let hop = Hop { gateway: None, ifindex: ETH0, onlink: false, weight: Weight::ONE };
        for own in &self.addresses {
            let Some(net) = shared.around(*own) else { continue };
            all.push(KernelEvent::Address { ifindex: ETH0, net });
            let kind = RouteKind::Unicast([hop].into_iter().collect());
            let connected = KernelRoute { net: net.trunc(), table: 254, metric: 0, protocol: 2, kind, source: Some(*own) };
            all.push(KernelEvent::Route(connected));
        }
        let (table, protocol) = (self.params.fib.table, self.params.fib.protocol);
        for ((net, metric), route) in &self.kernel {
            let kind = match &route.kind {
                FibKind::Blackhole => RouteKind::Blackhole,
                FibKind::Unicast(hops) => RouteKind::Unicast(hops.clone()),
            };
            all.push(KernelEvent::Route(KernelRoute { net: *net, table, metric: *metric, protocol, kind, source: route.source }));
        }
        all.push(KernelEvent::DumpEnd);
        all
    }

    /// Writes a route.
    pub fn install(&mut self, change: FibChange) {
        let key = (change.route().net, change.route().metric);
        match change {
            FibChange::Add(route) | FibChange::Replace(route) => drop(self.kernel.insert(key, route)),
            FibChange::Remove(_) => drop(self.kernel.remove(&key)),
        }
    }
}

/// The network that all machines share: the smallest with all their addresses.
#[derive(Clone, Copy, Debug)]
pub(super) struct Shared {
    v4: u8,
    v6: u8,
}

impl Shared {
    pub fn of<'a>(addresses: impl Iterator<Item = &'a IpAddr>) -> Shared {
        let (mut first_v4, mut first_v6) = (None::<Ipv4Addr>, None::<Ipv6Addr>);
        let mut shared = Shared { v4: 30, v6: 126 };
        for addr in addresses {
            match addr {
                IpAddr::V4(addr) => {
                    let first = first_v4.get_or_insert(*addr);
                    shared.v4 = shared.v4.min((first.to_bits() ^ addr.to_bits()).leading_zeros() as u8);
                }
                IpAddr::V6(addr) => {
                    let first = first_v6.get_or_insert(*addr);
                    shared.v6 = shared.v6.min((first.to_bits() ^ addr.to_bits()).leading_zeros() as u8);
                }
            }
        }
        shared
    }

    fn around(&self, addr: IpAddr) -> Option<IpNet> {
        match addr {
            IpAddr::V4(addr) => Ipv4Net::new(addr, self.v4).ok().map(IpNet::V4),
            IpAddr::V6(addr) => Ipv6Net::new(addr, self.v6).ok().map(IpNet::V6),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_are_counted_by_their_headers() {
        let mut keepalive = vec![255; 16];
        keepalive.extend([0, 19, 4]);
        let mut update = vec![255; 16];
        update.extend([0, 23, 2, 0, 0, 0, 0]);
        let mut count = Count::default();
        count.add(&[&keepalive[..], &update, &update].concat());
        assert_eq!((count.messages, count.updates, count.octets), (3, 2, 65));
    }

    #[test]
    fn the_shared_network_holds_all_addresses() {
        let all: Vec<IpAddr> = ["10.1.2.3", "10.1.3.4", "fd00::1", "fd00::1:2"].iter().map(|text| text.parse().unwrap()).collect();
        let shared = Shared::of(all.iter());
        assert_eq!(shared.around(all[0]).unwrap().trunc().to_string(), "10.1.2.0/23");
        assert_eq!(shared.around(all[3]).unwrap().trunc().to_string(), "fd00::/111");
    }
}
