//! The one queue into the core, and what stands in it.
//!
//! In: [`CoreEvent`]s of readers, dials and listeners, from any task. Out: the same, in the order in which they came, to `Core`. The queue holds
//! [`QUEUE`] events: whoever finds it full waits, and the time is counted (`catbird_backpressure_seconds_total`), so that a core that is
//! busy slows its readers down and, through TCP, the peers behind them.

use std::net::SocketAddr;
use std::sync::Arc;

use tokio::net::TcpStream;
use tokio::sync::{OwnedSemaphorePermit, mpsc};

use crate::daemon::counters::DaemonMetrics;
use crate::num::ConnId;
use crate::peer::DialError;
use crate::speaker::Input;

/// Events that wait for the core at most. A batch of messages is one event.
pub const QUEUE: usize = 512;

/// One event for the core.
#[derive(Debug)]
pub enum CoreEvent {
    /// Anything that is no batch.
    Input(Input),
    /// A batch of messages, with the permit that its reader waits for before it delivers more.
    Batch(Input, Option<OwnedSemaphorePermit>),
    /// An attempt to connect has ended.
    Dialled {
        /// Its number.
        conn: ConnId,
        /// The connected socket, or why there is none.
        outcome: Result<TcpStream, DialError>,
    },
    /// A peer that may come has connected; options are set.
    Accepted {
        /// Not blocking.
        socket: std::net::TcpStream,
        /// Its address and port.
        remote: SocketAddr,
    },
}

/// Where events are put; cheap to clone.
#[derive(Clone)]
pub struct EventQueue {
    events: mpsc::Sender<CoreEvent>,
    counters: Arc<DaemonMetrics>,
}

impl EventQueue {
    /// The queue's two ends.
    pub fn new(counters: Arc<DaemonMetrics>) -> (EventQueue, mpsc::Receiver<CoreEvent>) {
        let (events, queue) = mpsc::channel(QUEUE);
        (EventQueue { events, counters }, queue)
    }

    /// Waits while the queue is full. An event to a core that has ended is of no more use to anybody, and its task ends with the runtime.
    pub async fn put(&self, event: CoreEvent) {
        if let Err(mpsc::error::TrySendError::Full(event)) = self.events.try_send(event) {
            let since = std::time::Instant::now();
            let ended = self.events.send(event).await.is_err();
            self.counters.queue_wait.add(since.elapsed());
            if ended {
                tracing::debug!("an event came after the core had ended");
            }
        }
    }

    /// Does not wait; with a full queue the event is dropped, and its connection closes.
    pub fn put_now(&self, event: CoreEvent) {
        let accepted = u64::from(matches!(event, CoreEvent::Accepted { .. }));
        if self.events.try_send(event).is_err() {
            self.counters.accepting.sub(accepted);
            tracing::debug!("the queue was full, or the core had ended");
        }
    }

    /// For whoever holds the queue anyway.
    pub fn counters(&self) -> &DaemonMetrics {
        &self.counters
    }
}
