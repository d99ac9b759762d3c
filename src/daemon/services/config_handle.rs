//! Where the configuration manager is asked, and where what holds now is read.
//!
//! In: commands, through a queue of [`COMMANDS`]; from the manager, each configuration as it comes into force. Out: that configuration and how
//! the last reload went, at any time and without waiting for the manager.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use tokio::sync::{mpsc, oneshot};

use crate::config::Config;
use crate::daemon::protocol::Reloaded;

use super::api::{Gone, LastReload};

/// Commands that wait at most; a reload is quick and seldom.
const COMMANDS: usize = 4;

/// What the manager is asked for.
pub enum Command {
    /// Read the file again and take it over, whole or not at all.
    Reload {
        /// Back to what was before after this time, unless confirmed.
        confirm: Option<Duration>,
        /// `Err`: the report, and nothing has changed.
        reply: oneshot::Sender<Result<Reloaded, String>>,
    },
    /// What would a reload of this text (with its name), or of the file, change?
    Diff {
        /// `None`: the daemon's own file.
        text: Option<(String, String)>,
        /// `Err`: the report.
        reply: oneshot::Sender<Result<Reloaded, String>>,
    },
    /// Keep what was taken over on probation.
    Confirm {
        /// Whether anything waited for it.
        reply: oneshot::Sender<bool>,
    },
}

/// Where the manager is asked.
#[derive(Clone)]
pub struct ConfigHandle {
    commands: mpsc::Sender<Command>,
    shared: Arc<Mutex<Shared>>,
}

/// What holds now.
pub(super) struct Shared {
    /// In force.
    pub(super) config: Arc<Config>,
    /// How it came to be in force.
    pub(super) state: LastReload,
}

impl ConfigHandle {
    /// With the configuration that was read at the start, and where its manager takes commands from.
    pub(super) fn new(config: Config) -> (ConfigHandle, mpsc::Receiver<Command>) {
        let state = LastReload { successful: true, at: SystemTime::now(), error: None, unconfirmed: false };
        let (commands, received) = mpsc::channel(COMMANDS);
        (ConfigHandle { commands, shared: Arc::new(Mutex::new(Shared { config: Arc::new(config), state })) }, received)
    }

    /// # Errors
    /// [`Gone`]: the manager has ended.
    pub(super) async fn command(&self, command: Command) -> Result<(), Gone> {
        self.commands.send(command).await.map_err(|_| Gone)
    }

    /// In force.
    pub fn config(&self) -> Arc<Config> {
        self.lock().config.clone()
    }

    /// How the last reload went.
    pub fn state(&self) -> LastReload {
        self.lock().state.clone()
    }

    /// Held for an assignment, never over an `await`.
    pub(super) fn lock(&self) -> MutexGuard<'_, Shared> {
        self.shared.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
