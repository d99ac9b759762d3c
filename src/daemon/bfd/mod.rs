//! BFD's own thread: sockets and clock around the room [`crate::bfd`], before everything else that this process does.
//!
//! In: the sessions that the speaker wants, questions, the word to end. Out: how sessions stand, through a bounded queue to the core. What
//! packets mean is `crate::bfd`'s.
//!
//! The thread asks the kernel for real-time priority (`SCHED_FIFO`): only so can it keep intervals of some ten milliseconds while others
//! compute. Where it does not get it, that is said (log, `status`, metric), and short intervals are raised or refused as configured. It
//! allocates nothing while sessions are steady, and waits for nobody: the core is told through a queue, and what finds no room in it is told
//! later.
//!
//! **Rubbish waits apart.** The kernel sorts packets into queues before they wait (`steer`): what carries no discriminator of ours has little room,
//! and is read so seldom that a flood of it takes little of a core.
//!
//! **"I was asleep."** Before a session is judged silent the sockets are emptied, and each packet counts from the moment at which the
//! kernel had it. So a thread that wakes late takes nobody for dead who spoke in time. Where more waits than can be read in one go, sessions
//! are judged as of the newest packet that was read.

mod inbox;
mod rows;
mod sockets;
mod steer;
mod worker;

use std::io;
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use rustix::event::{EventfdFlags, eventfd};
use tokio::sync::{mpsc, oneshot};

use crate::api::Answer;
use crate::bfd::{SessionParams, Status};
use crate::num::PeerId;

use crate::daemon::counters::DaemonMetrics;
use inbox::{Asked, Shared};
use worker::Worker;

/// Reports that wait for the core at most; the others wait in their sessions.
const REPORTS: usize = 256;

/// How long the end of the process waits for the thread's.
const FAREWELL: Duration = Duration::from_millis(600);

/// The thread, as the core sees it.
pub struct BfdThread {
    shared: Arc<Shared>,
    /// Its other end goes with the thread.
    ended: std::sync::mpsc::Receiver<()>,
}

impl BfdThread {
    /// Starts it. The other end is where it says how sessions stand.
    ///
    /// # Errors
    /// The kernel's, for want of a thread or of a descriptor.
    pub fn start(metrics: Arc<DaemonMetrics>) -> io::Result<(BfdThread, mpsc::Receiver<Status>)> {
        let bell = eventfd(0, EventfdFlags::NONBLOCK | EventfdFlags::CLOEXEC)?;
        let shared = Arc::new(Shared { door: Mutex::default(), bell, metrics });
        let (reports, heard) = mpsc::channel(REPORTS);
        let (ready, started) = std::sync::mpsc::sync_channel(1);
        let (alive, ended) = std::sync::mpsc::channel::<()>();
        let inside = shared.clone();
        thread::Builder::new().name("catbird-bfd".into()).spawn(move || {
            let worker = Worker::new(inside, reports);
            // An error says that nobody waits to hear it.
            let _heard = ready.send(());
            worker.run();
            drop(alive);
        })?;
        // Until it has its priority, for which the rights are given up afterwards.
        if started.recv().is_err() {
            return Err(io::Error::other("the thread of BFD has ended at once"));
        }
        Ok((BfdThread { shared, ended }, heard))
    }

    /// A session is wanted, or no longer.
    pub fn want(&self, peer: PeerId, session: Option<Arc<SessionParams>>) {
        self.shared.inbox().wanted.insert(peer, session);
        self.ring();
    }

    /// All that can be said of the sessions, or of one peer's.
    pub fn ask(&self, peer: Option<String>, reply: oneshot::Sender<Answer>) {
        self.shared.inbox().asked.push(Asked { peer, reply });
        self.ring();
    }

    /// Neighbours are told AdminDown, and the thread ends.
    pub fn end(&self) {
        self.shared.inbox().end = true;
        self.ring();
    }

    /// Waits a moment for the thread to say goodbye: a process that is gone sooner leaves neighbours that take it for dead.
    pub fn finish(&self) {
        self.end();
        // An error is what is waited for: the other end is gone.
        let _gone = self.ended.recv_timeout(FAREWELL);
    }

    fn ring(&self) {
        // Full only after 2^64 - 1 rings that nobody heard.
        if let Err(error) = rustix::io::write(&self.shared.bell, &1_u64.to_ne_bytes()) {
            tracing::debug!(%error, "BFD's thread was not woken; it looks by itself");
        }
    }
}
