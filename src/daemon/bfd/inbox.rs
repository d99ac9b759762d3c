//! What BFD's thread is told, and where it is told it.

use std::collections::BTreeMap;
use std::os::fd::OwnedFd;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::oneshot;

use crate::api::Answer;
use crate::bfd::SessionParams;
use crate::daemon::counters::DaemonMetrics;
use crate::num::PeerId;

/// A question, and who asked it.
pub(super) struct Asked {
    pub peer: Option<String>,
    pub reply: oneshot::Sender<Answer>,
}

/// What the thread is told. Of each peer the last word counts, so it is as large as there are peers.
#[derive(Default)]
pub(super) struct Inbox {
    pub wanted: BTreeMap<PeerId, Option<Arc<SessionParams>>>,
    pub asked: Vec<Asked>,
    pub end: bool,
}

/// Both sides of the thread's door.
pub(super) struct Shared {
    pub door: Mutex<Inbox>,
    pub bell: OwnedFd,
    pub metrics: Arc<DaemonMetrics>,
}

impl Shared {
    pub fn inbox(&self) -> MutexGuard<'_, Inbox> {
        self.door.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
