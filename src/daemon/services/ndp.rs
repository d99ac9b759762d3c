//! Finds the neighbours of peers that are configured by their interface, and has us found: router discovery on their links.
//!
//! In: the configuration in force, ICMPv6, the kernel's links and neighbours. Out: signs of neighbours, to the core; router advertisements and
//! solicitations. When something is to be said is [`crate::ndp`]'s matter, and who of those that are heard is the neighbour, too.
//!
//! The socket is opened before the process gives up the right to it (CAP_NET_RAW), and hears nothing while no peer wants it.

use std::collections::BTreeMap;
use std::io;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use socket2::{Domain, Protocol, SockRef, Socket, Type};
use tokio::io::unix::AsyncFd;

use crate::config::Config;
use crate::daemon::netlink::neighbours::{News, Watch};
use crate::daemon::sys::{self, DATAGRAMS, DatagramBatch};
use crate::ndp::packet::{self, ALL_NODES, ALL_ROUTERS, Heard};
use crate::ndp::{Advertiser, Due, Sign};
use crate::speaker::Input;

use super::api::RouterApi;

/// In warnings.
const TOPIC: &str = "router discovery";
/// Time between two looks at the configuration.
const POLL_INTERVAL: Duration = Duration::from_secs(1);
/// Batches of packets that are read before others get their turn.
const BATCHES: usize = 16;
/// Signs that the core is told of one link in a second.
const SIGNS: u32 = 16;

/// The socket, or why there is none.
///
/// # Errors
/// The kernel's: without CAP_NET_RAW, or without IPv6.
pub fn open() -> io::Result<Socket> {
    let socket = Socket::new(Domain::IPV6, Type::RAW, Some(Protocol::ICMPV6))?;
    sys::hear_routers(&socket, false)?;
    sys::want_arrivals(&socket, false)?;
    socket.set_nonblocking(true)?;
    // What has another hop limit is not believed (RFC 4861 §6.1), and what we say ourselves is no news to us.
    socket.set_multicast_hops_v6(255)?;
    socket.set_unicast_hops_v6(255)?;
    socket.set_multicast_loop_v6(false)?;
    Ok(socket)
}

/// Until the daemon ends.
///
/// # Errors
/// The kernel's, of the runtime.
pub async fn serve<A: RouterApi>(api: A, socket: io::Result<Socket>) -> io::Result<()> {
    let socket = match socket {
        Ok(socket) => sys::watch_socket(socket)?,
        Err(error) => return no_socket(&api, &error).await,
    };
    loop {
        if wanted(&api.config()).is_empty() {
            tokio::time::sleep(POLL_INTERVAL).await;
            continue;
        }
        sys::hear_routers(socket.get_ref(), true)?;
        let ended = Discovery::new(&api, &socket)?.run().await;
        sys::hear_routers(socket.get_ref(), false)?;
        match ended {
            Ok(Ended::Gone) => return Ok(()),
            Ok(Ended::Unwanted) => {}
            Err(error) => {
                tracing::warn!(%error, "router discovery begins anew");
                tokio::time::sleep(POLL_INTERVAL).await;
            }
        }
        api.counters().warn(TOPIC, Vec::new());
    }
}

/// Says so wherever somebody looks, as long as a peer waits for it.
async fn no_socket<A: RouterApi>(api: &A, error: &io::Error) -> io::Result<()> {
    let cure = if error.kind() == io::ErrorKind::PermissionDenied { ": the daemon wants CAP_NET_RAW for it" } else { "" };
    let text = format!("peers by interface find nobody by router advertisements, only those that connect: no socket ({error}){cure}");
    let mut said = false;
    loop {
        let wanted = !wanted(&api.config()).is_empty();
        if wanted != said {
            said = wanted;
            api.counters().warn(TOPIC, Vec::from_iter(wanted.then(|| text.clone())));
        }
        tokio::time::sleep(POLL_INTERVAL).await;
    }
}

/// The links of peers by interface, and how long we offer ourselves there as default router.
fn wanted(config: &Config) -> BTreeMap<String, u16> {
    let by_interface = config.sessions.iter().filter(|session| session.remote.addr.is_unspecified());
    by_interface.filter_map(|session| Some((session.remote.zone.clone()?, session.options.router_lifetime))).collect()
}

enum Ended {
    /// Nobody wants to find anybody any more.
    Unwanted,
    /// The core has ended.
    Gone,
}

/// One of the links.
struct Link {
    /// While it is there.
    ifindex: Option<u32>,
    up: bool,
    mac: Option<[u8; 6]>,
    /// Of us as default router, in seconds.
    lifetime: u16,
    advertiser: Advertiser,
    /// What may still be told to the core in this second.
    signs: (u64, u32),
    /// The kernel took nothing at the last attempt, and why.
    refused: Option<String>,
}

struct Discovery<'a, A> {
    api: &'a A,
    socket: &'a AsyncFd<Socket>,
    watch: Watch,
    links: BTreeMap<String, Link>,
    batch: DatagramBatch,
}

impl<'a, A: RouterApi> Discovery<'a, A> {
    fn new(api: &'a A, socket: &'a AsyncFd<Socket>) -> io::Result<Discovery<'a, A>> {
        let mut discovery = Discovery { api, socket, watch: Watch::open()?, links: BTreeMap::new(), batch: DatagramBatch::default() };
        discovery.follow_configuration();
        Ok(discovery)
    }

    async fn run(mut self) -> io::Result<Ended> {
        let mut look = tokio::time::interval(POLL_INTERVAL);
        loop {
            self.send();
            let now = sys::monotonic();
            let next = self.links.values().filter_map(|link| link.advertiser.next_deadline()).min();
            let sleep = next.map_or(POLL_INTERVAL, |at| at - now);
            tokio::select! {
                _ = look.tick() => if self.follow_configuration() { self.watch = Watch::open()?; },
                news = self.watch.next() => {
                    for news in news? {
                        if self.on_news(news).await.is_none() {
                            return Ok(Ended::Gone);
                        }
                    }
                }
                ready = self.socket.readable() => {
                    ready?.clear_ready();
                    if self.receive().await.is_none() {
                        return Ok(Ended::Gone);
                    }
                }
                () = tokio::time::sleep(sleep) => {}
            }
            if self.links.is_empty() {
                return Ok(Ended::Unwanted);
            }
        }
    }

    /// True if there is a new link to be looked for.
    fn follow_configuration(&mut self) -> bool {
        let wanted = wanted(&self.api.config());
        self.links.retain(|name, link| {
            let stays = wanted.contains_key(name);
            if let Some(ifindex) = link.ifindex.filter(|_| !stays) {
                if link.lifetime > 0 {
                    // RFC 4861 §6.2.5: hosts that took us for their default router are to look for another.
                    self.batch.put(SocketAddr::new(ALL_NODES.into(), 0), None, Some(ifindex), &packet::advertisement(link.mac, 0));
                    let _not_renewed = self.batch.send(self.socket.get_ref());
                }
                leave(self.socket.get_ref(), ifindex);
            }
            stays
        });
        let before = self.links.len();
        for (name, lifetime) in wanted {
            if let Some(link) = self.links.get_mut(&name).filter(|link| link.lifetime != lifetime) {
                link.lifetime = lifetime;
                // As if somebody had asked.
                link.advertiser.on_solicitation(sys::monotonic());
            }
            let seed = name.bytes().fold(sys::monotonic().as_nanos(), |seed, octet| seed.wrapping_mul(31).wrapping_add(u64::from(octet)));
            let link =
                || Link { ifindex: None, up: false, mac: None, lifetime, advertiser: Advertiser::new(seed), signs: (0, 0), refused: None };
            self.links.entry(name).or_insert_with(link);
        }
        self.links.len() > before
    }

    /// `None`: the core has ended.
    async fn on_news(&mut self, news: News) -> Option<()> {
        match news {
            News::Link { ifindex, name, up, mac } => self.on_link(ifindex, &name, up, mac),
            News::LinkGone { ifindex } => {
                for link in self.links.values_mut().filter(|link| link.ifindex == Some(ifindex)) {
                    (link.ifindex, link.up) = (None, false);
                    link.advertiser.on_down();
                }
            }
            News::Neighbour { ifindex, addr, sign } => return self.tell(ifindex, addr, sign).await,
        }
        Some(())
    }

    fn on_link(&mut self, ifindex: u32, name: &str, up: bool, mac: Option<[u8; 6]>) {
        // A link that was given another name.
        for (_, link) in self.links.iter_mut().filter(|(known, link)| link.ifindex == Some(ifindex) && *known != name) {
            leave(self.socket.get_ref(), ifindex);
            (link.ifindex, link.up) = (None, false);
            link.advertiser.on_down();
        }
        let Some(link) = self.links.get_mut(name) else { return };
        if link.ifindex != Some(ifindex) {
            link.ifindex = Some(ifindex);
            link.up = false;
            if let Err(error) = SockRef::from(self.socket.get_ref()).join_multicast_v6(&ALL_ROUTERS, ifindex) {
                tracing::debug!(%error, link = name, "the group of all routers is not joined: nobody's questions are heard");
            }
            if let Err(error) = self.watch.ask_neighbours() {
                tracing::debug!(%error, "the kernel was not asked for its neighbours");
            }
        }
        link.mac = mac;
        if up != std::mem::replace(&mut link.up, up) {
            if up { link.advertiser.on_up(sys::monotonic()) } else { link.advertiser.on_down() }
        }
    }

    /// `None`: the core has ended.
    async fn receive(&mut self) -> Option<()> {
        let mut signs = Vec::new();
        // What a flood leaves over is the kernel's to drop.
        for _ in 0..BATCHES {
            let Ok(heard) = self.batch.receive(self.socket.get_ref()) else { break };
            self.take(&mut signs);
            if heard < DATAGRAMS {
                break;
            }
        }
        signs.sort_unstable();
        signs.dedup();
        for (ifindex, router) in signs {
            self.tell(ifindex, router, Sign::Advertisement).await?;
        }
        Some(())
    }

    /// What one batch has: questions are answered in time, routers go into `signs`.
    fn take(&mut self, signs: &mut Vec<(u32, Ipv6Addr)>) {
        for datagram in self.batch.received() {
            let IpAddr::V6(from) = datagram.from.ip() else { continue };
            let Some(link) = self.links.values_mut().find(|link| link.ifindex == Some(datagram.ifindex)) else { continue };
            match packet::read(datagram.octets, from, datagram.ttl) {
                Ok(Heard::Solicitation) => link.advertiser.on_solicitation(sys::monotonic()),
                Ok(Heard::Advertisement(router)) => {
                    link.advertiser.on_advertisement();
                    signs.push((datagram.ifindex, router));
                }
                Err(dropped) => tracing::trace!(?dropped, %from, "a packet of router discovery was dropped"),
            }
        }
    }

    /// A few a second: whoever floods the link with advertisements keeps the core from nothing. `None`: the core has ended.
    async fn tell(&mut self, ifindex: u32, addr: Ipv6Addr, sign: Sign) -> Option<()> {
        let Some((name, link)) = self.links.iter_mut().find(|(_, link)| link.ifindex == Some(ifindex)) else { return Some(()) };
        let second = sys::monotonic().as_nanos() / 1_000_000_000;
        if link.signs.0 != second {
            link.signs = (second, 0);
        }
        link.signs.1 += 1;
        if link.signs.1 > SIGNS {
            return Some(());
        }
        self.api.tell(Input::Neighbour { interface: name.clone(), addr, sign }).await.ok()
    }

    fn send(&mut self) {
        let now = sys::monotonic();
        let mut changed = false;
        for link in self.links.values_mut() {
            let Some(ifindex) = link.ifindex else { continue };
            let due = link.advertiser.poll(now);
            if due == Due::default() {
                continue;
            }
            for (_, octets, to) in [
                (due.advertisement, packet::advertisement(link.mac, link.lifetime), ALL_NODES),
                (due.solicitation, packet::solicitation(link.mac), ALL_ROUTERS),
            ]
            .into_iter()
            .filter(|(is_due, ..)| *is_due)
            {
                self.batch.put(SocketAddr::new(to.into(), 0), None, Some(ifindex), &octets);
            }
            let (_, refused) = self.batch.send(self.socket.get_ref());
            // Of the last packet that was refused.
            let why = (refused > 0).then(|| io::Error::last_os_error().to_string());
            if why.is_some() {
                link.advertiser.on_refused(due, now);
            }
            changed |= link.refused != why;
            link.refused = why;
        }
        if changed {
            self.warn();
        }
    }

    /// Where nothing goes out, nobody finds us. (For a moment that is so on each link that comes up.)
    fn warn(&self) {
        let text = |(name, link): (&String, &Link)| {
            let why = link.refused.as_ref()?;
            Some(format!(
                "no router advertisement goes out on {name}, so its neighbour does not find us: {why} (has it a link-local address?)"
            ))
        };
        self.api.counters().warn(TOPIC, self.links.iter().filter_map(text).collect());
    }
}

fn leave(socket: &Socket, ifindex: u32) {
    // An error says that the link is gone, and our membership with it.
    let _gone = socket.leave_multicast_v6(&ALL_ROUTERS, ifindex);
}
