//! Incoming connections: chosen addresses, a queue of thousands, and a door that strangers do not pass.
//!
//! In: which addresses to listen on, and from the configuration the [`Guests`] who may come with their keys and TTLs. Out: accepted sockets,
//! options set, in the core's queue. It leaves to the speaker which peer a connection is for and which of two survives.
//!
//! IPv4 and IPv6 have sockets of their own. The kernel's queue is asked for [`BACKLOG`] connections (`net.core.somaxconn` may cut it to 4096),
//! so that a thousand peers can come back at once. A stranger costs one `accept`, one NOTIFICATION and one `close`, and never a task. A socket
//! whose TCP-MD5 key could not be set lets nobody in from that address (it fails closed).
//!
//! RFC 4271 §8.2.1 (accepting), RFC 4486 §4 (Connection Rejected), RFC 2385, RFC 5082.

use std::collections::HashMap;
use std::fmt;
use std::io::{self, Write};
use std::net::{IpAddr, SocketAddr, TcpListener as StdListener, TcpStream as StdStream};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use ipnet::IpNet;
use socket2::{Domain, Protocol, Socket, Type};
use tokio::io::unix::AsyncFd;
use tokio::task::AbortHandle;

use crate::peer::{Secret, Ttl};
use crate::wire::{CeaseSubcode, Context, Message, Notification};

use super::core::{Inbox, Word};
use super::dialer::apply_ttl;
use super::gauges::Gauges;
use super::sockopt;

/// What we ask the kernel to queue for us, established but not accepted.
pub const BACKLOG: i32 = 4096;

/// Connections accepted in one go before others get their turn.
const ACCEPTS: usize = 64;

/// Pause after `accept` failed for want of descriptors or memory.
const PAUSE: Duration = Duration::from_millis(200);

/// What holds for connections with one peer or range.
#[derive(Clone, Debug, PartialEq)]
pub struct Guest {
    pub ttl: Ttl,
    pub md5: Option<Secret>,
    pub user_timeout: Option<Duration>,
}

/// Who may come.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Guests {
    pub hosts: HashMap<IpAddr, Guest>,
    /// The longest prefix first.
    pub ranges: Vec<(IpNet, Guest)>,
}

impl Guests {
    /// An address of a configured peer comes before the ranges around it.
    pub fn find(&self, addr: IpAddr) -> Option<&Guest> {
        self.hosts.get(&addr).or_else(|| self.ranges.iter().find(|(net, _)| net.contains(&addr)).map(|(_, guest)| guest))
    }

    /// Every key that a listening socket of this family must know.
    fn keys(&self, v4: bool) -> Keys {
        let hosts = self.hosts.iter().map(|(addr, guest)| ((*addr, None), guest));
        let ranges = self.ranges.iter().map(|(net, guest)| ((net.network(), Some(net.prefix_len())), guest));
        hosts.chain(ranges).filter(|((addr, _), _)| addr.is_ipv4() == v4).filter_map(|(at, guest)| Some((at, guest.md5.clone()?))).collect()
    }
}

type Keys = HashMap<(IpAddr, Option<u8>), Secret>;

/// What the accepting tasks read and the core replaces on reload.
type Door = Arc<RwLock<Guests>>;

/// Every listening socket.
pub struct Listeners {
    door: Door,
    inbox: Inbox,
    open: HashMap<SocketAddr, Listening>,
}

struct Listening {
    socket: Arc<AsyncFd<StdListener>>,
    keys: Keys,
    task: AbortHandle,
}

/// A listening address or key that the kernel refused.
#[derive(Debug)]
pub struct Refused {
    pub what: String,
    pub error: io::Error,
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "cannot {}: {}", self.what, self.error)?;
        match self.error.kind() {
            io::ErrorKind::AddrInUse => f.write_str("; another program has this port, as `ss -ltnp` shows: another BGP daemon?"),
            io::ErrorKind::PermissionDenied => f.write_str("; ports below 1024 want root or CAP_NET_BIND_SERVICE, keys CAP_NET_ADMIN"),
            io::ErrorKind::AddrNotAvailable => f.write_str("; no interface here has this address (yet)"),
            _ => Ok(()),
        }
    }
}

impl Listeners {
    pub fn new(inbox: Inbox) -> Listeners {
        Listeners { door: Door::default(), inbox, open: HashMap::new() }
    }

    /// Listens on `addrs` and lets `guests` in: new sockets are bound, old ones closed, others keep their queues and get the new keys.
    ///
    /// What failed is returned and holds for that address or that guest alone; asking again tries again.
    pub fn arrange(&mut self, addrs: &[SocketAddr], mut guests: Guests) -> Vec<Refused> {
        let mut refused = Vec::new();
        self.open.retain(|addr, listening| {
            let keep = addrs.contains(addr);
            if !keep {
                listening.task.abort();
            }
            keep
        });
        for addr in addrs {
            if !self.open.contains_key(addr) {
                match self.listen(*addr) {
                    Ok(listening) => drop(self.open.insert(*addr, listening)),
                    Err(error) => refused.push(Refused { what: format!("listen on {addr}"), error }),
                }
            }
        }
        for (addr, listening) in &mut self.open {
            for (at, error) in listening.set_keys(guests.keys(addr.is_ipv4())) {
                guests.hosts.remove(&at.0).map_or_else(|| guests.ranges.retain(|(net, _)| net.network() != at.0), drop);
                refused.push(Refused { what: format!("set the TCP-MD5 key of {} on {addr}", at.0), error });
            }
        }
        *self.door.write().unwrap_or_else(PoisonError::into_inner) = guests;
        let words = refused.iter().map(Refused::to_string).collect();
        self.inbox.gauges().refuse("listener", words);
        refused
    }

    /// Where we listen now.
    pub fn addresses(&self) -> impl Iterator<Item = SocketAddr> {
        self.open.values().filter_map(|listening| listening.socket.get_ref().local_addr().ok())
    }

    fn listen(&self, addr: SocketAddr) -> io::Result<Listening> {
        let socket = Arc::new(sockopt::watch(bind(addr)?)?);
        let task = tokio::spawn(accept_loop(socket.clone(), self.door.clone(), self.inbox.clone())).abort_handle();
        Ok(Listening { socket, keys: Keys::new(), task })
    }
}

impl Listening {
    /// Brings the socket's keys to `wanted`; what the kernel refused comes back.
    fn set_keys(&mut self, wanted: Keys) -> Vec<((IpAddr, Option<u8>), io::Error)> {
        let socket = self.socket.get_ref();
        let mut failed = Vec::new();
        self.keys.retain(|at, _| wanted.contains_key(at) || sockopt::set_md5(socket, at.0, at.1, &[]).is_err());
        for (at, secret) in wanted {
            if self.keys.get(&at) == Some(&secret) {
                continue;
            }
            match sockopt::set_md5(socket, at.0, at.1, secret.expose()) {
                Ok(()) => drop(self.keys.insert(at, secret)),
                Err(error) => failed.push((at, error)),
            }
        }
        failed
    }
}

/// A socket that speaks TTL 255 from the SYN-ACK on, so that a GTSM peer hears it (RFC 5082 §3); a peer's own TTL is set once it is known.
fn bind(addr: SocketAddr) -> io::Result<StdListener> {
    let socket = Socket::new(Domain::for_address(addr), Type::STREAM.nonblocking(), Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    if addr.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    sockopt::set_ttl(&socket, addr.is_ipv4(), u8::MAX)?;
    sockopt::keep_syn(&socket)?;
    socket.bind(&addr.into())?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}

async fn accept_loop(socket: Arc<AsyncFd<StdListener>>, door: Door, inbox: Inbox) {
    loop {
        let outcome = match socket.readable().await {
            Ok(mut guard) => {
                let outcome = accept_some(socket.get_ref(), &door, &inbox).await;
                if matches!(outcome, Ok(Crowd::Gone)) {
                    guard.clear_ready();
                }
                outcome
            }
            Err(error) => Err(error),
        };
        match outcome {
            Ok(Crowd::Gone) => {}
            Ok(Crowd::Waiting) => tokio::task::yield_now().await,
            Err(error) => {
                note_failure(&error, inbox.gauges());
                tokio::time::sleep(PAUSE).await;
            }
        }
    }
}

/// Whether more connections may be waiting.
enum Crowd {
    Waiting,
    Gone,
}

async fn accept_some(listener: &StdListener, door: &Door, inbox: &Inbox) -> io::Result<Crowd> {
    for _ in 0..ACCEPTS {
        match listener.accept() {
            Ok((socket, remote)) => {
                inbox.gauges().accepted.add(1);
                if let Some(socket) = admit(socket, remote, door, inbox.gauges()) {
                    inbox.put(Word::Accepted { socket, remote }).await;
                }
            }
            Err(e) if e.kind() == io::ErrorKind::WouldBlock => return Ok(Crowd::Gone),
            Err(e) if died_in_the_queue(&e) => {}
            Err(e) => return Err(e),
        }
    }
    Ok(Crowd::Waiting)
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

fn note_failure(error: &io::Error, gauges: &Gauges) {
    gauges.accept_failures.add(1);
    if matches!(error.raw_os_error(), Some(libc::EMFILE | libc::ENFILE)) {
        gauges.descriptors_exhausted.add(1);
    }
    tracing::warn!(%error, pause_seconds = PAUSE.as_secs_f64(), "accept failed");
}

/// The socket of a guest, made ready; a stranger is told so and shut out.
fn admit(socket: StdStream, remote: SocketAddr, door: &Door, gauges: &Gauges) -> Option<StdStream> {
    let door = door.read().unwrap_or_else(PoisonError::into_inner);
    let Some(guest) = door.find(remote.ip()) else {
        drop(door);
        gauges.strangers.add(1);
        reject(socket);
        return None;
    };
    if comes_from_too_far(&socket, guest) {
        gauges.too_far.add(1);
        return None;
    }
    match prepare(&socket, remote, guest) {
        Ok(()) => Some(socket),
        Err(error) => {
            gauges.accept_failures.add(1);
            tracing::warn!(%error, peer = %remote.ip(), "an accepted connection could not be made ready and is closed");
            None
        }
    }
}

/// RFC 5082 §3: a segment from further away is dropped. The minimum that [`prepare`] sets comes too late for what was said before `accept`,
/// so the SYN itself is looked at.
fn comes_from_too_far(socket: &StdStream, guest: &Guest) -> bool {
    let Ttl::Security(hops) = guest.ttl else { return false };
    let least = u8::MAX.saturating_sub(hops.saturating_sub(1));
    match sockopt::syn_ttl(socket) {
        Ok(ttl) => ttl.is_some_and(|ttl| ttl < least),
        Err(error) => {
            tracing::warn!(%error, "the distance of a connection is not known, and it is closed");
            true
        }
    }
}

fn prepare(socket: &StdStream, remote: SocketAddr, guest: &Guest) -> io::Result<()> {
    socket.set_nonblocking(true)?;
    socket.set_nodelay(true)?;
    // The TTL 255 of the listening socket was inherited.
    match guest.ttl {
        Ttl::Default => sockopt::set_ttl(socket, remote.is_ipv4(), DEFAULT_TTL)?,
        ttl => apply_ttl(socket, remote.is_ipv4(), ttl)?,
    }
    guest.user_timeout.map_or(Ok(()), |timeout| sockopt::set_user_timeout(socket, timeout))
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

    fn guest(md5: Option<&[u8]>) -> Guest {
        Guest { ttl: Ttl::Multihop(1), md5: md5.map(Secret::new), user_timeout: None }
    }

    fn only(addr: IpAddr, guest: Guest) -> Guests {
        Guests { hosts: [(addr, guest)].into(), ranges: Vec::new() }
    }

    fn listeners() -> (Listeners, Receiver<Word>, Arc<Gauges>) {
        let gauges = Arc::new(Gauges::default());
        let (inbox, words) = Inbox::new(gauges.clone());
        (Listeners::new(inbox), words, gauges)
    }

    fn arranged(listeners: &mut Listeners, guests: Guests) -> SocketAddr {
        let refused = listeners.arrange(&[SocketAddr::new(HOST, 0)], guests);
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

    async fn accepted(words: &mut Receiver<Word>) -> StdStream {
        match timeout(Duration::from_secs(5), words.recv()).await.expect("in time") {
            Some(Word::Accepted { socket, remote }) if remote.ip() == HOST => socket,
            other => panic!("{other:?}"),
        }
    }

    #[tokio::test]
    async fn a_guest_comes_in_with_its_own_ttl() {
        let (mut listeners, mut words, _) = listeners();
        let addr = arranged(&mut listeners, only(HOST, guest(None)));
        let _theirs = dial(addr).await;
        let ours = accepted(&mut words).await;
        assert_eq!(socket2::SockRef::from(&ours).ttl_v4().expect("an option"), 1);
    }

    #[tokio::test]
    async fn a_stranger_is_told_connection_rejected_and_is_no_word_to_the_core() {
        let (mut listeners, mut words, gauges) = listeners();
        let addr = arranged(&mut listeners, only(Ipv4Addr::new(192, 0, 2, 1).into(), guest(None)));
        let heard = last_words(dial(addr).await).await;
        assert_eq!(heard.len(), 21);
        assert_eq!(heard[18..], [3, 6, 5], "NOTIFICATION, Cease, Connection Rejected");
        assert_eq!(gauges.strangers.get(), 1);
        assert!(words.try_recv().is_err());
    }

    #[tokio::test]
    async fn a_guest_from_too_far_is_shut_out_whatever_it_has_said() {
        let (mut listeners, mut words, gauges) = listeners();
        let near = Guest { ttl: Ttl::Security(1), ..guest(None) };
        let addr = arranged(&mut listeners, only(HOST, near));
        let socket = |ttl| {
            let socket = Socket::new(Domain::IPV4, Type::STREAM, None).expect("a socket");
            sockopt::set_ttl(&socket, true, ttl).expect("an option");
            socket.connect(&addr.into()).expect("the kernel accepts");
            (&socket).write_all(&[0xff; 19]).expect("sent");
            socket
        };
        let _far = socket(254);
        let _near = socket(255);
        accepted(&mut words).await;
        assert_eq!(gauges.too_far.get(), 1);
        assert!(words.try_recv().is_err(), "one of the two");
    }

    #[tokio::test]
    async fn a_range_lets_in_whoever_is_in_it() {
        let (mut listeners, mut words, _) = listeners();
        let net = "127.0.0.0/8".parse().expect("a prefix");
        let addr = arranged(&mut listeners, Guests { ranges: vec![(net, guest(None))], ..Guests::default() });
        let _theirs = dial(addr).await;
        accepted(&mut words).await;
    }

    #[tokio::test]
    async fn a_guest_with_a_key_does_not_come_in_without() {
        let (mut listeners, mut words, _) = listeners();
        let refused = listeners.arrange(&[SocketAddr::new(HOST, 0)], only(HOST, guest(Some(b"key"))));
        if !refused.is_empty() {
            assert!(listeners.door.read().expect("no panic").find(HOST).is_none(), "no key in the kernel, no guest");
            return;
        }
        let addr = listeners.addresses().next().expect("one");
        assert!(timeout(Duration::from_millis(300), TcpStream::connect(addr)).await.is_err(), "the SYN has no key");
        listeners.arrange(&[SocketAddr::new(HOST, 0)], only(HOST, guest(None)));
        let _theirs = dial(addr).await;
        accepted(&mut words).await;
    }

    #[tokio::test]
    async fn a_key_that_cannot_be_set_keeps_its_guest_out() {
        let (mut listeners, mut words, gauges) = listeners();
        let refused = listeners.arrange(&[SocketAddr::new(HOST, 0)], only(HOST, guest(Some(&[b'k'; 81]))));
        assert_eq!(refused.len(), 1, "{refused:?}");
        let addr = listeners.addresses().next().expect("one");
        assert_eq!(last_words(dial(addr).await).await.len(), 21);
        assert_eq!(gauges.strangers.get(), 1);
        assert!(words.try_recv().is_err());
    }

    #[tokio::test]
    async fn rearranging_keeps_what_stays_and_closes_what_goes() {
        let (mut listeners, mut words, _) = listeners();
        let any = SocketAddr::new(HOST, 0);
        let addr = arranged(&mut listeners, only(HOST, guest(None)));
        assert_eq!(arranged(&mut listeners, only(HOST, guest(None))), addr, "the socket stays");
        let _theirs = dial(addr).await;
        accepted(&mut words).await;
        assert!(listeners.arrange(&[], only(HOST, guest(None))).is_empty());
        tokio::time::sleep(Duration::from_millis(50)).await;
        assert!(TcpStream::connect(addr).await.is_err(), "nobody listens");
        let taken = StdListener::bind(any).expect("loopback");
        let refused = listeners.arrange(&[taken.local_addr().expect("bound")], Guests::default());
        assert_eq!(refused.len(), 1, "an address in use is said");
        let said = listeners.inbox.gauges().refused();
        assert!(matches!(said.as_slice(), [one] if one.contains("Address already in use") && one.contains("ss -ltnp")), "{said:?}");
        assert!(listeners.arrange(&[], Guests::default()).is_empty());
        assert!(listeners.inbox.gauges().refused().is_empty(), "what is no longer wanted is no longer refused");
    }
}
