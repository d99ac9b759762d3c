//! The daemon as seen by its operators: the control socket, HTTP and signals hold one of these.
//!
//! In: questions, orders, a new configuration, the word to stop. Out: answers, and what happens as it happens. It leaves transport and
//! rights to `control` and `http`, and meaning to the core.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{broadcast, mpsc, oneshot};

use crate::config::Config;
use crate::speaker::reload_plan::Change;
use crate::speaker::show::{Answer, Command, Question};
use crate::speaker::{Input, Params, StopMode};
use crate::stats::Notice;

use super::core::Request;
use super::desk::{Desk, LastReload};
use super::gauges::Gauges;
use super::notices::{LogLevel, Notices};
use super::protocol::Reloaded;
use super::reload::{Keeper, Order};

/// The core has ended; nobody is left to answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Gone;

impl fmt::Display for Gone {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the daemon is ending")
    }
}

impl std::error::Error for Gone {}

/// Cheap to clone.
#[derive(Clone)]
pub struct Handle {
    core: mpsc::Sender<Request>,
    keeper: Keeper,
    notices: Notices,
    log: LogLevel,
    gauges: Arc<Gauges>,
}

impl Handle {
    pub fn new(core: mpsc::Sender<Request>, keeper: Keeper, notices: Notices, log: LogLevel, gauges: Arc<Gauges>) -> Handle {
        Handle { core, keeper, notices, log, gauges }
    }

    /// Something that the core is told ahead of what is queued; returns once it has heard it.
    ///
    /// # Errors
    /// [`Gone`].
    pub async fn tell(&self, input: Input) -> Result<(), Gone> {
        let (told, heard) = oneshot::channel();
        self.request(Request::Tell(input, told)).await?;
        heard.await.map_err(|_| Gone)
    }

    /// What these parameters change; with `apply` they are taken over.
    ///
    /// # Errors
    /// [`Gone`].
    pub async fn plan(&self, params: Box<Params>, apply: bool) -> Result<Vec<Change>, Gone> {
        let (reply, answer) = oneshot::channel();
        match self.answered(Request::Plan(params, apply, reply), answer).await {
            Some(Answer::Plan(changes)) => Ok(changes),
            _ => Err(Gone),
        }
    }

    /// # Errors
    /// [`Gone`].
    pub async fn stop(&self, mode: StopMode) -> Result<(), Gone> {
        self.tell(Input::Stop(mode)).await
    }

    async fn request(&self, request: Request) -> Result<(), Gone> {
        self.core.send(request).await.map_err(|_| Gone)
    }

    async fn answered(&self, request: Request, answer: oneshot::Receiver<Answer>) -> Option<Answer> {
        self.request(request).await.ok()?;
        answer.await.ok()
    }

    /// At which level the log is written now.
    pub fn log_level(&self) -> String {
        self.log.get()
    }
}

impl Desk for Handle {
    async fn ask(&self, question: Question) -> Option<Answer> {
        let (reply, answer) = oneshot::channel();
        self.answered(Request::Ask(question, reply), answer).await
    }

    async fn order(&self, command: Command) -> Option<Answer> {
        let (reply, answer) = oneshot::channel();
        self.answered(Request::Order(command, reply), answer).await
    }

    /// With `confirm` the former configuration comes back after that time unless [`Desk::confirm`] is called.
    async fn reload(&self, confirm: Option<Duration>) -> Result<Reloaded, String> {
        let (reply, outcome) = oneshot::channel();
        self.keeper.order(Order::Reload { confirm, reply }).await.map_err(|gone| gone.to_string())?;
        outcome.await.map_err(|_| Gone.to_string())?
    }

    async fn diff(&self, text: Option<(String, String)>) -> Result<Reloaded, String> {
        let (reply, outcome) = oneshot::channel();
        self.keeper.order(Order::Diff { text, reply }).await.map_err(|gone| gone.to_string())?;
        outcome.await.map_err(|_| Gone.to_string())?
    }

    async fn confirm(&self) -> bool {
        let (reply, outcome) = oneshot::channel();
        self.keeper.order(Order::Confirm { reply }).await.is_ok() && outcome.await.unwrap_or(false)
    }

    fn last_reload(&self) -> LastReload {
        self.keeper.state()
    }

    fn config(&self) -> Arc<Config> {
        self.keeper.config()
    }

    fn monitor(&self) -> broadcast::Receiver<Arc<Notice>> {
        self.notices.listen()
    }

    fn set_log_level(&self, level: &str) -> Result<(), String> {
        self.log.set(level)
    }

    fn gauges(&self) -> &Gauges {
        &self.gauges
    }
}
