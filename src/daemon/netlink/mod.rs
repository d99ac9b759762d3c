//! The kernel's side of the FIB: what it tells becomes `KernelEvent`s, what we want of it is written, each answer comes back.
//!
//! In: numbered `FibChange`s (`Netlink::apply`). Out: `Events`: batches of `KernelEvent`s, beginning with a full dump, and batches of
//! answers. Which route is wanted and what an event means is decided in `fib` and `rib::nexthop`.
//!
//! Two sockets. The **writer** has a thread of its own and joins no group: a thread, because the kernel carries a change out inside
//! `send`, and may sit there waiting for a lock that a dying network namespace holds; keepalives must go out meanwhile. It sends many
//! changes at once and asks for one acknowledgement, of the last: errors come anyway, with their number.
//! The **monitor** is a task of the runtime with a large buffer. A filter in the kernel leaves out what our writer did, by its socket
//! and not by the protocol number. It dumps through the same socket by which it listens, so that what a dump says and what happens
//! meanwhile arrive in the order in which they were true. If its buffer overflows all the same, it dumps at once; and now and then
//! without cause.
//!
//! Tunnel devices have a thread of their own beside these ([`tunnels`]), started when one is wanted.

mod device;
mod message;
mod monitor;
mod nexthop_objects;
mod route_cache;
mod tunnels;
mod writer;

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::TrySendError;
use std::time::Duration;

use tokio::sync::{Notify, mpsc};

use crate::fib::overlay::DesiredDevices;
use crate::fib::{Errno, FibChange, Owner, Params};
use crate::kernel::KernelEvent;

/// How the shell speaks with the kernel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    pub owner: Owner,
    /// Under which names routes may stand that are ours besides.
    pub former: Vec<Owner>,
    /// Tables to watch besides our own: `main`, whose routes carry next hops.
    pub watch: Vec<u32>,
    /// Octets for what the kernel says while we are busy. 32 MiB hold some 40,000 route messages.
    pub receive_buffer: usize,
    /// At least so long between two dumps without cause, and a hundred times as long as the last one took.
    pub audit: Duration,
    /// Most changes that are on their way at one time.
    pub window: usize,
}

impl Settings {
    pub fn new(params: &Params) -> Settings {
        Settings {
            owner: params.owner(),
            former: params.former.clone(),
            watch: vec![254],
            receive_buffer: 32 << 20,
            audit: Duration::from_secs(60),
            window: params.window,
        }
    }

    fn tables(&self) -> Vec<u32> {
        let all = self.owners().map(|owner| owner.table).chain(self.watch.iter().copied());
        let mut tables: Vec<u32> = Vec::new();
        all.for_each(|table| {
            if !tables.contains(&table) {
                tables.push(table)
            }
        });
        tables
    }

    fn owners(&self) -> impl Iterator<Item = Owner> {
        std::iter::once(self.owner).chain(self.former.iter().copied())
    }
}

/// What netlink went through, since the start.
#[derive(Debug, Default)]
pub struct Counters {
    /// The kernel could not keep what it had to say: dumped.
    pub overruns: AtomicU64,
    pub dumps: AtomicU64,
    pub messages: AtomicU64,
    /// Sends of the writer; each carries many changes.
    pub sends: AtomicU64,
    /// Nodes that tunnels carry packets to, now.
    pub tunnels: AtomicU64,
    /// What was put right on tunnel devices because somebody had changed it.
    pub tunnel_repairs: AtomicU64,
    /// What the kernel refused to do to them.
    pub tunnel_failures: AtomicU64,
}

impl Counters {
    fn add(counter: &AtomicU64, n: u64) {
        counter.fetch_add(n, Ordering::Relaxed);
    }
}

/// Our word to the kernel. Dropping it ends the writer's thread, and the monitor with it.
#[derive(Debug)]
pub struct Netlink {
    changes: std::sync::mpsc::SyncSender<Vec<(u64, FibChange)>>,
    audit: Arc<Notify>,
    counters: Arc<Counters>,
    monitor: tokio::task::JoinHandle<()>,
    overlay: tunnels::Tunnels,
}

/// Answers to changes, by their numbers.
pub type Done = Vec<(u64, Result<(), Errno>)>;

/// The kernel's word to us.
#[derive(Debug)]
pub struct Events {
    /// Bounded: if the core is slow, the monitor stops reading, and the kernel's buffer takes the rest.
    pub kernel: mpsc::Receiver<Vec<KernelEvent>>,
    /// Bounded: if the core is slow, the writer waits with the next send.
    pub done: mpsc::Receiver<Done>,
}

/// Batches of events that may wait for the core.
const EVENTS_WAITING: usize = 16;
/// Batches of answers that may wait for the core.
const ANSWERS_WAITING: usize = 16;

impl Netlink {
    /// Opens both sockets in the network namespace of the calling thread, and begins with a dump. Wants a runtime around it.
    ///
    /// # Errors
    /// The kernel's, for want of netlink sockets or of a thread.
    pub fn start(settings: Settings) -> io::Result<(Netlink, Events)> {
        let counters = Arc::new(Counters::default());
        // An order holds one change at least.
        let (changes, orders) = std::sync::mpsc::sync_channel(settings.window);
        let (answers, done) = mpsc::channel(ANSWERS_WAITING);
        let (events, kernel) = mpsc::channel(EVENTS_WAITING);
        let writer = writer::Writer::open(settings.owner, counters.clone())?;
        let audit = Arc::new(Notify::new());
        let monitor = monitor::Monitor::open(&settings, writer.port(), counters.clone(), audit.clone())?;
        std::thread::Builder::new().name("catbird-fib".into()).spawn(move || writer.run(&orders, &answers))?;
        let overlay = tunnels::Tunnels::new(events.clone(), counters.clone());
        let monitor = tokio::spawn(monitor.run(events));
        Ok((Netlink { changes, audit, counters, monitor, overlay }, Events { kernel, done }))
    }

    /// Hands changes to the kernel; each is answered once through `Events::done`. Never waits.
    ///
    /// # Errors
    /// The answers, if nobody will carry these changes out: more than the window are on their way (ENOBUFS, try again), or the writer's
    /// thread has died (EPIPE).
    pub fn apply(&mut self, changes: Vec<(u64, FibChange)>) -> Result<(), Done> {
        self.changes.try_send(changes).map_err(|error| {
            let (errno, changes) = match error {
                TrySendError::Full(changes) => (Errno::ENOBUFS, changes),
                TrySendError::Disconnected(changes) => (Errno::EPIPE, changes),
            };
            tracing::error!(changes = changes.len(), %errno, "the netlink writer takes no more changes");
            changes.into_iter().map(|(seq, _)| (seq, Err(errno))).collect()
        })
    }

    /// The tunnel devices that there should be, whole. What they carry is told through `Events::kernel`.
    pub fn tunnels(&mut self, wanted: DesiredDevices) {
        self.overlay.want(wanted);
    }

    /// Removes tunnel devices that are not wanted any more without waiting for their time. The daemon ends.
    pub fn finish(&mut self) {
        self.overlay.finish();
    }

    /// Look at everything again, now.
    pub fn audit(&self) {
        self.audit.notify_one();
    }

    pub fn counters(&self) -> Arc<Counters> {
        self.counters.clone()
    }
}

impl Drop for Netlink {
    fn drop(&mut self) {
        self.monitor.abort();
    }
}
