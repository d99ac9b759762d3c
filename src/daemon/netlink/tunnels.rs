//! Keeps the tunnel devices: makes them, gives them their entries, and puts right what others do to them.
//!
//! In: the devices that there should be (`Tunnels::want`). Out: `KernelEvent::Tunnel` for each node that a device carries packets to, and
//! `TunnelGone` when it no longer does. What is to be done to a device that is not as it should be is decided in `fib::overlay`; how that
//! is asked of the kernel stands in [`super::device`].
//!
//! A thread of its own does the work, with a runtime for nothing else, for the reason that the writer has one. It looks at the devices when
//! it is told of other ones, when the kernel speaks of something that concerns them, and now and then without cause. What others do to
//! an entry of ours is put right within [`PACE`], whatever else they do; what they add is taken away within [`PATIENCE`].
//! What goes, goes late: entries of nodes that nobody names any more, and devices that are not wanted, stay for [`LINGER`], until every
//! route over them has been replaced, and a device as long as others send over it: they may learn later than we that it is no more wanted.
//! The same holds for what a former life of ours left, on a device or as one: it stays until the core has removed the routes of that life
//! which nobody announced again. A device whose settings cannot be changed while it lives (VNI, port) is set aside under another name.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use futures_util::{StreamExt, TryStreamExt};
use netlink_packet_core::{NetlinkMessage, NetlinkPayload};
use netlink_packet_route::neighbour::{NeighbourAttribute, NeighbourMessage};
use netlink_packet_route::{AddressFamily, RouteNetlinkMessage};
use netlink_sys::AsyncSocket;
use rtnetlink::MulticastGroup;
use tokio::sync::{mpsc, watch};
use tokio::time::Instant;

use super::device::{self, Entry, Link, Table};
use super::settings::Counters;
use crate::fib::Errno;
use crate::fib::overlay::{self, ActualDevice, ActualKind, DesiredDevices, Device, DeviceOp, Mac, Tunnel};
use crate::kernel::{IfIndex, KernelEvent};

/// How long what is not wanted any more stays.
const LINGER: Duration = Duration::from_secs(5);
/// Between two looks without cause.
const AUDIT: Duration = Duration::from_secs(60);
/// After the kernel spoke, what else it has to say is waited for.
const GATHER: Duration = Duration::from_millis(5);
/// Between two looks at what others did to ours; up to 32 times as long if they go on and on.
const PACE: Duration = Duration::from_millis(20);
const REPAIRS_AT_ONCE: u32 = 10;
/// Between two looks at what others do besides.
const PATIENCE: Duration = Duration::from_secs(1);
/// After a refusal; twice as long each time.
const RETRY_FIRST: Duration = Duration::from_secs(1);
const RETRY_MOST: Duration = Duration::from_secs(30);
/// Looks at one device in a row, each of which found something to do.
const ROUNDS: usize = 4;
/// Deeds that are asked for before the first is answered.
const AT_ONCE: usize = 64;

/// What the core wants; only the newest counts.
#[derive(Debug, Default)]
struct Order {
    wanted: DesiredDevices,
    /// Take down at once what is not wanted, and end.
    end: bool,
}

/// The keeper of tunnels; asleep until something is wanted.
#[derive(Debug)]
pub struct Tunnels {
    events: mpsc::Sender<Vec<KernelEvent>>,
    counters: Arc<Counters>,
    /// Dropping it without `finish` leaves everything as it is.
    running: Option<(watch::Sender<Order>, std::thread::JoinHandle<()>)>,
}

impl Tunnels {
    /// Without a device and without a thread.
    pub fn new(events: mpsc::Sender<Vec<KernelEvent>>, counters: Arc<Counters>) -> Tunnels {
        Tunnels { events, counters, running: None }
    }

    /// From now on these devices, and no others of those that were wanted before. Never waits.
    pub fn want(&mut self, wanted: DesiredDevices) {
        if self.running.is_none() {
            match self.start() {
                Ok(running) => self.running = Some(running),
                Err(error) => return tracing::error!(%error, "no tunnel device can be kept"),
            }
        }
        if let Some((orders, _)) = &self.running {
            orders.send_modify(|order| order.wanted = wanted);
        }
    }

    /// Takes down what is not wanted, now. Waits for it.
    pub fn finish(&mut self) {
        let Some((orders, thread)) = self.running.take() else { return };
        orders.send_modify(|order| order.end = true);
        if thread.join().is_err() {
            tracing::error!("the keeper of tunnels panicked");
        }
    }

    fn start(&self) -> io::Result<(watch::Sender<Order>, std::thread::JoinHandle<()>)> {
        let (orders, inbox) = watch::channel(Order::default());
        let (events, counters) = (self.events.clone(), self.counters.clone());
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let thread = std::thread::Builder::new().name("catbird-tunnels".into()).spawn(move || {
            runtime.block_on(async {
                match Client::open() {
                    Ok(client) => TunnelManager::new(client, events, counters).run(inbox).await,
                    Err(error) => tracing::error!(%error, "no tunnel device can be kept"),
                }
            });
        })?;
        Ok((orders, thread))
    }
}

// ------------------------------------------------------------------------------------------------ the kernel

type News = futures_util::stream::BoxStream<'static, NetlinkMessage<RouteNetlinkMessage>>;

/// The keeper's connections: one asks, one listens.
struct Client {
    handle: rtnetlink::Handle,
    /// Who does our own changes.
    port: u32,
    news: News,
}

impl Client {
    /// Wants a runtime around it.
    fn open() -> io::Result<Client> {
        let (mut asking, handle, _) = rtnetlink::new_connection()?;
        let socket = asking.socket_mut().socket_mut();
        crate::daemon::sys::set_receive_buffer(socket, 4 << 20)?;
        let port = socket.bind_auto()?.port_number();
        tokio::spawn(asking);
        let groups = [MulticastGroup::Link, MulticastGroup::Neigh, MulticastGroup::Ipv4Ifaddr, MulticastGroup::Ipv6Ifaddr];
        let (mut listening, _, messages) = rtnetlink::new_multicast_connection(&groups)?;
        crate::daemon::sys::set_receive_buffer(listening.socket_mut().socket_mut(), 1 << 20)?;
        tokio::spawn(listening);
        // From the kernel and nobody else.
        let news = messages.filter_map(|(message, from)| std::future::ready((from.port_number() == 0).then_some(message)));
        Ok(Client { handle, port, news: news.boxed() })
    }

    /// The device of that name with everything on it.
    async fn look(&self, name: &str) -> Result<Option<(IfIndex, ActualDevice)>, Errno> {
        let links = self.handle.link().get().match_name(name).execute().try_collect::<Vec<_>>().await;
        let link = match links.map_err(device::errno) {
            Ok(links) => links.first().map(device::read_link),
            Err(Errno::ENODEV) => None,
            Err(errno) => return Err(errno),
        };
        let Some(link) = link else { return Ok(None) };
        let addresses = self.addresses().await?.into_iter().filter(|(i, _)| *i == link.ifindex).map(|(_, net)| net).collect();
        let mut neighbours = BTreeMap::new();
        for family in [AddressFamily::Inet, AddressFamily::Inet6] {
            let on_it = self.entries(family, link.ifindex).await?;
            neighbours.extend(on_it.into_iter().filter(|e| e.permanent).filter_map(|e| Some((e.to, e.mac?))));
        }
        let forwards = match link.kind {
            ActualKind::Vxlan { .. } => self.entries(AddressFamily::Bridge, link.ifindex).await?,
            _ => Vec::new(),
        };
        let forwards = forwards.into_iter().filter_map(|e| Some((e.mac?, e.to))).collect();
        let Link { ifindex, kind, local, mac, mtu, up, .. } = link;
        Ok(Some((ifindex, ActualDevice { kind, local, mac, mtu, up, addresses, neighbours, forwards })))
    }

    /// A device of ours that has another name: ours are known by a MAC address that follows from their local address, and IPIP by that address.
    async fn former(&self, device: &Device, taken: &BTreeSet<&str>) -> Result<Option<IfIndex>, Errno> {
        let links = self.handle.link().get().execute().try_collect::<Vec<_>>().await.map_err(device::errno)?;
        let is_it = |(name, link): &(String, Link)| !taken.contains(name.as_str()) && device.is_former(&link.kind, link.local, link.mac);
        Ok(links.iter().map(|l| (device::name_of(l), device::read_link(l))).find(is_it).map(|(_, link)| link.ifindex))
    }

    /// The link of that name, if it is a tunnel of ours and can go.
    async fn ours(&self, name: &str) -> Option<Link> {
        let links = self.handle.link().get().match_name(name).execute().try_collect::<Vec<_>>().await.ok()?;
        links.first().map(device::read_link).filter(|link| overlay::is_ours(&link.kind, link.local, link.mac))
    }

    async fn addresses(&self) -> Result<Vec<(IfIndex, ipnet::IpNet)>, Errno> {
        let all = self.handle.address().get().execute().try_collect::<Vec<_>>().await.map_err(device::errno)?;
        Ok(all.iter().filter_map(device::read_address).collect())
    }

    /// The entries of this device. An old kernel tells more.
    async fn entries(&self, family: AddressFamily, ifindex: IfIndex) -> Result<Vec<Entry>, Errno> {
        let mut request = self.handle.neighbours().get().set_address_family(family);
        match family {
            AddressFamily::Bridge => request.message_mut().header.ifindex = ifindex.0,
            _ => request.message_mut().attributes.push(NeighbourAttribute::IfIndex(ifindex.0)),
        }
        let all: Vec<NeighbourMessage> = request.execute().try_collect().await.map_err(device::errno)?;
        let of = |m: &&NeighbourMessage| m.header.family == family && m.header.ifindex == ifindex.0;
        Ok(all.iter().filter(of).filter_map(device::read_entry).collect())
    }

    /// The links below a device (that of its own address, and those that lead to its nodes), and what the narrowest of them carries. An
    /// address that stands on the loopback leaves over other links.
    async fn below(&self, device: &Device) -> Result<(BTreeSet<IfIndex>, Option<u32>), Errno> {
        let own = self.addresses().await?.into_iter().find(|(_, net)| net.addr() == device.local).map(|(ifindex, _)| ifindex);
        let below: BTreeSet<IfIndex> = own.into_iter().chain(device.over.iter().copied()).collect();
        let mut narrowest: Option<u32> = None;
        for ifindex in &below {
            let link = match self.handle.link().get().match_index(ifindex.0).execute().try_collect::<Vec<_>>().await.map_err(device::errno)
            {
                Ok(links) => links.first().map(device::read_link),
                // It went a moment ago, and the core has yet to hear of it.
                Err(Errno::ENODEV) => None,
                Err(errno) => return Err(errno),
            };
            if let Some(link) = link.filter(|link| !link.loopback) {
                narrowest = Some(narrowest.map_or(link.mtu, |mtu| mtu.min(link.mtu)));
            }
        }
        Ok((below, narrowest))
    }
}

// ------------------------------------------------------------------------------------------------ what concerns us

/// What the last look found that is to stay so.
#[derive(Debug, Default)]
struct Concern {
    devices: BTreeSet<IfIndex>,
    /// The links of our own addresses and to the nodes, for their MTU.
    below: BTreeSet<IfIndex>,
    /// Of our entries, by table: what they are looked up by, and what they answer.
    entries: BTreeMap<(IfIndex, Table, Key), (Mac, IpAddr)>,
}

type Key = (Option<Mac>, Option<IpAddr>);

/// How soon a message of the kernel calls for a look.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Urgency {
    Never,
    /// Something of others' came.
    Later,
    /// Something of ours may have changed.
    Soon,
}

impl Concern {
    /// What was known before a look that failed: its device, wherever it stands, concerns us as it did.
    fn keep(&mut self, before: Concern) {
        self.devices.extend(before.devices);
        self.below.extend(before.below);
        for (key, answer) in before.entries {
            self.entries.entry(key).or_insert(answer);
        }
    }

    fn add(&mut self, ifindex: IfIndex, device: &Device) {
        self.devices.insert(ifindex);
        for &node in &device.nodes {
            let mac = Mac::of(node);
            for gateway in device.gateways(node) {
                self.entries.insert((ifindex, Table::Neighbours, (None, Some(gateway))), (mac, gateway));
            }
            self.entries.insert((ifindex, Table::Forwarding, (Some(mac), None)), (mac, node));
        }
    }

    fn urgency(&self, message: &NetlinkMessage<RouteNetlinkMessage>, own_port: u32) -> Urgency {
        let of = |index: u32, links: &BTreeSet<IfIndex>| links.contains(&IfIndex(index));
        let concerned = match &message.payload {
            _ if message.header.port_number == own_port => false,
            // Something was lost: it may have been about us.
            NetlinkPayload::Overrun(_) => true,
            NetlinkPayload::InnerMessage(news) => match news {
                RouteNetlinkMessage::NewLink(link) => of(link.header.index, &self.devices) || of(link.header.index, &self.below),
                RouteNetlinkMessage::DelLink(link) => of(link.header.index, &self.devices),
                RouteNetlinkMessage::NewAddress(a) | RouteNetlinkMessage::DelAddress(a) => {
                    of(a.header.index, &self.devices) || of(a.header.index, &self.below)
                }
                RouteNetlinkMessage::NewNeighbour(entry) => return self.entry_urgency(entry, false),
                RouteNetlinkMessage::DelNeighbour(entry) => return self.entry_urgency(entry, true),
                _ => false,
            },
            _ => false,
        };
        if concerned { Urgency::Soon } else { Urgency::Never }
    }

    fn entry_urgency(&self, message: &NeighbourMessage, gone: bool) -> Urgency {
        let Some(entry) = device::read_entry(message).filter(|e| self.devices.contains(&e.ifindex)) else { return Urgency::Never };
        let key = match entry.table {
            Table::Neighbours => (None, Some(entry.to)),
            Table::Forwarding => (entry.mac, None),
        };
        match self.entries.get(&(entry.ifindex, entry.table, key)) {
            Some((mac, to)) if (Some(*mac), *to) == (entry.mac, entry.to) && entry.permanent && !gone => Urgency::Never,
            Some(_) => Urgency::Soon,
            None if gone || !entry.permanent => Urgency::Never,
            None => Urgency::Later,
        }
    }
}

// ------------------------------------------------------------------------------------------------ keeping

struct TunnelManager {
    client: Client,
    concern: Concern,
    events: mpsc::Sender<Vec<KernelEvent>>,
    counters: Arc<Counters>,
    wanted: DesiredDevices,
    /// Nodes that are not wanted any more, until when their entries stay.
    expiring_entries: BTreeMap<IpAddr, Instant>,
    /// Nodes for which a former life of ours left entries, as long as its routes may be learned again.
    adopted: BTreeSet<IpAddr>,
    /// Devices that have been looked at for such entries.
    looked: BTreeSet<String>,
    /// Devices that are not wanted any more, by name.
    expiring_devices: BTreeMap<String, Expiring>,
    /// Names of those that a former life has left; some are wanted again, and some are not there.
    former: BTreeSet<String>,
    /// What was reported to the core.
    carried: BTreeMap<IpAddr, IfIndex>,
    /// What is wrong, by device, as it was logged.
    trouble: BTreeMap<String, String>,
    failures: u32,
    /// Looks that put something right in a row, each soon after the one before.
    repairs: u32,
    last_look: Instant,
    /// The core has yet to receive what has changed.
    untold: bool,
}

/// A device that is not wanted any more.
#[derive(Clone, Copy, Debug)]
struct Expiring {
    /// It stays so long at least.
    until: Instant,
    /// What had come over it when we last looked.
    received: Option<u64>,
}

/// What became of one device.
type Kept = Result<(IfIndex, ActualDevice), String>;

impl TunnelManager {
    fn new(client: Client, events: mpsc::Sender<Vec<KernelEvent>>, counters: Arc<Counters>) -> TunnelManager {
        TunnelManager {
            client,
            concern: Concern::default(),
            events,
            counters,
            wanted: DesiredDevices::default(),
            expiring_entries: BTreeMap::new(),
            adopted: BTreeSet::new(),
            looked: BTreeSet::new(),
            expiring_devices: BTreeMap::new(),
            former: BTreeSet::new(),
            carried: BTreeMap::new(),
            trouble: BTreeMap::new(),
            failures: 0,
            repairs: 0,
            last_look: Instant::now(),
            untold: false,
        }
    }

    /// Until it is told to end, or nobody is there to tell it anything.
    async fn run(mut self, mut orders: watch::Receiver<Order>) {
        let mut next = Instant::now() + AUDIT;
        loop {
            // Orders before looks, and looks before what may call for more of them.
            tokio::select! {
                biased;
                order = orders.changed() => {
                    let Ok(()) = order else { return };
                    let (wanted, end) = { let order = orders.borrow_and_update(); (order.wanted.clone(), order.end) };
                    if wanted != self.wanted {
                        self.want(wanted);
                    }
                    if end {
                        return self.end().await;
                    }
                    self.keep(true).await;
                    next = self.last_look + self.rest();
                }
                () = tokio::time::sleep_until(next) => {
                    let since = self.last_look.elapsed();
                    let changed = self.keep(false).await;
                    self.repairs = if changed && since < PATIENCE { self.repairs + 1 } else { 0 };
                    next = self.last_look + self.rest();
                }
                message = self.client.news.next() => match message {
                    Some(message) => next = next.min(self.due(self.concern.urgency(&message, self.client.port))),
                    None => self.reopen().await,
                },
            }
        }
    }

    /// When the next look is due.
    fn due(&self, urgency: Urgency) -> Instant {
        let rest = match urgency {
            Urgency::Never => AUDIT,
            Urgency::Later => PATIENCE,
            Urgency::Soon => PACE * (1 << (self.repairs / REPAIRS_AT_ONCE).min(5)),
        };
        (self.last_look + rest).max(Instant::now() + GATHER)
    }

    /// A connection to the kernel was closed, which it is only if a socket fails.
    async fn reopen(&mut self) {
        tokio::time::sleep(RETRY_FIRST).await;
        match Client::open() {
            Ok(client) => self.client = client,
            Err(error) => tracing::error!(%error, "the keeper of tunnels hears nothing"),
        }
    }

    /// Until the next look without cause.
    fn rest(&self) -> Duration {
        let retry = (self.failures > 0).then(|| RETRY_FIRST.saturating_mul(1 << (self.failures - 1).min(8)).min(RETRY_MOST));
        let due = self.expiring_entries.values().copied().chain(self.expiring_devices.values().map(|e| e.until)).min();
        let due = due.map(|at| at.saturating_duration_since(Instant::now()));
        let untold = self.untold.then_some(PACE);
        [Some(AUDIT), retry, due, untold].into_iter().flatten().min().unwrap_or(AUDIT)
    }

    fn want(&mut self, wanted: DesiredDevices) {
        let until = Instant::now() + LINGER;
        let nodes = |w: &DesiredDevices| w.devices.iter().flat_map(|d| d.nodes.iter().copied()).collect::<BTreeSet<IpAddr>>();
        let (old, new) = (nodes(&self.wanted), nodes(&wanted));
        self.expiring_entries.extend(old.difference(&new).map(|node| (*node, until)));
        if !wanted.recovering {
            self.expiring_entries.extend(std::mem::take(&mut self.adopted).into_iter().map(|node| (node, until)));
        }
        self.expiring_entries.retain(|node, _| !new.contains(node));
        let mut old: BTreeSet<String> = self.wanted.devices.iter().map(|d| d.name.clone()).collect();
        self.former.extend(wanted.former.iter().cloned());
        self.former.extend(wanted.devices.iter().filter(|_| wanted.recovering).map(|d| overlay::aside(&d.name)));
        if !wanted.recovering {
            old.extend(std::mem::take(&mut self.former));
        }
        for name in old {
            self.expiring_devices.entry(name).or_insert(Expiring { until, received: None });
        }
        self.expiring_devices.retain(|name, _| !wanted.devices.iter().any(|d| d.name == *name));
        self.wanted = wanted;
        self.failures = 0;
    }

    /// Looks at everything and puts it right; true if there was something to put right.
    async fn keep(&mut self, ordered: bool) -> bool {
        let now = Instant::now();
        self.expiring_entries.retain(|_, until| *until > now);
        let due: Vec<String> = self.expiring_devices.iter().filter(|(_, e)| e.until <= now).map(|(name, _)| name.clone()).collect();
        for name in due {
            self.expire(&name, now).await;
        }
        for (name, expiring) in self.expiring_devices.iter_mut().filter(|(_, e)| e.received.is_none()) {
            expiring.received = self.client.ours(name).await.map(|link| link.received);
        }
        let mut concern = Concern::default();
        let mut carried = BTreeMap::new();
        let (mut done, mut failed, mut unseen) = (0, false, false);
        for mut device in self.wanted.devices.clone() {
            let adopted = self.adopt(&device).await;
            let staying = self.expiring_entries.keys().chain(&self.adopted).filter(|n| n.is_ipv4() == device.local.is_ipv4());
            device.nodes.extend(staying);
            let kept = match adopted {
                Ok(()) => self.keep_one(&device, &mut concern, &mut done).await,
                Err(why) => Err(why),
            };
            match kept {
                Ok((ifindex, actual)) => {
                    concern.add(ifindex, &device);
                    carried.extend(actual.up.then_some((device.local, ifindex)));
                    for node in device.nodes.iter().filter(|n| device.carries(**n, &actual)) {
                        let of_ipv6 = overlay::for_ipv6(*node).filter(|_| device.carries_ipv6);
                        carried.extend([Some(*node), of_ipv6].into_iter().flatten().map(|node| (node, ifindex)));
                    }
                    failed |= self.trouble.contains_key(&device.name);
                }
                Err(why) => {
                    (failed, unseen) = (true, true);
                    self.note(&device.name, Some(why));
                }
            }
        }
        self.failures = if failed { self.failures + 1 } else { 0 };
        // Or else nothing that others do to it would call for a look before the retry.
        if unseen {
            concern.keep(std::mem::take(&mut self.concern));
        }
        self.concern = concern;
        let own = |node: &IpAddr| self.wanted.devices.iter().any(|d| d.local == *node);
        let nodes = carried.keys().filter(|node| node.to_canonical() == **node && !own(node)).count();
        self.counters.tunnels.store(nodes as u64, Ordering::Relaxed);
        if done > 0 && !ordered {
            Counters::add(&self.counters.tunnel_repairs, done);
        }
        self.tell(carried);
        self.last_look = Instant::now();
        done > 0
    }

    /// The first look at a device after our start: what a former life left there is not to go before its routes.
    async fn adopt(&mut self, device: &Device) -> Result<(), String> {
        if !self.wanted.recovering || self.looked.contains(&device.name) {
            return Ok(());
        }
        let actual = self.client.look(&device.name).await.map_err(|e| e.to_string())?;
        self.looked.insert(device.name.clone());
        self.adopted.extend(actual.iter().flat_map(|(_, s)| device.left_behind(s)));
        Ok(())
    }

    /// One device; what cannot be done is noted, and the rest done all the same.
    async fn keep_one(&mut self, device: &Device, concern: &mut Concern, done: &mut u64) -> Kept {
        let (below, mtu) = self.client.below(device).await.map_err(|e| e.to_string())?;
        concern.below.extend(below);
        let (mut refused, mut round) = (None, 0);
        loop {
            let actual = self.client.look(&device.name).await.map_err(|e| e.to_string())?;
            let ops = device.ops(actual.as_ref().map(|(_, s)| s), mtu).map_err(|e| e.to_string())?;
            if let Some(kept) = actual.as_ref()
                && (ops.is_empty() || refused.is_some() || round >= ROUNDS)
            {
                self.note(&device.name, refused);
                return Ok(kept.clone());
            }
            if round >= ROUNDS || actual.is_none() && refused.is_some() {
                return Err(refused.unwrap_or_else(|| "it vanishes as soon as it is made".to_owned()));
            }
            if actual.is_none() && self.rename(device).await.map_err(|e| format!("it cannot get its new name: {e}"))? {
                *done += 1;
                continue;
            }
            let ifindex = actual.map_or(IfIndex(0), |(ifindex, _)| ifindex);
            refused = self.do_all(ops, device, ifindex, done).await;
            round += 1;
        }
    }

    /// Has a device of ours that stands under another name take this one: with it everything on it and all routes over it stay. False if
    /// there is none.
    async fn rename(&self, device: &Device) -> Result<bool, Errno> {
        let taken = self.wanted.devices.iter().map(|d| d.name.as_str()).collect();
        let Some(ifindex) = self.client.former(device, &taken).await? else { return Ok(false) };
        device::rename(&self.client.handle, ifindex, &device.name).await?;
        tracing::info!(device = device.name, "tunnel: it has a new name");
        Ok(true)
    }

    /// Every deed, in order; the first refusal in words.
    async fn do_all(&mut self, ops: Vec<DeviceOp>, device: &Device, ifindex: IfIndex, done: &mut u64) -> Option<String> {
        let handle = &self.client.handle;
        let answers = futures_util::stream::iter(ops).map(|op| async move { (op, device::carry_out(handle, op, device, ifindex).await) });
        let answers: Vec<(DeviceOp, Result<(), Errno>)> = answers.buffered(AT_ONCE).collect().await;
        let mut refused = None;
        for (op, answer) in answers {
            match answer {
                Ok(()) => {
                    *done += 1;
                    if op == DeviceOp::SetAside {
                        let expiring = Expiring { until: Instant::now() + LINGER, received: None };
                        // While routes of a former life may go over it, nothing counts the time.
                        match self.wanted.recovering {
                            true => drop(self.former.insert(overlay::aside(&device.name))),
                            false => drop(self.expiring_devices.insert(overlay::aside(&device.name), expiring)),
                        }
                    }
                }
                // It went by itself, or the module that makes the device made it already.
                Err(Errno::ENOENT | Errno::ESRCH) if is_removal(op) => {}
                Err(Errno::EEXIST) if op == DeviceOp::Create && device.is_fallback() => *done += 1,
                Err(errno) => {
                    Counters::add(&self.counters.tunnel_failures, 1);
                    refused.get_or_insert_with(|| in_words(op, device, errno));
                }
            }
        }
        refused
    }

    /// Removes a device that is not wanted any more, unless something came over it since we last looked.
    async fn expire(&mut self, name: &str, now: Instant) {
        let link = self.client.ours(name).await;
        let Some(expiring) = self.expiring_devices.get_mut(name) else { return };
        let quiet = link.as_ref().is_none_or(|link| expiring.received == Some(link.received));
        if !quiet {
            *expiring = Expiring { until: now + LINGER, received: link.map(|link| link.received) };
            return;
        }
        self.expiring_devices.remove(name);
        self.remove(name).await;
    }

    async fn remove(&mut self, name: &str) {
        let Some(link) = self.client.ours(name).await else { return };
        let refused = device::remove(&self.client.handle, link.ifindex).await.err();
        if refused.is_none() {
            tracing::info!(device = name, "tunnel: nobody needs it any more: removed");
        }
        self.note(name, refused.map(|errno| format!("it cannot be removed: {errno}")));
    }

    async fn end(mut self) {
        for name in std::mem::take(&mut self.expiring_devices).into_keys() {
            self.remove(&name).await;
        }
    }

    /// Logs what is wrong with a device when that changes.
    fn note(&mut self, name: &str, wrong: Option<String>) {
        match wrong {
            Some(why) if self.trouble.get(name) == Some(&why) => {}
            Some(why) => {
                tracing::error!(device = name, "tunnel: {why}");
                self.counters.set_tunnel_trouble(name, Some(why.clone()));
                self.trouble.insert(name.to_owned(), why);
            }
            None => {
                if self.trouble.remove(name).is_some() {
                    tracing::info!(device = name, "tunnel: as it should be again");
                    self.counters.set_tunnel_trouble(name, None);
                }
            }
        }
    }

    /// Tells the core what has changed; later, if it has no room for it. (It may wait for our end.)
    fn tell(&mut self, carried: BTreeMap<IpAddr, IfIndex>) {
        let gone = self.carried.keys().filter(|n| !carried.contains_key(n)).map(|n| KernelEvent::TunnelGone { node: *n });
        let new = carried.iter().filter(|(n, i)| self.carried.get(n) != Some(i));
        let new = new.map(|(&node, &ifindex)| KernelEvent::Tunnel { node, gateway: overlay::gateway(node), ifindex });
        let events: Vec<KernelEvent> = gone.chain(new).collect();
        self.untold = !events.is_empty() && matches!(self.events.try_send(events), Err(mpsc::error::TrySendError::Full(_)));
        if !self.untold {
            self.carried = carried;
        }
    }
}

fn is_removal(op: DeviceOp) -> bool {
    matches!(op, DeviceOp::DeleteNeighbour(_) | DeviceOp::DeleteForward(..) | DeviceOp::DeleteAddress(_) | DeviceOp::Delete)
}

/// A refusal as an operator can use it.
fn in_words(op: DeviceOp, device: &Device, errno: Errno) -> String {
    let done = match op {
        DeviceOp::Create => "it cannot be made",
        DeviceOp::Delete => "it cannot be removed",
        DeviceOp::SetAside => "the one before it cannot be set aside",
        DeviceOp::SetLocal(_) => "its local address cannot be set",
        DeviceOp::SetMac(_) => "its MAC address cannot be set",
        DeviceOp::SetMtu(_) => "its MTU cannot be set",
        DeviceOp::SetUp => "it cannot be brought up",
        DeviceOp::AddAddress(_) | DeviceOp::DeleteAddress(_) => "its address cannot be changed",
        DeviceOp::Neighbour(..) | DeviceOp::DeleteNeighbour(_) => "a neighbour cannot be changed",
        DeviceOp::Forward(..) | DeviceOp::DeleteForward(..) => "a forwarding entry cannot be changed",
    };
    let why = match (op, errno.0, device.tunnel) {
        (DeviceOp::Create, libc::EEXIST, Tunnel::Vxlan { vni, port, .. }) => {
            format!("another device has VNI {vni} on port {port}; [fib.overlay] vni and port name others")
        }
        (DeviceOp::SetUp, libc::EADDRINUSE, Tunnel::Vxlan { port, .. }) => {
            format!("another device, or a program, receives on UDP port {port}; [fib.overlay] port names another")
        }
        (DeviceOp::Create, libc::EOPNOTSUPP, Tunnel::Vxlan { .. }) => "this kernel has no VXLAN".to_owned(),
        (DeviceOp::Create, libc::EOPNOTSUPP, Tunnel::Ipip) => "this kernel has no IPIP".to_owned(),
        _ => errno.to_string(),
    };
    format!("{done}: {why}")
}
