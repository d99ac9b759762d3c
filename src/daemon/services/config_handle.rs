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
    Reload {
        confirm: Option<Duration>,
        reply: oneshot::Sender<Result<Reloaded, String>>,
    },
    /// What would a reload of this text (with its name), or of the file, change?
    Diff {
        text: Option<(String, String)>,
        reply: oneshot::Sender<Result<Reloaded, String>>,
    },
    Confirm {
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
    pub(super) config: Arc<Config>,
    pub(super) state: LastReload,
}

impl ConfigHandle {
    /// With the configuration that was read at the start, and where its manager takes commands from.
    pub(super) fn new(config: Config) -> (ConfigHandle, mpsc::Receiver<Command>) {
        let state = LastReload { successful: true, at: SystemTime::now(), error: None, unconfirmed: false };
        let (commands, received) = mpsc::channel(COMMANDS);
        (ConfigHandle { commands, shared: Arc::new(Mutex::new(Shared { config: Arc::new(config), state })) }, received)
    }

    pub(super) async fn command(&self, command: Command) -> Result<(), Gone> {
        self.commands.send(command).await.map_err(|_| Gone)
    }

    pub fn config(&self) -> Arc<Config> {
        self.lock().config.clone()
    }

    pub fn state(&self) -> LastReload {
        self.lock().state.clone()
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, Shared> {
        self.shared.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
