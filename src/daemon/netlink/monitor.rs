//! The monitor: everything that the kernel reports about links, addresses and routes, dumps first.
//!
//! On a socket of its own and not by `rtnetlink`, whose connection reads a dump to its end into a queue without bound before anybody looks,
//! and ends with the first error of the socket: here a dump of a million routes waits in the kernel while the core is busy.
//!
//! Who replaces a nexthop object has the kernel tell of every route that goes by it, under its lock. To a socket that is more than half full it
//! yields the processor after each message: a reader that is slow, but has much room, would hold up everybody's changes. So we do not listen to
//! news of others' routes when the socket is half full, and read everything anew when it is time for that. What happens to our own routes is
//! heard, and put right, all the while.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::io;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use netlink_sys::protocols::NETLINK_ROUTE;
use netlink_sys::{AsyncSocket, SocketAddr, TokioSocket};
use socket2::{SockFilter, SockRef};
use tokio::sync::{Notify, mpsc};
use tokio::time::Instant;

use super::message::{
    self, AF_INET, AF_INET6, Message, NLM_F_APPEND, NLM_F_DUMP_INTR, NLM_F_MULTIPART, NLM_F_REPLACE, NLMSG_DONE, NLMSG_ERROR, ObjectId,
    RtnlEvent,
};
use super::nexthop_objects::NexthopObjects;
use super::route_cache::{KernelRouteCache, RoutePosition};
use super::settings::{Counters, Settings};
use crate::daemon::sys;
use crate::fib::Owner;
use crate::kernel::{KernelEvent, KernelRoute};

/// Link, IPv4 and IPv6 addresses, IPv4 and IPv6 routes, nexthop objects (rtnetlink(7), RTNLGRP_*).
const GROUPS: [u32; 6] = [1, 5, 9, 7, 11, 32];
/// A link's message can be long, and dumps fill what they are given up to 32 KiB.
const BUFFER: usize = 128 << 10;
/// A dump that was disturbed is taken again at most so often; the next audit finds the rest.
const DISTURBED_MOST: u32 = 5;
/// After an overrun that follows on one, we wait so long for the storm to pass; twice as long each time.
const STORM_FIRST: Duration = Duration::from_millis(20);
const STORM_MOST: Duration = Duration::from_secs(2);
/// Events that are handed on at once, if so many are there, and messages that are read for them: what many of them call for is then written in one send.
const TOGETHER: usize = 1024;
/// Between two dumps that news of the kernel call for, so many times as long as the last one took: they never take more than a tenth of
/// the time, whatever others do.
const REST: u32 = 10;
/// Octets of what waits that are never too much: a piece of a dump, in a small buffer, is no flood.
const MUCH: u32 = 1 << 20;
/// So often it is looked how much waits, while nobody takes what was read.
const LOOK: Duration = Duration::from_millis(5);
/// After so long others' routes may be listened to again.
const FLOOD: Duration = Duration::from_millis(200);
/// Where `rtm_protocol` stands in a route message, behind the header.
const PROTOCOL: usize = 5;
/// No dump is silent for so long.
const STUCK: Duration = Duration::from_secs(3);

/// The socket that listens, and what it takes to make sense of what comes.
pub struct Monitor {
    socket: TokioSocket,
    tables: Vec<u32>,
    owners: Vec<Owner>,
    /// Whose doings the kernel need not tell us.
    writer: u32,
    /// News of others' routes are not listened to, until the next dump begins.
    deaf: bool,
    audit: Duration,
    asked: Arc<Notify>,
    counters: Arc<Counters>,
    route_cache: KernelRouteCache,
    nexthop_objects: NexthopObjects,
    dump: Dump,
    events: Vec<KernelEvent>,
}

/// How far the dump is.
#[derive(Debug)]
struct Dump {
    /// Parts that are still to ask for; the first is on its way under `seq`.
    parts: VecDeque<Part>,
    seq: u32,
    /// The kernel said that this part changed while it was read.
    disturbed: bool,
    disturbances: u32,
    /// Begin again when this one is through: something was lost meanwhile.
    again: bool,
    /// Take another one when this one has been and [`REST`] is over.
    wanted: bool,
    rested: Instant,
    started: Option<Instant>,
    /// When to look without cause; while a dump runs, when to think that it is stuck.
    next: Instant,
}

#[derive(Clone, Copy, Debug)]
struct Part {
    kind: u16,
    family: u8,
    table: Option<u32>,
}

impl Monitor {
    /// `writer` is the port whose doings the kernel need not tell us.
    pub fn open(settings: &Settings, writer: u32, counters: Arc<Counters>, asked: Arc<Notify>) -> io::Result<Monitor> {
        let mut asynchronous = TokioSocket::new(NETLINK_ROUTE)?;
        let socket = asynchronous.socket_mut();
        SockRef::from(&*socket).attach_filter(&leave_out(writer))?;
        crate::daemon::sys::set_receive_buffer(socket, settings.receive_buffer)?;
        socket.bind_auto()?;
        // Without strictness (before Linux 4.20) a dump tells all tables, and we choose. Without nexthop objects (5.3) none name them.
        if let Err(error) = socket.set_netlink_get_strict_chk(true) {
            tracing::debug!(%error, "the kernel knows no strict dumps");
        }
        for group in GROUPS {
            if let Err(error) = socket.add_membership(group)
                && group < 32
            {
                return Err(error);
            }
        }
        Ok(Monitor {
            socket: asynchronous,
            tables: settings.tables(),
            owners: settings.owners().collect(),
            writer,
            deaf: false,
            audit: settings.audit,
            asked,
            counters,
            route_cache: KernelRouteCache::default(),
            nexthop_objects: NexthopObjects::default(),
            dump: Dump {
                parts: VecDeque::new(),
                seq: 0,
                disturbed: false,
                disturbances: 0,
                again: false,
                wanted: false,
                rested: Instant::now(),
                started: None,
                next: Instant::now(),
            },
            events: Vec::new(),
        })
    }

    /// Until nobody listens any more.
    pub async fn run(mut self, out: mpsc::Sender<Vec<KernelEvent>>) {
        let mut buffer = Vec::with_capacity(BUFFER);
        let mut storm = Duration::ZERO;
        self.begin();
        loop {
            tokio::select! {
                read = self.receive(&mut buffer) => match read.and_then(|()| self.take_all(&mut buffer)) {
                    Ok(()) => {}
                    Err(error) if error.raw_os_error() == Some(libc::ENOBUFS) => {
                        Counters::add(&self.counters.overruns, 1);
                        tokio::time::sleep(storm).await;
                        storm = (storm * 2).clamp(STORM_FIRST, STORM_MOST);
                        // A dump that ran may have lost its end with the rest.
                        self.dump.started = None;
                        self.begin();
                    }
                    Err(error) => {
                        tracing::error!(%error, "netlink monitor");
                        tokio::time::sleep(STORM_MOST).await;
                        self.begin();
                    }
                },
                () = self.asked.notified() => self.begin_soon(),
                () = tokio::time::sleep_until(self.dump.next) => {
                    storm = Duration::ZERO;
                    self.on_audit();
                }
            }
            if !self.events.is_empty() && !self.hand_on(&out).await {
                return;
            }
        }
    }

    /// Waits until there is room; who is busy with what was handed on before does not see how much waits here, so we look. False if nobody listens
    /// any more.
    async fn hand_on(&mut self, out: &mpsc::Sender<Vec<KernelEvent>>) -> bool {
        let events = std::mem::take(&mut self.events);
        let mut room = pin!(out.reserve());
        loop {
            self.note_flood();
            match tokio::time::timeout(LOOK, &mut room).await {
                Ok(Ok(room)) => {
                    room.send(events);
                    return true;
                }
                Ok(Err(_)) => return false,
                Err(_) => {}
            }
        }
    }

    async fn receive(&self, buffer: &mut Vec<u8>) -> io::Result<()> {
        loop {
            buffer.clear();
            match poll_fn(|cx| self.socket.poll_recv_from(cx, buffer)).await {
                // From the kernel and nobody else.
                Ok(from) if from.port_number() == 0 => return Ok(()),
                Ok(_) => {}
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => return Err(e),
            }
        }
    }

    /// What was read, and what the kernel has said besides, without waiting for more. (It tells of an overrun only once.)
    fn take_all(&mut self, buffer: &mut Vec<u8>) -> io::Result<()> {
        self.on_datagram(buffer);
        for read in 1.. {
            if self.events.len() >= TOGETHER || read >= TOGETHER {
                self.note_flood();
                break;
            }
            buffer.clear();
            match self.socket.socket_ref().recv_from(buffer, libc::MSG_DONTWAIT) {
                Ok((_, from)) if from.port_number() == 0 => self.on_datagram(buffer),
                Ok(_) => {}
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => return Err(e),
            }
        }
        Ok(())
    }

    /// More waits than is good for who says it: others' routes are not listened to until they are read anew.
    fn note_flood(&mut self) {
        let Ok(sys::ReceiveQueue { waiting, room, .. }) = sys::receive_queue(self.socket.socket_ref()) else { return };
        if self.deaf || waiting < MUCH || waiting < room / 2 {
            return;
        }
        let protocols: Vec<u8> = self.owners.iter().map(|owner| owner.protocol).collect();
        if SockRef::from(self.socket.socket_ref()).attach_filter(&only_own(self.writer, &protocols)).is_err() {
            return;
        }
        self.deaf = true;
        Counters::add(&self.counters.overruns, 1);
        if self.dump.started.is_some() {
            self.dump.wanted = true;
        } else {
            self.dump.next = self.dump.next.min(self.dump.rested.max(Instant::now() + FLOOD));
        }
    }

    fn listen_to_all(&mut self) {
        if self.deaf && SockRef::from(self.socket.socket_ref()).attach_filter(&leave_out(self.writer)).is_ok() {
            self.deaf = false;
        }
    }

    fn on_datagram(&mut self, octets: &[u8]) {
        let mut n = 0;
        for message in message::messages(octets) {
            n += 1;
            let of_dump = self.dump.started.is_some() && message.seq == self.dump.seq;
            if of_dump && message.flags & NLM_F_DUMP_INTR != 0 {
                self.dump.disturbed = true;
            }
            match message.kind {
                NLMSG_DONE | NLMSG_ERROR if of_dump => self.on_part_end(message::errno(&message)),
                NLMSG_DONE | NLMSG_ERROR => {}
                _ => self.on_message(&message),
            }
        }
        Counters::add(&self.counters.messages, n);
        if self.dump.started.is_some() {
            self.dump.next = Instant::now() + STUCK;
        }
    }

    // ------------------------------------------------------------------------------------------------ dumps

    /// Tell everything, from the beginning; or, if a dump runs, once more after it (the kernel knows but one at a time).
    fn begin(&mut self) {
        if self.dump.started.is_some() {
            self.dump.again = true;
            return;
        }
        Counters::add(&self.counters.dumps, 1);
        self.listen_to_all();
        self.route_cache.clear();
        self.nexthop_objects.clear();
        let simple = |kind| Part { kind, family: 0, table: None };
        let routes = self
            .tables
            .iter()
            .flat_map(|t| [AF_INET, AF_INET6].map(|family| Part { kind: message::RTM_GETROUTE, family, table: Some(*t) }));
        let first = [simple(message::RTM_GETLINK), simple(message::RTM_GETADDR), simple(message::RTM_GETNEXTHOP)];
        self.dump.parts = first.into_iter().chain(routes).collect();
        self.dump.disturbances = 0;
        self.dump.started = Some(Instant::now());
        self.dump.next = Instant::now() + STUCK;
        self.events.push(KernelEvent::DumpStart);
        self.ask();
    }

    /// What we know may be wrong in places: look at everything again, as soon as the last dump is long enough ago.
    fn begin_soon(&mut self) {
        if self.dump.started.is_some() {
            self.dump.wanted = true;
        } else if self.dump.rested <= Instant::now() {
            self.begin();
        } else {
            self.dump.next = self.dump.next.min(self.dump.rested);
        }
    }

    fn on_audit(&mut self) {
        if self.dump.started.take().is_some() {
            tracing::warn!("a netlink dump did not go on: once more");
        }
        self.begin();
    }

    fn ask(&mut self) {
        let Some(part) = self.dump.parts.front() else { return };
        self.dump.seq = self.dump.seq.wrapping_add(1).max(1);
        self.dump.disturbed = false;
        let request = message::dump_request(part.kind, part.family, part.table, self.dump.seq);
        if let Err(error) = self.socket.socket_ref().send_to(&request, &SocketAddr::new(0, 0), 0) {
            tracing::error!(%error, "netlink dump");
        }
    }

    fn on_part_end(&mut self, errno: i32) {
        match errno {
            // No such table, or a kernel that knows no nexthop objects: an empty part.
            0 | libc::ENOENT | libc::EOPNOTSUPP | libc::EAFNOSUPPORT | libc::EINVAL => {}
            // No room for the answer, or an earlier dump still runs: what we have proves nothing.
            _ => {
                self.dump.started = None;
                self.dump.next = Instant::now() + STORM_FIRST;
                return;
            }
        }
        if self.dump.disturbed && self.dump.disturbances < DISTURBED_MOST {
            self.dump.disturbances += 1;
            return self.ask();
        }
        self.dump.parts.pop_front();
        if !self.dump.parts.is_empty() {
            return self.ask();
        }
        let took = self.dump.started.take().map_or(Duration::ZERO, |s| s.elapsed());
        self.dump.rested = Instant::now() + took * REST;
        self.dump.next = if std::mem::take(&mut self.dump.wanted) { self.dump.rested } else { Instant::now() + self.audit.max(took * 100) };
        if std::mem::take(&mut self.dump.again) {
            // What was lost may have been said of what this dump had passed already: it proves nothing.
            self.begin();
        } else {
            self.events.push(KernelEvent::DumpEnd);
        }
    }

    // ------------------------------------------------------------------------------------------------ news

    fn on_message(&mut self, message: &Message<'_>) {
        if self.deaf && self.is_passed_over(message) {
            return;
        }
        let Some((said, object)) = message::read(message) else { return };
        self.on_event(said, object, message.flags);
        if self.route_cache.take_doubt() {
            self.begin_soon();
        }
    }

    /// What waited when we ceased to listen to others' routes is not worth a look either.
    fn is_passed_over(&self, message: &Message<'_>) -> bool {
        let news = matches!(message.kind, message::RTM_NEWROUTE | message::RTM_DELROUTE) && message.flags & NLM_F_MULTIPART == 0;
        news && message.body.get(PROTOCOL).is_some_and(|protocol| self.owners.iter().all(|owner| owner.protocol != *protocol))
    }

    fn on_event(&mut self, said: RtnlEvent, object: ObjectId, flags: u16) {
        // A dump tells them in their order; news say what was asked for.
        let position = match flags {
            f if f & NLM_F_MULTIPART != 0 => RoutePosition::Listed,
            f if f & NLM_F_APPEND != 0 => RoutePosition::Behind,
            f if f & NLM_F_REPLACE != 0 => RoutePosition::Instead,
            _ => RoutePosition::Before,
        };
        match said {
            RtnlEvent::Link { ifindex, name, admin, running, up } => {
                self.events.push(KernelEvent::Link { ifindex, name, up });
                self.route_cache.on_link(ifindex, admin, running, &mut self.events);
            }
            RtnlEvent::LinkGone(ifindex) => {
                self.events.push(KernelEvent::LinkGone { ifindex });
                self.route_cache.on_link_gone(ifindex, &mut self.events);
            }
            RtnlEvent::Address(ifindex, net) => {
                self.events.push(KernelEvent::Address { ifindex, net });
                self.route_cache.on_address(ifindex, net);
            }
            RtnlEvent::AddressGone(ifindex, net) => {
                self.events.push(KernelEvent::AddressGone { ifindex, net });
                self.route_cache.on_address_gone(ifindex, net, &mut self.events);
            }
            RtnlEvent::Route(route) => self.on_route(route, object, Some(position)),
            RtnlEvent::RouteGone(route) => self.on_route(route, object, None),
            RtnlEvent::RouteBy(route, id) => {
                let kind = self.nexthop_objects.kind(id);
                self.on_route(KernelRoute { kind, ..route }, object, Some(position));
            }
            RtnlEvent::RouteByGone(route, id) => {
                let kind = self.nexthop_objects.kind(id);
                self.on_route(KernelRoute { kind, ..route }, object, None);
            }
            RtnlEvent::Nexthop(id, object) => {
                if self.nexthop_objects.set(id, object) {
                    self.begin_soon();
                }
            }
            RtnlEvent::NexthopGone(id) => {
                if self.nexthop_objects.remove(id) {
                    self.begin_soon();
                }
            }
        }
    }

    /// `position`: where it stands now; `None` if it is gone.
    fn on_route(&mut self, route: KernelRoute, object: Option<u32>, position: Option<RoutePosition>) {
        if !self.tables.contains(&route.table) {
            return;
        }
        if let Some(id) = object {
            self.nexthop_objects.mark_used(id);
        }
        let foreign = !self.owners.contains(&Owner::of(&route));
        let event = match position {
            Some(position) if foreign => self.route_cache.on_route(&route, object, position),
            Some(_) => Some(KernelEvent::Route(route)),
            None if foreign => self.route_cache.on_route_gone(&route, object).unwrap_or_else(|_| {
                self.begin_soon();
                None
            }),
            None => Some(KernelEvent::RouteGone(route)),
        };
        self.events.extend(event);
    }
}

// BPF reads in network order what stands in the machine's.
const LOAD_U32: u16 = 0x20;
const LOAD_U16: u16 = 0x28;
const LOAD_U8: u16 = 0x30;
const IF_EQUAL: u16 = 0x15;
const IF_ANY_BIT: u16 = 0x45;
const RETURN: u16 = 0x06;

fn kind(k: u16) -> u32 {
    u32::from(u16::from_be_bytes(k.to_ne_bytes()))
}

/// Drops route messages that `port` caused; lets everything else pass.
fn leave_out(port: u32) -> [SockFilter; 7] {
    let port = u32::from_be_bytes(port.to_ne_bytes());
    [
        SockFilter::new(LOAD_U32, 0, 0, 12),
        SockFilter::new(IF_EQUAL, 0, 4, port),
        SockFilter::new(LOAD_U16, 0, 0, 4),
        SockFilter::new(IF_EQUAL, 1, 0, kind(message::RTM_NEWROUTE)),
        SockFilter::new(IF_EQUAL, 0, 1, kind(message::RTM_DELROUTE)),
        SockFilter::new(RETURN, 0, 0, 0),
        SockFilter::new(RETURN, 0, 0, u32::MAX),
    ]
}

/// The same, and of the news of routes lets only those pass that are under one of these protocols. Dumps pass whole.
fn only_own(port: u32, protocols: &[u8]) -> Vec<SockFilter> {
    let port = u32::from_be_bytes(port.to_ne_bytes());
    let own = protocols.len() as u8;
    let mut program = vec![
        SockFilter::new(LOAD_U16, 0, 0, 4),
        SockFilter::new(IF_EQUAL, 1, 0, kind(message::RTM_NEWROUTE)),
        SockFilter::new(IF_EQUAL, 0, own + 6, kind(message::RTM_DELROUTE)),
        SockFilter::new(LOAD_U32, 0, 0, 12),
        SockFilter::new(IF_EQUAL, own + 3, 0, port),
        SockFilter::new(LOAD_U16, 0, 0, 6),
        SockFilter::new(IF_ANY_BIT, own + 2, 0, kind(NLM_F_MULTIPART)),
        SockFilter::new(LOAD_U8, 0, 0, 16 + PROTOCOL as u32),
    ];
    program.extend(protocols.iter().zip((1..=own).rev()).map(|(protocol, left)| SockFilter::new(IF_EQUAL, left, 0, u32::from(*protocol))));
    program.extend([SockFilter::new(RETURN, 0, 0, 0), SockFilter::new(RETURN, 0, 0, u32::MAX)]);
    program
}
