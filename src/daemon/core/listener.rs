//! Incoming connections: chosen addresses, a queue of thousands, and a policy that strangers do not pass.
//!
//! In: which addresses to listen on, and from the configuration the [`AllowedPeers`] who may come with their keys and TTLs. Out: accepted
//! sockets, options set, in the core's queue. It leaves to the speaker which peer a connection is for and which of two survives.
//!
//! IPv4 and IPv6 have sockets of their own. The kernel's queue is asked for [`BACKLOG`] connections (`net.core.somaxconn` may cut it to 4096),
//! so that a thousand peers can come back at once. A stranger costs one `accept`, one NOTIFICATION and one `close`, and never a task.
//!
//! TCP-MD5 fails closed. A socket knows its keys before it listens. A peer whose key the kernel does not take is let in by nobody else's
//! rule: neither its own address nor the range that it stands for is open, whatever range without a password lies around it. Where one
//! secret serves many peers of a subnet, they share one key of that subnet ([`KeyPlan`]), for the kernel keeps few keys a socket.
//!
//! RFC 4271 §8.2.1 (accepting), RFC 4486 §4 (Connection Rejected), RFC 2385, RFC 5082.

use std::collections::HashMap;
use std::fmt;
use std::io::{self, Write};
use std::net::{IpAddr, Ipv6Addr, SocketAddr, TcpListener as StdListener, TcpStream as StdStream};
use std::os::fd::AsFd;
use std::sync::{Arc, PoisonError, RwLock, RwLockWriteGuard};
use std::time::Duration;

use ipnet::IpNet;
use socket2::{Domain, Protocol, Socket, Type};
use tokio::io::unix::AsyncFd;
use tokio::task::AbortHandle;

use crate::daemon::counters::DaemonMetrics;
use crate::daemon::sys;
use crate::num::{ConnId, Instant};
use crate::peer::{Secret, Ttl};
use crate::wire::{CeaseSubcode, Context, Message, Notification};

use super::dialer::apply_ttl;
use super::event_queue::{CoreEvent, EventQueue};
use super::penalty::PenaltyTable;

/// What we ask the kernel to queue for us, established but not accepted.
pub const BACKLOG: i32 = 4096;

/// Connections accepted in one go before others get their turn.
const ACCEPTS: usize = 64;

/// Pause after `accept` failed for want of descriptors or memory.
const PAUSE: Duration = Duration::from_millis(200);

/// Peers of one subnet and with one secret, from which on they share a key of the subnet.
const SHARED_KEY: usize = 8;

/// What holds for connections with one peer or range.
#[derive(Clone, Debug, PartialEq)]
pub struct AllowedPeer {
    /// Which distance its SYN may have come, and what answers carry (RFC 5082).
    pub ttl: Ttl,
    /// Its key; without it the kernel drops what it sends (RFC 2385).
    pub md5: Option<Secret>,
    /// TCP_USER_TIMEOUT of its connections.
    pub user_timeout: Option<Duration>,
    /// It has a password that cannot be read, or that the kernel does not take: nobody is let in.
    pub barred: bool,
}

/// Who may come.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct AllowedPeers {
    /// Listed peers.
    pub hosts: HashMap<IpAddr, AllowedPeer>,
    /// Whoever is at the other end of these links.
    pub links: HashMap<String, AllowedPeer>,
    /// Who was found there: with a password nobody else is let in.
    pub neighbours: HashMap<String, Ipv6Addr>,
    /// The longest prefix first.
    pub ranges: Vec<(IpNet, AllowedPeer)>,
    /// The least that any of them may have: the size of segments is agreed on before it is known who calls.
    pub mss: Option<u16>,
}

impl AllowedPeers {
    /// A link or an address of a configured peer comes before the ranges around it, and a range before a wider one; one that is barred hides
    /// the others.
    pub fn find(&self, remote: SocketAddr) -> Option<&AllowedPeer> {
        if let Some((name, peer)) = self.on_link(remote) {
            let has_key = peer.md5.is_none() || self.neighbours.get(&name).is_some_and(|addr| remote.ip() == *addr);
            return Some(peer).filter(|peer| has_key && !peer.barred);
        }
        let addr = remote.ip();
        let host = self.hosts.get(&addr);
        host.or_else(|| self.ranges.iter().find(|(net, _)| net.contains(&addr)).map(|(_, peer)| peer)).filter(|peer| !peer.barred)
    }

    fn is_host(&self, remote: SocketAddr) -> bool {
        self.hosts.contains_key(&remote.ip()) || self.on_link(remote).is_some()
    }

    /// The peer by interface whose link a link-local address is on.
    fn on_link(&self, remote: SocketAddr) -> Option<(String, &AllowedPeer)> {
        let SocketAddr::V6(v6) = remote else { return None };
        if self.links.is_empty() || !v6.ip().is_unicast_link_local() {
            return None;
        }
        let name = sys::interface_name(v6.scope_id())?;
        let peer = self.links.get(&name)?;
        Some((name, peer))
    }

    /// Lets nobody in who would need a key that stands here.
    fn bar(&mut self, place: IpNet) {
        let hosts = self.hosts.iter_mut().filter(|(addr, peer)| peer.md5.is_some() && place.contains(*addr)).map(|(_, peer)| peer);
        let ranges = self.ranges.iter_mut().filter(|(net, peer)| peer.md5.is_some() && *net == place).map(|(_, peer)| peer);
        let on = |name: &String| self.neighbours.get(name).is_some_and(|addr| place.contains(&IpAddr::V6(*addr)));
        let links = self.links.iter_mut().filter(|(name, peer)| peer.md5.is_some() && on(name)).map(|(_, peer)| peer);
        hosts.chain(ranges).chain(links).for_each(|peer| peer.barred = true);
    }
}

/// The keys of a listening socket, as few as will do: the kernel takes the one with the longest prefix (TCP_MD5SIG_EXT).
type KeyPlan = HashMap<IpNet, Secret>;

fn key_plan(allowed: &AllowedPeers, v4: bool) -> KeyPlan {
    let mut plan: KeyPlan = HashMap::new();
    let ranges = allowed.ranges.iter().filter(|(net, _)| net.addr().is_ipv4() == v4);
    plan.extend(ranges.filter_map(|(net, peer)| Some((*net, peer.md5.as_ref()?.clone()))));
    let found = |(name, peer): (&String, &AllowedPeer)| Some((IpNet::from(IpAddr::V6(*allowed.neighbours.get(name)?)), peer.md5.clone()?));
    plan.extend(allowed.links.iter().filter(|_| !v4).filter_map(found));
    let mut subnets: HashMap<IpNet, Vec<(IpAddr, &AllowedPeer)>> = HashMap::new();
    for (addr, peer) in allowed.hosts.iter().filter(|(addr, _)| addr.is_ipv4() == v4) {
        subnets.entry(subnet(*addr)).or_default().push((*addr, peer));
    }
    for (net, hosts) in subnets {
        match shared_key(net, &hosts, allowed) {
            Some(secret) => drop(plan.insert(net, secret.clone())),
            None => plan.extend(hosts.iter().filter_map(|(addr, peer)| Some((IpNet::from(*addr), peer.md5.as_ref()?.clone())))),
        }
    }
    plan
}

/// The subnet whose peers may share a key.
fn subnet(addr: IpAddr) -> IpNet {
    let length = if addr.is_ipv4() { 24 } else { 64 };
    IpNet::new(addr, length).map_or(IpNet::from(addr), |net| net.trunc())
}

/// The one secret of everybody in a subnet who may come, if they are many enough for it to matter.
fn shared_key<'a>(net: IpNet, hosts: &[(IpAddr, &'a AllowedPeer)], allowed: &AllowedPeers) -> Option<&'a Secret> {
    let secret = hosts.first().and_then(|(_, peer)| peer.md5.as_ref())?;
    let same = |peer: &AllowedPeer| peer.md5.as_ref() == Some(secret);
    let ranges = allowed.ranges.iter().filter(|(range, _)| range.contains(&net) || net.contains(range));
    let alone = hosts.iter().all(|(_, peer)| same(peer)) && ranges.into_iter().all(|(_, peer)| same(peer));
    (hosts.len() >= SHARED_KEY && alone).then_some(secret)
}

/// Who is let in, and who has to wait before coming again. Read by the accepting tasks, replaced on reload.
#[derive(Default)]
struct AcceptPolicy {
    allowed: AllowedPeers,
    penalties: PenaltyTable,
}

type SharedPolicy = Arc<RwLock<AcceptPolicy>>;

/// Every listening socket.
pub struct Listeners {
    policy: SharedPolicy,
    queue: EventQueue,
    open: HashMap<SocketAddr, Listening>,
    /// Connections that a range has let in, and since when their OPENs agree.
    callers: HashMap<ConnId, (IpAddr, Option<Instant>)>,
    /// As it was asked for, before the kernel refused any key.
    wanted: AllowedPeers,
    neighbours: HashMap<String, Ipv6Addr>,
}

struct Listening {
    socket: Arc<AsyncFd<StdListener>>,
    keys: KeyPlan,
    task: AbortHandle,
}

/// A listening address, or keys, that the kernel refused.
#[derive(Debug)]
pub struct Refused {
    /// An address, or keys, in words.
    pub what: String,
    /// The kernel's answer.
    pub error: io::Error,
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "cannot {}: {}", self.what, self.error)?;
        match self.error.kind() {
            io::ErrorKind::AddrInUse => f.write_str("; another program has this port, as `ss -ltnp` shows: another BGP daemon?"),
            io::ErrorKind::PermissionDenied => f.write_str("; ports below 1024 want root or CAP_NET_BIND_SERVICE, keys CAP_NET_ADMIN"),
            io::ErrorKind::AddrNotAvailable => f.write_str("; no interface here has this address (yet)"),
            io::ErrorKind::OutOfMemory => f.write_str(
                "; the sysctl net.core.optmem_max bounds the keys of a socket (about 140 octets each): raise it, or give the peers of a subnet one password",
            ),
            _ => Ok(()),
        }
    }
}

impl Listeners {
    /// Nowhere yet.
    pub fn new(queue: EventQueue) -> Listeners {
        Listeners {
            policy: SharedPolicy::default(),
            queue,
            open: HashMap::new(),
            callers: HashMap::new(),
            wanted: AllowedPeers::default(),
            neighbours: HashMap::new(),
        }
    }

    /// Listens on `addrs` and lets `allowed` in: new sockets are bound, old ones closed, others keep their queues and get the new keys.
    ///
    /// What failed is returned and holds for that address or those peers alone; asking again tries again. There is no moment without a
    /// socket: one that is no longer wanted is closed after those that are have begun to listen, also where both share a port.
    pub fn arrange(&mut self, addrs: &[SocketAddr], mut allowed: AllowedPeers) -> Vec<Refused> {
        let mut refused = Vec::new();
        self.neighbours.retain(|name, _| allowed.links.contains_key(name));
        allowed.neighbours.clone_from(&self.neighbours);
        self.wanted = allowed.clone();
        for (addr, listening) in self.open.iter_mut().filter(|(addr, _)| addrs.contains(addr)) {
            note_keys(*addr, listening.set_keys(key_plan(&allowed, addr.is_ipv4())), &mut allowed, &mut refused);
            if let Err(error) = sys::set_mss(listening.socket.get_ref(), allowed.mss.unwrap_or(0)) {
                refused.push(Refused { what: format!("set tcp_mss on {addr}"), error });
            }
        }
        let leaving: Vec<Listening> = self.open.extract_if(|addr, _| !addrs.contains(addr)).map(|(_, listening)| listening).collect();
        for addr in addrs {
            if !self.open.contains_key(addr) {
                match self.listen(*addr, &leaving, &mut allowed, &mut refused) {
                    Ok(listening) => drop(self.open.insert(*addr, listening)),
                    Err(error) => refused.push(Refused { what: format!("listen on {addr}"), error }),
                }
            }
        }
        self.write_policy().allowed = allowed;
        leaving.into_iter().for_each(|listening| listening.close(&self.policy, &self.queue));
        self.queue.counters().warn("listener", refused.iter().map(Refused::to_string).collect());
        refused
    }

    /// This is whom a link leads to from now on; if the peer has a password, its key is that of this address.
    pub fn found(&mut self, link: String, addr: Ipv6Addr) {
        let keyed = self.wanted.links.get(&link).is_some_and(|peer| peer.md5.is_some());
        self.neighbours.insert(link, addr);
        if keyed {
            let addresses: Vec<SocketAddr> = self.open.keys().copied().collect();
            // What the kernel refuses is said as a warning.
            let _said = self.arrange(&addresses, self.wanted.clone());
        }
    }

    /// A connection that was let in has become one of the core's.
    pub fn accepted(&mut self, conn: ConnId, remote: SocketAddr) {
        if !self.write_policy().allowed.is_host(remote) {
            self.callers.insert(conn, (remote.ip(), None));
        }
    }

    /// The OPENs of a connection agree.
    pub fn agreed(&mut self, conn: ConnId) {
        if let Some((_, since)) = self.callers.get_mut(&conn) {
            *since = Some(sys::monotonic());
        }
    }

    /// A connection has ended; of no effect if it is not a range's.
    pub fn closed(&mut self, conn: ConnId) {
        let Some((addr, since)) = self.callers.remove(&conn) else { return };
        let now = sys::monotonic();
        self.write_policy().penalties.on_closed(addr, since.map(|since| now - since), now);
    }

    /// Where we listen now.
    pub fn addresses(&self) -> impl Iterator<Item = SocketAddr> {
        self.open.values().filter_map(|listening| listening.socket.get_ref().local_addr().ok())
    }

    fn write_policy(&self) -> RwLockWriteGuard<'_, AcceptPolicy> {
        self.policy.write().unwrap_or_else(PoisonError::into_inner)
    }

    fn listen(
        &self,
        addr: SocketAddr,
        leaving: &[Listening],
        allowed: &mut AllowedPeers,
        refused: &mut Vec<Refused>,
    ) -> io::Result<Listening> {
        let socket = bind(addr, leaving)?;
        let mut keys = KeyPlan::new();
        note_keys(addr, set_keys(&socket, &mut keys, key_plan(allowed, addr.is_ipv4())), allowed, refused);
        if let Some(mss) = allowed.mss {
            sys::set_mss(&socket, mss)?;
        }
        socket.listen(BACKLOG)?;
        let socket = Arc::new(sys::watch(socket.into())?);
        let task = tokio::spawn(accept_loop(socket.clone(), self.policy.clone(), self.queue.clone())).abort_handle();
        Ok(Listening { socket, keys, task })
    }
}

impl Listening {
    fn set_keys(&mut self, wanted: KeyPlan) -> Vec<(IpNet, io::Error)> {
        set_keys(self.socket.get_ref(), &mut self.keys, wanted)
    }

    /// What waits in its queue is let in before the socket goes.
    fn close(self, policy: &SharedPolicy, queue: &EventQueue) {
        self.task.abort();
        for _ in 0..BACKLOG {
            match accept_one(self.socket.get_ref(), policy, queue.counters()) {
                Ok(Some(event)) => queue.put_now(event),
                Ok(None) => {}
                Err(_) => return,
            }
        }
    }
}

/// Brings a socket's keys from `keys` to `wanted`; what the kernel refused comes back.
fn set_keys(socket: &impl AsFd, keys: &mut KeyPlan, wanted: KeyPlan) -> Vec<(IpNet, io::Error)> {
    let set = |place: &IpNet, key: &[u8]| {
        let length = (place.prefix_len() < place.max_prefix_len()).then_some(place.prefix_len());
        sys::set_md5(socket, place.addr(), length, key)
    };
    let mut failed = Vec::new();
    keys.retain(|place, _| wanted.contains_key(place) || set(place, &[]).is_err());
    for (place, secret) in wanted {
        if keys.get(&place) == Some(&secret) {
            continue;
        }
        match set(&place, secret.expose()) {
            Ok(()) => drop(keys.insert(place, secret)),
            Err(error) => failed.push((place, error)),
        }
    }
    failed
}

/// Bars whose keys were refused, and says it in one line for each cause.
fn note_keys(addr: SocketAddr, failed: Vec<(IpNet, io::Error)>, allowed: &mut AllowedPeers, refused: &mut Vec<Refused>) {
    const NAMED: usize = 3;
    let mut causes: HashMap<Option<i32>, (Vec<IpNet>, io::Error)> = HashMap::new();
    for (place, error) in failed {
        allowed.bar(place);
        causes.entry(error.raw_os_error()).or_insert_with(|| (Vec::new(), error)).0.push(place);
    }
    for (mut places, error) in causes.into_values() {
        places.sort_unstable();
        let named: Vec<String> =
            places.iter().take(NAMED).map(|net| if is_host(net) { net.addr().to_string() } else { net.to_string() }).collect();
        let more = if places.len() > NAMED { ", ..." } else { "" };
        let what = format!("set {} TCP-MD5 keys on {addr}, whose peers are not let in ({}{more})", places.len(), named.join(", "));
        refused.push(Refused { what, error });
    }
}

fn is_host(net: &IpNet) -> bool {
    net.prefix_len() == net.max_prefix_len()
}

/// A socket that speaks TTL 255 from the SYN-ACK on, so that a GTSM peer hears it (RFC 5082 §3); a peer's own TTL is set once it is known.
///
/// `leaving`: sockets of ours that are about to be closed. With SO_REUSEPORT on both sides the kernel lets ours share a port with them, and
/// gives connections to the more specific one; it is taken off again, so that no other program can share the port with us.
fn bind(addr: SocketAddr, leaving: &[Listening]) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(addr), Type::STREAM.nonblocking(), Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    if addr.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    sys::set_ttl(&socket, addr.is_ipv4(), u8::MAX)?;
    sys::keep_syn(&socket)?;
    if !leaving.is_empty() {
        socket.set_reuse_port(true)?;
        leaving.iter().try_for_each(|old| socket2::SockRef::from(old.socket.get_ref()).set_reuse_port(true))?;
    }
    socket.bind(&addr.into())?;
    Ok(socket)
}

async fn accept_loop(socket: Arc<AsyncFd<StdListener>>, policy: SharedPolicy, queue: EventQueue) {
    loop {
        let outcome = match socket.readable().await {
            Ok(mut guard) => {
                let outcome = accept_some(socket.get_ref(), &policy, &queue).await;
                if matches!(outcome, Ok(Backlog::Empty)) {
                    guard.clear_ready();
                }
                outcome
            }
            Err(error) => Err(error),
        };
        match outcome {
            Ok(Backlog::Empty) => {}
            Ok(Backlog::Waiting) => tokio::task::yield_now().await,
            Err(error) => {
                note_failure(&error, queue.counters());
                tokio::time::sleep(PAUSE).await;
            }
        }
    }
}

/// Whether more connections may be waiting.
enum Backlog {
    /// The queue was not emptied.
    Waiting,
    /// The next one is waited for.
    Empty,
}

async fn accept_some(listener: &StdListener, policy: &SharedPolicy, queue: &EventQueue) -> io::Result<Backlog> {
    for _ in 0..ACCEPTS {
        match accept_one(listener, policy, queue.counters()) {
            Ok(Some(event)) => queue.put(event).await,
            Ok(None) => {}
            Err(e) if e.kind() == io::ErrorKind::WouldBlock => return Ok(Backlog::Empty),
            Err(e) => return Err(e),
        }
    }
    Ok(Backlog::Waiting)
}

/// The next connection, if it may come in.
fn accept_one(listener: &StdListener, policy: &SharedPolicy, counters: &DaemonMetrics) -> io::Result<Option<CoreEvent>> {
    match listener.accept() {
        Ok((socket, remote)) => {
            counters.accepted.add(1);
            let admitted = admit(socket, remote, policy, counters);
            counters.accepting.add(u64::from(admitted.is_some()));
            Ok(admitted.map(|socket| CoreEvent::Accepted { socket, remote }))
        }
        Err(e) if died_in_the_queue(&e) => Ok(None),
        Err(e) => Err(e),
    }
}

/// accept(2): errors of the connection that was about to be returned, not of the listening socket.
fn died_in_the_queue(error: &io::Error) -> bool {
    const OF_THE_CONNECTION: [i32; 9] = [
        libc::ECONNABORTED,
        libc::EINTR,
        libc::ENETDOWN,
        libc::EPROTO,
        libc::ENOPROTOOPT,
        libc::EHOSTDOWN,
        libc::ENONET,
        libc::EHOSTUNREACH,
        libc::ENETUNREACH,
    ];
    error.raw_os_error().is_some_and(|errno| OF_THE_CONNECTION.contains(&errno))
}

fn note_failure(error: &io::Error, counters: &DaemonMetrics) {
    counters.accept_failures.add(1);
    if matches!(error.raw_os_error(), Some(libc::EMFILE | libc::ENFILE)) {
        counters.descriptors_exhausted.add(1);
    }
    tracing::warn!(%error, pause_seconds = PAUSE.as_secs_f64(), "accept failed");
}

/// The socket of an allowed peer, made ready; a stranger is told so and shut out, and who has to wait is shut out.
fn admit(socket: StdStream, remote: SocketAddr, policy: &SharedPolicy, counters: &DaemonMetrics) -> Option<StdStream> {
    let policy = policy.read().unwrap_or_else(PoisonError::into_inner);
    let addr = remote.ip();
    let Some(peer) = policy.allowed.find(remote) else {
        drop(policy);
        counters.unknown_peers.add(1);
        reject(socket);
        return None;
    };
    if !policy.allowed.is_host(remote) && policy.penalties.is_held(addr, sys::monotonic()) {
        counters.penalized.add(1);
        return None;
    }
    if !counters.has_descriptors() {
        counters.descriptors_exhausted.add(1);
        counters.accept_failures.add(1);
        reject(socket);
        return None;
    }
    if comes_from_too_far(&socket, peer) {
        counters.ttl_rejected.add(1);
        return None;
    }
    match prepare(&socket, remote, peer) {
        Ok(()) => Some(socket),
        Err(error) => {
            counters.accept_failures.add(1);
            tracing::warn!(%error, peer = %addr, "an accepted connection could not be made ready and is closed");
            None
        }
    }
}

/// RFC 5082 §3: a segment from further away is dropped. The minimum that [`prepare`] sets comes too late for what was said before `accept`,
/// so the SYN itself is looked at.
fn comes_from_too_far(socket: &StdStream, peer: &AllowedPeer) -> bool {
    let Ttl::Security(hops) = peer.ttl else { return false };
    let least = u8::MAX.saturating_sub(hops.saturating_sub(1));
    match sys::syn_ttl(socket) {
        Ok(ttl) => ttl.is_some_and(|ttl| ttl < least),
        Err(error) => {
            tracing::warn!(%error, "the distance of a connection is not known, and it is closed");
            true
        }
    }
}

fn prepare(socket: &StdStream, remote: SocketAddr, peer: &AllowedPeer) -> io::Result<()> {
    socket.set_nonblocking(true)?;
    socket.set_nodelay(true)?;
    // The TTL 255 of the listening socket was inherited.
    match peer.ttl {
        Ttl::Default => sys::set_ttl(socket, remote.is_ipv4(), DEFAULT_TTL)?,
        ttl => apply_ttl(socket, remote.is_ipv4(), ttl)?,
    }
    peer.user_timeout.map_or(Ok(()), |timeout| sys::set_user_timeout(socket, timeout))
}

/// Linux's own (net.ipv4.ip_default_ttl).
const DEFAULT_TTL: u8 = 64;

/// RFC 4486 §4: who is not configured is told Connection Rejected. A fresh socket has room for 21 octets; if not, closing is all there is.
pub fn reject(mut socket: StdStream) {
    let octets = Message::Notification(Notification::cease(CeaseSubcode::ConnectionRejected, None)).to_bytes(&Context::INITIAL);
    if let Err(error) = socket.set_nonblocking(true).and_then(|()| socket.write_all(&octets)) {
        tracing::debug!(%error, "a stranger had gone before it was told");
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use tokio::io::AsyncReadExt;
    use tokio::net::TcpStream;
    use tokio::sync::mpsc::Receiver;
    use tokio::time::timeout;

    use super::*;

    const HOST: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

    fn peer(md5: Option<&[u8]>) -> AllowedPeer {
        AllowedPeer { ttl: Ttl::Multihop(1), md5: md5.map(Secret::new), user_timeout: None, barred: false }
    }

    fn only(addr: IpAddr, peer: AllowedPeer) -> AllowedPeers {
        AllowedPeers { hosts: [(addr, peer)].into(), ..AllowedPeers::default() }
    }

    fn listeners() -> (Listeners, Receiver<CoreEvent>, Arc<DaemonMetrics>) {
        let counters = Arc::new(DaemonMetrics::default());
        let (queue, events) = EventQueue::new(counters.clone());
        (Listeners::new(queue), events, counters)
    }

    fn arranged(listeners: &mut Listeners, allowed: AllowedPeers) -> SocketAddr {
        let refused = listeners.arrange(&[SocketAddr::new(HOST, 0)], allowed);
        assert!(refused.is_empty(), "{refused:?}");
        listeners.addresses().next().expect("one")
    }

    async fn dial(addr: SocketAddr) -> TcpStream {
        TcpStream::connect(addr).await.expect("connected")
    }

    async fn last_words(mut socket: TcpStream) -> Vec<u8> {
        let mut heard = Vec::new();
        timeout(Duration::from_secs(5), socket.read_to_end(&mut heard)).await.expect("in time").expect("a clean end");
        heard
    }

    async fn accepted(events: &mut Receiver<CoreEvent>) -> StdStream {
        match timeout(Duration::from_secs(5), events.recv()).await.expect("in time") {
            Some(CoreEvent::Accepted { socket, remote }) if remote.ip() == HOST => socket,
            other => panic!("{other:?}"),
        }
    }

    #[tokio::test]
    async fn a_guest_comes_in_with_its_own_ttl() {
        let (mut listeners, mut events, _) = listeners();
        let addr = arranged(&mut listeners, only(HOST, peer(None)));
        let _theirs = dial(addr).await;
        let ours = accepted(&mut events).await;
        assert_eq!(socket2::SockRef::from(&ours).ttl_v4().expect("an option"), 1);
    }

    #[tokio::test]
    async fn a_stranger_is_told_connection_rejected_and_is_no_word_to_the_core() {
        let (mut listeners, mut events, counters) = listeners();
        let addr = arranged(&mut listeners, only(Ipv4Addr::new(192, 0, 2, 1).into(), peer(None)));
        let heard = last_words(dial(addr).await).await;
        assert_eq!(heard.len(), 21);
        assert_eq!(heard[18..], [3, 6, 5], "NOTIFICATION, Cease, Connection Rejected");
        assert_eq!(counters.unknown_peers.get(), 1);
        assert!(events.try_recv().is_err());
    }

    #[tokio::test]
    async fn a_guest_from_too_far_is_shut_out_whatever_it_has_said() {
        let (mut listeners, mut events, counters) = listeners();
        let near = AllowedPeer { ttl: Ttl::Security(1), ..peer(None) };
        let addr = arranged(&mut listeners, only(HOST, near));
        let socket = |ttl| {
            let socket = Socket::new(Domain::IPV4, Type::STREAM, None).expect("a socket");
            sys::set_ttl(&socket, true, ttl).expect("an option");
            socket.connect(&addr.into()).expect("the kernel accepts");
            (&socket).write_all(&[0xff; 19]).expect("sent");
            socket
        };
        let _far = socket(254);
        let _near = socket(255);
        accepted(&mut events).await;
        assert_eq!(counters.ttl_rejected.get(), 1);
        assert!(events.try_recv().is_err(), "one of the two");
    }

    #[tokio::test]
    async fn a_range_lets_in_whoever_is_in_it() {
        let (mut listeners, mut events, _) = listeners();
        let net = "127.0.0.0/8".parse().expect("a prefix");
        let addr = arranged(&mut listeners, AllowedPeers { ranges: vec![(net, peer(None))], ..AllowedPeers::default() });
        let _theirs = dial(addr).await;
        accepted(&mut events).await;
    }

    #[tokio::test]
    async fn a_guest_with_a_key_does_not_come_in_without() {
        let (mut listeners, mut events, _) = listeners();
        let refused = listeners.arrange(&[SocketAddr::new(HOST, 0)], only(HOST, peer(Some(b"key"))));
        if !refused.is_empty() {
            assert!(
                listeners.policy.read().expect("no panic").allowed.find(SocketAddr::new(HOST, 1)).is_none(),
                "no key in the kernel, no guest"
            );
            return;
        }
        let addr = listeners.addresses().next().expect("one");
        assert!(timeout(Duration::from_millis(300), TcpStream::connect(addr)).await.is_err(), "the SYN has no key");
        listeners.arrange(&[SocketAddr::new(HOST, 0)], only(HOST, peer(None)));
        let _theirs = dial(addr).await;
        accepted(&mut events).await;
    }

    #[tokio::test]
    async fn a_key_that_cannot_be_set_keeps_its_guest_out() {
        let (mut listeners, mut events, counters) = listeners();
        let refused = listeners.arrange(&[SocketAddr::new(HOST, 0)], only(HOST, peer(Some(&[b'k'; 81]))));
        assert_eq!(refused.len(), 1, "{refused:?}");
        let addr = listeners.addresses().next().expect("one");
        assert_eq!(last_words(dial(addr).await).await.len(), 21);
        assert_eq!(counters.unknown_peers.get(), 1);
        assert!(events.try_recv().is_err());
    }

    #[tokio::test]
    async fn rearranging_keeps_what_stays_and_closes_what_goes() {
        let (mut listeners, mut events, _) = listeners();
        let any = SocketAddr::new(HOST, 0);
        let addr = arranged(&mut listeners, only(HOST, peer(None)));
        assert_eq!(arranged(&mut listeners, only(HOST, peer(None))), addr, "the socket stays");
        let _theirs = dial(addr).await;
        accepted(&mut events).await;
        assert!(listeners.arrange(&[], only(HOST, peer(None))).is_empty());
        tokio::time::sleep(Duration::from_millis(50)).await;
        assert!(TcpStream::connect(addr).await.is_err(), "nobody listens");
        let taken = StdListener::bind(any).expect("loopback");
        let refused = listeners.arrange(&[taken.local_addr().expect("bound")], AllowedPeers::default());
        assert_eq!(refused.len(), 1, "an address in use is said");
        let said = listeners.queue.counters().warnings();
        assert!(matches!(said.as_slice(), [one] if one.contains("Address already in use") && one.contains("ss -ltnp")), "{said:?}");
        assert!(listeners.arrange(&[], AllowedPeers::default()).is_empty());
        assert!(listeners.queue.counters().warnings().is_empty(), "what is no longer wanted is no longer refused");
    }

    fn keyed(secret: &str) -> AllowedPeer {
        AllowedPeer { md5: Some(Secret::new(secret.as_bytes())), ..peer(None) }
    }

    fn hosts(range: std::ops::Range<u8>, secret: &str) -> AllowedPeers {
        let host = |n| (IpAddr::from(Ipv4Addr::new(10, 0, 0, n)), keyed(secret));
        AllowedPeers { hosts: range.map(host).collect(), ..AllowedPeers::default() }
    }

    #[test]
    fn a_peer_or_range_whose_key_is_refused_hides_the_open_ranges_around_it() {
        let net = |text: &str| text.parse::<IpNet>().expect("a prefix");
        let mut allowed = hosts(1..3, "key");
        allowed.ranges = vec![(net("10.0.1.0/24"), keyed("key")), (net("10.0.0.0/16"), peer(None))];
        let addr = |text: &str| SocketAddr::new(text.parse().expect("an address"), 1);
        assert!(["10.0.0.1", "10.0.0.2", "10.0.0.3", "10.0.1.1"].iter().all(|text| allowed.find(addr(text)).is_some()));
        allowed.bar(net("10.0.0.1/32"));
        allowed.bar(net("10.0.1.0/24"));
        let open: Vec<bool> =
            ["10.0.0.1", "10.0.0.2", "10.0.0.3", "10.0.1.1"].iter().map(|text| allowed.find(addr(text)).is_some()).collect();
        assert_eq!(open, [false, true, true, false]);
    }

    /// On the loopback interface, for it has a number everywhere.
    #[test]
    fn on_a_link_with_a_password_only_the_neighbour_that_was_found_is_let_in() {
        let lo = sys::interface_index("lo").expect("there is one");
        let from = |last, link| SocketAddr::V6(std::net::SocketAddrV6::new(Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, last), 1, 0, link));
        let mut allowed = AllowedPeers { links: [("lo".to_owned(), peer(None))].into(), ..AllowedPeers::default() };
        assert!(allowed.find(from(1, lo)).is_some() && allowed.is_host(from(1, lo)), "whoever is there");
        assert!(allowed.find(from(1, lo + 7777)).is_none(), "another link");
        assert!(allowed.find(SocketAddr::new(HOST, 1)).is_none(), "not of the link");
        allowed.links.insert("lo".to_owned(), keyed("key"));
        allowed.ranges.push(("fe80::/10".parse().expect("a prefix"), peer(None)));
        assert!(key_plan(&allowed, false).is_empty());
        assert!(allowed.find(from(1, lo)).is_none(), "nobody has a key yet, and the open range around it is no way in");
        allowed.neighbours.insert("lo".to_owned(), Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 1));
        let plan = key_plan(&allowed, false);
        assert_eq!(plan.keys().map(ToString::to_string).collect::<Vec<_>>(), ["fe80::1/128"]);
        assert!(allowed.find(from(1, lo)).is_some() && allowed.find(from(2, lo)).is_none());
        allowed.bar("fe80::1/128".parse().expect("a prefix"));
        assert!(allowed.find(from(1, lo)).is_none(), "the kernel did not take its key");
    }

    #[test]
    fn one_key_serves_the_peers_of_a_subnet_if_nobody_else_there_may_come_without_it() {
        let subnet: IpNet = "10.0.0.0/24".parse().expect("a prefix");
        let alone = |plan: KeyPlan| plan.len() == 1 && plan.contains_key(&subnet);
        assert!(alone(key_plan(&hosts(1..100, "key"), true)));
        assert!(key_plan(&hosts(1..100, "key"), false).is_empty(), "another family");
        assert_eq!(key_plan(&hosts(1..4, "key"), true).len(), 3, "too few to matter");
        let mut mixed = hosts(1..100, "key");
        mixed.hosts.insert(IpAddr::from(Ipv4Addr::new(10, 0, 0, 200)), peer(None));
        assert_eq!(key_plan(&mixed, true).len(), 99, "one of them has no password");
        let mut around = hosts(1..100, "key");
        around.ranges.push(("10.0.0.0/8".parse().expect("a prefix"), peer(None)));
        assert_eq!(key_plan(&around, true).len(), 99, "the range around them has no password");
        let mut same = hosts(1..100, "key");
        same.ranges.push(("10.0.0.0/8".parse().expect("a prefix"), keyed("key")));
        assert_eq!(key_plan(&same, true).len(), 2, "the range's and the subnet's");
    }

    #[test]
    fn keys_that_the_kernel_refuses_for_one_reason_are_one_line_with_its_cure() {
        let failed = |n| (IpNet::from(IpAddr::from(Ipv4Addr::new(10, 0, 0, n))), io::Error::from_raw_os_error(libc::ENOMEM));
        let (mut allowed, mut refused) = (hosts(1..100, "key"), Vec::new());
        note_keys(SocketAddr::new(HOST, 179), (1..100).map(failed).collect(), &mut allowed, &mut refused);
        let [one] = refused.as_slice() else { panic!("{refused:?}") };
        let text = one.to_string();
        assert!(text.starts_with("cannot set 99 TCP-MD5 keys on 127.0.0.1:179") && text.contains("net.core.optmem_max"), "{text}");
        assert!(allowed.hosts.values().all(|peer| peer.barred));
    }
}
