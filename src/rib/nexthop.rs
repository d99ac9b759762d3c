//! Next-hop tracking: whether, how and at what cost the address in a NEXT_HOP is reached right now.
//!
//! In: `KernelEvent`s (links, addresses, routes), the addresses that paths name (`track`), and those of our own routes that may carry
//! one of these (`on_bgp_route`). Out: a `Resolution` for each tracked address, and the list of those that changed with an event.
//! What resolves what stands in `lookup`. Which path wins is `rib::decide`'s affair; what is written to the kernel is `fib`'s.
//!
//! RFC 4271 §5.1.3 and §9.1.2.1 ("Route Resolvability Condition"), RFC 8950 (an IPv4 path whose next hop is an IPv6 address).

mod lookup;
mod tunnels;
mod weights;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::net::IpAddr;

use foldhash::fast::FixedState;
use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use prefix_trie::PrefixMap;
use serde::Serialize;
use smallvec::SmallVec;

use crate::kernel::{Hops, IfIndex, KernelEvent, KernelRoute, NamePattern, RouteKind};

use lookup::{BgpEntry, Found, Key, edges};

pub use tunnels::{NamedNodes, Nodes, TunnelRule};
pub use weights::{combine, combine_weighted};

/// A route of our own, as it stands in the kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BgpRoute<'a> {
    /// A block of ours: what no pod of it answers stops here.
    Discards,
    /// It forwards to these, and they have to be resolved in their turn (RFC 4271 §5.1.3).
    Leads {
        /// Of the paths in use.
        next_hops: &'a [NhId],
        /// Of the kernel route.
        metric: u32,
    },
}

/// A tracked next hop. Valid from `track` until the matching `untrack`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(transparent)]
pub struct NhId(pub u32);

/// How a next hop is reached.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Resolution {
    /// Not reachable, and why.
    Unresolved(Unresolved),
    /// Packets leave like this.
    Via {
        /// In the order of their gateways.
        hops: Hops,
        /// The interior cost of RFC 4271 §9.1.2.2 (e): 0 if connected, else the metric of the route that carries us there.
        metric: u32,
        /// On one of our links.
        connected: bool,
    },
}

impl Resolution {
    /// `None` if unresolved.
    pub fn hops(&self) -> Option<&Hops> {
        match self {
            Resolution::Via { hops, .. } => Some(hops),
            Resolution::Unresolved(_) => None,
        }
    }

    /// Interior cost of the way.
    pub fn metric(&self) -> Option<u32> {
        match self {
            Resolution::Via { metric, .. } => Some(*metric),
            Resolution::Unresolved(_) => None,
        }
    }

    /// Routes with this next hop may be used (RFC 4271 §9.1.2).
    pub fn is_usable(&self) -> bool {
        matches!(self, Resolution::Via { .. })
    }
}

impl fmt::Display for Resolution {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Resolution::Unresolved(why) => write!(f, "unresolved: {why}"),
            Resolution::Via { hops, metric, connected } => {
                f.write_str(if *connected { "connected" } else { "recursive" })?;
                for hop in hops {
                    match hop.gateway {
                        Some(gateway) => write!(f, ", via {gateway} if {}", hop.ifindex.0)?,
                        None => write!(f, ", if {}", hop.ifindex.0)?,
                    }
                    f.write_str(if hop.onlink { " onlink" } else { "" })?;
                }
                write!(f, ", metric {metric}")
            }
        }
    }
}

/// Why a next hop cannot be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Unresolved {
    /// No route of the kernel covers it.
    NoRoute,
    /// Only the default route covers it, and that may not carry next hops.
    OnlyDefault,
    /// It is an address of this machine.
    OwnAddress,
    /// The route that covers it discards: blackhole, unreachable or prohibit.
    Discarded,
    /// Every link that leads there is down.
    LinkDown,
    /// A link-local address without the interface that it is local to.
    NoInterface,
    /// Unspecified, multicast or loopback, in 0.0.0.0/8 or 240.0.0.0/4: no address of a router.
    NotUnicast,
    /// The broadcast or the network address of a subnet of ours.
    Broadcast,
    /// Only routes of ours cover it, and they lead in a circle or are too many.
    Circle,
    /// It is to be reached through a tunnel that does not stand (yet).
    NoTunnel,
}

impl fmt::Display for Unresolved {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Unresolved::NoRoute => "no route covers it",
            Unresolved::OnlyDefault => "only the default route covers it, which may not carry next hops",
            Unresolved::OwnAddress => "it is an address of this machine",
            Unresolved::Discarded => "the route that covers it discards",
            Unresolved::LinkDown => "the link is down",
            Unresolved::NoInterface => "link-local, and on no known interface",
            Unresolved::NotUnicast => "not the address of a router",
            Unresolved::Broadcast => "the broadcast or network address of a subnet of ours",
            Unresolved::Circle => "our routes to it lead in a circle",
            Unresolved::NoTunnel => "the tunnel that is to carry it does not stand",
        })
    }
}

/// How next hops may be resolved.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Params {
    /// The table whose routes carry our next hops: `main` unless our routes go to a VRF.
    pub table: u32,
    /// Under which names our own routes stand, (table, protocol), so that the kernel's word about them is left out.
    pub own: Vec<(u32, u8)>,
    /// May a default route carry a next hop? A node behind its data centre's gateway wants it; RFC 4271 leaves it open.
    pub allow_default: bool,
    /// Interfaces whose routes carry no next hop.
    pub ignore: Vec<NamePattern>,
    /// Which next hops are nodes to be reached through a tunnel, and when.
    pub tunnels: TunnelRule,
}

impl Default for Params {
    fn default() -> Params {
        Params { table: 254, own: vec![(254, 186)], allow_default: true, ignore: Vec::new(), tunnels: TunnelRule::default() }
    }
}

/// One tracked next hop, for `catbird nexthops`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Row {
    /// Its number.
    pub id: NhId,
    /// What routes name.
    pub addr: IpAddr,
    /// Of a link-local address, its link.
    pub ifindex: Option<IfIndex>,
    /// How many hold it: one for each `track` without its `untrack`.
    pub users: u32,
    /// As of now.
    pub resolution: Resolution,
    /// The route that carries it.
    pub through: Option<IpNet>,
}

/// Every tracked next hop and the facts of the kernel that they stand on.
///
/// # Invariants
/// After each call, `resolution(id)` is what `resolve` would say from the facts alone (see `check_invariants`).
#[derive(Debug)]
pub struct NexthopTable {
    params: Params,
    entries: Vec<Option<Entry>>,
    free: Vec<NhId>,
    /// By address, so that the next hops under a prefix are a range.
    by_addr: BTreeMap<Key, NhId>,
    links: HashMap<IfIndex, Link>,
    /// With the length of the prefix: one address may stand twice on a link while its subnet changes.
    addrs: HashMap<IpAddr, AddressLinks>,
    /// The first and the last address of our IPv4 subnets, and how often: nobody's next hop.
    edges: HashMap<IpAddr, u32>,
    v4: PrefixMap<Ipv4Net, Candidates>,
    v6: PrefixMap<Ipv6Net, Candidates>,
    /// Routes of our own that hold a tracked address: of a million routes to pods, none.
    bgp_v4: PrefixMap<Ipv4Net, BgpEntry>,
    bgp_v6: PrefixMap<Ipv6Net, BgpEntry>,
    /// The next hops that routes of our own were looked at for.
    recursive: BTreeSet<NhId>,
    /// Tracked since the last `take_newly_tracked`.
    newly_tracked: Vec<NhId>,
    changed: Vec<NhId>,
    /// Counts the dumps: what bears an older number at a dump's end is gone.
    generation: u32,
    tunnels: tunnels::Tunnels,
}

#[derive(Debug)]
struct Entry {
    addr: IpAddr,
    ifindex: Option<IfIndex>,
    users: u32,
    answer: Found,
    changed: bool,
    /// `take_newly_tracked` has not named it yet.
    newly_tracked: bool,
}

#[derive(Debug)]
struct Link {
    name: String,
    up: bool,
    /// No business of ours.
    ignored: bool,
    generation: u32,
}

/// A route that may carry a next hop. Of others' at one prefix, at most one for each metric.
#[derive(Debug)]
struct Candidate {
    metric: u32,
    kind: RouteKind,
    generation: u32,
}

type Candidates = SmallVec<[Candidate; 1]>;

/// Where an address stands: link, length of its prefix, generation.
type AddressLinks = SmallVec<[(IfIndex, u8, u32); 1]>;

/// Keys come from the kernel, not from peers: a fixed seed serves, and a run can be repeated.
type HashMap<K, V> = hashbrown::HashMap<K, V, FixedState>;

impl NexthopTable {
    /// Before the kernel has said anything nothing can be reached.
    pub fn new(params: Params) -> NexthopTable {
        NexthopTable {
            params,
            entries: Vec::new(),
            free: Vec::new(),
            by_addr: BTreeMap::new(),
            links: HashMap::default(),
            addrs: HashMap::default(),
            edges: HashMap::default(),
            v4: PrefixMap::new(),
            v6: PrefixMap::new(),
            bgp_v4: PrefixMap::new(),
            bgp_v6: PrefixMap::new(),
            recursive: BTreeSet::new(),
            newly_tracked: Vec::new(),
            changed: Vec::new(),
            generation: 0,
            tunnels: tunnels::Tunnels::default(),
        }
    }

    /// Follow this address from now on. The same address and interface give the same id, counted.
    ///
    /// With an interface, a global address too is reached over that one alone, on its link if need be (unnumbered peers).
    pub fn track(&mut self, addr: IpAddr, ifindex: Option<IfIndex>) -> NhId {
        if let Some(&id) = self.by_addr.get(&(addr, ifindex)) {
            if let Some(entry) = self.entry_mut(id) {
                entry.users += 1;
            }
            return id;
        }
        let answer = self.resolve((addr, ifindex));
        let recursive = !answer.asked.is_empty();
        let entry = Entry { addr, ifindex, users: 1, answer, changed: false, newly_tracked: true };
        let id = self.free.pop().unwrap_or_else(|| {
            self.entries.push(None);
            NhId(u32::try_from(self.entries.len() - 1).expect("fewer than 2^32 next hops fit in memory"))
        });
        self.entries[id.0 as usize] = Some(entry);
        self.by_addr.insert((addr, ifindex), id);
        if recursive {
            self.recursive.insert(id);
        }
        self.newly_tracked.push(id);
        self.note_node(addr);
        id
    }

    /// One user fewer; the last one takes the entry along.
    pub fn untrack(&mut self, id: NhId) {
        let Some(entry) = self.entry_mut(id) else { return };
        entry.users -= 1;
        if entry.users == 0 {
            let key = (entry.addr, entry.ifindex);
            self.by_addr.remove(&key);
            self.recursive.remove(&id);
            self.entries[id.0 as usize] = None;
            self.free.push(id);
            self.forget_bgp_around(key.0);
            self.note_node(key.0);
        }
    }

    /// What is known now. An id that is not tracked has no route.
    pub fn resolution(&self, id: NhId) -> &Resolution {
        const NONE: &Resolution = &Resolution::Unresolved(Unresolved::NoRoute);
        self.entries.get(id.0 as usize).and_then(Option::as_ref).map_or(NONE, |e| &e.answer.resolution)
    }

    /// The route that carries it, if one does.
    pub fn carried_by(&self, id: NhId) -> Option<IpNet> {
        self.entries.get(id.0 as usize).and_then(Option::as_ref).and_then(|e| e.answer.through)
    }

    /// Does the kernel have a way to this address now, over a link that is up? Whoever it belongs to.
    pub fn is_reachable(&self, addr: IpAddr) -> bool {
        let way = || self.by_route(addr, &mut lookup::Trail::default()).resolution;
        self.is_own_address(addr) || matches!(way(), Resolution::Via { .. } | Resolution::Unresolved(Unresolved::OnlyDefault))
    }

    /// The name of an interface that is up and has an address.
    pub fn link_with_address(&self, ifindex: IfIndex) -> Option<&str> {
        let link = self.links.get(&ifindex).filter(|link| link.up)?;
        self.addrs.values().flatten().any(|(on, ..)| *on == ifindex).then_some(&link.name)
    }

    /// The next hops whose resolution changed since the last call, each once.
    pub fn take_changed(&mut self) -> Vec<NhId> {
        let changed = std::mem::take(&mut self.changed);
        for &id in &changed {
            if let Some(entry) = self.entry_mut(id) {
                entry.changed = false;
            }
        }
        changed
    }

    /// Whether `take_changed` has something to say.
    pub fn has_changed(&self) -> bool {
        !self.changed.is_empty()
    }

    /// Addresses that are tracked since the last call: whoever has routes of our own around them is to say so (`on_bgp_route`).
    pub fn take_newly_tracked(&mut self) -> Vec<IpAddr> {
        let newly_tracked = std::mem::take(&mut self.newly_tracked);
        let addr = |id| {
            let entry = self.entry_mut(id)?;
            std::mem::take(&mut entry.newly_tracked).then_some(entry.addr)
        };
        newly_tracked.into_iter().filter_map(addr).collect()
    }

    /// Whether `take_newly_tracked` has something to say.
    pub fn has_newly_tracked(&self) -> bool {
        !self.newly_tracked.is_empty()
    }

    /// Whether the next hop is one of those that `take_newly_tracked` will name, and not connected: a route of our own may yet carry it.
    pub fn awaits_recursive(&self, id: NhId) -> bool {
        let entry = self.entries.get(id.0 as usize).and_then(Option::as_ref);
        entry.is_some_and(|entry| entry.newly_tracked && !matches!(entry.answer.resolution, Resolution::Via { connected: true, .. }))
    }

    /// Is an address in this prefix tracked? Else it does not matter what we do with the prefix.
    pub fn is_tracked_within(&self, net: &IpNet) -> bool {
        self.by_addr.range(around(net)).next().is_some()
    }

    /// Every tracked next hop after `after`, in the order of their ids.
    pub fn rows(&self, after: Option<NhId>) -> impl Iterator<Item = Row> {
        let from = after.map_or(0, |id| id.0 as usize + 1);
        self.entries.iter().enumerate().skip(from).filter_map(|(i, entry)| {
            let e = entry.as_ref()?;
            let id = NhId(u32::try_from(i).ok()?);
            let resolution = e.answer.resolution.clone();
            Some(Row { id, addr: e.addr, ifindex: e.ifindex, users: e.users, resolution, through: e.answer.through })
        })
    }

    /// How many are tracked.
    pub fn len(&self) -> usize {
        self.by_addr.len()
    }

    /// No next hop is tracked.
    pub fn is_empty(&self) -> bool {
        self.by_addr.is_empty()
    }

    /// The name of an interface, as last received.
    pub fn link_name(&self, ifindex: IfIndex) -> Option<&str> {
        self.links.get(&ifindex).map(|l| l.name.as_str())
    }

    /// The number of an interface that is there.
    pub fn link_index(&self, name: &str) -> Option<IfIndex> {
        self.links.iter().find(|(_, link)| link.name == name).map(|(ifindex, _)| *ifindex)
    }

    /// The link on which this address is a neighbour, if it is one.
    pub fn connected_over(&self, addr: IpAddr) -> Option<IfIndex> {
        match self.by_route(addr, &mut lookup::Trail::default()).resolution {
            Resolution::Via { connected: true, hops, .. } => hops.first().map(|hop| hop.ifindex),
            Resolution::Via { .. } | Resolution::Unresolved(_) => None,
        }
    }

    /// Is this an address of the machine?
    pub fn is_own_address(&self, addr: IpAddr) -> bool {
        self.addrs.contains_key(&addr)
    }

    /// The prefix of the link on which this address is a neighbour, if it is one.
    pub fn link_of(&self, addr: IpAddr) -> Option<IpNet> {
        let found = self.by_route(addr, &mut lookup::Trail::default());
        found.through.filter(|_| matches!(found.resolution, Resolution::Via { connected: true, .. }))
    }

    /// Takes in what the kernel tells. Next hops that it may concern are looked up again at the next settlement.
    pub fn on_kernel(&mut self, event: &KernelEvent) {
        match event {
            KernelEvent::Link { ifindex, name, up } => self.on_link(*ifindex, name, *up),
            KernelEvent::LinkGone { ifindex } => self.on_link_gone(*ifindex),
            KernelEvent::Address { ifindex, net } => self.on_address(*ifindex, *net),
            KernelEvent::AddressGone { ifindex, net } => self.on_address_gone(*ifindex, *net),
            KernelEvent::Route(route) if self.concerns(route) => self.on_route(route),
            KernelEvent::RouteGone(route) if self.concerns(route) => self.on_route_gone(route),
            KernelEvent::Route(_) | KernelEvent::RouteGone(_) => {}
            KernelEvent::Tunnel { node, gateway, ifindex } => self.on_tunnel(*node, Some((*gateway, *ifindex))),
            KernelEvent::TunnelGone { node } => self.on_tunnel(*node, None),
            KernelEvent::DumpStart => self.generation = self.generation.wrapping_add(1),
            KernelEvent::DumpEnd => self.sweep(),
        }
    }

    /// A route that we have chosen and write to the kernel, or no longer: it may carry the next hops of other paths (`lookup`).
    /// Kept as long as it holds a tracked address. An identifier that is not tracked is left out.
    pub fn on_bgp_route(&mut self, net: IpNet, route: Option<BgpRoute<'_>>) {
        let key = |id: &NhId| self.entry(*id).map(|e| (e.addr, e.ifindex));
        let kept = route.filter(|_| self.is_tracked_within(&net)).map(|route| match route {
            BgpRoute::Discards => BgpEntry { metric: 0, by: None },
            BgpRoute::Leads { next_hops, metric } => BgpEntry { metric, by: Some(next_hops.iter().filter_map(key).collect()) },
        });
        if self.own(net) == kept.as_ref() {
            return;
        }
        match (net, kept) {
            (IpNet::V4(n), Some(own)) => drop(self.bgp_v4.insert(n, own)),
            (IpNet::V6(n), Some(own)) => drop(self.bgp_v6.insert(n, own)),
            (IpNet::V4(n), None) => drop(self.bgp_v4.remove(&n)),
            (IpNet::V6(n), None) => drop(self.bgp_v6.remove(&n)),
        }
        self.review(net);
    }

    fn own(&self, net: IpNet) -> Option<&BgpEntry> {
        match net {
            IpNet::V4(n) => self.bgp_v4.get(&n),
            IpNet::V6(n) => self.bgp_v6.get(&n),
        }
    }

    /// Nobody asks for this address any more: what held it, and nothing else that is tracked, goes.
    fn forget_bgp_around(&mut self, addr: IpAddr) {
        let held: SmallVec<[IpNet; 2]> = match addr {
            IpAddr::V4(a) => self.bgp_v4.cover(&Ipv4Net::from(a)).map(|(n, _)| IpNet::from(n)).collect(),
            IpAddr::V6(a) => self.bgp_v6.cover(&Ipv6Net::from(a)).map(|(n, _)| IpNet::from(n)).collect(),
        };
        for net in held {
            if !self.is_tracked_within(&net) {
                self.on_bgp_route(net, None);
            }
        }
    }

    fn concerns(&self, route: &KernelRoute) -> bool {
        route.table == self.params.table && !self.params.own.contains(&(route.table, route.protocol))
    }

    fn on_link(&mut self, ifindex: IfIndex, name: &str, up: bool) {
        let generation = self.generation;
        let ignored = self.params.ignore.iter().any(|p| p.matches(name));
        let was = self.links.insert(ifindex, Link { name: name.to_owned(), up, ignored, generation });
        let was_ignored = was.as_ref().is_some_and(|l| l.ignored);
        if ignored != was_ignored {
            self.review_all();
        } else if was.is_some_and(|l| l.up) != up {
            self.review_link(ifindex);
        }
    }

    fn on_link_gone(&mut self, ifindex: IfIndex) {
        if self.links.remove(&ifindex).is_some_and(|l| l.up) {
            self.review_link(ifindex);
        }
    }

    fn on_address(&mut self, ifindex: IfIndex, net: IpNet) {
        let (generation, addr) = (self.generation, net.addr());
        let list = self.addrs.entry(addr).or_default();
        match list.iter_mut().find(|(i, len, _)| (*i, *len) == (ifindex, net.prefix_len())) {
            Some(known) => known.2 = generation,
            None => {
                list.push((ifindex, net.prefix_len(), generation));
                self.note_node(addr);
                self.review_addr(addr);
                for edge in edges(&net) {
                    *self.edges.entry(edge).or_insert(0) += 1;
                    self.review_addr(edge);
                }
            }
        }
    }

    fn on_address_gone(&mut self, ifindex: IfIndex, net: IpNet) {
        let (addr, len) = (net.addr(), net.prefix_len());
        let Some(list) = self.addrs.get_mut(&addr) else { return };
        let before = list.len();
        list.retain(|(i, l, _)| (*i, *l) != (ifindex, len));
        let known = list.len() < before;
        if list.is_empty() {
            self.addrs.remove(&addr);
            self.note_node(addr);
        }
        self.review_addr(addr);
        for edge in edges(&net).filter(|_| known) {
            if let Some(subnets) = self.edges.get_mut(&edge) {
                *subnets -= 1;
                if *subnets == 0 {
                    self.edges.remove(&edge);
                }
            }
            self.review_addr(edge);
        }
    }

    fn on_route(&mut self, route: &KernelRoute) {
        let generation = self.generation;
        let list = self.candidates_mut(route.net);
        if let Some(known) = list.iter_mut().find(|c| c.metric == route.metric) {
            known.generation = generation;
            if known.kind == route.kind {
                return;
            }
            known.kind = route.kind.clone();
        } else {
            list.push(Candidate { metric: route.metric, kind: route.kind.clone(), generation });
        }
        self.review(route.net);
    }

    fn on_route_gone(&mut self, route: &KernelRoute) {
        self.drop_candidates(route.net, |c| c.metric == route.metric);
        self.review(route.net);
    }

    /// The end of a dump: what it did not mention is gone.
    fn sweep(&mut self) {
        let now = self.generation;
        let links: Vec<IfIndex> = self.links.iter().filter(|(_, l)| l.generation != now).map(|(&i, _)| i).collect();
        links.into_iter().for_each(|i| self.on_link_gone(i));
        let stale = |(&addr, list): (&IpAddr, &AddressLinks)| -> Vec<(IfIndex, IpNet)> {
            let old = list.iter().filter(|(_, _, g)| *g != now);
            old.filter_map(|&(i, len, _)| Some((i, IpNet::new(addr, len).ok()?))).collect()
        };
        let addrs: Vec<_> = self.addrs.iter().flat_map(stale).collect();
        addrs.into_iter().for_each(|(i, net)| self.on_address_gone(i, net));
        let old = |c: &Candidate| c.generation != now;
        let v4: Vec<IpNet> = self.v4.iter().filter(|(_, l)| l.iter().any(old)).map(|(n, _)| n.into()).collect();
        let v6 = self.v6.iter().filter(|(_, l)| l.iter().any(old)).map(|(n, _)| n.into());
        let nets: Vec<IpNet> = v4.into_iter().chain(v6).collect();
        for net in nets {
            self.drop_candidates(net, old);
            self.review(net);
        }
    }

    /// Look again at the next hops under a prefix whose routes changed, unless a longer route of others carries them anyway.
    fn review(&mut self, net: IpNet) {
        let longer = |e: &Entry| e.answer.asked.is_empty() && e.answer.through.is_some_and(|t| t.prefix_len() > net.prefix_len());
        let ids = self.by_addr.range(around(&net)).chain(around_mapped(&net).into_iter().flat_map(|range| self.by_addr.range(range)));
        let ids = ids.map(|(_, &id)| id).filter(|id| !self.entry(*id).is_some_and(longer)).collect();
        self.renew(ids);
    }

    fn review_addr(&mut self, addr: IpAddr) {
        let other = if let IpAddr::V4(v4) = addr { Some(IpAddr::V6(v4.to_ipv6_mapped())) } else { None };
        let all = [Some(addr), other].into_iter().flatten();
        let ids = all.flat_map(|a| self.by_addr.range((a, None)..=(a, Some(IfIndex(u32::MAX))))).map(|(_, &id)| id).collect();
        self.renew(ids);
    }

    fn review_link(&mut self, ifindex: IfIndex) {
        let concerned = |e: &Entry| e.answer.links.contains(&ifindex) || e.ifindex == Some(ifindex);
        let ids = self.by_addr.values().copied().filter(|id| self.entry(*id).is_some_and(concerned)).collect();
        self.renew(ids);
    }

    fn review_all(&mut self) {
        let ids = self.by_addr.values().copied().collect();
        self.renew(ids);
    }

    /// Looks again at these, and then at those that routes over them carry.
    fn renew(&mut self, mut ids: SmallVec<[NhId; 8]>) {
        let mut at = 0;
        while let Some(&id) = ids.get(at) {
            at += 1;
            let Some(key) = self.renew_one(id) else { continue };
            let over = |e: &Entry| e.answer.asked.contains(&key);
            let more = self.recursive.iter().copied().filter(|id| self.entry(*id).is_some_and(over));
            let more: SmallVec<[NhId; 8]> = more.filter(|id| !ids.contains(id)).collect();
            ids.extend(more);
        }
    }

    fn renew_one(&mut self, id: NhId) -> Option<Key> {
        let key = self.entry(id).map(|e| (e.addr, e.ifindex))?;
        let answer = self.resolve(key);
        // What may go through a tunnel depends on what carries it (`routes_own_underlay`).
        let tunnelled = answer.resolution.hops().is_some_and(|hops| hops.iter().any(|h| self.is_tunnel(h)));
        if answer.asked.is_empty() {
            self.recursive.remove(&id)
        } else {
            self.recursive.insert(id)
        };
        let relinked = self.entry(id)?.answer.links != answer.links;
        if relinked {
            self.note_node(key.0);
        }
        let entry = self.entry_mut(id)?;
        let moved = entry.answer.resolution != answer.resolution || tunnelled && entry.answer.through != answer.through;
        let news = moved && !entry.changed;
        entry.changed |= news;
        entry.answer = answer;
        if news {
            self.changed.push(id);
        }
        Some(key)
    }

    /// Other interfaces are to be ignored.
    pub fn set_ignore(&mut self, ignore: Vec<NamePattern>) {
        self.params.ignore = ignore;
        for link in self.links.values_mut() {
            link.ignored = self.params.ignore.iter().any(|p| p.matches(&link.name));
        }
        self.review_all();
    }

    /// Does the link carry packets?
    pub fn is_up(&self, ifindex: IfIndex) -> bool {
        self.links.get(&ifindex).is_some_and(|l| l.up)
    }

    fn entry(&self, id: NhId) -> Option<&Entry> {
        self.entries.get(id.0 as usize)?.as_ref()
    }

    fn entry_mut(&mut self, id: NhId) -> Option<&mut Entry> {
        self.entries.get_mut(id.0 as usize)?.as_mut()
    }

    fn candidates(&self, net: IpNet) -> Option<&Candidates> {
        match net {
            IpNet::V4(n) => self.v4.get(&n),
            IpNet::V6(n) => self.v6.get(&n),
        }
    }

    fn candidates_mut(&mut self, net: IpNet) -> &mut Candidates {
        match net {
            IpNet::V4(n) => self.v4.entry(n).or_default(),
            IpNet::V6(n) => self.v6.entry(n).or_default(),
        }
    }

    fn drop_candidates(&mut self, net: IpNet, gone: impl Fn(&Candidate) -> bool) {
        let list = self.candidates_mut(net);
        list.retain(|c| !gone(c));
        if list.is_empty() {
            match net {
                IpNet::V4(n) => drop(self.v4.remove(&n)),
                IpNet::V6(n) => drop(self.v6.remove(&n)),
            }
        }
    }

    /// # Panics
    /// If an answer is not what the facts say.
    pub fn check_invariants(&self) {
        for (&(addr, ifindex), &id) in &self.by_addr {
            let entry = self.entry(id).expect("an address in the index is tracked");
            assert!(entry.users > 0, "{addr} is tracked for nobody");
            assert_eq!(entry.answer, self.resolve((addr, ifindex)), "{addr} has an old answer");
        }
        let asked = |e: &Entry| !e.answer.asked.is_empty();
        assert!(self.recursive.iter().all(|id| self.entry(*id).is_some_and(asked)), "the index of recursive next hops");
        assert_eq!(self.entries.iter().flatten().filter(|e| asked(e)).count(), self.recursive.len());
        assert_eq!(self.by_addr.len() + self.free.len(), self.entries.len(), "a next hop leaked");
        let own = self.bgp_v4.iter().map(|(n, _)| IpNet::from(n)).chain(self.bgp_v6.iter().map(|(n, _)| IpNet::from(n)));
        own.for_each(|net| assert!(self.is_tracked_within(&net), "{net} is kept, and holds nothing that is tracked"));
    }
}

/// All that is tracked in this prefix.
fn around(net: &IpNet) -> std::ops::RangeInclusive<(IpAddr, Option<IfIndex>)> {
    (net.network(), None)..=(net.broadcast(), Some(IfIndex(u32::MAX)))
}

/// The same, of IPv4 addresses that IPv6 routes name.
fn around_mapped(net: &IpNet) -> Option<std::ops::RangeInclusive<(IpAddr, Option<IfIndex>)>> {
    let IpNet::V4(net) = net else { return None };
    let [first, last] = [net.network(), net.broadcast()].map(|addr| IpAddr::V6(addr.to_ipv6_mapped()));
    Some((first, None)..=(last, Some(IfIndex(u32::MAX))))
}

#[cfg(test)]
mod tests;
