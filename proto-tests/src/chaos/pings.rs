//! Datagrams between all pods, all the time, in both families; each that does not come back is kept with its moment.
//!
//! In: the pods. Out: how many were sent, and the losses. A loss says between which nodes, in which family and when it was sent, so that
//! [`super::account`] can ask whether a fault of that moment excuses it.

use std::collections::{HashMap, VecDeque};
use std::io;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::os::fd::AsRawFd as _;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crate::netlab::cluster::{Cluster, Pod};

const PORT: u16 = 7777;
/// What has not come back by then is lost. Long, for the machine may be busy; no route that is wrong for a moment delays a packet so long.
const PATIENCE: Duration = Duration::from_secs(3);
/// Datagrams a second of all pods together.
const RATE: u32 = 1500;
const REQUEST: u8 = 1;
const REPLY: u8 = 2;

/// A datagram that did not come back.
#[derive(Clone, Copy, Debug)]
pub struct Loss {
    /// Index of the node of the sender, and of the one who was to answer.
    pub from: usize,
    pub to: usize,
    pub v6: bool,
    pub at: Instant,
    /// The sender's kernel had no way for it.
    pub refused: bool,
}

/// What is known of all pods.
#[derive(Debug, Default)]
struct Book {
    sent: AtomicU64,
    losses: Mutex<Vec<Loss>>,
    /// Nothing new is sent; what is under way is waited for.
    last: AtomicBool,
}

/// The pods, talking.
#[derive(Debug)]
pub struct Pings {
    book: Arc<Book>,
    stop: Arc<AtomicBool>,
    pods: Vec<JoinHandle<()>>,
}

impl Pings {
    /// Every first pod of a node talks to every other node's.
    ///
    /// # Errors
    /// Sockets are not to be had.
    pub fn start(cluster: &Cluster) -> io::Result<Self> {
        let pods: Vec<(usize, &Pod)> = cluster.members.iter().enumerate().filter_map(|(i, m)| Some((i, m.pods.first()?))).collect();
        let every = Duration::from_secs(1) * u32::try_from(pods.len()).unwrap_or(u32::MAX) / RATE;
        let (book, stop) = (Arc::<Book>::default(), Arc::<AtomicBool>::default());
        // All sockets are there before the first datagram.
        let talks = pods.iter().map(|(node, pod)| Talk::new(*node, pod, &pods, book.clone())).collect::<io::Result<Vec<_>>>()?;
        let begin = |mut talk: Talk| {
            let stop = stop.clone();
            std::thread::spawn(move || {
                while !stop.load(Ordering::Relaxed) {
                    talk.turn(every);
                }
            })
        };
        let pods = talks.into_iter().map(begin).collect();
        Ok(Self { book, stop, pods })
    }

    pub fn sent(&self) -> u64 {
        self.book.sent.load(Ordering::Relaxed)
    }

    /// All that is known to be lost, and was not taken before. A datagram that is still under way is not among them.
    ///
    /// # Panics
    /// If a thread of ours did.
    pub fn take_losses(&self) -> Vec<Loss> {
        std::mem::take(&mut *self.book.losses.lock().expect("nobody panics with it"))
    }

    /// Sends no more, waits for what is under way, and says what was lost.
    ///
    /// # Panics
    /// If a thread of ours did.
    pub fn stop(self) -> (u64, Vec<Loss>) {
        self.book.last.store(true, Ordering::Relaxed);
        std::thread::sleep(PATIENCE + Duration::from_millis(200));
        self.stop.store(true, Ordering::Relaxed);
        for pod in self.pods {
            pod.join().expect("it only talks");
        }
        (self.book.sent.load(Ordering::Relaxed), std::mem::take(&mut *self.book.losses.lock().expect("nobody panics with it")))
    }

    /// After this time every datagram of before is either back or among the losses.
    pub fn patience() -> Duration {
        PATIENCE + Duration::from_millis(200)
    }
}

/// One pod: it asks the others in turn and answers them.
struct Talk {
    node: usize,
    /// By family.
    sockets: [UdpSocket; 2],
    others: Vec<(usize, SocketAddr)>,
    turn: usize,
    number: u64,
    next: Instant,
    /// Under way, oldest first; those that came back are no more in `open`.
    under_way: VecDeque<(u64, Instant)>,
    open: HashMap<u64, Loss>,
    book: Arc<Book>,
}

impl Talk {
    fn new(node: usize, pod: &Pod, all: &[(usize, &Pod)], book: Arc<Book>) -> io::Result<Self> {
        let bind = |at: IpAddr| pod.ns.run(move || roomy(SocketAddr::new(at, PORT)));
        let sockets = [bind(pod.v4.into())?, bind(pod.v6.into())?];
        let others = all.iter().filter(|(other, _)| *other != node);
        let others =
            others.flat_map(|(other, p)| [IpAddr::from(p.v4), p.v6.into()].map(|at| (*other, SocketAddr::new(at, PORT)))).collect();
        let (under_way, open) = (VecDeque::new(), HashMap::new());
        Ok(Self { node, sockets, others, turn: node, number: 0, next: Instant::now(), under_way, open, book })
    }

    fn turn(&mut self, every: Duration) {
        self.wait();
        for family in 0..2 {
            self.hear(family);
        }
        let now = Instant::now();
        if now >= self.next && !self.book.last.load(Ordering::Relaxed) {
            self.ask(now);
            // A thread that had no core for a while does not make up for it in a burst.
            self.next = (self.next + every).max(now);
        }
        while let Some((number, _)) = self.under_way.front().filter(|(_, at)| now.duration_since(*at) > PATIENCE).copied() {
            self.under_way.pop_front();
            if let Some(loss) = self.open.remove(&number) {
                self.book.losses.lock().expect("nobody panics with it").push(loss);
            }
        }
    }

    /// Until something comes or it is time to ask.
    fn wait(&self) {
        let left = self.next.saturating_duration_since(Instant::now()).as_millis().clamp(1, 50);
        let mut fds = [0, 1].map(|i: usize| libc::pollfd { fd: self.sockets[i].as_raw_fd(), events: libc::POLLIN, revents: 0 });
        // SAFETY: two valid pollfds.
        unsafe { libc::poll(fds.as_mut_ptr(), 2, left as i32) };
    }

    fn ask(&mut self, at: Instant) {
        if self.others.is_empty() {
            return;
        }
        self.turn = (self.turn + 1) % self.others.len();
        let (to, address) = self.others[self.turn];
        self.number += 1;
        let mut packet = [REQUEST; 9];
        packet[1..].copy_from_slice(&self.number.to_be_bytes());
        let refused = self.sockets[usize::from(address.is_ipv6())].send_to(&packet, address).is_err();
        self.book.sent.fetch_add(1, Ordering::Relaxed);
        self.open.insert(self.number, Loss { from: self.node, to, v6: address.is_ipv6(), at, refused });
        self.under_way.push_back((self.number, at));
    }

    fn hear(&mut self, family: usize) {
        let mut packet = [0; 16];
        while let Ok((9, from)) = self.sockets[family].recv_from(&mut packet) {
            if packet[0] == REQUEST {
                packet[0] = REPLY;
                // Without a way back it is lost, and its sender will see that.
                let _ = self.sockets[family].send_to(&packet[..9], from);
            } else if let Ok(number) = packet[1..9].try_into() {
                self.open.remove(&u64::from_be_bytes(number));
            }
        }
    }
}

/// A socket that holds what comes while its thread waits for a core, and does not wait itself.
fn roomy(at: SocketAddr) -> io::Result<UdpSocket> {
    let socket = UdpSocket::bind(at)?;
    socket.set_nonblocking(true)?;
    let octets: libc::c_int = 4 << 20;
    let len = libc::socklen_t::try_from(size_of_val(&octets)).expect("a few octets");
    // SAFETY: the option is an int, and lives through the call. Who may not force it has the usual room.
    unsafe { libc::setsockopt(socket.as_raw_fd(), libc::SOL_SOCKET, libc::SO_RCVBUFFORCE, (&raw const octets).cast(), len) };
    Ok(socket)
}
