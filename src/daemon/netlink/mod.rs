//! The kernel's side of the FIB: what it reports becomes `KernelEvent`s, what we want of it is written, each answer comes back.
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
pub mod lookup;
mod message;
mod monitor;
pub mod neighbours;
mod nexthop_objects;
mod route_cache;
mod settings;
mod tunnels;
mod writer;

use std::io;
use std::sync::Arc;
use std::sync::mpsc::TrySendError;

use tokio::sync::{Notify, mpsc};

use crate::fib::overlay::DesiredDevices;
use crate::fib::{Errno, FibChange};
use crate::kernel::KernelEvent;

pub use settings::{Counters, Settings};
pub use writer::Done;

/// Our side of netlink. Dropping it ends the writer's thread, and the monitor with it.
#[derive(Debug)]
pub struct Netlink {
    changes: std::sync::mpsc::SyncSender<Vec<(u64, FibChange)>>,
    audit: Arc<Notify>,
    counters: Arc<Counters>,
    monitor: tokio::task::JoinHandle<()>,
    overlay: tunnels::Tunnels,
}

/// The kernel's side of netlink.
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

    /// The tunnel devices that there should be, whole. What they carry is reported through `Events::kernel`.
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

    /// Shared, for the metrics.
    pub fn counters(&self) -> Arc<Counters> {
        self.counters.clone()
    }
}

impl Drop for Netlink {
    fn drop(&mut self) {
        self.monitor.abort();
    }
}
