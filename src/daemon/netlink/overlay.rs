//! Keeps the tunnel devices: makes them, gives them their entries, and puts right what others do to them.
//!
//! In: the devices that there should be (`Overlay::want`). Out: `KernelEvent::Tunnel` for each node that a device carries packets to, and
//! `TunnelGone` when it no longer does. What is to be done to a device that is not as it should be is decided in `fib::overlay`.
//!
//! A thread does the work, one request after the other, for the reason that the writer has one. It looks at the devices when it is told
//! of other ones, when the kernel speaks of something that concerns them (a task of the runtime listens), and now and then without cause.
//! What goes, goes late: entries of nodes that nobody names any more, and devices that are not wanted, stay for [`LINGER`], until every
//! route over them has been replaced. The same holds for what a former life of ours left on a device: it stays until the core has removed
//! the routes of that life which nobody told again.

use std::collections::{BTreeMap, BTreeSet};
use std::future::poll_fn;
use std::io;
use std::net::IpAddr;
use std::sync::atomic::Ordering;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use netlink_sys::protocols::NETLINK_ROUTE;
use netlink_sys::{AsyncSocket, Socket, SocketAddr, TokioSocket};
use tokio::sync::mpsc;

use super::Counters;
use super::device::{self, AF_BRIDGE, Entry};
use super::message::{self, AF_INET, AF_INET6, Message, NLMSG_DONE, NLMSG_ERROR, Said};
use crate::fib::Errno;
use crate::fib::overlay::{Deed, Device, Standing, StandingKind, Tunnel, Wanted};
use crate::kernel::{IfIndex, KernelEvent};

/// How long what is not wanted any more stays.
const LINGER: Duration = Duration::from_secs(5);
/// Between two looks without cause.
const AUDIT: Duration = Duration::from_secs(60);
/// After the kernel spoke, what else it has to say is waited for.
const GATHER: Duration = Duration::from_millis(5);
/// Between looks that each found something to put right, after the first few: whoever fights us does not get all our time.
const PATIENCE: Duration = Duration::from_secs(1);
const REPAIRS_AT_ONCE: u32 = 10;
/// After a refusal; twice as long each time.
const RETRY_FIRST: Duration = Duration::from_secs(1);
const RETRY_MOST: Duration = Duration::from_secs(30);
/// Looks at one device in a row, each of which found something to do.
const ROUNDS: usize = 4;
/// RTNLGRP_LINK, NEIGH, IPV4_IFADDR, IPV6_IFADDR.
const GROUPS: [u32; 4] = [1, 3, 5, 9];

enum Word {
    Want(Wanted),
    /// The kernel said something.
    Look,
    /// Take down at once what is not wanted, and end.
    End,
}

/// The keeper of tunnels; asleep until something is wanted.
#[derive(Debug)]
pub struct Overlay {
    events: mpsc::Sender<Vec<KernelEvent>>,
    counters: Arc<Counters>,
    running: Option<Running>,
}

#[derive(Debug)]
struct Running {
    words: Sender<Word>,
    thread: std::thread::JoinHandle<()>,
    watch: tokio::task::JoinHandle<()>,
}

impl Overlay {
    pub fn new(events: mpsc::Sender<Vec<KernelEvent>>, counters: Arc<Counters>) -> Overlay {
        Overlay { events, counters, running: None }
    }

    /// From now on these devices, and no others of those that were wanted before. Wants a runtime around it; never waits.
    pub fn want(&mut self, wanted: Wanted) {
        if self.running.is_none() {
            match self.start() {
                Ok(running) => self.running = Some(running),
                Err(error) => return tracing::error!(%error, "no tunnel device can be kept"),
            }
        }
        self.say(Word::Want(wanted));
    }

    /// Takes down what is not wanted, now. Waits for it.
    pub fn finish(&mut self) {
        self.say(Word::End);
        if let Some(running) = self.running.take() {
            running.watch.abort();
            if running.thread.join().is_err() {
                tracing::error!("the keeper of tunnels panicked");
            }
        }
    }

    fn say(&self, word: Word) {
        if let Some(running) = &self.running
            && running.words.send(word).is_err()
        {
            tracing::error!("the keeper of tunnels has ended");
        }
    }

    fn start(&self) -> io::Result<Running> {
        let (words, orders) = channel();
        let concern = Arc::new(Mutex::new(Concern::default()));
        let talk = Talk::open()?;
        let watch = tokio::spawn(Watch::open(concern.clone(), talk.port)?.run(words.clone()));
        let worker = Worker::new(talk, concern, self.events.clone(), self.counters.clone());
        let thread = std::thread::Builder::new().name("catbird-tunnels".into()).spawn(move || worker.run(&orders))?;
        Ok(Running { words, thread, watch })
    }
}

impl Drop for Overlay {
    /// Without `finish` everything stays as it is.
    fn drop(&mut self) {
        if let Some(running) = &self.running {
            running.watch.abort();
        }
    }
}

/// Which links matter to us.
#[derive(Debug, Default)]
struct Concern {
    devices: BTreeSet<IfIndex>,
    /// Those of our own addresses, for their MTU.
    below: BTreeSet<IfIndex>,
}

// ------------------------------------------------------------------------------------------------ listening

struct Watch {
    socket: TokioSocket,
    concern: Arc<Mutex<Concern>>,
    /// Who does our own changes.
    port: u32,
}

impl Watch {
    fn open(concern: Arc<Mutex<Concern>>, port: u32) -> io::Result<Watch> {
        let mut asynchronous = TokioSocket::new(NETLINK_ROUTE)?;
        let socket = asynchronous.socket_mut();
        crate::daemon::sockopt::set_receive_buffer(socket, 1 << 20)?;
        socket.bind_auto()?;
        GROUPS.into_iter().try_for_each(|group| socket.add_membership(group))?;
        Ok(Watch { socket: asynchronous, concern, port })
    }

    async fn run(self, words: Sender<Word>) {
        let mut buffer = Vec::with_capacity(64 << 10);
        loop {
            buffer.clear();
            let news = match poll_fn(|cx| self.socket.poll_recv_from(cx, &mut buffer)).await {
                Ok(from) => from.port_number() == 0 && self.concerns_us(&buffer),
                // Something was lost: it may have been about us.
                Err(error) => {
                    if error.raw_os_error() != Some(libc::ENOBUFS) {
                        tokio::time::sleep(PATIENCE).await;
                    }
                    true
                }
            };
            if news && words.send(Word::Look).is_err() {
                return;
            }
        }
    }

    fn concerns_us(&self, octets: &[u8]) -> bool {
        let sender = octets.get(12..).and_then(|o| o.first_chunk()).map(|port| u32::from_ne_bytes(*port));
        if sender == Some(self.port) {
            return false;
        }
        let concern = self.concern.lock().unwrap_or_else(PoisonError::into_inner);
        message::messages(octets).any(|m| {
            let link = matches!(m.kind, message::RTM_NEWLINK | message::RTM_NEWADDR | message::RTM_DELADDR);
            device::concerned(&m).is_some_and(|i| concern.devices.contains(&i) || link && concern.below.contains(&i))
        })
    }
}

// ------------------------------------------------------------------------------------------------ asking

/// A socket for questions and deeds, one at a time.
struct Talk {
    socket: Socket,
    port: u32,
    answer: Vec<u8>,
}

impl Talk {
    fn open() -> io::Result<Talk> {
        let mut socket = Socket::new(NETLINK_ROUTE)?;
        let port = socket.bind_auto()?.port_number();
        socket.connect(&SocketAddr::new(0, 0))?;
        crate::daemon::sockopt::set_receive_buffer(&socket, 4 << 20)?;
        Ok(Talk { socket, port, answer: Vec::with_capacity(64 << 10) })
    }

    /// Sends a request and hears everything up to its acknowledgement.
    fn ask(&mut self, request: &[u8], mut each: impl FnMut(&Message<'_>)) -> Result<(), Errno> {
        let failed = |error: io::Error| Errno(error.raw_os_error().unwrap_or(Errno::ENOBUFS.0));
        self.socket.send(request, 0).map_err(failed)?;
        loop {
            self.answer.clear();
            match self.socket.recv(&mut self.answer, 0) {
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(failed(error)),
            }
            for message in message::messages(&self.answer) {
                match message.kind {
                    NLMSG_ERROR | NLMSG_DONE => {
                        return match message::errno(&message) {
                            0 => Ok(()),
                            errno => Err(Errno(errno)),
                        };
                    }
                    _ => each(&message),
                }
            }
        }
    }

    /// The device of that name with everything on it.
    fn look(&mut self, name: &str) -> Result<Option<(IfIndex, Standing)>, Errno> {
        let mut link = None;
        match self.ask(&device::link_by_name(name), |m| link = device::read_link(m).or(link.take())) {
            Ok(()) => {}
            Err(Errno::ENODEV) => return Ok(None),
            Err(errno) => return Err(errno),
        }
        let Some(link) = link else { return Ok(None) };
        let addresses = self.addresses()?.into_iter().filter(|(i, _)| *i == link.ifindex).map(|(_, net)| net).collect();
        let mut neighbours = BTreeMap::new();
        for family in [AF_INET, AF_INET6] {
            let on_it = self.entries(family, link.ifindex)?;
            neighbours.extend(on_it.into_iter().filter(|e| e.permanent).map(|e| (e.to, e.mac)));
        }
        let forwards = match link.kind {
            StandingKind::Vxlan { .. } => self.entries(AF_BRIDGE, link.ifindex)?,
            _ => Vec::new(),
        };
        let forwards = forwards.into_iter().map(|e| (e.mac, e.to)).collect();
        let device::Link { ifindex, kind, local, mac, mtu, up } = link;
        Ok(Some((ifindex, Standing { kind, local, mac, mtu, up, addresses, neighbours, forwards })))
    }

    fn addresses(&mut self) -> Result<Vec<(IfIndex, ipnet::IpNet)>, Errno> {
        let mut all = Vec::new();
        self.ask(&device::addresses(), |m| {
            if let Some((Said::Address(ifindex, net), _)) = message::read(m) {
                all.push((ifindex, net));
            }
        })?;
        Ok(all)
    }

    fn entries(&mut self, family: u8, ifindex: IfIndex) -> Result<Vec<Entry>, Errno> {
        let mut all = Vec::new();
        self.ask(&device::entries(family, ifindex), |m| {
            if let Some((of, entry)) = device::read_entry(m)
                && of == family
                && entry.ifindex == ifindex
            {
                all.push(entry);
            }
        })?;
        Ok(all)
    }

    /// The link of an address of this machine, and what it carries.
    fn link_of(&mut self, addr: IpAddr) -> Result<Option<(IfIndex, u32)>, Errno> {
        let Some((ifindex, _)) = self.addresses()?.into_iter().find(|(_, net)| net.addr() == addr) else { return Ok(None) };
        let mut link = None;
        self.ask(&device::link_by_index(ifindex), |m| link = device::read_link(m).or(link.take()))?;
        Ok(link.map(|l| (ifindex, l.mtu)))
    }
}

// ------------------------------------------------------------------------------------------------ keeping

struct Worker {
    talk: Talk,
    concern: Arc<Mutex<Concern>>,
    events: mpsc::Sender<Vec<KernelEvent>>,
    counters: Arc<Counters>,
    wanted: Wanted,
    /// Nodes that are not wanted any more, until when their entries stay.
    fading: BTreeMap<IpAddr, Instant>,
    /// Nodes for which a former life of ours left entries, as long as its routes may be learned again.
    adopted: BTreeSet<IpAddr>,
    /// Devices that have been looked at for such entries.
    looked: BTreeSet<String>,
    /// Devices that are not wanted any more, until when they stay.
    leaving: Vec<(Device, Instant)>,
    /// What the core was told.
    carried: BTreeMap<IpAddr, IfIndex>,
    /// What is wrong, by device, as it was logged.
    trouble: BTreeMap<String, String>,
    failures: u32,
    repairs: u32,
}

/// What became of one device.
type Kept = Result<(IfIndex, Standing), String>;

impl Worker {
    fn new(talk: Talk, concern: Arc<Mutex<Concern>>, events: mpsc::Sender<Vec<KernelEvent>>, counters: Arc<Counters>) -> Worker {
        Worker {
            talk,
            concern,
            events,
            counters,
            wanted: Wanted::default(),
            fading: BTreeMap::new(),
            adopted: BTreeSet::new(),
            looked: BTreeSet::new(),
            leaving: Vec::new(),
            carried: BTreeMap::new(),
            trouble: BTreeMap::new(),
            failures: 0,
            repairs: 0,
        }
    }

    fn run(mut self, orders: &Receiver<Word>) {
        let mut next = Instant::now() + AUDIT;
        loop {
            let mut word = orders.recv_timeout(next.saturating_duration_since(Instant::now()));
            let mut ordered = false;
            loop {
                match word {
                    Ok(Word::Want(wanted)) => {
                        ordered = true;
                        self.want(wanted);
                    }
                    Ok(Word::Look) => std::thread::sleep(GATHER),
                    Ok(Word::End) => return self.end(),
                    Err(RecvTimeoutError::Timeout) => break,
                    Err(RecvTimeoutError::Disconnected) => return,
                }
                word = orders.recv_timeout(Duration::ZERO);
            }
            let changed = self.keep(ordered);
            next = Instant::now() + self.rest();
            if changed && !ordered {
                self.repairs += 1;
                if self.repairs > REPAIRS_AT_ONCE {
                    std::thread::sleep(PATIENCE);
                }
            } else if !changed {
                self.repairs = self.repairs.saturating_sub(1);
            }
        }
    }

    /// Until the next look without cause.
    fn rest(&self) -> Duration {
        let retry = (self.failures > 0).then(|| RETRY_FIRST.saturating_mul(1 << (self.failures - 1).min(8)).min(RETRY_MOST));
        let due = self.fading.values().copied().chain(self.leaving.iter().map(|(_, at)| *at)).min();
        let due = due.map(|at| at.saturating_duration_since(Instant::now()));
        [Some(AUDIT), retry, due].into_iter().flatten().min().unwrap_or(AUDIT)
    }

    fn want(&mut self, wanted: Wanted) {
        let until = Instant::now() + LINGER;
        let nodes = |w: &Wanted| w.devices.iter().flat_map(|d| d.nodes.iter().copied()).collect::<BTreeSet<IpAddr>>();
        let (old, new) = (nodes(&self.wanted), nodes(&wanted));
        self.fading.extend(old.difference(&new).map(|node| (*node, until)));
        if !wanted.recovering {
            self.fading.extend(std::mem::take(&mut self.adopted).into_iter().map(|node| (node, until)));
        }
        self.fading.retain(|node, _| !new.contains(node));
        let same = |a: &Device, name: &str| a.name == name;
        for old in &self.wanted.devices {
            if !wanted.devices.iter().any(|d| same(d, &old.name)) {
                self.leaving.push((old.clone(), until));
            }
        }
        self.leaving.retain(|(old, _)| !wanted.devices.iter().any(|d| same(d, &old.name)));
        self.wanted = wanted;
        self.failures = 0;
    }

    /// Looks at everything and puts it right; true if there was something to put right.
    fn keep(&mut self, ordered: bool) -> bool {
        let now = Instant::now();
        self.fading.retain(|_, until| *until > now);
        let gone: Vec<Device> = self.leaving.extract_if(.., |(_, until)| *until <= now).map(|(device, _)| device).collect();
        gone.iter().for_each(|device| self.remove(device));
        let mut concern = Concern::default();
        let mut carried = BTreeMap::new();
        let mut done = 0;
        let mut failed = false;
        for mut device in self.wanted.devices.clone() {
            let adopted = self.adopt(&device);
            let staying = self.fading.keys().chain(&self.adopted).filter(|n| n.is_ipv4() == device.local.is_ipv4());
            device.nodes.extend(staying);
            match adopted.and_then(|()| self.keep_one(&device, &mut concern, &mut done)) {
                Ok((ifindex, standing)) => {
                    concern.devices.insert(ifindex);
                    carried.extend(device.nodes.iter().filter(|n| device.carries(**n, &standing)).map(|n| (*n, ifindex)));
                    failed |= self.trouble.contains_key(&device.name);
                }
                Err(why) => {
                    failed = true;
                    self.note(&device.name, Some(why));
                }
            }
        }
        self.failures = if failed { self.failures + 1 } else { 0 };
        *self.concern.lock().unwrap_or_else(PoisonError::into_inner) = concern;
        self.counters.tunnels.store(carried.len() as u64, Ordering::Relaxed);
        if done > 0 && !ordered {
            Counters::add(&self.counters.tunnel_repairs, done);
        }
        self.tell(carried);
        done > 0
    }

    /// The first look at a device after our start: what a former life left there is not to go before its routes.
    fn adopt(&mut self, device: &Device) -> Result<(), String> {
        if !self.wanted.recovering || self.looked.contains(&device.name) {
            return Ok(());
        }
        let standing = self.talk.look(&device.name).map_err(|e| e.to_string())?;
        self.looked.insert(device.name.clone());
        self.adopted.extend(standing.iter().flat_map(|(_, s)| device.left_behind(s)));
        Ok(())
    }

    /// One device; what cannot be done is noted, and the rest done all the same.
    fn keep_one(&mut self, device: &Device, concern: &mut Concern, done: &mut u64) -> Kept {
        let below = self.talk.link_of(device.local).map_err(|e| e.to_string())?;
        concern.below.extend(below.map(|(ifindex, _)| ifindex));
        let (mut refused, mut round) = (None, 0);
        loop {
            let standing = self.talk.look(&device.name).map_err(|e| e.to_string())?;
            let deeds = device.deeds(standing.as_ref().map(|(_, s)| s), below.map(|(_, mtu)| mtu)).map_err(|e| e.to_string())?;
            if let Some(kept) = standing.as_ref()
                && (deeds.is_empty() || refused.is_some() || round >= ROUNDS)
            {
                self.note(&device.name, refused);
                return Ok(kept.clone());
            }
            if round >= ROUNDS || standing.is_none() && refused.is_some() {
                return Err(refused.unwrap_or_else(|| "it vanishes as soon as it is made".to_owned()));
            }
            let ifindex = standing.map_or(IfIndex(0), |(ifindex, _)| ifindex);
            refused = self.do_all(&deeds, device, ifindex, done);
            round += 1;
        }
    }

    /// Every deed; the first refusal in words.
    fn do_all(&mut self, deeds: &[Deed], device: &Device, ifindex: IfIndex, done: &mut u64) -> Option<String> {
        let mut refused = None;
        for deed in deeds {
            match self.talk.ask(&device::deed(*deed, device, ifindex), |_| {}) {
                Ok(()) => *done += 1,
                // It went by itself, or the module that makes the device made it already.
                Err(Errno::ENOENT | Errno::ESRCH) if is_removal(deed) => {}
                Err(Errno::EEXIST) if *deed == Deed::Create && device.is_fallback() => *done += 1,
                Err(errno) => {
                    Counters::add(&self.counters.tunnel_failures, 1);
                    refused.get_or_insert_with(|| in_words(deed, device, errno));
                }
            }
        }
        refused
    }

    fn remove(&mut self, device: &Device) {
        let found = self.talk.look(&device.name).ok().flatten();
        let Some((ifindex, standing)) = found else { return };
        let ours = matches!(
            (device.tunnel, &standing.kind),
            (Tunnel::Vxlan { .. }, StandingKind::Vxlan { .. }) | (Tunnel::Ipip, StandingKind::Ipip)
        );
        // tunl0 comes with the module and cannot go.
        if ours && !device.is_fallback() {
            let refused = self.do_all(&[Deed::Delete], device, ifindex, &mut 0);
            self.note(&device.name, refused);
        }
    }

    fn end(mut self) {
        let leaving = std::mem::take(&mut self.leaving);
        leaving.iter().for_each(|(device, _)| self.remove(device));
    }

    /// Logs what is wrong with a device when that changes.
    fn note(&mut self, name: &str, wrong: Option<String>) {
        match wrong {
            Some(why) if self.trouble.get(name) == Some(&why) => {}
            Some(why) => {
                tracing::error!(device = name, "tunnel: {why}");
                self.trouble.insert(name.to_owned(), why);
            }
            None => {
                if self.trouble.remove(name).is_some() {
                    tracing::info!(device = name, "tunnel: as it should be again");
                }
            }
        }
    }

    /// Tells the core what has changed.
    fn tell(&mut self, carried: BTreeMap<IpAddr, IfIndex>) {
        let gone = self.carried.keys().filter(|n| !carried.contains_key(n)).map(|n| KernelEvent::TunnelGone { node: *n });
        let new = carried.iter().filter(|(n, i)| self.carried.get(n) != Some(i));
        let new = new.map(|(node, ifindex)| KernelEvent::Tunnel { node: *node, ifindex: *ifindex });
        let events: Vec<KernelEvent> = gone.chain(new).collect();
        self.carried = carried;
        if !events.is_empty() && self.events.blocking_send(events).is_err() {
            tracing::debug!("nobody waits for news of tunnels");
        }
    }
}

fn is_removal(deed: &Deed) -> bool {
    matches!(deed, Deed::DeleteNeighbour(_) | Deed::DeleteForward(..) | Deed::DeleteAddress(_) | Deed::Delete)
}

/// A refusal as an operator can use it.
fn in_words(deed: &Deed, device: &Device, errno: Errno) -> String {
    let done = match deed {
        Deed::Create => "it cannot be made",
        Deed::Delete => "it cannot be removed",
        Deed::SetLocal(_) => "its local address cannot be set",
        Deed::SetMac(_) => "its MAC address cannot be set",
        Deed::SetMtu(_) => "its MTU cannot be set",
        Deed::SetUp => "it cannot be brought up",
        Deed::AddAddress(_) | Deed::DeleteAddress(_) => "its address cannot be changed",
        Deed::Neighbour(..) | Deed::DeleteNeighbour(_) => "a neighbour cannot be changed",
        Deed::Forward(..) | Deed::DeleteForward(..) => "a forwarding entry cannot be changed",
    };
    let why = match (deed, errno.0, device.tunnel) {
        (Deed::Create, libc::EEXIST, Tunnel::Vxlan { vni, port, .. }) => format!("another device has VNI {vni} on port {port}"),
        (Deed::Create, libc::EOPNOTSUPP, Tunnel::Vxlan { .. }) => "this kernel has no VXLAN".to_owned(),
        (Deed::Create, libc::EOPNOTSUPP, Tunnel::Ipip) => "this kernel has no IPIP".to_owned(),
        _ => errno.to_string(),
    };
    format!("{done}: {why}")
}
